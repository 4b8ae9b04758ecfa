-- What the views that stand in for the application's own report tables need; the views are in sql/compat.

-- Which stores have the views; '*' speaks for every store without a row of its own, new ones too.
CREATE TABLE {state}.compat (
  tenant    text COLLATE "C" PRIMARY KEY,
  installed boolean NOT NULL
);

-- The application's columns are narrower than the reports'.
CREATE FUNCTION {state}.clamp(value numeric, bound numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN least(greatest(value, -bound), bound);

-- A number for (key, day) that no other (key, day) has: 17 bits for the day (1970 to 2328), 46 for the key. Outside of
-- these it is a 63-bit hash, negative, and so never one of the numbers above.
CREATE FUNCTION {state}.compat_id(key bigint, day date) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN key BETWEEN 0 AND 70368744177663 AND day BETWEEN date '1970-01-01' AND date '1970-01-01' + 131071
    THEN key * 131072 + (day - date '1970-01-01')
  ELSE -1 - (hashtextextended(key::text || ' ' || day::text, 0) & 9223372036854775807)
END;

-- An application that still writes its report tables, perhaps inside the transaction of a sale, must not fail because
-- they are views now. What it writes is dropped; it gets back the id under which the row is or would be shown.
CREATE FUNCTION {state}.compat_ignore() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  written jsonb;
BEGIN
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  written := to_jsonb(NEW);
  NEW.id := {state}.compat_id(coalesce(written ->> 'product_id', written ->> 'customer_id', '0')::bigint,
                              coalesce(written ->> 'date', written ->> 'period_end')::date);
  RETURN NEW;
END $$;
