-- The records of the schedule's runs.

-- An attempt begins: tenant, job, due, now. The attempts of one due time are counted in one row.
-- A run that was cut short and is made up by this one has ended with the daemon.
-- name: begin_run
WITH cut AS (
  UPDATE {state}.job_run SET finished = $4, error = 'the daemon ended before the run did; a later run makes it up'
  WHERE tenant = $1 AND job = $2 AND due < $3 AND finished IS NULL AND NOT requested
)
INSERT INTO {state}.job_run AS r (tenant, job, due, started) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, job, due) WHERE NOT requested DO UPDATE SET
  started = excluded.started, finished = NULL, error = NULL, attempts = r.attempts + 1
RETURNING id, attempts

-- name: begin_requested_run
INSERT INTO {state}.job_run (tenant, job, due, started, requested) VALUES ($1, $2, $3, $4, true) RETURNING id, attempts

-- name: finish_run
UPDATE {state}.job_run SET finished = $2, rows_changed = $3, rows_drifted = $4, error = $5 WHERE id = $1

-- What the plan has to know of each job: its last success, and the failures since.
-- name: read_runs
SELECT r.tenant, r.job, max(r.due) FILTER (WHERE r.finished IS NOT NULL AND r.error IS NULL) AS last_due,
       (array_agg(r.attempts ORDER BY r.due DESC))[1] AS attempts,
       (array_agg(r.error IS NOT NULL ORDER BY r.due DESC))[1] AS failed,
       (array_agg(r.finished ORDER BY r.due DESC))[1] AS finished
FROM {state}.job_run r WHERE NOT r.requested GROUP BY 1, 2

-- When each store came under the schedule.
-- name: read_first_seen
SELECT t.id, r.created_at FROM {state}.tenant t JOIN {reports}.tenant r ON r.tenant = t.tenant

-- Requested runs that ended with the daemon: nobody takes them up again.
-- name: fail_cut_runs
UPDATE {state}.job_run SET finished = $1, error = 'the daemon ended before the run did' WHERE requested AND finished IS NULL

-- The last local day of tenant $1 that a report row can have.
-- name: last_day
SELECT greatest(t.today, (SELECT max(d.day) FROM {state}.daily d WHERE d.tenant_id = t.id),
                (SELECT max(r.date) FROM {reports}.daily_sales_report r WHERE r.tenant = t.tenant))
FROM {state}.tenant t WHERE t.id = $1

-- The last of the next $3 products of tenant $1 after product $2, and how many they are.
-- name: products_end
SELECT max(product_id) AS last, count(*) AS found FROM (
  SELECT p.product_id FROM {reports}.product p
  WHERE p.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND p.product_id > $2
  ORDER BY p.product_id LIMIT $3) p

-- The live rows of tenant $1 as they are now stay as history when the day moves on.
-- name: keep_period
INSERT INTO {state}.kept_period (tenant_id, period_end) SELECT id, today FROM {state}.tenant WHERE id = $1
ON CONFLICT DO NOTHING
