-- The position: moved only by the writer that knows where it stood.

-- name: read_position
SELECT slot, source_database, system_identifier, timeline, lsn FROM {state}.position

-- A position that does not follow from the one before: what is kept of the stores is not as of it, so they are all copied.
-- name: create_position
WITH stale AS (
  UPDATE {reports}.tenant SET state = 'copying', message = NULL, updated_at = now()
  WHERE state IN ('live', 'quarantined'))
INSERT INTO {state}.position (slot, source_database, system_identifier, timeline, lsn) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (only_row) DO UPDATE SET
  slot = excluded.slot, source_database = excluded.source_database, system_identifier = excluded.system_identifier,
  timeline = excluded.timeline, lsn = excluded.lsn, committed_at = NULL, updated_at = now()

-- Sent with the batch it belongs to: where the stored position is another than $1 it stops the transaction.
-- name: move_position
UPDATE {state}.position SET lsn = CASE WHEN lsn = $1 THEN $2 ELSE {state}.taken(lsn) END,
  committed_at = coalesce($3, committed_at), updated_at = now()

-- name: begin
BEGIN

-- name: commit
COMMIT

-- The source has failed over: the position holds on its new timeline, too.
-- name: follow_timeline
UPDATE {state}.position SET timeline = $2, updated_at = now() WHERE lsn = $1

-- name: read_tenants
SELECT t.id, t.tenant, t.time_zone, t.stock_source, t.definitions, t.horizon, t.today, t.floor_lsn, r.state, r.name
FROM {state}.tenant t JOIN {reports}.tenant r ON r.tenant = t.tenant ORDER BY t.tenant

-- name: put_tenant
WITH r AS (
  INSERT INTO {reports}.tenant AS r (tenant, name, time_zone, state, message) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT (tenant) DO UPDATE SET name = excluded.name, time_zone = excluded.time_zone, state = excluded.state,
    message = excluded.message, updated_at = now()
  WHERE (r.name, r.time_zone, r.state, r.message) IS DISTINCT FROM (excluded.name, excluded.time_zone, excluded.state, excluded.message))
SELECT 1

-- name: put_settings
INSERT INTO {state}.settings (window_days, recency_days, frequency, monetary) VALUES ($1, $2, $3, $4)
ON CONFLICT (only_row) DO UPDATE SET window_days = excluded.window_days, recency_days = excluded.recency_days,
  frequency = excluded.frequency, monetary = excluded.monetary
