-- Numbers of keys that the POS keeps as text. One writer gives them, so the next one is the last one and one.

-- The numbers of the keys given (tenants, kinds, keys; each once), in their order; keys that have none get one.
-- name: number_keys
WITH k AS MATERIALIZED (
  SELECT k.tenant_id, k.kind, k.key, k.place, s.id
  FROM unnest($1::integer[], $2::text[], $3::text[]) WITH ORDINALITY k(tenant_id, kind, key, place)
  LEFT JOIN {state}.source_key s ON s.tenant_id = k.tenant_id AND s.kind = k.kind AND s.key = k.key
), last AS (
  SELECT n.tenant_id, n.kind,
         (SELECT max(s.id) FROM {state}.source_key s WHERE s.tenant_id = n.tenant_id AND s.kind = n.kind) AS id
  FROM (SELECT DISTINCT k.tenant_id, k.kind FROM k WHERE k.id IS NULL) n
), given AS (
  INSERT INTO {state}.source_key (tenant_id, kind, key, id)
  SELECT k.tenant_id, k.kind, k.key,
         coalesce(l.id, 0) + row_number() OVER (PARTITION BY k.tenant_id, k.kind ORDER BY k.place)
  FROM k JOIN last l ON l.tenant_id = k.tenant_id AND l.kind = k.kind
  WHERE k.id IS NULL
  RETURNING tenant_id, kind, key, id
)
SELECT coalesce(k.id, g.id) AS id
FROM k LEFT JOIN given g ON g.tenant_id = k.tenant_id AND g.kind = k.kind AND g.key = k.key
ORDER BY k.place

-- name: make_copied_keys
DROP TABLE IF EXISTS pg_temp.tillstream_copied_key;
CREATE TEMPORARY TABLE tillstream_copied_key (kind text COLLATE "C", key text COLLATE "C") ON COMMIT DROP

-- Those of a store that is being copied, tenant $1.
-- name: number_copied_keys
INSERT INTO {state}.source_key (tenant_id, kind, key, id)
SELECT $1, n.kind, n.key,
       coalesce((SELECT max(l.id) FROM {state}.source_key l WHERE l.tenant_id = $1 AND l.kind = n.kind), 0)
         + row_number() OVER (PARTITION BY n.kind ORDER BY n.key)
FROM pg_temp.tillstream_copied_key n
WHERE NOT EXISTS (SELECT FROM {state}.source_key s WHERE s.tenant_id = $1 AND s.kind = n.kind AND s.key = n.key)
