-- What PostgreSQL logs of the old row when a row of these tables is updated or deleted. $1 their oids.
-- A partitioned table has no rows: what counts is each of its leaves.
WITH leaf AS (
  SELECT r.oid AS root, l.relid AS oid
  FROM unnest($1::oid[]) AS r(oid), pg_partition_tree(r.oid) AS l WHERE l.isleaf AND l.relid <> r.oid
  UNION ALL
  SELECT r.oid, r.oid FROM unnest($1::oid[]) AS r(oid)
  WHERE NOT EXISTS (SELECT FROM pg_partition_tree(r.oid) AS l WHERE l.isleaf AND l.relid <> r.oid)
)
SELECT leaf.root, n.nspname::text, c.relname::text, c.relkind, c.relreplident, c.relfilenode, key.columns
FROM leaf JOIN pg_class c ON c.oid = leaf.oid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
  SELECT array(SELECT a.attname::text FROM pg_attribute a
               WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
               ORDER BY a.attnum) AS columns
  FROM pg_index i
  WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
    AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)
) key ON true
ORDER BY leaf.root, n.nspname COLLATE "C", c.relname COLLATE "C"
