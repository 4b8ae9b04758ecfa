-- What the source server offers and our role may do. $1 our slot.
SELECT current_setting('server_version_num')::int AS version_num, current_setting('server_version') AS version,
       current_setting('wal_level') AS wal_level, pg_is_in_recovery() AS standby,
       current_user::text AS role, r.rolsuper OR r.rolreplication AS may_replicate,
       current_setting('max_replication_slots')::int AS max_slots,
       (SELECT count(*) FROM pg_replication_slots)::int AS slots,
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1) AS has_slot,
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active) AS slot_active,
       current_setting('max_wal_senders')::int AS max_senders,
       (SELECT count(*) FROM pg_stat_replication)::int AS senders,
       current_setting('max_slot_wal_keep_size') AS keep_size,
       current_setting('idle_replication_slot_timeout', true) AS idle_timeout,
       has_database_privilege(current_database(), 'CREATE') AS may_create, current_database()::text AS database
FROM pg_roles r WHERE r.rolname = current_user
