-- The columns of some relations: $1 their oids.
-- Whoever may read a whole table is not asked about each of its columns.
WITH asked AS MATERIALIZED (
  SELECT oid, has_table_privilege(oid, 'SELECT') AS readable FROM unnest($1::oid[]) AS r(oid)
)
SELECT a.attrelid, a.attname::text, a.attnum, a.atttypid, format_type(a.atttypid, a.atttypmod) AS type_name,
       -- From PostgreSQL 18 on there may be NULLs from before the constraint.
       a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint n WHERE n.conrelid = a.attrelid AND n.contype = 'n'
                                      AND NOT n.convalidated AND a.attnum = ANY (n.conkey)) AS not_null,
       t.typtype = 'e' AS is_enum, t.typname = 'citext' AS is_citext, a.attgenerated <> '' AS generated,
       CASE WHEN t.typtype = 'e'
            THEN (SELECT jsonb_object_agg(e.oid::text, e.enumlabel) FROM pg_enum e WHERE e.enumtypid = t.oid) END AS labels,
       -- Null where it was dropped a moment ago.
       coalesce(asked.readable OR has_column_privilege(a.attrelid, a.attnum, 'SELECT'), false) AS readable
FROM asked JOIN pg_attribute a ON a.attrelid = asked.oid JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
