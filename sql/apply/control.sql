-- What goes on beside the batches: the heartbeat, requests of commands, the state of stores.

-- What the writer's session must know every moment: how far its commits are on disk, whether anybody asks for something,
-- and whether anybody waits for a position (see wait_for; the lock is given back with the statement).
-- name: heartbeat
SELECT pg_current_wal_flush_lsn(), EXISTS (SELECT FROM {state}.request WHERE state = 'new'),
       NOT pg_try_advisory_xact_lock(8388354994069399924)

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
