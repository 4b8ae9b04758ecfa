-- What a report row says, once: from its row of sums to the columns of the report. The live path, jobs, recalculation and
-- the first copy all write through these parts of statements. `verify` does not: it has its own, from the POS tables.
-- {rows} is where the sums come from: a part of the statement before, with the columns of the sums' table. A row is put
-- where it has something to say, deleted where it has not, untouched where nothing differs.

-- From rows of {state}.daily.
-- name: daily_sales_report
tenants_daily AS MATERIALIZED (
  SELECT t.* FROM {state}.tenant t WHERE t.id IN (SELECT tenant_id FROM {rows})
), gone_daily AS (
  DELETE FROM {reports}.daily_sales_report r USING {rows} u JOIN tenants_daily t ON t.id = u.tenant_id
  WHERE (u.sales = 0 AND u.refunds = 0 AND u.opened = 0 AND u.closed = 0 OR u.day < t.horizon)
    AND r.tenant = t.tenant AND r.date = u.day
  RETURNING 1
), put_daily AS (
  INSERT INTO {reports}.daily_sales_report AS r (
    tenant, date, total_sales, total_sales_count, avg_sale_amount, cash_sales, card_sales, credit_sales, other_sales,
    total_discount, total_tax, total_items_sold, unique_products_sold, unique_customers, new_customers, refund_count,
    refund_amount, sessions_opened, sessions_closed)
  SELECT t.tenant, u.day, round(u.total, 2), u.sales,
         CASE WHEN u.sales > 0 THEN round(u.total / u.sales, 2) ELSE 0 END,
         round(u.cash, 2), round(u.card, 2), round(u.credit, 2), round(u.other, 2), round(u.discount, 2), round(u.tax, 2),
         round(u.quantity, 3), u.products, u.customers, u.new_customers, u.refunds, round(u.refund_total, 2), u.opened,
         u.closed
  FROM {rows} u JOIN tenants_daily t ON t.id = u.tenant_id
  WHERE (u.sales <> 0 OR u.refunds <> 0 OR u.opened <> 0 OR u.closed <> 0) AND u.day >= t.horizon
  ON CONFLICT (tenant, date) DO UPDATE SET
    total_sales = excluded.total_sales, total_sales_count = excluded.total_sales_count,
    avg_sale_amount = excluded.avg_sale_amount, cash_sales = excluded.cash_sales, card_sales = excluded.card_sales,
    credit_sales = excluded.credit_sales, other_sales = excluded.other_sales, total_discount = excluded.total_discount,
    total_tax = excluded.total_tax, total_items_sold = excluded.total_items_sold,
    unique_products_sold = excluded.unique_products_sold, unique_customers = excluded.unique_customers,
    new_customers = excluded.new_customers, refund_count = excluded.refund_count, refund_amount = excluded.refund_amount,
    sessions_opened = excluded.sessions_opened, sessions_closed = excluded.sessions_closed, updated_at = now()
  WHERE (r.total_sales, r.total_sales_count, r.avg_sale_amount, r.cash_sales, r.card_sales, r.credit_sales, r.other_sales,
         r.total_discount, r.total_tax, r.total_items_sold, r.unique_products_sold, r.unique_customers, r.new_customers,
         r.refund_count, r.refund_amount, r.sessions_opened, r.sessions_closed)
    IS DISTINCT FROM (excluded.total_sales, excluded.total_sales_count, excluded.avg_sale_amount, excluded.cash_sales,
         excluded.card_sales, excluded.credit_sales, excluded.other_sales, excluded.total_discount, excluded.total_tax,
         excluded.total_items_sold, excluded.unique_products_sold, excluded.unique_customers, excluded.new_customers,
         excluded.refund_count, excluded.refund_amount, excluded.sessions_opened, excluded.sessions_closed)
  RETURNING 1
)

-- From rows of {state}.product_day.
-- name: product_performance
tenants_performance AS MATERIALIZED (
  SELECT t.* FROM {state}.tenant t WHERE t.id IN (SELECT tenant_id FROM {rows})
), gone_performance AS (
  DELETE FROM {reports}.product_performance r USING {rows} u JOIN tenants_performance t ON t.id = u.tenant_id
  WHERE (u.lines = 0 OR u.day < t.horizon)
    AND r.tenant = t.tenant AND r.product_id = u.product_id AND r.date = u.day
  RETURNING 1
), put_performance AS (
  {+performance_rows {rows}}
  ON CONFLICT (tenant, product_id, date) DO UPDATE SET
    quantity_sold = excluded.quantity_sold, total_revenue = excluded.total_revenue, sales_count = excluded.sales_count,
    avg_price = excluded.avg_price, avg_discount = excluded.avg_discount, total_cost = excluded.total_cost,
    total_profit = excluded.total_profit, profit_margin = excluded.profit_margin, updated_at = now()
  WHERE (r.quantity_sold, r.total_revenue, r.sales_count, r.avg_price, r.avg_discount, r.total_cost, r.total_profit,
         r.profit_margin)
    IS DISTINCT FROM (excluded.quantity_sold, excluded.total_revenue, excluded.sales_count, excluded.avg_price,
         excluded.avg_discount, excluded.total_cost, excluded.total_profit, excluded.profit_margin)
  RETURNING 1
)

-- Its rows alone, for a store that has none yet.
-- name: performance_rows
INSERT INTO {reports}.product_performance AS r (
    tenant, product_id, date, quantity_sold, total_revenue, sales_count, avg_price, avg_discount, total_cost, total_profit,
    profit_margin)
  SELECT t.tenant, u.product_id, u.day, round(u.quantity, 3), v.revenue, u.sales, round(u.price_sum / u.lines, 2),
         -- (mean - revenue / quantity) / mean with mean = price_sum / lines, as one fraction: nothing is rounded on the way
         CASE WHEN u.quantity > 0 AND u.price_sum <> 0
              THEN greatest({state}.percent((u.price_sum * u.quantity - u.revenue * u.lines) * 100 / (u.price_sum * u.quantity)), 0)
              ELSE 0 END,
         v.cost, v.revenue - v.cost,
         CASE WHEN v.revenue > 0 THEN {state}.percent((v.revenue - v.cost) * 100 / v.revenue) ELSE 0 END
  FROM {rows} u JOIN tenants_performance t ON t.id = u.tenant_id,
       LATERAL (SELECT round(u.revenue, 2) AS revenue, round(u.cost, 2) AS cost OFFSET 0) v
  WHERE u.lines > 0 AND u.day >= t.horizon

-- From rows of {state}.customer_total: the live row, whose period_end is the tenant's today.
-- name: customer_analytics
tenants_customers AS MATERIALIZED (
  SELECT t.* FROM {state}.tenant t WHERE t.id IN (SELECT tenant_id FROM {rows})
), gone_customers AS (
  DELETE FROM {reports}.customer_analytics r USING {rows} u JOIN tenants_customers t ON t.id = u.tenant_id
  WHERE u.sales = 0 AND r.tenant = t.tenant AND r.customer_id = u.customer_id AND r.period_end = t.today
  RETURNING 1
), put_customers AS (
  INSERT INTO {reports}.customer_analytics AS r (
    tenant, customer_id, period_end, period_start, recency_days, frequency, monetary, purchases_count, total_spent,
    avg_purchase_amount, r_score, f_score, m_score, rfm_score, segment, credit_purchases, total_credit_amount,
    avg_payment_delay_days, credit_outstanding, first_purchase_date, last_purchase_date, lifetime_purchases, lifetime_spent)
  SELECT t.tenant, u.customer_id, t.today, t.today - s.window_days, v.recency,
         u.window_sales, v.spent, u.window_sales, v.spent,
         CASE WHEN u.window_sales > 0 THEN round(u.window_spent / u.window_sales, 2) ELSE 0 END,
         v.r, v.f, v.m, (v.r + v.f + v.m) / 3, {state}.segment(v.r, v.f, v.m),
         u.window_credit_sales, round(u.window_credit, 2), u.delay_days, round(greatest(u.credit - u.paid, 0), 2),
         u.first_day, u.last_day, u.sales, round(u.spent, 2)
  FROM {rows} u JOIN tenants_customers t ON t.id = u.tenant_id CROSS JOIN {state}.settings s
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
  ON CONFLICT (tenant, customer_id, period_end) DO UPDATE SET
    period_start = excluded.period_start, recency_days = excluded.recency_days, frequency = excluded.frequency,
    monetary = excluded.monetary, purchases_count = excluded.purchases_count, total_spent = excluded.total_spent,
    avg_purchase_amount = excluded.avg_purchase_amount, r_score = excluded.r_score, f_score = excluded.f_score,
    m_score = excluded.m_score, rfm_score = excluded.rfm_score, segment = excluded.segment,
    credit_purchases = excluded.credit_purchases, total_credit_amount = excluded.total_credit_amount,
    avg_payment_delay_days = excluded.avg_payment_delay_days, credit_outstanding = excluded.credit_outstanding,
    first_purchase_date = excluded.first_purchase_date, last_purchase_date = excluded.last_purchase_date,
    lifetime_purchases = excluded.lifetime_purchases, lifetime_spent = excluded.lifetime_spent, updated_at = now()
  WHERE (r.lifetime_purchases, r.lifetime_spent, r.period_start, r.recency_days, r.frequency, r.monetary, r.purchases_count,
         r.total_spent, r.avg_purchase_amount, r.r_score, r.f_score, r.m_score, r.rfm_score, r.segment, r.credit_purchases,
         r.total_credit_amount, r.avg_payment_delay_days, r.credit_outstanding, r.first_purchase_date, r.last_purchase_date)
    IS DISTINCT FROM (excluded.lifetime_purchases, excluded.lifetime_spent, excluded.period_start, excluded.recency_days,
         excluded.frequency, excluded.monetary, excluded.purchases_count, excluded.total_spent, excluded.avg_purchase_amount,
         excluded.r_score, excluded.f_score, excluded.m_score, excluded.rfm_score, excluded.segment,
         excluded.credit_purchases, excluded.total_credit_amount, excluded.avg_payment_delay_days,
         excluded.credit_outstanding, excluded.first_purchase_date, excluded.last_purchase_date)
  RETURNING 1
)

-- From rows of {state}.inventory: today's row.
-- name: inventory_snapshot
tenants_inventory AS MATERIALIZED (
  SELECT t.* FROM {state}.tenant t WHERE t.id IN (SELECT tenant_id FROM {rows})
), gone_inventory AS (
  DELETE FROM {reports}.inventory_snapshot r USING {rows} u JOIN tenants_inventory t ON t.id = u.tenant_id
  WHERE NOT u.shown AND r.tenant = t.tenant AND r.product_id = u.product_id AND r.date = t.today
  RETURNING 1
), put_inventory AS (
  INSERT INTO {reports}.inventory_snapshot AS r (
    tenant, product_id, date, quantity_on_hand, reserved_quantity, available_quantity, total_cost, total_value,
    turnover_rate, days_of_stock, is_out_of_stock, is_low_stock, is_overstock)
  SELECT t.tenant, u.product_id, t.today, round(u.on_hand, 3), round(u.reserved, 3), round(u.on_hand - u.reserved, 3),
         round(u.on_hand * u.cost_price, 2), round(u.on_hand * u.sale_price, 2),
         CASE WHEN u.on_hand > 0 AND u.sold > 0 THEN {state}.percent(u.sold / u.on_hand) ELSE 0 END,
         CASE WHEN u.on_hand > 0 AND u.sold > 0
              THEN least(div(u.on_hand * 30, u.sold), 2147483647)::integer ELSE 0 END,
         u.on_hand <= 0, u.on_hand <= u.min_quantity, coalesce(u.on_hand >= u.max_quantity, false)
  FROM {rows} u JOIN tenants_inventory t ON t.id = u.tenant_id
  WHERE u.shown
  ON CONFLICT (tenant, product_id, date) DO UPDATE SET
    quantity_on_hand = excluded.quantity_on_hand, reserved_quantity = excluded.reserved_quantity,
    available_quantity = excluded.available_quantity, total_cost = excluded.total_cost, total_value = excluded.total_value,
    turnover_rate = excluded.turnover_rate, days_of_stock = excluded.days_of_stock,
    is_out_of_stock = excluded.is_out_of_stock, is_low_stock = excluded.is_low_stock, is_overstock = excluded.is_overstock,
    updated_at = now()
  WHERE (r.quantity_on_hand, r.reserved_quantity, r.available_quantity, r.total_cost, r.total_value, r.turnover_rate,
         r.days_of_stock, r.is_out_of_stock, r.is_low_stock, r.is_overstock)
    IS DISTINCT FROM (excluded.quantity_on_hand, excluded.reserved_quantity, excluded.available_quantity, excluded.total_cost,
         excluded.total_value, excluded.turnover_rate, excluded.days_of_stock, excluded.is_out_of_stock, excluded.is_low_stock,
         excluded.is_overstock)
  RETURNING 1
)
