-- Numbers of keys that the POS keeps as text. One writer gives them, so the next one is the last one and one. The first one
-- comes after all that reports know: where keys became text, old rows are not to be taken for those of others.

-- The numbers of the keys given (tenants, kinds, keys; each once), in their order; keys that have none get one.
-- "+ 0", "|| ''": planned while there are few keys, the index on the numbers would look as good as that on the keys, and
-- later each look would read every key of the store.
-- name: number_keys
WITH k AS MATERIALIZED (
  SELECT k.tenant_id, k.kind, k.key, k.place, s.id
  FROM unnest($1::integer[], $2::text[], $3::text[]) WITH ORDINALITY k(tenant_id, kind, key, place)
  LEFT JOIN {state}.source_key s ON s.tenant_id + 0 = k.tenant_id AND s.kind || '' = k.kind AND s.key = k.key
), last AS MATERIALIZED (
  SELECT n.tenant_id, n.kind, {state}.last_number(n.tenant_id, n.kind) AS id
  FROM (SELECT DISTINCT k.tenant_id, k.kind FROM k WHERE k.id IS NULL) n
), numbered AS MATERIALIZED (
  SELECT k.tenant_id, k.kind, k.key, k.place, k.id IS NULL AS is_new,
         coalesce(k.id, l.id + row_number() OVER (PARTITION BY k.tenant_id, k.kind, k.id IS NULL ORDER BY k.place)) AS id
  FROM k LEFT JOIN last l ON l.tenant_id = k.tenant_id AND l.kind = k.kind
), given AS (
  INSERT INTO {state}.source_key (tenant_id, kind, key, id)
  SELECT n.tenant_id, n.kind, n.key, n.id FROM numbered n WHERE n.is_new
)
SELECT id FROM numbered ORDER BY place

-- name: make_copied_keys
DROP TABLE IF EXISTS pg_temp.tillstream_copied_key;
CREATE TEMPORARY TABLE tillstream_copied_key (kind text COLLATE "C", key text COLLATE "C") ON COMMIT DROP

-- Whose key is longer than $1 bytes.
-- name: find_long_key
SELECT n.kind FROM pg_temp.tillstream_copied_key n WHERE octet_length(n.key) > $1 LIMIT 1

-- Those of a store that is being copied, tenant $1.
-- name: number_copied_keys
INSERT INTO {state}.source_key (tenant_id, kind, key, id)
SELECT $1, n.kind, n.key,
       l.id + row_number() OVER (PARTITION BY n.kind ORDER BY n.key)
FROM pg_temp.tillstream_copied_key n
JOIN (SELECT o.kind, {state}.last_number($1, o.kind) AS id
      FROM (SELECT DISTINCT c.kind FROM pg_temp.tillstream_copied_key c) o) l ON l.kind = n.kind
WHERE NOT EXISTS (SELECT FROM {state}.source_key s WHERE s.tenant_id = $1 AND s.kind = n.kind AND s.key = n.key)
