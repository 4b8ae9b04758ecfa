-- A line for everything the daemon keeps for itself, for those who look there all the same.

COMMENT ON SCHEMA {state} IS 'What tillstream keeps for itself: WAL position, base facts, the sums behind the reports. Not for reading by reports.';

DO $do$
DECLARE
  c record;
BEGIN
  FOR c IN VALUES
    ('position', 'One row: how far in the POS''s WAL the reports are'),
    ('tenant', 'Stores: how their facts were read, and their today'),
    ('kept_period', 'Days whose live customer rows stay as history'),
    ('settings', 'One row: thresholds of the customer scores, from the configuration'),
    ('sale', 'Base facts: sales, each with its items and payments in one row'),
    ('stock_movement', 'Base facts: the stock ledger, 64 consecutive ids a row'),
    ('batch', 'Base facts: active batches'),
    ('reservation', 'Base facts: active reservations'),
    ('credit_payment', 'Base facts: customer transactions that pay off credit'),
    ('session', 'Base facts: cashier sessions'),
    ('pricing', 'Base facts: prices of products'),
    ('stock_limits', 'Base facts: minimum and maximum stock of products'),
    ('product', 'Base facts: products'),
    ('customer', 'Base facts: customers and the parts of their names'),
    ('daily', 'Unrounded sums behind daily_sales_report'),
    ('product_day', 'Unrounded sums behind product_performance'),
    ('customer_day', 'Unrounded sums per customer and day, behind customer_analytics'),
    ('customer_total', 'Unrounded lifetime sums per customer, behind customer_analytics'),
    ('stock', 'Unrounded sums behind inventory_snapshot'),
    ('job_run', 'Runs of the scheduled jobs, one row each'),
    ('reader', 'Logins that may read single stores'),
    ('compat', 'Stores whose application report tables are replaced by views')
  LOOP
    EXECUTE $sql$COMMENT ON TABLE {state}.$sql$ || format('%I IS %L', c.column1, c.column2);
  END LOOP;
  FOR c IN VALUES
    ('daily_row', 'Rows of daily_sales_report as the sums have them'),
    ('product_row', 'Rows of product_performance as the sums have them'),
    ('customer_row', 'Live rows of customer_analytics as the sums have them'),
    ('inventory_row', 'Today''s rows of inventory_snapshot as the sums have them'),
    ('product_dimension', 'Rows of the product dimension as the facts have them'),
    ('customer_dimension', 'Rows of the customer dimension as the facts have them'),
    ('reached', 'How far the reports are: the stored position, or the slot''s where that is further')
  LOOP
    EXECUTE $sql$COMMENT ON VIEW {state}.$sql$ || format('%I IS %L', c.column1, c.column2);
  END LOOP;
  FOR c IN VALUES
    ('percent', 'A percentage as shown: two digits, within what its column holds'),
    ('segment', 'The segment that three scores lead to'),
    ('unknown_order', 'Refuses an order_by that top_products does not know'),
    ('share_with', 'Gives a role the rights on the report schema and what is in it'),
    ('unshare_with', 'Takes from a role the rights on the report schema'),
    ('share_reports', 'Gives all readers their rights again, after the schema got new views or functions'),
    ('compat_ignore', 'Trigger: what the application writes to a view that replaces its report table is dropped')
  LOOP
    EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS %L', p.oid::regprocedure, c.column2) FROM pg_proc p
             WHERE p.pronamespace = to_regnamespace($name${state}$name$) AND p.proname = c.column1);
  END LOOP;

  -- Columns: what the name alone does not say. The report views above keep the meaning of the report's columns.
  FOR c IN
    SELECT a.attrelid::regclass AS relation, a.attname, coalesce(own.text, common.text) AS text
    FROM pg_class r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN (VALUES
      ('position', 'slot', 'Replication slot that is followed'),
      ('position', 'source_database', 'Database of the slot'),
      ('position', 'system_identifier', 'Cluster of the slot'),
      ('position', 'timeline', 'Timeline of the cluster'),
      ('position', 'lsn', 'Everything committed up to here is in the reports'),
      ('position', 'committed_at', 'When the last commit that is in the reports happened'),
      ('tenant', 'id', 'Number of the store in the tables here'),
      ('tenant', 'time_zone', 'Decides the store''s days'),
      ('tenant', 'stock_source', 'movements or batches'),
      ('tenant', 'definitions', 'By what definitions its facts were read'),
      ('tenant', 'horizon', 'No report row is dated before it'),
      ('tenant', 'today', 'The local day that its live rows carry'),
      ('tenant', 'floor_lsn', 'Its changes up to here came with its copy'),
      ('settings', 'window_days', 'Days before the period''s end that count'),
      ('settings', 'recency_days', 'Most days since the last purchase for scores 5, 4, 3, 2'),
      ('settings', 'frequency', 'Least number of sales for scores 5, 4, 3, 2'),
      ('settings', 'monetary', 'Least money for scores 5, 4, 3, 2'),
      ('sale', 'status', 'c counted status, r refunded status, o any other; null: only items or payments are known yet'),
      ('sale', 'credit', 'Sum of its credit payments; null: it has none'),
      ('sale', 'item_ids', 'Its items, one place each in all item arrays'),
      ('sale', 'item_costs', 'Unit costs, frozen when first counted; null: not counted yet'),
      ('sale', 'payment_ids', 'Its payments, one place each in all payment arrays'),
      ('sale', 'payment_kinds', 'c cash, d card, r credit, o other'),
      ('stock_movement', 'block', 'Id of the entry divided by 64'),
      ('stock_movement', 'quantities', 'What each entry adds to the stock, signed'),
      ('customer', 'is_company', 'customer_type is one of the company types'),
      ('customer_total', 'payments', 'Number of credit payments'),
      ('customer_total', 'paid', 'Sum of the credit payments'),
      ('customer_total', 'first_day', 'Day of the first counted sale; null: none'),
      ('reader', 'login', 'A role of the cluster; roles that inherit from it count too'),
      ('compat', 'tenant', 'The store, or * for every store'),
      ('compat', 'installed', 'Whether the views are wanted there')
    ) AS own (relation, name, text) ON own.relation = r.relname AND own.name = a.attname
    JOIN (SELECT n.nspname, n.oid FROM pg_namespace n) n ON n.oid = r.relnamespace
    CROSS JOIN LATERAL (SELECT CASE
      WHEN a.attname = 'tenant_id' THEN 'Number of the store'
      WHEN a.attname = 'tenant' THEN 'Name of the store''s schema in the POS database'
      WHEN a.attname = 'id' THEN 'Id in the POS'
      WHEN a.attname = 'only_row' THEN 'Holds the table to one row'
      WHEN a.attname IN ('day', 'date') THEN 'Local day of the store'
      WHEN a.attname LIKE '%\_id' THEN 'Id of the ' || replace(left(a.attname, -3), '_', ' ') || ' in the POS'
      WHEN a.attname LIKE '%\_at' THEN initcap(left(a.attname, 1)) || replace(right(left(a.attname, -3), -1), '_', ' ') || ' at'
      ELSE upper(left(a.attname, 1)) || replace(right(a.attname, -1), '_', ' ')
    END AS text) common
    WHERE n.oid = to_regnamespace($name${state}$name$) AND r.relkind IN ('r', 'v')
      AND r.relname <> 'migration' AND col_description(r.oid, a.attnum) IS NULL
  LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.attname, c.text);
  END LOOP;
END $do$;
