-- Who reads the slot. $1 the process that the slot names.
SELECT usename::text AS role, application_name AS application, coalesce(host(client_addr), 'this machine') AS place
FROM pg_stat_activity WHERE pid = $1
