-- The schemas that may be stores, each with those of its relations that bear a mapped name.
-- $1 LIKE patterns, $2 LIKE patterns to leave out, $3 schemas that are ours, $4 mapped names.
SELECT n.nspname::text, coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS usable,
       c.oid, c.relname::text, c.relkind, c.relpersistence,
       CASE WHEN c.relkind = 'r' THEN EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = c.oid) ELSE false END AS has_children,
       coalesce(row_security_active(c.oid), false) AS rows_hidden,
       coalesce(pg_has_role(c.relowner, 'USAGE'), false) AS owned,
       pg_get_userbyid(c.relowner)::text AS owner
FROM pg_namespace n
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = ANY ($4::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
WHERE n.nspname LIKE ANY ($1::text[])
  AND NOT n.nspname LIKE ANY ($2::text[])
  AND n.nspname <> ALL ($3::text[])
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
