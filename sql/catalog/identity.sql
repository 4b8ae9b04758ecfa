-- What PostgreSQL logs of the old row when a row of these tables is updated or deleted. $1 their oids.
-- A partitioned table has no rows: what counts is each of its leaves.
-- Only partitioned tables are asked for their leaves: with thousands of tables that is most of the time.
WITH asked AS MATERIALIZED (
  SELECT c.oid, c.relkind = 'p' AS partitioned FROM unnest($1::oid[]) AS r(oid) JOIN pg_class c ON c.oid = r.oid
), leaf AS (
  SELECT r.oid AS root, r.oid FROM asked r WHERE NOT r.partitioned
  UNION ALL
  SELECT r.oid, coalesce(l.relid::oid, r.oid)
  FROM asked r LEFT JOIN LATERAL (
    SELECT t.relid FROM pg_partition_tree(r.oid) AS t WHERE t.isleaf AND t.relid <> r.oid
  ) l ON true
  WHERE r.partitioned
)
SELECT leaf.root, c.oid, n.nspname::text, c.relname::text, c.relkind, c.relreplident, c.relfilenode, key.columns
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
