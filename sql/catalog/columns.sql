-- The columns of some relations: $1 their oids.
SELECT a.attrelid, a.attname::text, a.atttypid, format_type(a.atttypid, a.atttypmod) AS type_name, a.attnotnull,
       t.typtype = 'e' AS is_enum, t.typname = 'citext' AS is_citext, a.attgenerated <> '' AS generated,
       -- Null where it was dropped a moment ago.
       coalesce(has_column_privilege(a.attrelid, a.attnum, 'SELECT'), false) AS readable
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
