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
