-- The stores as the operator sees them. {reports} the report schema.
SELECT tenant, name, time_zone, state, message, synchronized_at::text FROM {reports}.tenant ORDER BY tenant
