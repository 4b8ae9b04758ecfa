-- Which migrations the schema has seen. Run before every upgrade, so it must do nothing the second time.
CREATE TABLE IF NOT EXISTS {state}.migration (
  version    integer PRIMARY KEY,
  name       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now()
);
