-- What a report row says, once: from its row of sums to the columns of the report. The live path, jobs, recalculation and
-- the first copy all write through these parts of statements. `verify` does not: it has its own, from the POS tables.
-- {rows} is where the sums come from: a part of the statement before, with the columns of the sums' table. A row is put
-- where it has something to say, deleted where it has not, untouched where nothing differs.
-- A report has three parts: `said_*`, what its rows say; `update_*`, that into rows that are there; and by the report's name
-- whatever may have to be done. Most rows are there already: an UPDATE costs them less than ON CONFLICT DO UPDATE, which locks
-- each row first. NOT IN is hashed however few rows the planner expects; NOT EXISTS would not be.

-- The store of each row of u, looked up row by row: the planner, which takes the rows for a few, would at times rather go
-- through them once for each store.
-- name: its_store
CROSS JOIN LATERAL (SELECT t.tenant, t.today, t.horizon FROM {state}.tenant t WHERE t.id = u.tenant_id OFFSET 0) t

-- Beyond it no store's horizon lies: of hardly any row its own store has to be looked up to know that it stays.
-- name: last_horizon
(SELECT max(horizon) FROM {state}.tenant)

-- From rows of {state}.daily.
-- name: said_daily
said_daily AS MATERIALIZED (
  SELECT t.tenant, u.day AS date, round(u.total, 2) AS total_sales, u.sales AS total_sales_count,
         CASE WHEN u.sales > 0 THEN round(u.total / u.sales, 2) ELSE 0 END AS avg_sale_amount,
         round(u.cash, 2) AS cash_sales, round(u.card, 2) AS card_sales, round(u.credit, 2) AS credit_sales,
         round(u.other, 2) AS other_sales, round(u.discount, 2) AS total_discount, round(u.tax, 2) AS total_tax,
         round(u.quantity, 3) AS total_items_sold, u.products AS unique_products_sold, u.customers AS unique_customers,
         u.new_customers, u.refunds AS refund_count, round(u.refund_total, 2) AS refund_amount,
         u.opened AS sessions_opened, u.closed AS sessions_closed
  FROM {rows} u {+its_store}
  WHERE (u.sales <> 0 OR u.refunds <> 0 OR u.opened <> 0 OR u.closed <> 0) AND u.day >= t.horizon
)

-- name: update_daily
UPDATE {reports}.daily_sales_report r SET
    total_sales = s.total_sales, total_sales_count = s.total_sales_count, avg_sale_amount = s.avg_sale_amount,
    cash_sales = s.cash_sales, card_sales = s.card_sales, credit_sales = s.credit_sales, other_sales = s.other_sales,
    total_discount = s.total_discount, total_tax = s.total_tax, total_items_sold = s.total_items_sold,
    unique_products_sold = s.unique_products_sold, unique_customers = s.unique_customers, new_customers = s.new_customers,
    refund_count = s.refund_count, refund_amount = s.refund_amount, sessions_opened = s.sessions_opened,
    sessions_closed = s.sessions_closed, updated_at = now()
  FROM said_daily s
  WHERE r.tenant = s.tenant AND r.date = s.date

-- name: daily_sales_report
{+said_daily {rows}}, gone_daily AS (
  DELETE FROM {reports}.daily_sales_report r USING {rows} u {+its_store}
  WHERE (u.sales = 0 AND u.refunds = 0 AND u.opened = 0 AND u.closed = 0 OR u.day < {+last_horizon})
    AND (u.sales = 0 AND u.refunds = 0 AND u.opened = 0 AND u.closed = 0 OR u.day < t.horizon)
    AND r.tenant = t.tenant AND r.date = u.day
  RETURNING 1
), kept_daily AS (
  {+update_daily}
    AND (r.total_sales, r.total_sales_count, r.avg_sale_amount, r.cash_sales, r.card_sales, r.credit_sales, r.other_sales,
         r.total_discount, r.total_tax, r.total_items_sold, r.unique_products_sold, r.unique_customers, r.new_customers,
         r.refund_count, r.refund_amount, r.sessions_opened, r.sessions_closed)
      IS DISTINCT FROM (s.total_sales, s.total_sales_count, s.avg_sale_amount, s.cash_sales, s.card_sales, s.credit_sales,
         s.other_sales, s.total_discount, s.total_tax, s.total_items_sold, s.unique_products_sold, s.unique_customers,
         s.new_customers, s.refund_count, s.refund_amount, s.sessions_opened, s.sessions_closed)
  RETURNING r.tenant, r.date
), new_daily AS (
  INSERT INTO {reports}.daily_sales_report (
    tenant, date, total_sales, total_sales_count, avg_sale_amount, cash_sales, card_sales, credit_sales, other_sales,
    total_discount, total_tax, total_items_sold, unique_products_sold, unique_customers, new_customers, refund_count,
    refund_amount, sessions_opened, sessions_closed)
  SELECT s.* FROM said_daily s
  WHERE (s.tenant, s.date) NOT IN (SELECT * FROM kept_daily)
  ON CONFLICT DO NOTHING
  RETURNING 1
), put_daily AS (
  SELECT FROM kept_daily UNION ALL SELECT FROM new_daily
)

-- From rows of {state}.product_day.
-- name: said_performance
said_performance AS MATERIALIZED (
  {+performance_rows {rows}}
)

-- name: update_performance
UPDATE {reports}.product_performance r SET
    quantity_sold = s.quantity_sold, total_revenue = s.total_revenue, sales_count = s.sales_count, avg_price = s.avg_price,
    avg_discount = s.avg_discount, total_cost = s.total_cost, total_profit = s.total_profit, profit_margin = s.profit_margin,
    updated_at = now()
  FROM said_performance s
  WHERE r.tenant = s.tenant AND r.product_id = s.product_id AND r.date = s.date

-- name: product_performance
{+said_performance {rows}}, gone_performance AS (
  DELETE FROM {reports}.product_performance r USING {rows} u {+its_store}
  WHERE (u.lines = 0 OR u.day < {+last_horizon}) AND (u.lines = 0 OR u.day < t.horizon)
    AND r.tenant = t.tenant AND r.product_id = u.product_id AND r.date = u.day
  RETURNING 1
), kept_performance AS (
  {+update_performance}
    AND (r.quantity_sold, r.total_revenue, r.sales_count, r.avg_price, r.avg_discount, r.total_cost, r.total_profit,
         r.profit_margin)
      IS DISTINCT FROM (s.quantity_sold, s.total_revenue, s.sales_count, s.avg_price, s.avg_discount, s.total_cost,
         s.total_profit, s.profit_margin)
  RETURNING r.tenant, r.product_id, r.date
), new_performance AS (
  INSERT INTO {reports}.product_performance ({+performance_columns})
  SELECT s.* FROM said_performance s
  WHERE (s.tenant, s.product_id, s.date) NOT IN (SELECT * FROM kept_performance)
  ON CONFLICT DO NOTHING
  RETURNING 1
), put_performance AS (
  SELECT FROM kept_performance UNION ALL SELECT FROM new_performance
)

-- Its rows alone.
-- name: performance_rows
{+performance_select} FROM {rows} u {+its_store}, {+performance_where}

-- The two parts of it, between which stands where the rows and their stores come from.
-- name: performance_select
SELECT t.tenant, u.product_id, u.day AS date, round(u.quantity, 3) AS quantity_sold, v.revenue AS total_revenue,
         u.sales AS sales_count, round(u.price_sum / u.lines, 2) AS avg_price,
         -- (mean - revenue / quantity) / mean with mean = price_sum / lines, as one fraction: nothing is rounded on the way
         CASE WHEN u.quantity > 0 AND u.price_sum <> 0
              THEN greatest({state}.percent((u.price_sum * u.quantity - u.revenue * u.lines) * 100 / (u.price_sum * u.quantity)), 0)
              ELSE 0 END AS avg_discount,
         v.cost AS total_cost, v.revenue - v.cost AS total_profit,
         CASE WHEN v.revenue > 0 THEN {state}.percent((v.revenue - v.cost) * 100 / v.revenue) ELSE 0 END AS profit_margin

-- name: performance_where
LATERAL (SELECT round(u.revenue, 2) AS revenue, round(u.cost, 2) AS cost OFFSET 0) v
  WHERE u.lines > 0 AND u.day >= t.horizon

-- name: performance_columns
tenant, product_id, date, quantity_sold, total_revenue, sales_count, avg_price, avg_discount, total_cost, total_profit,
    profit_margin

-- From rows of {state}.customer_total: the live row, whose period_end is the tenant's today.
-- name: said_customers
said_customers AS MATERIALIZED (
  SELECT t.tenant, u.customer_id, t.today AS period_end, t.today - s.window_days AS period_start, v.recency AS recency_days,
         u.window_sales AS frequency, v.spent AS monetary, u.window_sales AS purchases_count, v.spent AS total_spent,
         CASE WHEN u.window_sales > 0 THEN round(u.window_spent / u.window_sales, 2) ELSE 0 END AS avg_purchase_amount,
         v.r AS r_score, v.f AS f_score, v.m AS m_score, (v.r + v.f + v.m) / 3 AS rfm_score,
         {state}.segment(v.r, v.f, v.m) AS segment, u.window_credit_sales AS credit_purchases,
         round(u.window_credit, 2) AS total_credit_amount, u.delay_days AS avg_payment_delay_days,
         round(greatest(u.credit - u.paid, 0), 2) AS credit_outstanding, u.first_day AS first_purchase_date,
         u.last_day AS last_purchase_date, u.sales AS lifetime_purchases, round(u.spent, 2) AS lifetime_spent
  FROM {rows} u {+its_store} CROSS JOIN {state}.settings s
  CROSS JOIN LATERAL (
    SELECT recency, round(u.window_spent, 2) AS spent,
           CASE WHEN recency <= s.recency_days[1] THEN 5 WHEN recency <= s.recency_days[2] THEN 4
                WHEN recency <= s.recency_days[3] THEN 3 WHEN recency <= s.recency_days[4] THEN 2 ELSE 1 END AS r,
           CASE WHEN u.window_sales >= s.frequency[1] THEN 5 WHEN u.window_sales >= s.frequency[2] THEN 4
                WHEN u.window_sales >= s.frequency[3] THEN 3 WHEN u.window_sales >= s.frequency[4] THEN 2 ELSE 1 END AS f,
           CASE WHEN u.window_spent >= s.monetary[1] THEN 5 WHEN u.window_spent >= s.monetary[2] THEN 4
                WHEN u.window_spent >= s.monetary[3] THEN 3 WHEN u.window_spent >= s.monetary[4] THEN 2 ELSE 1 END AS m
    FROM (SELECT greatest(t.today - u.last_day, 0) AS recency) y
    OFFSET 0) v
  WHERE u.sales > 0
)

-- name: update_customers
UPDATE {reports}.customer_analytics r SET
    period_start = s.period_start, recency_days = s.recency_days, frequency = s.frequency, monetary = s.monetary,
    purchases_count = s.purchases_count, total_spent = s.total_spent, avg_purchase_amount = s.avg_purchase_amount,
    r_score = s.r_score, f_score = s.f_score, m_score = s.m_score, rfm_score = s.rfm_score, segment = s.segment,
    credit_purchases = s.credit_purchases, total_credit_amount = s.total_credit_amount,
    avg_payment_delay_days = s.avg_payment_delay_days, credit_outstanding = s.credit_outstanding,
    first_purchase_date = s.first_purchase_date, last_purchase_date = s.last_purchase_date,
    lifetime_purchases = s.lifetime_purchases, lifetime_spent = s.lifetime_spent, updated_at = now()
  FROM said_customers s
  WHERE r.tenant = s.tenant AND r.customer_id = s.customer_id AND r.period_end = s.period_end

-- name: customer_analytics
{+said_customers {rows}}, gone_customers AS (
  DELETE FROM {reports}.customer_analytics r USING {rows} u {+its_store}
  WHERE u.sales = 0 AND r.tenant = t.tenant AND r.customer_id = u.customer_id AND r.period_end = t.today
  RETURNING 1
), kept_customers AS (
  {+update_customers}
    AND (r.lifetime_purchases, r.lifetime_spent, r.period_start, r.recency_days, r.frequency, r.monetary, r.purchases_count,
         r.total_spent, r.avg_purchase_amount, r.r_score, r.f_score, r.m_score, r.rfm_score, r.segment, r.credit_purchases,
         r.total_credit_amount, r.avg_payment_delay_days, r.credit_outstanding, r.first_purchase_date, r.last_purchase_date)
      IS DISTINCT FROM (s.lifetime_purchases, s.lifetime_spent, s.period_start, s.recency_days, s.frequency, s.monetary,
         s.purchases_count, s.total_spent, s.avg_purchase_amount, s.r_score, s.f_score, s.m_score, s.rfm_score, s.segment,
         s.credit_purchases, s.total_credit_amount, s.avg_payment_delay_days, s.credit_outstanding, s.first_purchase_date,
         s.last_purchase_date)
  RETURNING r.tenant, r.customer_id
), new_customers AS (
  INSERT INTO {reports}.customer_analytics (
    tenant, customer_id, period_end, period_start, recency_days, frequency, monetary, purchases_count, total_spent,
    avg_purchase_amount, r_score, f_score, m_score, rfm_score, segment, credit_purchases, total_credit_amount,
    avg_payment_delay_days, credit_outstanding, first_purchase_date, last_purchase_date, lifetime_purchases, lifetime_spent)
  SELECT s.* FROM said_customers s
  WHERE (s.tenant, s.customer_id) NOT IN (SELECT * FROM kept_customers)
  ON CONFLICT DO NOTHING
  RETURNING 1
), put_customers AS (
  SELECT FROM kept_customers UNION ALL SELECT FROM new_customers
)

-- From rows of {state}.inventory: today's row.
-- name: inventory_snapshot
{+inventory_rows {rows}}, gone_inventory AS (
  DELETE FROM {reports}.inventory_snapshot r USING {rows} u {+its_store}
  WHERE NOT u.shown AND r.tenant = t.tenant AND r.product_id = u.product_id AND r.date = t.today
  RETURNING 1
)

-- The same for products that are shown as they were before.
-- name: inventory_rows
said_inventory AS MATERIALIZED (
  SELECT t.tenant, u.product_id, t.today AS date, round(u.on_hand, 3) AS quantity_on_hand,
         round(u.reserved, 3) AS reserved_quantity, round(u.on_hand - u.reserved, 3) AS available_quantity,
         round(u.on_hand * u.cost_price, 2) AS total_cost, round(u.on_hand * u.sale_price, 2) AS total_value,
         CASE WHEN u.on_hand > 0 AND u.sold > 0 THEN {state}.percent(u.sold / u.on_hand) ELSE 0 END AS turnover_rate,
         CASE WHEN u.on_hand > 0 AND u.sold > 0
              THEN least(div(u.on_hand * 30, u.sold), 2147483647)::integer ELSE 0 END AS days_of_stock,
         u.on_hand <= 0 AS is_out_of_stock, u.on_hand <= u.min_quantity AS is_low_stock,
         coalesce(u.on_hand >= u.max_quantity, false) AS is_overstock
  FROM {rows} u {+its_store}
  WHERE u.shown
), kept_inventory AS (
  UPDATE {reports}.inventory_snapshot r SET
    quantity_on_hand = s.quantity_on_hand, reserved_quantity = s.reserved_quantity,
    available_quantity = s.available_quantity, total_cost = s.total_cost, total_value = s.total_value,
    turnover_rate = s.turnover_rate, days_of_stock = s.days_of_stock, is_out_of_stock = s.is_out_of_stock,
    is_low_stock = s.is_low_stock, is_overstock = s.is_overstock, updated_at = now()
  FROM said_inventory s
  WHERE r.tenant = s.tenant AND r.product_id = s.product_id AND r.date = s.date
    AND (r.quantity_on_hand, r.reserved_quantity, r.available_quantity, r.total_cost, r.total_value, r.turnover_rate,
         r.days_of_stock, r.is_out_of_stock, r.is_low_stock, r.is_overstock)
      IS DISTINCT FROM (s.quantity_on_hand, s.reserved_quantity, s.available_quantity, s.total_cost, s.total_value,
         s.turnover_rate, s.days_of_stock, s.is_out_of_stock, s.is_low_stock, s.is_overstock)
  RETURNING r.tenant, r.product_id
), new_inventory AS (
  INSERT INTO {reports}.inventory_snapshot (
    tenant, product_id, date, quantity_on_hand, reserved_quantity, available_quantity, total_cost, total_value,
    turnover_rate, days_of_stock, is_out_of_stock, is_low_stock, is_overstock)
  SELECT s.* FROM said_inventory s
  WHERE (s.tenant, s.product_id) NOT IN (SELECT * FROM kept_inventory)
  ON CONFLICT DO NOTHING
  RETURNING 1
), put_inventory AS (
  SELECT FROM kept_inventory UNION ALL SELECT FROM new_inventory
)
