-- What the daemon's own verification found: one row per store, its last run and the last that found nothing wrong.
CREATE TABLE {state}.verification (
  tenant        text COLLATE "C" PRIMARY KEY,
  finished      timestamptz NOT NULL,        -- when the last run ended
  took_ms       bigint NOT NULL,
  lsn           pg_lsn,                      -- the position at which rows were compared last
  rows_compared bigint NOT NULL DEFAULT 0,
  differences   bigint NOT NULL DEFAULT 0,   -- should be 0
  error         text,                        -- why the last run could not compare; the figures are of the run before it
  right_at      timestamptz,                 -- when nothing differed last …
  right_lsn     pg_lsn                       -- … and at which position
);
COMMENT ON TABLE {state}.verification IS 'What the daemon''s own verification found, one row a store';
