-- A replication slot. $1 its name. Columns that only some versions have are read through jsonb.
SELECT s.plugin::text AS plugin, s.database::text AS database, s.active_pid, s.restart_lsn, s.confirmed_flush_lsn,
       s.temporary, s.wal_status,
       coalesce(to_jsonb(s) ->> 'invalidation_reason',
                CASE WHEN (to_jsonb(s) ->> 'conflicting')::boolean THEN 'conflict with recovery' END) AS invalidation_reason,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint END AS retained_bytes,
       s.safe_wal_size, coalesce((to_jsonb(s) ->> 'failover')::boolean, false) AS failover
FROM pg_replication_slots s WHERE s.slot_name = $1
