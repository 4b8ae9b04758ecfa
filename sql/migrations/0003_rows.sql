-- What a report row says, once: views from the sums to the columns of the report tables. The live path, jobs,
-- recalculation and the first copy all write through them. `verify` does not: it has its own, from the POS tables.

-- A percentage that would not fit its column is shown at the column's limit.
CREATE FUNCTION {state}.percent(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT least(greatest(round(value, 2), -9999999999.99), 9999999999.99) $$;

CREATE VIEW {state}.daily_row AS
SELECT d.tenant_id, d.day, t.tenant, d.day AS date,
       round(d.total, 2) AS total_sales,
       d.sales AS total_sales_count,
       CASE WHEN d.sales > 0 THEN round(d.total / d.sales, 2) ELSE 0 END AS avg_sale_amount,
       round(d.cash, 2) AS cash_sales, round(d.card, 2) AS card_sales, round(d.credit, 2) AS credit_sales,
       round(d.other, 2) AS other_sales, round(d.discount, 2) AS total_discount, round(d.tax, 2) AS total_tax,
       round(d.quantity, 3) AS total_items_sold,
       d.products AS unique_products_sold, d.customers AS unique_customers, d.new_customers,
       d.refunds AS refund_count, round(d.refund_total, 2) AS refund_amount,
       d.opened AS sessions_opened, d.closed AS sessions_closed
FROM {state}.daily d JOIN {state}.tenant t ON t.id = d.tenant_id
WHERE d.day >= t.horizon AND (d.sales <> 0 OR d.refunds <> 0 OR d.opened <> 0 OR d.closed <> 0);

CREATE VIEW {state}.product_row AS
SELECT p.tenant_id, p.day, t.tenant, p.product_id, p.day AS date,
       round(p.quantity, 3) AS quantity_sold,
       v.revenue AS total_revenue,
       p.sales AS sales_count,
       round(p.price_sum / p.lines, 2) AS avg_price,
       -- (mean - revenue / quantity) / mean with mean = price_sum / lines, as one fraction: nothing is rounded on the way
       CASE WHEN p.quantity > 0 AND p.price_sum <> 0
            THEN greatest({state}.percent((p.price_sum * p.quantity - p.revenue * p.lines) * 100 / (p.price_sum * p.quantity)), 0)
            ELSE 0 END AS avg_discount,
       v.cost AS total_cost,
       v.revenue - v.cost AS total_profit,
       CASE WHEN v.revenue > 0 THEN {state}.percent((v.revenue - v.cost) * 100 / v.revenue) ELSE 0 END AS profit_margin
FROM {state}.product_day p JOIN {state}.tenant t ON t.id = p.tenant_id,
     LATERAL (SELECT round(p.revenue, 2) AS revenue, round(p.cost, 2) AS cost OFFSET 0) v
WHERE p.day >= t.horizon AND p.lines > 0;

CREATE FUNCTION {state}.segment(r integer, f integer, m integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE
     WHEN r >= 4 AND f >= 4 AND m >= 4 THEN 'Champions'
     WHEN r <= 2 AND f = 5 AND m = 5   THEN 'Can''t Lose Them'
     WHEN r <= 2 AND f >= 4 AND m >= 4 THEN 'At Risk'
     WHEN f >= 4 AND m >= 4            THEN 'Loyal Customers'
     WHEN r >= 4 AND f >= 3 AND m >= 3 THEN 'Potential Loyalists'
     WHEN r >= 4 AND f <= 2 AND m <= 2 THEN 'New Customers'
     WHEN r >= 3 AND f <= 2            THEN 'Promising'
     WHEN r >= 3                       THEN 'Need Attention'
     WHEN f >= 2                       THEN 'Hibernating'
     WHEN r = 2                        THEN 'About To Sleep'
     ELSE 'Lost' END $$;

-- The live row of a customer: period_end is the tenant's today.
CREATE VIEW {state}.customer_row AS
SELECT c.tenant_id, t.tenant, c.customer_id, t.today AS period_end, t.today - s.window_days AS period_start,
       v.recency_days,
       w.sales AS frequency, round(w.spent, 2) AS monetary,
       w.sales AS purchases_count, round(w.spent, 2) AS total_spent,
       CASE WHEN w.sales > 0 THEN round(w.spent / w.sales, 2) ELSE 0 END AS avg_purchase_amount,
       v.r::smallint AS r_score, v.f::smallint AS f_score, v.m::smallint AS m_score,
       ((v.r + v.f + v.m) / 3)::smallint AS rfm_score,
       {state}.segment(v.r, v.f, v.m) AS segment,
       w.credit_sales AS credit_purchases, round(w.credit, 2) AS total_credit_amount,
       coalesce(delay.days, 0) AS avg_payment_delay_days,
       round(greatest(c.credit - c.paid, 0), 2) AS credit_outstanding,
       e.first_day AS first_purchase_date, e.last_day AS last_purchase_date,
       c.sales AS lifetime_purchases, round(c.spent, 2) AS lifetime_spent
FROM {state}.customer_total c
JOIN {state}.tenant t ON t.id = c.tenant_id
CROSS JOIN {state}.settings s
CROSS JOIN LATERAL (
  SELECT min(d.day) AS first_day, max(d.day) AS last_day
  FROM {state}.customer_day d WHERE d.tenant_id = c.tenant_id AND d.customer_id = c.customer_id AND d.sales > 0) e
CROSS JOIN LATERAL (
  SELECT coalesce(sum(d.sales), 0)::bigint AS sales, coalesce(sum(d.spent), 0) AS spent,
         coalesce(sum(d.credit_sales), 0)::bigint AS credit_sales, coalesce(sum(d.credit), 0) AS credit
  FROM {state}.customer_day d
  WHERE d.tenant_id = c.tenant_id AND d.customer_id = c.customer_id AND d.day BETWEEN t.today - s.window_days AND t.today) w
-- Credit is paid first in, first out: a sale is settled by the first payment at which the running sum of payments
-- reaches the running sum of credits up to and including it.
LEFT JOIN LATERAL (
  SELECT round(avg(greatest(settled.day - owed.day, 0)))::integer AS days
  FROM (SELECT f.day, sum(f.credit) OVER (ORDER BY f.completed_at, f.id) AS running
        FROM {state}.sale f
        WHERE f.tenant_id = c.tenant_id AND f.customer_id = c.customer_id AND f.credit IS NOT NULL
          AND f.status = 'c' AND f.day IS NOT NULL) owed
  CROSS JOIN LATERAL (
       SELECT paid.day
       FROM (SELECT p.day, sum(p.amount) OVER (ORDER BY p.created_at, p.id) AS running
             FROM {state}.credit_payment p
             WHERE p.tenant_id = c.tenant_id AND p.customer_id = c.customer_id AND p.amount > 0) paid
       WHERE paid.running >= owed.running ORDER BY paid.running LIMIT 1) settled
  WHERE owed.day BETWEEN t.today - s.window_days AND t.today) delay ON c.payments > 0
CROSS JOIN LATERAL (
  SELECT recency_days,
         CASE WHEN recency_days <= s.recency_days[1] THEN 5 WHEN recency_days <= s.recency_days[2] THEN 4
              WHEN recency_days <= s.recency_days[3] THEN 3 WHEN recency_days <= s.recency_days[4] THEN 2 ELSE 1 END AS r,
         CASE WHEN w.sales >= s.frequency[1] THEN 5 WHEN w.sales >= s.frequency[2] THEN 4
              WHEN w.sales >= s.frequency[3] THEN 3 WHEN w.sales >= s.frequency[4] THEN 2 ELSE 1 END AS f,
         CASE WHEN w.spent >= s.monetary[1] THEN 5 WHEN w.spent >= s.monetary[2] THEN 4
              WHEN w.spent >= s.monetary[3] THEN 3 WHEN w.spent >= s.monetary[4] THEN 2 ELSE 1 END AS m
  FROM (SELECT greatest(t.today - e.last_day, 0) AS recency_days) r
  OFFSET 0) v
WHERE c.sales > 0;

-- Today's row of a product. `is_active` is not a column of the report: the nightly snapshot asks for it.
CREATE VIEW {state}.inventory_row AS
SELECT p.tenant_id, p.is_active, p.tenant, p.product_id, p.today AS date,
       round(v.on_hand, 3) AS quantity_on_hand, round(v.reserved, 3) AS reserved_quantity,
       round(v.on_hand - v.reserved, 3) AS available_quantity,
       round(v.on_hand * coalesce(pricing.cost_price, 0), 2) AS total_cost,
       round(v.on_hand * coalesce(pricing.sale_price, 0), 2) AS total_value,
       CASE WHEN v.on_hand > 0 AND v.sold > 0 THEN {state}.percent(v.sold / v.on_hand) ELSE 0 END AS turnover_rate,
       CASE WHEN v.on_hand > 0 AND v.sold > 0
            THEN least(floor(v.on_hand * 30 / v.sold), 2147483647)::integer ELSE 0 END AS days_of_stock,
       v.on_hand <= 0 AS is_out_of_stock,
       v.on_hand <= coalesce(limits.min_quantity, 0) AS is_low_stock,
       coalesce(v.on_hand >= limits.max_quantity, false) AS is_overstock
FROM (SELECT t.id AS tenant_id, t.tenant, t.today, d.id AS product_id, d.is_active
      FROM {state}.product d JOIN {state}.tenant t ON t.id = d.tenant_id) p
LEFT JOIN {state}.stock s ON s.tenant_id = p.tenant_id AND s.product_id = p.product_id
LEFT JOIN LATERAL (SELECT r.cost_price, r.sale_price FROM {state}.pricing r
                   WHERE r.tenant_id = p.tenant_id AND r.product_id = p.product_id ORDER BY r.id DESC LIMIT 1) pricing ON true
LEFT JOIN LATERAL (SELECT l.min_quantity, l.max_quantity, l.track_inventory FROM {state}.stock_limits l
                   WHERE l.tenant_id = p.tenant_id AND l.product_id = p.product_id ORDER BY l.id DESC LIMIT 1) limits ON true
CROSS JOIN LATERAL (
  SELECT coalesce(s.on_hand, 0) AS on_hand, coalesce(s.reserved, 0) AS reserved,
         coalesce((SELECT sum(d.quantity) FROM {state}.product_day d
                   WHERE d.tenant_id = p.tenant_id AND d.product_id = p.product_id
                     AND d.day BETWEEN p.today - 30 AND p.today), 0) AS sold
  OFFSET 0) v
WHERE coalesce(limits.track_inventory, true);

CREATE VIEW {state}.product_dimension AS
SELECT p.tenant_id, t.tenant, p.id AS product_id, p.name, p.sku, p.barcode, p.is_active
FROM {state}.product p JOIN {state}.tenant t ON t.id = p.tenant_id;

CREATE VIEW {state}.customer_dimension AS
SELECT c.tenant_id, t.tenant, c.id AS customer_id,
       CASE WHEN c.is_company AND c.company_name <> '' THEN c.company_name
            ELSE coalesce(nullif(concat_ws(' ', nullif(c.last_name, ''), nullif(c.first_name, ''), nullif(c.middle_name, '')), ''), c.phone)
       END AS full_name,
       c.phone, c.customer_type, c.is_active
FROM {state}.customer c JOIN {state}.tenant t ON t.id = c.tenant_id;
