-- Who may read which store.
--
-- One rule, {reports}.my_tenants, decides for the role that asks (current_user, also after SET ROLE). It is applied in
-- two places, because a view reads its tables with the rights of its owner, for whom row-level security is off:
--   * tables: row-level security, for everyone but their owner, which is the daemon's role and keeps its full speed
--   * views:  every view that reaches below row-level security filters by the same rule itself and is a
--             security_barrier, so that no function in a reader's query sees a row before the filter has
-- Both compare with ARRAY(SELECT ...), which PostgreSQL computes once per query and can look up in an index.

-- Logins that see single stores. Members of the role analytics_reader see all and need no row here.
CREATE TABLE {state}.reader (
  login  text COLLATE "C" NOT NULL,   -- a role of the cluster; its members count too
  tenant text COLLATE "C" NOT NULL REFERENCES {reports}.tenant ON DELETE CASCADE,
  PRIMARY KEY (login, tenant)
);

-- row_security_active is false for those whom row-level security does not bind anyway: owner, superuser, BYPASSRLS.
-- `today` is for the functions that need it. A role that is gone is no row of pg_roles: a leftover line in reader is without effect and not an error.
CREATE VIEW {reports}.my_tenants WITH (security_barrier) AS
SELECT t.tenant, s.today
FROM {reports}.tenant t LEFT JOIN {state}.tenant s ON s.tenant = t.tenant
WHERE NOT row_security_active(t.tableoid)
   OR pg_has_role(to_regrole('analytics_reader'), 'USAGE')   -- null where there is no such role
   OR t.tenant = ANY (ARRAY(
        SELECT r.tenant FROM {state}.reader r JOIN pg_catalog.pg_roles p ON p.rolname = r.login
        WHERE pg_has_role(p.oid, 'USAGE')));
-- The policies below read it with the rights of whoever asks; it tells each only their own stores.
GRANT SELECT ON {reports}.my_tenants TO PUBLIC;

ALTER TABLE {reports}.tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE {reports}.daily_sales_report ENABLE ROW LEVEL SECURITY;
ALTER TABLE {reports}.product_performance ENABLE ROW LEVEL SECURITY;
ALTER TABLE {reports}.customer_analytics ENABLE ROW LEVEL SECURITY;
ALTER TABLE {reports}.inventory_snapshot ENABLE ROW LEVEL SECURITY;
ALTER TABLE {reports}.product ENABLE ROW LEVEL SECURITY;
ALTER TABLE {reports}.customer ENABLE ROW LEVEL SECURITY;

CREATE POLICY reader ON {reports}.tenant FOR SELECT USING (tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m)));
CREATE POLICY reader ON {reports}.daily_sales_report FOR SELECT USING (tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m)));
CREATE POLICY reader ON {reports}.product_performance FOR SELECT USING (tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m)));
CREATE POLICY reader ON {reports}.customer_analytics FOR SELECT USING (tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m)));
CREATE POLICY reader ON {reports}.inventory_snapshot FOR SELECT USING (tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m)));
CREATE POLICY reader ON {reports}.product FOR SELECT USING (tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m)));
CREATE POLICY reader ON {reports}.customer FOR SELECT USING (tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m)));

-- Rights on the schema and what is in it; which rows, is my_tenants' business. Asking again does no harm: a migration
-- that adds a view or function to the report schema ends with SELECT {state}.share_reports().
CREATE FUNCTION {state}.share_with(login text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE $sql$GRANT USAGE ON SCHEMA {reports} TO $sql$ || quote_ident(login);
  EXECUTE $sql$GRANT SELECT ON ALL TABLES IN SCHEMA {reports} TO $sql$ || quote_ident(login);
  EXECUTE $sql$GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {reports} TO $sql$ || quote_ident(login);
END $$;

CREATE FUNCTION {state}.unshare_with(login text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE $sql$REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {reports} FROM $sql$ || quote_ident(login);
  EXECUTE $sql$REVOKE SELECT ON ALL TABLES IN SCHEMA {reports} FROM $sql$ || quote_ident(login);
  EXECUTE $sql$REVOKE USAGE ON SCHEMA {reports} FROM $sql$ || quote_ident(login);
END $$;

-- Everyone who reads: analytics_reader where the role exists, and the logins of single stores.
CREATE FUNCTION {state}.share_reports() RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT {state}.share_with(p.rolname) FROM pg_roles p
  WHERE p.rolname = 'analytics_reader' OR p.rolname IN (SELECT r.login FROM {state}.reader r)
$$;

-- The role belongs to the whole cluster. Where ours may not create roles the DBA does; `tillstream grant` says how.
DO $$
BEGIN
  IF to_regrole('analytics_reader') IS NULL THEN
    CREATE ROLE analytics_reader NOLOGIN;
  END IF;
EXCEPTION
  WHEN insufficient_privilege THEN RAISE NOTICE 'role analytics_reader was not created: this role may not create roles';
  WHEN duplicate_object OR unique_violation THEN NULL; -- another database's daemon was quicker
END $$;
