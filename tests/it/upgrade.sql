-- Copies what newer.* and newer_state.* hold into the tables of analytics and analytics_state that are there, as far as
-- these have the columns. Constraints between tables are not checked on the way, triggers do not fire.
SET session_replication_role = replica;
-- A block of ids was one row before version 19.
WITH gone AS (DELETE FROM newer_state.stock_movement RETURNING *)
INSERT INTO newer_state.stock_movement
SELECT tenant_id, block, array_agg(m.id), array_agg(m.product), array_agg(m.quantity)
FROM gone, unnest(ids, products, quantities) m(id, product, quantity) GROUP BY 1, 2;
WITH gone AS (DELETE FROM newer_state.child RETURNING *)
INSERT INTO newer_state.child
SELECT tenant_id, kind, block, array_agg(c.id), array_agg(c.sale)
FROM gone, unnest(ids, sales) c(id, sale) GROUP BY 1, 2, 3;
DO $$
DECLARE
  t record;
BEGIN
  FOR t IN
    SELECT o.schemaname AS schema, o.tablename AS name, replace(o.schemaname, 'analytics', 'newer') AS newer,
           (SELECT string_agg(quote_ident(a.attname), ', ')
            FROM pg_attribute a
            JOIN pg_attribute b ON b.attname = a.attname AND b.attnum > 0 AND NOT b.attisdropped
                               AND b.attrelid = to_regclass(format('%I.%I', replace(o.schemaname, 'analytics', 'newer'), o.tablename))
            WHERE a.attrelid = format('%I.%I', o.schemaname, o.tablename)::regclass
              AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
    FROM pg_tables o
    WHERE o.schemaname IN ('analytics', 'analytics_state') AND o.tablename <> 'migration'
  LOOP
    IF t.columns IS NULL THEN CONTINUE; END IF;
    -- A migration may have put a row there already.
    EXECUTE format('DELETE FROM %I.%I', t.schema, t.name);
    EXECUTE format('INSERT INTO %I.%I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM %I.%I',
                   t.schema, t.name, t.columns, t.columns, t.newer, t.name);
  END LOOP;
  -- What had another name.
  IF to_regclass('analytics_state.stock') IS NOT NULL THEN
    INSERT INTO analytics_state.stock (tenant_id, product_id, on_hand, reserved)
    SELECT tenant_id, product_id, on_hand, reserved FROM newer_state.inventory WHERE on_hand <> 0 OR reserved <> 0;
  END IF;
  FOR t IN
    SELECT format('%I.%I', n.nspname, c.relname) AS name, a.attname,
           pg_get_serial_sequence(format('%I.%I', n.nspname, c.relname), a.attname) AS sequence
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('analytics', 'analytics_state') AND c.relkind IN ('r', 'p') AND a.attidentity <> ''
  LOOP
    EXECUTE format('SELECT setval(%L, coalesce(max(%I), 0) + 1, false) FROM %s', t.sequence, t.attname, t.name);
  END LOOP;
END $$;
RESET session_replication_role;
