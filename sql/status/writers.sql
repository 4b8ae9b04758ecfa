-- Daemons that write these reports, or would. $1 the state schema. The one that writes holds the advisory lock of
-- src/apply/writer.rs; one that waits as its standby asks for it again and again.
SELECT a.pid, coalesce(host(a.client_addr), 'this machine') AS place, l.pid IS NOT NULL AS writes,
       a.wait_event_type = 'Lock' AS waits, b.pid AS blocker, b.usename::text AS blocker_role,
       b.application_name AS blocker_application, b.state AS blocker_state,
       extract(epoch FROM clock_timestamp() - b.xact_start)::float8 AS blocker_seconds
FROM pg_stat_activity a
LEFT JOIN pg_locks l ON l.pid = a.pid AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
                    AND l.classid = 1953066092 AND l.objid = (hashtext($1)::bigint & 4294967295)::oid
LEFT JOIN pg_stat_activity b ON b.pid = (pg_blocking_pids(a.pid))[1]
WHERE a.datname = current_database() AND (l.pid IS NOT NULL OR a.application_name = $2)
ORDER BY writes DESC, a.backend_start
