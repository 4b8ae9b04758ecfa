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

-- How far a copy is, where operators look.
-- name: set_tenant_progress
UPDATE {reports}.tenant SET message = $2, updated_at = now() WHERE tenant = $1 AND message IS DISTINCT FROM $2

-- name: rename_tenant
UPDATE {reports}.tenant SET name = $2, updated_at = now() WHERE tenant = $1 AND name <> $2

-- Every store that was ever found, copied or not.
-- name: read_roster
SELECT r.tenant, r.name, r.state, r.message, t.id, t.definitions
FROM {reports}.tenant r LEFT JOIN {state}.tenant t ON t.tenant = r.tenant

-- Everything shown of store $1; its facts and sums are cleared before.
-- name: purge_reports
WITH a AS (DELETE FROM {reports}.daily_sales_report WHERE tenant = $1), b AS (DELETE FROM {reports}.product_performance WHERE tenant = $1),
     c AS (DELETE FROM {reports}.customer_analytics WHERE tenant = $1), d AS (DELETE FROM {reports}.inventory_snapshot WHERE tenant = $1),
     e AS (DELETE FROM {reports}.product WHERE tenant = $1), f AS (DELETE FROM {reports}.customer WHERE tenant = $1),
     g AS (DELETE FROM {state}.kept_period k USING {state}.tenant t WHERE t.id = k.tenant_id AND t.tenant = $1)
DELETE FROM {state}.job_run WHERE tenant = $1

-- name: purge_entry
DELETE FROM {state}.tenant WHERE tenant = $1

-- name: purge_name
DELETE FROM {reports}.tenant WHERE tenant = $1

-- name: read_settings
SELECT window_days, recency_days, frequency, monetary FROM {state}.settings
