-- What goes on beside the batches: the heartbeat, requests of commands, the state of stores.

-- What the writer's session must know every moment: where the WAL with its commits ends, how far it is on disk, whether
-- anybody asks for something, and whether anybody waits for a position (see wait_for; the lock is given back with the
-- statement).
-- name: heartbeat
SELECT pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn(), EXISTS (SELECT FROM {state}.request WHERE state = 'new'),
       NOT pg_try_advisory_xact_lock(8388354994069399924)

-- Nobody is held up for somebody who is not there any more; other requests are to be done whoever waits.
-- name: take_requests
WITH forgotten AS (
  SELECT r.id FROM {state}.request r
  WHERE r.kind IN ('hold', 'advance') AND r.asker NOT IN (SELECT a.pid FROM pg_stat_activity a WHERE a.pid IS NOT NULL)
), gone AS (
  DELETE FROM {state}.request r USING forgotten f WHERE r.id = f.id AND r.state = 'new'
)
UPDATE {state}.request r SET state = 'taken' WHERE r.state = 'new' AND r.id NOT IN (SELECT f.id FROM forgotten f)
RETURNING id, kind, arguments, asker

-- name: asker_is_there
SELECT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = $1)

-- name: answer_request
UPDATE {state}.request SET state = $2, answer = $3 WHERE id = $1

-- name: ask
INSERT INTO {state}.request (kind, arguments) VALUES ($1, $2) RETURNING id

-- name: read_answer
SELECT state, answer FROM {state}.request WHERE id = $1

-- name: forget_request
DELETE FROM {state}.request WHERE id = $1 OR requested_at < now() - interval '1 day'

-- name: fail_taken_requests
UPDATE {state}.request SET state = 'failed', answer = '{"error": "the daemon was restarted before it was done", "cut": true}' WHERE state = 'taken'

-- name: set_tenant_state
UPDATE {reports}.tenant SET state = $2, message = $3, updated_at = now()
WHERE tenant = $1 AND (state, message) IS DISTINCT FROM ($2, $3)

-- How far a copy is, where operators look.
-- name: set_tenant_progress
UPDATE {reports}.tenant SET message = $2, updated_at = now() WHERE tenant = $1 AND message IS DISTINCT FROM $2

-- name: rename_tenant
UPDATE {reports}.tenant SET name = $2, updated_at = now() WHERE tenant = $1 AND name <> $2

-- Every store that was ever found, copied or not.
-- name: read_roster
SELECT r.tenant, r.name, r.state, t.id, t.definitions
FROM {reports}.tenant r LEFT JOIN {state}.tenant t ON t.tenant = r.tenant

-- name: set_definitions
UPDATE {state}.tenant SET definitions = $2 WHERE tenant = $1

-- Stores that are not among $1, of all that were ever found, are gone. $2 says so, with {store} for the name.
-- name: set_gone
UPDATE {reports}.tenant SET state = 'gone', message = replace($2, '{store}', tenant), updated_at = now()
WHERE state <> 'gone' AND tenant <> ALL ($1) RETURNING tenant

-- Everything shown of store $1; its facts and sums are cleared before.
-- name: purge_reports
WITH a AS (DELETE FROM {reports}.daily_sales_report WHERE tenant = $1), b AS (DELETE FROM {reports}.product_performance WHERE tenant = $1),
     c AS (DELETE FROM {reports}.customer_analytics WHERE tenant = $1), d AS (DELETE FROM {reports}.inventory_snapshot WHERE tenant = $1),
     e AS (DELETE FROM {reports}.product WHERE tenant = $1), f AS (DELETE FROM {reports}.customer WHERE tenant = $1),
     g AS (DELETE FROM {state}.kept_period k USING {state}.tenant t WHERE t.id = k.tenant_id AND t.tenant = $1),
     h AS (DELETE FROM {state}.verification WHERE tenant = $1)
DELETE FROM {state}.job_run WHERE tenant = $1

-- name: purge_entry
DELETE FROM {state}.tenant WHERE tenant = $1

-- name: purge_name
DELETE FROM {reports}.tenant WHERE tenant = $1

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
