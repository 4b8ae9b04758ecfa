-- What the daemon found when it last verified each live store. {reports}, {state} the two schemas.
SELECT t.tenant, to_char(v.finished AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS finished, v.lsn::text AS lsn,
       v.rows_compared, v.differences, v.error,
       to_char(v.right_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS right_at,
       extract(epoch FROM now() - v.right_at)::float8 AS age
FROM {reports}.tenant t LEFT JOIN {state}.verification v ON v.tenant = t.tenant
WHERE t.state = 'live' ORDER BY t.tenant
