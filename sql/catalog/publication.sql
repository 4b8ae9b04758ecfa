-- A publication and what it publishes. $1 its name. Columns that only some versions have are read through jsonb.
SELECT pg_get_userbyid(p.pubowner)::text AS owner, pg_has_role(p.pubowner, 'USAGE') AS owned,
       p.puballtables OR {has_schemas} AS too_wide,
       p.pubviaroot AND p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS options_right,
       p.xmin::text AS generation, r.tables, r.entries, r.names, r.filtered
FROM pg_publication p
CROSS JOIN LATERAL (
  SELECT coalesce(array_agg(r.prrelid ORDER BY r.prrelid), '{}') AS tables,
         coalesce(array_agg(r.oid ORDER BY r.prrelid), '{}') AS entries,
         coalesce(array_agg(format('"%s"."%s"', replace(n.nspname, '"', '""'), replace(c.relname, '"', '""'))
                            ORDER BY r.prrelid), '{}') AS names,
         -- published with a row filter or a column list
         coalesce(array_agg(r.prrelid) FILTER (WHERE to_jsonb(r) ->> 'prqual' IS NOT NULL
                                                  OR to_jsonb(r) ->> 'prattrs' IS NOT NULL), '{}') AS filtered
  FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE r.prpubid = p.oid) r
WHERE p.pubname = $1
