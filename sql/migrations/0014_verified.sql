-- Readers see how far the daemon's own verification has come.
CREATE OR REPLACE VIEW {reports}.freshness WITH (security_barrier) AS
SELECT n.tenant, n.name AS tenant_name, n.state, t.today,
       CASE WHEN n.state = 'live' THEN p.committed_at END AS exact_at,
       CASE WHEN n.state = 'live' THEN greatest(p.lsn, t.floor_lsn) END AS exact_lsn,
       CASE WHEN n.state = 'live' THEN p.lag_bytes END AS lag_bytes,
       CASE WHEN n.state <> 'live' THEN NULL
            WHEN p.lag_bytes = 0 THEN interval '0'
            ELSE greatest(clock_timestamp(), p.updated_at) - p.updated_at END AS lag,
       v.right_at AS verified_through
FROM {reports}.tenant n
LEFT JOIN {state}.tenant t ON t.tenant = n.tenant
LEFT JOIN {state}.verification v ON v.tenant = n.tenant
LEFT JOIN {state}.reached p ON true
WHERE n.tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m));

COMMENT ON COLUMN {reports}.freshness.verified_through IS
  'When every row of the store was last compared with the POS tables and found right; null: never';
