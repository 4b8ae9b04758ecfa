-- The questions with a parameter. SQL functions with bodies parsed here and now (BEGIN ATOMIC): no search_path can give
-- their names another meaning, and the planner sees through them. They run with the rights of the caller, so tables show
-- what row-level security and views what my_tenants lets through. A store that the caller may not read and one that
-- does not exist look the same: no rows.
--
-- A span of `days` days ends with the tenant's today and includes it.
--
-- Products are read day by day (a lateral subquery that OFFSET 0 keeps apart): the planner does not know that the rows of
-- one store and day lie together, takes a month for a third of the table and would read all of it. The array makes it
-- expect ten days instead of a thousand, and so keeps it from compiling the query (jit) for longer than it runs.

CREATE FUNCTION {reports}.daily_sales_period(tenant text, from_date date, to_date date)
RETURNS TABLE (total_sales numeric, total_sales_count bigint, avg_sale_amount numeric,
               cash_sales numeric, card_sales numeric, credit_sales numeric, other_sales numeric,
               total_discount numeric, total_tax numeric, total_items_sold numeric,
               new_customers bigint, refund_count bigint, refund_amount numeric, days_with_sales bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
  SELECT coalesce(sum(d.total_sales), 0),
         coalesce(sum(d.total_sales_count), 0)::bigint,
         coalesce(round(sum(d.total_sales) / nullif(sum(d.total_sales_count), 0), 2), 0),
         coalesce(sum(d.cash_sales), 0), coalesce(sum(d.card_sales), 0), coalesce(sum(d.credit_sales), 0),
         coalesce(sum(d.other_sales), 0),
         coalesce(sum(d.total_discount), 0), coalesce(sum(d.total_tax), 0), coalesce(sum(d.total_items_sold), 0),
         coalesce(sum(d.new_customers), 0)::bigint,
         coalesce(sum(d.refund_count), 0)::bigint, coalesce(sum(d.refund_amount), 0),
         count(*) FILTER (WHERE d.total_sales_count > 0)
  FROM {reports}.my_tenants m
  LEFT JOIN {reports}.daily_sales_report d
    ON d.tenant = m.tenant AND d.date BETWEEN daily_sales_period.from_date AND daily_sales_period.to_date
  WHERE m.tenant = daily_sales_period.tenant
  GROUP BY m.tenant;
END;

CREATE FUNCTION {reports}.sales_trends(tenant text, days integer DEFAULT 30)
RETURNS TABLE (date date, total_sales numeric, total_sales_count bigint, avg_sale_amount numeric,
               total_items_sold numeric, unique_customers bigint, new_customers bigint,
               refund_count bigint, refund_amount numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 30
BEGIN ATOMIC
  SELECT m.today - back.days, coalesce(d.total_sales, 0), coalesce(d.total_sales_count, 0),
         coalesce(d.avg_sale_amount, 0), coalesce(d.total_items_sold, 0), coalesce(d.unique_customers, 0),
         coalesce(d.new_customers, 0), coalesce(d.refund_count, 0), coalesce(d.refund_amount, 0)
  FROM {reports}.my_tenants m
  CROSS JOIN generate_series(0, sales_trends.days - 1) AS back (days)
  LEFT JOIN {reports}.daily_sales_report d ON d.tenant = m.tenant AND d.date = m.today - back.days
  WHERE m.tenant = sales_trends.tenant AND m.today IS NOT NULL
  ORDER BY 1;
END;

-- Refuses what it is asked to sort by: an unknown word must not quietly mean revenue.
CREATE FUNCTION {state}.unknown_order(order_by text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RAISE EXCEPTION 'order_by is revenue, quantity, profit or margin, not %', coalesce(quote_literal(order_by), 'null')
    USING ERRCODE = 'invalid_parameter_value';
END $$;

CREATE FUNCTION {reports}.top_products(tenant text, from_date date DEFAULT NULL, to_date date DEFAULT NULL,
                                       row_limit integer DEFAULT 10, order_by text DEFAULT 'revenue')
RETURNS TABLE (rank bigint, product_id bigint, product_name text, sku text, quantity_sold numeric,
               total_revenue numeric, sales_count bigint, avg_revenue_per_unit numeric,
               total_cost numeric, total_profit numeric, profit_margin numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 10
BEGIN ATOMIC
  WITH span AS (
    -- Not a day before or after those that have rows: `all time` must not be a walk through centuries.
    SELECT m.tenant,
           greatest(coalesce(top_products.from_date, m.today - 29), first.date) AS from_date,
           least(coalesce(top_products.to_date, m.today), last.date) AS to_date
    FROM {reports}.my_tenants m
    CROSS JOIN LATERAL (SELECT p.date FROM {reports}.product_performance p WHERE p.tenant = m.tenant ORDER BY p.date LIMIT 1) first
    CROSS JOIN LATERAL (SELECT p.date FROM {reports}.product_performance p WHERE p.tenant = m.tenant ORDER BY p.date DESC LIMIT 1) last
    WHERE m.tenant = top_products.tenant
  ), sums AS (
    SELECT s.tenant, p.product_id, sum(p.quantity_sold) AS quantity, sum(p.total_revenue) AS revenue,
           sum(p.sales_count)::bigint AS sales, sum(p.total_cost) AS cost, sum(p.total_profit) AS profit
    FROM span s
    CROSS JOIN LATERAL unnest(ARRAY(SELECT s.from_date + back.days FROM generate_series(0, s.to_date - s.from_date) AS back (days))) AS day (date)
    CROSS JOIN LATERAL (
      SELECT * FROM {reports}.product_performance r WHERE r.tenant = s.tenant AND r.date = day.date OFFSET 0) p
    GROUP BY s.tenant, p.product_id
  ), ranked AS (
    SELECT s.*, CASE WHEN s.revenue > 0 THEN round(s.profit * 100 / s.revenue, 2) ELSE 0 END AS margin,
           row_number() OVER (ORDER BY
             CASE top_products.order_by
               WHEN 'revenue' THEN s.revenue
               WHEN 'quantity' THEN s.quantity
               WHEN 'profit' THEN s.profit
               WHEN 'margin' THEN CASE WHEN s.revenue > 0 THEN s.profit / s.revenue ELSE 0 END
             END DESC, s.product_id) AS rank
    FROM sums s
  )
  SELECT r.rank, r.product_id, n.name, n.sku, r.quantity, r.revenue, r.sales,
         CASE WHEN r.quantity > 0 THEN round(r.revenue / r.quantity, 2) ELSE 0 END,
         r.cost, r.profit, r.margin
  FROM ranked r
  LEFT JOIN {reports}.product n ON n.tenant = r.tenant AND n.product_id = r.product_id
  WHERE r.rank <= top_products.row_limit
    AND CASE WHEN top_products.order_by IN ('revenue', 'quantity', 'profit', 'margin') THEN true
             ELSE {state}.unknown_order(top_products.order_by) IS NULL END
  ORDER BY r.rank;
END;

CREATE FUNCTION {reports}.slow_movers(tenant text, days integer DEFAULT 30, below numeric DEFAULT 5)
RETURNS TABLE (product_id bigint, product_name text, sku text, quantity_sold numeric, total_revenue numeric,
               last_sold_on date, quantity_on_hand numeric, total_cost numeric, total_value numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
  WITH sold AS (
    SELECT p.product_id, sum(p.quantity_sold) AS quantity, sum(p.total_revenue) AS revenue
    FROM {reports}.my_tenants m
    CROSS JOIN LATERAL unnest(ARRAY(SELECT m.today - back.days FROM generate_series(0, slow_movers.days - 1) AS back (days))) AS day (date)
    CROSS JOIN LATERAL (
      SELECT * FROM {reports}.product_performance r WHERE r.tenant = m.tenant AND r.date = day.date OFFSET 0) p
    WHERE m.tenant = slow_movers.tenant
    GROUP BY p.product_id
  )
  SELECT i.product_id, i.product_name, i.sku, coalesce(s.quantity, 0), coalesce(s.revenue, 0), last.sold_on,
         i.quantity_on_hand, i.total_cost, i.total_value
  FROM {reports}.inventory_latest i
  LEFT JOIN sold s ON s.product_id = i.product_id
  LEFT JOIN LATERAL (
    SELECT p.date AS sold_on FROM {reports}.product_performance p
    WHERE p.tenant = i.tenant AND p.product_id = i.product_id ORDER BY p.date DESC LIMIT 1) last ON true
  WHERE i.tenant = slow_movers.tenant AND i.is_active AND i.quantity_on_hand > 0
    AND coalesce(s.quantity, 0) < slow_movers.below
  ORDER BY 4, i.total_value DESC, i.product_id;
END;

CREATE FUNCTION {reports}.store_totals(from_date date, to_date date)
RETURNS TABLE (rank bigint, tenant text, tenant_name text, total_sales numeric, share_percent numeric,
               total_sales_count bigint, avg_sale_amount numeric, total_items_sold numeric, total_discount numeric,
               new_customers bigint, refund_count bigint, refund_amount numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 20
BEGIN ATOMIC
  WITH store AS (
    SELECT n.tenant, n.name, coalesce(sum(d.total_sales), 0) AS sales, coalesce(sum(d.total_sales_count), 0) AS count,
           coalesce(sum(d.total_items_sold), 0) AS items, coalesce(sum(d.total_discount), 0) AS discount,
           coalesce(sum(d.new_customers), 0) AS customers, coalesce(sum(d.refund_count), 0) AS refunds,
           coalesce(sum(d.refund_amount), 0) AS refunded
    FROM {reports}.tenant n
    LEFT JOIN {reports}.daily_sales_report d
      ON d.tenant = n.tenant AND d.date BETWEEN store_totals.from_date AND store_totals.to_date
    GROUP BY n.tenant, n.name
  ), line AS (
    SELECT row_number() OVER (ORDER BY s.sales DESC, s.tenant) AS rank, s.* FROM store s
    UNION ALL
    SELECT NULL, NULL, 'all stores', sum(s.sales), sum(s.count), sum(s.items), sum(s.discount), sum(s.customers),
           sum(s.refunds), sum(s.refunded)
    FROM store s HAVING count(*) > 0
  )
  SELECT l.rank, l.tenant, l.name, l.sales,
         CASE WHEN (SELECT sum(s.sales) FROM store s) > 0
              THEN round(l.sales * 100 / (SELECT sum(s.sales) FROM store s), 2) ELSE 0 END,
         l.count::bigint, CASE WHEN l.count > 0 THEN round(l.sales / l.count, 2) ELSE 0 END,
         l.items, l.discount, l.customers::bigint, l.refunds::bigint, l.refunded
  FROM line l
  ORDER BY l.rank NULLS LAST;
END;

-- Whole weeks that are over, so that a day that has only begun does not drag its weekday down.
CREATE FUNCTION {reports}.sales_by_weekday(tenant text, weeks integer DEFAULT 8)
RETURNS TABLE (weekday integer, weekday_name text, days bigint, total_sales numeric, total_sales_count bigint,
               avg_sales_per_day numeric, avg_count_per_day numeric, avg_sale_amount numeric)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 7
BEGIN ATOMIC
  SELECT extract(isodow FROM day.date)::integer, to_char(min(day.date), 'FMDay'), count(*),
         coalesce(sum(d.total_sales), 0), coalesce(sum(d.total_sales_count), 0)::bigint,
         round(coalesce(sum(d.total_sales), 0) / count(*), 2),
         round(coalesce(sum(d.total_sales_count), 0) / count(*), 2),
         coalesce(round(sum(d.total_sales) / nullif(sum(d.total_sales_count), 0), 2), 0)
  FROM {reports}.my_tenants m
  CROSS JOIN generate_series(1, sales_by_weekday.weeks * 7) AS back (days)
  CROSS JOIN LATERAL (SELECT m.today - back.days AS date) day
  LEFT JOIN {reports}.daily_sales_report d ON d.tenant = m.tenant AND d.date = day.date
  WHERE m.tenant = sales_by_weekday.tenant AND m.today IS NOT NULL
  GROUP BY 1
  ORDER BY 1;
END;

-- Read your writes: an application that has committed asks pg_current_wal_flush_lsn() and waits for it here. (The
-- insert position may lie in WAL that nobody flushes for a while, and only flushed WAL is sent.)
-- SECURITY DEFINER, because where the daemon stands is not for readers to select from; it tells no more than yes or no.
--
-- WAL that nothing for the reports is in moves the position only now and then. The daemon must not hurry to store that
-- by itself: what it writes is such WAL again, without end. So who waits shows it, by a shared lock on a number of ours
-- ('tillwait' in ASCII), and the daemon's heartbeat looks whether anybody holds it. Rolling back to before the lock was
-- taken gives it up at once, not with the caller's transaction: hence the block with its own exception.
CREATE FUNCTION {reports}.wait_for(lsn pg_lsn, timeout interval DEFAULT '10 seconds') RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  deadline constant timestamptz := clock_timestamp() + timeout;
  pause double precision := 0.001;
  reached boolean := false;
  shown boolean := false;
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    RAISE EXCEPTION 'wait_for cannot see new reports in a % transaction', current_setting('transaction_isolation')
      USING ERRCODE = 'invalid_transaction_state', HINT = 'call it outside the transaction, or in one that is READ COMMITTED';
  END IF;
  IF EXISTS (SELECT FROM {state}.reached r WHERE r.lsn >= wait_for.lsn) THEN RETURN true; END IF;
  BEGIN
    LOOP
      -- Never waits for it: the daemon itself may hold the number for the instant in which it looks.
      IF NOT shown THEN shown := pg_try_advisory_xact_lock_shared(8388354994069399924); END IF;
      reached := EXISTS (SELECT FROM {state}.reached r WHERE r.lsn >= wait_for.lsn);
      IF reached OR clock_timestamp() >= deadline THEN RAISE SQLSTATE 'TLWTD'; END IF;
      PERFORM pg_sleep(least(pause, greatest(extract(epoch FROM deadline - clock_timestamp()), 0)));
      pause := least(pause * 1.5, 0.02);
    END LOOP;
  EXCEPTION
    WHEN SQLSTATE 'TLWTD' THEN RETURN reached;
  END;
END $$;

-- Nothing here is for everyone: readers are given it by name.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {reports} FROM PUBLIC;
SELECT {state}.share_reports();
