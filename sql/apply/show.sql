-- Report rows of the keys named, written as the row definitions (migration 0003) have them now: put where they have
-- a row, deleted where they have none any more, untouched where nothing differs. Comes back: how many rows changed.
-- Rows to delete are found by the facts and sums themselves, by key: the planner takes a batch for a handful of rows,
-- and would compare the rows to keep with each of them.
-- {keys} is one of the key queries of keys.sql: those of a batch, or all of a tenant's days.

-- name: show_daily_sales
WITH k(tenant_id, date) AS ({keys}),
v AS MATERIALIZED (SELECT v.* FROM k JOIN {state}.daily_row v ON v.tenant_id = k.tenant_id AND v.day = k.date),
gone AS (
  DELETE FROM {reports}.daily_sales_report r USING k JOIN {state}.tenant t ON t.id = k.tenant_id
  WHERE r.tenant = t.tenant AND r.date = k.date
    AND NOT EXISTS (SELECT FROM {state}.daily_row v WHERE v.tenant_id = k.tenant_id AND v.day = k.date)
  RETURNING 1
), put AS (
INSERT INTO {reports}.daily_sales_report AS r (
  tenant, date, total_sales, total_sales_count, avg_sale_amount, cash_sales, card_sales, credit_sales,
  other_sales, total_discount, total_tax, total_items_sold, unique_products_sold, unique_customers, new_customers,
  refund_count, refund_amount, sessions_opened, sessions_closed)
SELECT
  v.tenant, v.date, v.total_sales, v.total_sales_count, v.avg_sale_amount, v.cash_sales, v.card_sales,
  v.credit_sales, v.other_sales, v.total_discount, v.total_tax, v.total_items_sold, v.unique_products_sold,
  v.unique_customers, v.new_customers, v.refund_count, v.refund_amount, v.sessions_opened, v.sessions_closed
FROM v
ON CONFLICT (tenant, date) DO UPDATE SET
  total_sales = excluded.total_sales, total_sales_count = excluded.total_sales_count, avg_sale_amount =
  excluded.avg_sale_amount, cash_sales = excluded.cash_sales, card_sales = excluded.card_sales, credit_sales =
  excluded.credit_sales, other_sales = excluded.other_sales, total_discount = excluded.total_discount, total_tax =
  excluded.total_tax, total_items_sold = excluded.total_items_sold, unique_products_sold =
  excluded.unique_products_sold, unique_customers = excluded.unique_customers, new_customers =
  excluded.new_customers, refund_count = excluded.refund_count, refund_amount = excluded.refund_amount,
  sessions_opened = excluded.sessions_opened, sessions_closed = excluded.sessions_closed, updated_at = now()
WHERE (r.total_sales, r.total_sales_count, r.avg_sale_amount, r.cash_sales, r.card_sales, r.credit_sales,
  r.other_sales, r.total_discount, r.total_tax, r.total_items_sold, r.unique_products_sold, r.unique_customers,
  r.new_customers, r.refund_count, r.refund_amount, r.sessions_opened, r.sessions_closed)
  IS DISTINCT FROM (excluded.total_sales, excluded.total_sales_count, excluded.avg_sale_amount, excluded.cash_sales,
  excluded.card_sales, excluded.credit_sales, excluded.other_sales, excluded.total_discount, excluded.total_tax,
  excluded.total_items_sold, excluded.unique_products_sold, excluded.unique_customers, excluded.new_customers,
  excluded.refund_count, excluded.refund_amount, excluded.sessions_opened, excluded.sessions_closed)
RETURNING 1
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM put) AS changed

-- name: show_product_performance
WITH k(tenant_id, product_id, date) AS ({keys}),
v AS MATERIALIZED (SELECT v.* FROM k JOIN {state}.product_row v ON v.tenant_id = k.tenant_id AND v.product_id = k.product_id AND v.day = k.date),
gone AS (
  DELETE FROM {reports}.product_performance r USING k JOIN {state}.tenant t ON t.id = k.tenant_id
  WHERE r.tenant = t.tenant AND r.product_id = k.product_id AND r.date = k.date
    AND NOT EXISTS (SELECT FROM {state}.product_day p WHERE p.tenant_id = k.tenant_id AND p.product_id = k.product_id
                    AND p.day = k.date AND p.day >= t.horizon AND p.lines > 0)
  RETURNING 1
), put AS (
INSERT INTO {reports}.product_performance AS r (
  tenant, product_id, date, quantity_sold, total_revenue, sales_count, avg_price, avg_discount, total_cost,
  total_profit, profit_margin)
SELECT
  v.tenant, v.product_id, v.date, v.quantity_sold, v.total_revenue, v.sales_count, v.avg_price, v.avg_discount,
  v.total_cost, v.total_profit, v.profit_margin
FROM v
ON CONFLICT (tenant, product_id, date) DO UPDATE SET
  quantity_sold = excluded.quantity_sold, total_revenue = excluded.total_revenue, sales_count =
  excluded.sales_count, avg_price = excluded.avg_price, avg_discount = excluded.avg_discount, total_cost =
  excluded.total_cost, total_profit = excluded.total_profit, profit_margin = excluded.profit_margin, updated_at =
  now()
WHERE (r.quantity_sold, r.total_revenue, r.sales_count, r.avg_price, r.avg_discount, r.total_cost, r.total_profit,
  r.profit_margin)
  IS DISTINCT FROM (excluded.quantity_sold, excluded.total_revenue, excluded.sales_count, excluded.avg_price, excluded.avg_discount,
  excluded.total_cost, excluded.total_profit, excluded.profit_margin)
RETURNING 1
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM put) AS changed

-- name: show_customer_analytics
WITH k(tenant_id, customer_id) AS ({keys}),
v AS MATERIALIZED (SELECT v.* FROM k JOIN {state}.customer_row v ON v.tenant_id = k.tenant_id AND v.customer_id = k.customer_id),
gone AS (
  DELETE FROM {reports}.customer_analytics r USING k JOIN {state}.tenant t ON t.id = k.tenant_id
  WHERE r.tenant = t.tenant AND r.customer_id = k.customer_id AND r.period_end = t.today
    AND NOT EXISTS (SELECT FROM {state}.customer_total c WHERE c.tenant_id = k.tenant_id AND c.customer_id = k.customer_id
                    AND c.sales > 0)
  RETURNING 1
), put AS (
INSERT INTO {reports}.customer_analytics AS r (
  tenant, customer_id, period_end, period_start, recency_days, frequency, monetary, purchases_count, total_spent,
  avg_purchase_amount, r_score, f_score, m_score, rfm_score, segment, credit_purchases, total_credit_amount,
  avg_payment_delay_days, credit_outstanding, first_purchase_date, last_purchase_date, lifetime_purchases,
  lifetime_spent)
SELECT
  v.tenant, v.customer_id, v.period_end, v.period_start, v.recency_days, v.frequency, v.monetary,
  v.purchases_count, v.total_spent, v.avg_purchase_amount, v.r_score, v.f_score, v.m_score, v.rfm_score,
  v.segment, v.credit_purchases, v.total_credit_amount, v.avg_payment_delay_days, v.credit_outstanding,
  v.first_purchase_date, v.last_purchase_date, v.lifetime_purchases, v.lifetime_spent
FROM v
ON CONFLICT (tenant, customer_id, period_end) DO UPDATE SET
  period_start = excluded.period_start, recency_days = excluded.recency_days, frequency = excluded.frequency,
  monetary = excluded.monetary, purchases_count = excluded.purchases_count, total_spent = excluded.total_spent,
  avg_purchase_amount = excluded.avg_purchase_amount, r_score = excluded.r_score, f_score = excluded.f_score,
  m_score = excluded.m_score, rfm_score = excluded.rfm_score, segment = excluded.segment, credit_purchases =
  excluded.credit_purchases, total_credit_amount = excluded.total_credit_amount, avg_payment_delay_days =
  excluded.avg_payment_delay_days, credit_outstanding = excluded.credit_outstanding, first_purchase_date =
  excluded.first_purchase_date, last_purchase_date = excluded.last_purchase_date, lifetime_purchases =
  excluded.lifetime_purchases, lifetime_spent = excluded.lifetime_spent, updated_at = now()
WHERE (r.period_start, r.recency_days, r.frequency, r.monetary, r.purchases_count, r.total_spent,
  r.avg_purchase_amount, r.r_score, r.f_score, r.m_score, r.rfm_score, r.segment, r.credit_purchases,
  r.total_credit_amount, r.avg_payment_delay_days, r.credit_outstanding, r.first_purchase_date,
  r.last_purchase_date, r.lifetime_purchases, r.lifetime_spent)
  IS DISTINCT FROM (excluded.period_start, excluded.recency_days, excluded.frequency, excluded.monetary, excluded.purchases_count,
  excluded.total_spent, excluded.avg_purchase_amount, excluded.r_score, excluded.f_score, excluded.m_score,
  excluded.rfm_score, excluded.segment, excluded.credit_purchases, excluded.total_credit_amount,
  excluded.avg_payment_delay_days, excluded.credit_outstanding, excluded.first_purchase_date,
  excluded.last_purchase_date, excluded.lifetime_purchases, excluded.lifetime_spent)
RETURNING 1
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM put) AS changed

-- name: show_inventory
WITH k(tenant_id, product_id) AS ({keys}),
v AS MATERIALIZED (SELECT v.* FROM k JOIN {state}.inventory_row v ON v.tenant_id = k.tenant_id AND v.product_id = k.product_id),
gone AS (
  DELETE FROM {reports}.inventory_snapshot r USING k JOIN {state}.tenant t ON t.id = k.tenant_id
  WHERE r.tenant = t.tenant AND r.product_id = k.product_id AND r.date = t.today
    AND NOT EXISTS (SELECT FROM {state}.product p WHERE p.tenant_id = k.tenant_id AND p.id = k.product_id
                    AND coalesce((SELECT l.track_inventory FROM {state}.stock_limits l
                                  WHERE l.tenant_id = p.tenant_id AND l.product_id = p.id ORDER BY l.id DESC LIMIT 1), true))
  RETURNING 1
), put AS (
INSERT INTO {reports}.inventory_snapshot AS r (
  tenant, product_id, date, quantity_on_hand, reserved_quantity, available_quantity, total_cost, total_value,
  turnover_rate, days_of_stock, is_out_of_stock, is_low_stock, is_overstock)
SELECT
  v.tenant, v.product_id, v.date, v.quantity_on_hand, v.reserved_quantity, v.available_quantity, v.total_cost,
  v.total_value, v.turnover_rate, v.days_of_stock, v.is_out_of_stock, v.is_low_stock, v.is_overstock
FROM v
ON CONFLICT (tenant, product_id, date) DO UPDATE SET
  quantity_on_hand = excluded.quantity_on_hand, reserved_quantity = excluded.reserved_quantity, available_quantity
  = excluded.available_quantity, total_cost = excluded.total_cost, total_value = excluded.total_value,
  turnover_rate = excluded.turnover_rate, days_of_stock = excluded.days_of_stock, is_out_of_stock =
  excluded.is_out_of_stock, is_low_stock = excluded.is_low_stock, is_overstock = excluded.is_overstock, updated_at
  = now()
WHERE (r.quantity_on_hand, r.reserved_quantity, r.available_quantity, r.total_cost, r.total_value, r.turnover_rate,
  r.days_of_stock, r.is_out_of_stock, r.is_low_stock, r.is_overstock)
  IS DISTINCT FROM (excluded.quantity_on_hand, excluded.reserved_quantity, excluded.available_quantity, excluded.total_cost,
  excluded.total_value, excluded.turnover_rate, excluded.days_of_stock, excluded.is_out_of_stock,
  excluded.is_low_stock, excluded.is_overstock)
RETURNING 1
)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM put) AS changed

