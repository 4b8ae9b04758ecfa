-- What a BI tool shows beside each name. The texts say in one line each what the definitions of the reports say at
-- length; where a figure is a plain sum over something, they say over what.

COMMENT ON SCHEMA {reports} IS 'Live sales reports, kept by tillstream from the POS database. Every table has the store (tenant) as first key column.';

COMMENT ON TABLE {reports}.tenant IS 'Stores: one row per schema of the POS database';
COMMENT ON TABLE {reports}.daily_sales_report IS 'Sales per store and local day. Counted are sales that stand as completed now; the day is the local date of completion.';
COMMENT ON TABLE {reports}.product_performance IS 'Sales per store, product and local day, from the items of the counted sales';
COMMENT ON TABLE {reports}.customer_analytics IS 'RFM figures per store and customer. The live row has the store''s today as period_end; older ones are the weekly history.';
COMMENT ON TABLE {reports}.inventory_snapshot IS 'Stock per store, product and day. Today''s row follows every change; those of past days stay as they were.';
COMMENT ON TABLE {reports}.product IS 'Products as the POS names them now';
COMMENT ON TABLE {reports}.customer IS 'Customers as the POS names them now';

COMMENT ON VIEW {reports}.my_tenants IS 'The stores whose rows you may read';
COMMENT ON VIEW {reports}.daily_sales_today IS 'Today''s sales so far, one row per store, zero where nothing was sold yet';
COMMENT ON VIEW {reports}.customer_live IS 'Every customer with a counted sale: RFM figures as of the store''s today, with name and phone';
COMMENT ON VIEW {reports}.customer_segments IS 'Customers, money and averages per segment, as of the store''s today';
COMMENT ON VIEW {reports}.customers_at_risk IS 'Customers in the segments At Risk, Can''t Lose Them, Hibernating and Lost';
COMMENT ON VIEW {reports}.debtors IS 'Customers who owe: credit outstanding above zero';
COMMENT ON VIEW {reports}.inventory_latest IS 'Stock now: the newest row of each product that is tracked and not deleted';
COMMENT ON VIEW {reports}.low_stock_alerts IS 'Active products at or below their minimum quantity, those out of stock among them';
COMMENT ON VIEW {reports}.out_of_stock IS 'Active products with nothing on hand';
COMMENT ON VIEW {reports}.overstock IS 'Active products at or above their maximum quantity';
COMMENT ON VIEW {reports}.freshness IS 'How current the reports are: the commit of the POS at which they are exact, and how far that is behind';

COMMENT ON VIEW {reports}.job_runs IS 'The last run of each scheduled job of each store, and the last that was asked for';

COMMENT ON FUNCTION {reports}.daily_sales_period(text, date, date) IS 'Totals of a store from from_date to to_date, both included: one row';
COMMENT ON FUNCTION {reports}.sales_trends(text, integer) IS 'One row a day for the last `days` days up to and including today, zero for days without sales';
COMMENT ON FUNCTION {reports}.top_products(text, date, date, integer, text) IS 'Best products of a store in a span of days (default: the last 30) by order_by: revenue, quantity, profit or margin';
COMMENT ON FUNCTION {reports}.slow_movers(text, integer, numeric) IS 'Active products in stock of which less than `below` was sold in the last `days` days, those without any sale among them';
COMMENT ON FUNCTION {reports}.store_totals(date, date) IS 'Totals per store from from_date to to_date, both included, best first, and of all stores together in the last row (tenant is null)';
COMMENT ON FUNCTION {reports}.sales_by_weekday(text, integer) IS 'Sales per day of the week over the last `weeks` whole weeks before today, Monday first';
COMMENT ON FUNCTION {reports}.wait_for(pg_lsn, interval) IS 'Waits until the reports hold everything committed up to the WAL position lsn: true, or false at the timeout';

DO $do$
DECLARE
  c record;
BEGIN
  FOR c IN VALUES
    ('tenant', 'name', 'Display name of the store'),
    ('tenant', 'time_zone', 'Time zone that decides the store''s days'),
    ('tenant', 'state', 'discovered, published, copying, live, quarantined or gone; figures are current while live'),
    ('tenant', 'message', 'Why it is quarantined or gone, and what to do'),
    ('tenant', 'synchronized_at', 'WAL position of the POS at which the store was first copied'),

    ('daily_sales_report', 'date', 'Local day of the store'),
    ('daily_sales_report', 'total_sales', 'Sum of total_amount of the day''s counted sales'),
    ('daily_sales_report', 'total_sales_count', 'Number of the day''s counted sales'),
    ('daily_sales_report', 'avg_sale_amount', 'total_sales / total_sales_count, 0 if none'),
    ('daily_sales_report', 'cash_sales', 'Paid in cash for the day''s counted sales'),
    ('daily_sales_report', 'card_sales', 'Paid by card for the day''s counted sales'),
    ('daily_sales_report', 'credit_sales', 'Sold on credit in the day''s counted sales'),
    ('daily_sales_report', 'other_sales', 'Paid by any other method (transfer, online, other, unknown)'),
    ('daily_sales_report', 'total_discount', 'Sum of discount_amount of the day''s counted sales'),
    ('daily_sales_report', 'total_tax', 'Sum of tax_amount of the day''s counted sales'),
    ('daily_sales_report', 'total_items_sold', 'Sum of item quantities, weighed goods with fractions'),
    ('daily_sales_report', 'unique_products_sold', 'Different products sold'),
    ('daily_sales_report', 'unique_customers', 'Different known customers who bought'),
    ('daily_sales_report', 'new_customers', 'Customers whose first counted sale ever is on this day'),
    ('daily_sales_report', 'refund_count', 'Sales of this day that are refunded now'),
    ('daily_sales_report', 'refund_amount', 'Sum of total_amount of the sales of this day that are refunded now'),
    ('daily_sales_report', 'sessions_opened', 'Cashier sessions opened on this day'),
    ('daily_sales_report', 'sessions_closed', 'Cashier sessions closed on this day'),

    ('product_performance', 'product_id', 'The product''s id in the POS'),
    ('product_performance', 'date', 'Local day of the store'),
    ('product_performance', 'quantity_sold', 'Sum of item quantities'),
    ('product_performance', 'total_revenue', 'Sum of line totals'),
    ('product_performance', 'sales_count', 'Number of different sales with the product'),
    ('product_performance', 'avg_price', 'Mean unit price over the item lines'),
    ('product_performance', 'avg_discount', 'Percent by which revenue per unit is below the mean unit price, not below 0'),
    ('product_performance', 'total_cost', 'Sum of quantity x unit cost, the cost as it was when the item was first counted'),
    ('product_performance', 'total_profit', 'total_revenue - total_cost'),
    ('product_performance', 'profit_margin', 'Percent: total_profit / total_revenue x 100; 0 if there is no revenue'),

    ('customer_analytics', 'customer_id', 'The customer''s id in the POS'),
    ('customer_analytics', 'period_end', 'Last day of the period; of the live row the store''s today'),
    ('customer_analytics', 'period_start', 'First day of the period, 90 days before period_end unless configured otherwise'),
    ('customer_analytics', 'recency_days', 'Days from the last purchase to period_end'),
    ('customer_analytics', 'frequency', 'Counted sales in the period'),
    ('customer_analytics', 'monetary', 'Sum of total_amount of the counted sales in the period'),
    ('customer_analytics', 'purchases_count', 'Counted sales in the period (the same as frequency)'),
    ('customer_analytics', 'total_spent', 'Sum of total_amount of the counted sales in the period (the same as monetary)'),
    ('customer_analytics', 'avg_purchase_amount', 'total_spent / purchases_count, 0 if none'),
    ('customer_analytics', 'r_score', 'Recency score, 1 to 5 (5: bought within days)'),
    ('customer_analytics', 'f_score', 'Frequency score, 1 to 5 (5: buys most often)'),
    ('customer_analytics', 'm_score', 'Money score, 1 to 5 (5: spends most)'),
    ('customer_analytics', 'rfm_score', 'Mean of the three scores, rounded down'),
    ('customer_analytics', 'segment', 'One of eleven segments that the three scores lead to, Champions to Lost'),
    ('customer_analytics', 'credit_purchases', 'Counted sales in the period with a credit payment'),
    ('customer_analytics', 'total_credit_amount', 'Sum of the credit payments of the counted sales in the period'),
    ('customer_analytics', 'avg_payment_delay_days', 'Mean days until credit of the period''s sales was paid, oldest credit first; 0 if none is paid'),
    ('customer_analytics', 'credit_outstanding', 'Credit of all counted sales less all that was paid back, not below 0'),
    ('customer_analytics', 'first_purchase_date', 'Day of the first counted sale ever'),
    ('customer_analytics', 'last_purchase_date', 'Day of the last counted sale'),
    ('customer_analytics', 'lifetime_purchases', 'All counted sales'),
    ('customer_analytics', 'lifetime_spent', 'Sum of total_amount of all counted sales'),

    ('inventory_snapshot', 'product_id', 'The product''s id in the POS'),
    ('inventory_snapshot', 'date', 'Local day of the store the row stands for'),
    ('inventory_snapshot', 'quantity_on_hand', 'Stock by the ledger or by the active batches, whichever the store keeps'),
    ('inventory_snapshot', 'reserved_quantity', 'Held back by active reservations'),
    ('inventory_snapshot', 'available_quantity', 'quantity_on_hand - reserved_quantity'),
    ('inventory_snapshot', 'total_cost', 'quantity_on_hand x the product''s current cost price'),
    ('inventory_snapshot', 'total_value', 'quantity_on_hand x the product''s current sale price'),
    ('inventory_snapshot', 'turnover_rate', 'Sold in 30 days / quantity_on_hand; 0 if either is not above 0'),
    ('inventory_snapshot', 'days_of_stock', 'Days the stock lasts at the pace of the last 30 days; 0 if there is none of either'),
    ('inventory_snapshot', 'is_out_of_stock', 'Nothing on hand'),
    ('inventory_snapshot', 'is_low_stock', 'quantity_on_hand is at or below the product''s minimum quantity'),
    ('inventory_snapshot', 'is_overstock', 'quantity_on_hand is at or above the product''s maximum quantity, where one is set'),

    ('product', 'product_id', 'The product''s id in the POS'),
    ('product', 'name', 'Name of the product'),
    ('product', 'sku', 'Stock keeping unit'),
    ('product', 'barcode', 'Barcode'),
    ('product', 'is_active', 'On sale'),
    ('product', 'deleted_at', 'Deleted in the POS; kept here because reports name it'),
    ('customer', 'customer_id', 'The customer''s id in the POS'),
    ('customer', 'full_name', 'Company name, else last, first and middle name, else the phone'),
    ('customer', 'phone', 'Phone number'),
    ('customer', 'customer_type', 'Kind of customer as the POS has it: individual, company'),
    ('customer', 'is_active', 'The POS has the customer as active'),
    ('customer', 'deleted_at', 'Deleted in the POS; kept here because reports name it'),

    ('my_tenants', 'tenant', 'A store you may read'),
    ('my_tenants', 'today', 'The local day that its live rows carry'),
    ('daily_sales_today', 'date', 'The store''s today'),
    ('customer_segments', 'customers', 'Customers in the segment'),
    ('customer_segments', 'customers_percent', 'Their share in the store''s customers, percent'),
    ('customer_segments', 'total_spent', 'Spent by them in the period'),
    ('customer_segments', 'avg_spent', 'total_spent per customer'),
    ('customer_segments', 'purchases_count', 'Their counted sales in the period'),
    ('customer_segments', 'avg_recency_days', 'Mean days since their last purchase'),
    ('customer_segments', 'lifetime_spent', 'Spent by them ever'),
    ('customer_segments', 'credit_outstanding', 'Credit they still owe'),
    ('inventory_latest', 'min_quantity', 'Minimum quantity set in the POS; null: none is kept for the product'),
    ('inventory_latest', 'max_quantity', 'Maximum quantity set in the POS; null: none is set'),
    ('low_stock_alerts', 'min_quantity', 'Minimum quantity set in the POS, 0 where none is'),
    ('overstock', 'max_quantity', 'Maximum quantity set in the POS'),
    ('job_runs', 'job', 'day_roll, daily_sales, product_performance, customer_analytics, inventory_snapshot or prune'),
    ('job_runs', 'requested', 'Asked for by an operator, not by the schedule'),
    ('job_runs', 'due', 'The time it was due, or was asked to run as'),
    ('job_runs', 'started', 'When its last attempt began'),
    ('job_runs', 'finished', 'When it ended; null: it runs, or the daemon died in it'),
    ('job_runs', 'took', 'finished - started'),
    ('job_runs', 'state', 'running, done or failed'),
    ('job_runs', 'rows_changed', 'Report rows it wrote'),
    ('job_runs', 'rows_drifted', 'Sums it found to differ from the facts; 0 unless something went wrong before'),
    ('job_runs', 'attempts', 'How often it was tried'),
    ('job_runs', 'error', 'Why its last attempt failed; null: it did not'),
    ('freshness', 'state', 'State of the store; only live ones have a position'),
    ('freshness', 'today', 'The local day that the store''s live rows carry'),
    ('freshness', 'exact_at', 'When the last commit that is in the reports happened in the POS'),
    ('freshness', 'exact_lsn', 'WAL position of the POS up to which every commit is in the reports'),
    ('freshness', 'lag_bytes', 'WAL the POS has written beyond that; null where the POS is on another server'),
    ('freshness', 'lag', '0 if nothing is waiting, else the time since the position last moved: the reports are at most that old')
  LOOP
    EXECUTE $sql$COMMENT ON COLUMN {reports}.$sql$ || format('%I.%I IS %L', c.column1, c.column2, c.column3);
  END LOOP;

  -- Columns that mean the same everywhere.
  FOR c IN
    SELECT a.attrelid::regclass AS relation, a.attname, same.text
    FROM pg_attribute a
    JOIN pg_class r ON r.oid = a.attrelid
    JOIN (VALUES ('tenant', 'The store: name of its schema in the POS database'),
                 ('tenant_name', 'Display name of the store'),
                 ('product_name', 'Name of the product'),
                 ('created_at', 'When the row was first written'),
                 ('updated_at', 'When the row last changed')) AS same (name, text) ON same.name = a.attname
    WHERE r.relnamespace = to_regnamespace($name${reports}$name$) AND r.relkind IN ('r', 'v')
      AND col_description(a.attrelid, a.attnum) IS NULL
  LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.attname, c.text);
  END LOOP;

  -- The other columns of a view say what the column of that name says in the tables it reads, the first that has one.
  FOR c IN
    SELECT DISTINCT ON (a.attrelid, a.attnum)
           a.attrelid::regclass AS relation, a.attname, col_description(t.attrelid, t.attnum) AS text
    FROM (VALUES ('daily_sales_today', 1, 'daily_sales_report'),
                 ('customer_live', 1, 'customer_analytics'), ('customer_live', 2, 'customer'),
                 ('customer_segments', 1, 'customer_analytics'),
                 ('customers_at_risk', 1, 'customer_analytics'), ('customers_at_risk', 2, 'customer'),
                 ('debtors', 1, 'customer_analytics'), ('debtors', 2, 'customer'),
                 ('inventory_latest', 1, 'inventory_snapshot'), ('inventory_latest', 2, 'product'),
                 ('low_stock_alerts', 1, 'inventory_snapshot'), ('low_stock_alerts', 2, 'product'),
                 ('out_of_stock', 1, 'inventory_snapshot'), ('out_of_stock', 2, 'product'),
                 ('overstock', 1, 'inventory_snapshot'), ('overstock', 2, 'product')) AS s (view, place, source)
    JOIN pg_class v ON v.relname = s.view AND v.relnamespace = to_regnamespace($name${reports}$name$)
    JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0
    JOIN pg_class f ON f.relname = s.source AND f.relnamespace = v.relnamespace
    JOIN pg_attribute t ON t.attrelid = f.oid AND t.attname = a.attname
    WHERE col_description(a.attrelid, a.attnum) IS NULL
    ORDER BY a.attrelid, a.attnum, s.place
  LOOP
    EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', c.relation, c.attname, c.text);
  END LOOP;
END $do$;
