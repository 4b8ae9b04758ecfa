-- The records of the schedule's runs.

-- An attempt begins: tenant, job, due, now. The attempts of one due time are counted in one row.
-- name: begin_run
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

-- The day that live rows not yet moved on to day $2 of tenant $1 are still at; null: all have moved.
-- name: day_left
SELECT max(r.period_end) FROM {reports}.customer_analytics r JOIN {state}.tenant t ON t.tenant = r.tenant
WHERE t.id = $1 AND r.period_end <> $2
  AND NOT EXISTS (SELECT FROM {state}.kept_period k WHERE k.tenant_id = t.id AND k.period_end = r.period_end)

-- The live rows of tenant $1 as they are now stay as history when the day moves on.
-- name: keep_period
INSERT INTO {state}.kept_period (tenant_id, period_end) SELECT id, today FROM {state}.tenant WHERE id = $1
ON CONFLICT DO NOTHING
