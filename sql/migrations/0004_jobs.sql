-- What the schedule has run. One row per run: its attempts are counted in it, not added beside it.
CREATE TABLE {state}.job_run (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant       text COLLATE "C" NOT NULL,
  job          text NOT NULL CHECK (job IN ('day_roll', 'daily_sales', 'product_performance', 'customer_analytics',
                                            'inventory_snapshot', 'prune')),
  due          timestamptz NOT NULL,     -- the due time it runs for; of a requested run the time it was asked to run as
  started      timestamptz NOT NULL,     -- the last attempt
  finished     timestamptz,              -- null: running, or the daemon died in it
  rows_changed bigint NOT NULL DEFAULT 0,
  rows_drifted bigint NOT NULL DEFAULT 0, -- sums that differed from the facts: should be 0
  error        text,                     -- of the last attempt; null: it succeeded or has not finished
  attempts     integer NOT NULL DEFAULT 1 CHECK (attempts > 0),
  requested    boolean NOT NULL DEFAULT false, -- by an operator, not by the schedule
  CHECK (finished IS NOT NULL OR error IS NULL)
) WITH (fillfactor = 80);

-- A due time runs once; and the last run of each job, for the plan, is its first entry from the end.
CREATE UNIQUE INDEX job_run_due ON {state}.job_run (tenant, job, due) WHERE NOT requested;
-- Requested runs that an operator asks after.
CREATE INDEX job_run_requested ON {state}.job_run (tenant, job, id) WHERE requested;

-- The last run of each job of each store, and the last that the schedule made, for operators.
CREATE VIEW {reports}.job_runs AS
SELECT DISTINCT ON (r.tenant, r.job, r.requested)
       r.tenant, r.job, r.requested, r.due, r.started, r.finished, r.finished - r.started AS took,
       CASE WHEN r.finished IS NULL THEN 'running' WHEN r.error IS NULL THEN 'done' ELSE 'failed' END AS state,
       r.rows_changed, r.rows_drifted, r.attempts, r.error
FROM {state}.job_run r
ORDER BY r.tenant, r.job, r.requested, r.due DESC, r.id DESC;
