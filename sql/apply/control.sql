-- What goes on beside the batches: the heartbeat, requests of commands, the state of stores.

-- What the writer's session must know every moment: how far its commits are on disk, and whether anybody asks for something.
-- name: heartbeat
SELECT pg_current_wal_flush_lsn(), EXISTS (SELECT FROM {state}.request WHERE state = 'new')

-- name: take_requests
UPDATE {state}.request SET state = 'taken' WHERE state = 'new' RETURNING id, kind, arguments

-- name: answer_request
UPDATE {state}.request SET state = $2, answer = $3 WHERE id = $1

-- name: ask
INSERT INTO {state}.request (kind, arguments) VALUES ($1, $2) RETURNING id

-- name: read_answer
SELECT state, answer FROM {state}.request WHERE id = $1

-- name: forget_request
DELETE FROM {state}.request WHERE id = $1 OR requested_at < now() - interval '1 day'

-- name: fail_taken_requests
UPDATE {state}.request SET state = 'failed', answer = '{"error": "the daemon was restarted before it was done"}' WHERE state = 'taken'

-- name: set_tenant_state
UPDATE {reports}.tenant SET state = $2, message = $3, updated_at = now()
WHERE tenant = $1 AND (state, message) IS DISTINCT FROM ($2, $3)

-- name: read_settings
SELECT window_days, recency_days, frequency, monetary FROM {state}.settings

-- For operators.
-- name: count_stores
SELECT state, count(*) FROM {reports}.tenant GROUP BY state

-- The live store whose verification is due, the one that waits longest first. One that could not be compared is tried
-- again sooner. $1: seconds a verification is good for, $2: seconds until another try.
-- name: next_to_verify
SELECT t.tenant
FROM {reports}.tenant t LEFT JOIN {state}.verification v ON v.tenant = t.tenant
WHERE t.state = 'live'
  AND (v.finished IS NULL
       OR v.finished < now() - make_interval(secs => CASE WHEN v.error IS NULL THEN $1::float8 ELSE $2::float8 END))
ORDER BY v.finished NULLS FIRST, t.tenant LIMIT 1

-- name: verified
INSERT INTO {state}.verification AS v (tenant, finished, took_ms, lsn, rows_compared, differences, right_at, right_lsn)
VALUES ($1, now(), $2, $3::pg_lsn, $4, $5::bigint, CASE WHEN $5::bigint = 0 THEN now() END,
        CASE WHEN $5::bigint = 0 THEN $3::pg_lsn END)
ON CONFLICT (tenant) DO UPDATE SET
  finished = excluded.finished, took_ms = excluded.took_ms, lsn = excluded.lsn, error = NULL,
  rows_compared = excluded.rows_compared, differences = excluded.differences,
  right_at = coalesce(excluded.right_at, v.right_at), right_lsn = coalesce(excluded.right_lsn, v.right_lsn)

-- name: not_verified
INSERT INTO {state}.verification AS v (tenant, finished, took_ms, error) VALUES ($1, now(), $2, $3)
ON CONFLICT (tenant) DO UPDATE SET finished = excluded.finished, took_ms = excluded.took_ms, error = excluded.error

-- Over all live stores: since when everything is known to be right (null: some store never was), rows found wrong.
-- name: read_verified
SELECT CASE WHEN count(*) = count(v.right_at) THEN min(v.right_at) END, coalesce(sum(v.differences), 0)::bigint
FROM {reports}.tenant t LEFT JOIN {state}.verification v ON v.tenant = t.tenant
WHERE t.state = 'live'
