-- What every database of a benchmark has beside the POS's tables.

-- The same "random" number from 0 to sides - 1 for the same thing, whoever asks: seeds repeat exactly.
CREATE FUNCTION public.dice(thing bigint, salt bigint, sides bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (hashint8extended(thing, salt) & 9223372036854775807) % sides;

-- A login each, so that a server process tells whose it is.
CREATE ROLE tillstream SUPERUSER LOGIN;
CREATE ROLE probe SUPERUSER LOGIN;
