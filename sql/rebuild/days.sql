-- The sums of some days again from the base facts: what differs is put right, and comes back as keys (at most 1000) with
-- the number of all keys that differed. A row of zeros and no row are the same. Tenant $1, days $2 to $3; nothing is
-- built before the horizon. The report rows follow through the days_ and all_ keys of keys.sql.
-- recompute_daily comes after recompute_customers: it takes new customers from their sums.

-- name: recompute_product_days
WITH fresh AS (
  SELECT i.product_id, f.day, count(*) AS lines, count(DISTINCT f.id) AS sales, sum(i.quantity) AS quantity,
         sum(i.total) AS revenue, sum(i.price) AS price_sum, coalesce(sum(i.quantity * i.cost), 0) AS cost
  FROM {state}.sale f JOIN {state}.tenant t ON t.id = f.tenant_id,
       unnest(f.item_products, f.item_quantities, f.item_prices, f.item_totals, f.item_costs)
         AS i(product_id, quantity, price, total, cost)
  WHERE f.tenant_id = $1 AND f.status = 'c' AND f.day BETWEEN $2 AND $3 AND f.day >= t.horizon
  GROUP BY 1, 2
), kept AS (
  SELECT * FROM {state}.product_day p WHERE p.tenant_id = $1 AND p.day BETWEEN $2 AND $3
), differs AS MATERIALIZED (
  SELECT product_id, day, f.lines, f.sales, f.quantity, f.revenue, f.price_sum, f.cost
  FROM fresh f FULL JOIN kept k USING (product_id, day)
  WHERE (coalesce(f.lines, 0), coalesce(f.sales, 0), coalesce(f.quantity, 0), coalesce(f.revenue, 0),
         coalesce(f.price_sum, 0), coalesce(f.cost, 0))
        <> (coalesce(k.lines, 0), coalesce(k.sales, 0), coalesce(k.quantity, 0), coalesce(k.revenue, 0),
            coalesce(k.price_sum, 0), coalesce(k.cost, 0))
), gone AS (
  DELETE FROM {state}.product_day p USING differs d
  WHERE p.tenant_id = $1 AND p.product_id = d.product_id AND p.day = d.day AND d.lines IS NULL
), put AS (
  INSERT INTO {state}.product_day (tenant_id, product_id, day, lines, sales, quantity, revenue, price_sum, cost)
  SELECT $1, d.* FROM differs d WHERE d.lines IS NOT NULL
  ON CONFLICT (tenant_id, product_id, day) DO UPDATE SET
    lines = excluded.lines, sales = excluded.sales, quantity = excluded.quantity, revenue = excluded.revenue,
    price_sum = excluded.price_sum, cost = excluded.cost
)
SELECT product_id, day, count(*) OVER () AS differing FROM differs ORDER BY day, product_id LIMIT 1000

-- name: recompute_daily
WITH sales AS MATERIALIZED (
  SELECT f.* FROM {state}.sale f JOIN {state}.tenant t ON t.id = f.tenant_id
  WHERE f.tenant_id = $1 AND f.status IN ('c', 'r') AND f.day BETWEEN $2 AND $3 AND f.day >= t.horizon
), parts(day, sales, total, discount, tax, cash, card, credit, other, quantity, products, customers, new_customers,
         refunds, refund_total, opened, closed) AS (
  SELECT f.day, count(*) FILTER (WHERE f.status = 'c'), sum(f.total) FILTER (WHERE f.status = 'c'),
         sum(f.discount) FILTER (WHERE f.status = 'c'), sum(f.tax) FILTER (WHERE f.status = 'c'),
         NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::bigint,
         count(DISTINCT f.customer_id) FILTER (WHERE f.status = 'c'), NULL::bigint,
         count(*) FILTER (WHERE f.status = 'r'), sum(f.total) FILTER (WHERE f.status = 'r'), NULL::bigint, NULL::bigint
  FROM sales f GROUP BY 1
  UNION ALL
  SELECT f.day, NULL, NULL, NULL, NULL, sum(p.amount) FILTER (WHERE p.kind = 'c'), sum(p.amount) FILTER (WHERE p.kind = 'd'),
         sum(p.amount) FILTER (WHERE p.kind = 'r'), sum(p.amount) FILTER (WHERE p.kind = 'o'),
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM sales f, unnest(f.payment_kinds, f.payment_amounts) AS p(kind, amount) WHERE f.status = 'c' GROUP BY 1
  UNION ALL
  SELECT f.day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, sum(i.quantity), count(DISTINCT i.product_id),
         NULL, NULL, NULL, NULL, NULL, NULL
  FROM sales f, unnest(f.item_products, f.item_quantities) AS i(product_id, quantity) WHERE f.status = 'c' GROUP BY 1
  UNION ALL
  -- New: no counted sale on an earlier day.
  SELECT b.day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*), NULL, NULL, NULL, NULL
  FROM (SELECT f.customer_id, min(f.day) AS day FROM sales f WHERE f.status = 'c' AND f.customer_id IS NOT NULL GROUP BY 1) b
  WHERE NOT EXISTS (SELECT FROM {state}.customer_day d WHERE d.tenant_id = $1 AND d.customer_id = b.customer_id
                                                         AND d.day < b.day AND d.sales > 0)
  GROUP BY 1
  UNION ALL
  SELECT s.opened_day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*), NULL
  FROM {state}.session s WHERE s.tenant_id = $1 AND s.opened_day BETWEEN $2 AND $3 GROUP BY 1
  UNION ALL
  SELECT s.closed_day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*)
  FROM {state}.session s WHERE s.tenant_id = $1 AND s.closed_day BETWEEN $2 AND $3 GROUP BY 1
), fresh AS (
  SELECT day, coalesce(sum(sales), 0)::bigint AS sales, coalesce(sum(total), 0) AS total, coalesce(sum(discount), 0) AS discount,
         coalesce(sum(tax), 0) AS tax, coalesce(sum(cash), 0) AS cash, coalesce(sum(card), 0) AS card,
         coalesce(sum(credit), 0) AS credit, coalesce(sum(other), 0) AS other, coalesce(sum(quantity), 0) AS quantity,
         coalesce(sum(products), 0)::bigint AS products, coalesce(sum(customers), 0)::bigint AS customers,
         coalesce(sum(new_customers), 0)::bigint AS new_customers, coalesce(sum(refunds), 0)::bigint AS refunds,
         coalesce(sum(refund_total), 0) AS refund_total, coalesce(sum(opened), 0)::bigint AS opened,
         coalesce(sum(closed), 0)::bigint AS closed
  FROM parts WHERE day >= (SELECT horizon FROM {state}.tenant WHERE id = $1) GROUP BY day
), kept AS (
  SELECT * FROM {state}.daily d WHERE d.tenant_id = $1 AND d.day BETWEEN $2 AND $3
), differs AS MATERIALIZED (
  SELECT coalesce(f.day, k.day) AS kept_day, f.*
  FROM fresh f FULL JOIN kept k ON k.day = f.day
  WHERE (coalesce(f.sales, 0), coalesce(f.total, 0), coalesce(f.discount, 0), coalesce(f.tax, 0), coalesce(f.cash, 0),
         coalesce(f.card, 0), coalesce(f.credit, 0), coalesce(f.other, 0), coalesce(f.quantity, 0), coalesce(f.products, 0),
         coalesce(f.customers, 0), coalesce(f.new_customers, 0), coalesce(f.refunds, 0), coalesce(f.refund_total, 0),
         coalesce(f.opened, 0), coalesce(f.closed, 0))
        <> (coalesce(k.sales, 0), coalesce(k.total, 0), coalesce(k.discount, 0), coalesce(k.tax, 0), coalesce(k.cash, 0),
            coalesce(k.card, 0), coalesce(k.credit, 0), coalesce(k.other, 0), coalesce(k.quantity, 0), coalesce(k.products, 0),
            coalesce(k.customers, 0), coalesce(k.new_customers, 0), coalesce(k.refunds, 0), coalesce(k.refund_total, 0),
            coalesce(k.opened, 0), coalesce(k.closed, 0))
), gone AS (
  DELETE FROM {state}.daily d USING differs g WHERE d.tenant_id = $1 AND d.day = g.kept_day AND g.day IS NULL
), put AS (
  INSERT INTO {state}.daily (tenant_id, day, sales, total, discount, tax, cash, card, credit, other, quantity, products,
                             customers, new_customers, refunds, refund_total, opened, closed)
  SELECT $1, day, sales, total, discount, tax, cash, card, credit, other, quantity, products, customers, new_customers,
         refunds, refund_total, opened, closed
  FROM differs WHERE day IS NOT NULL
  ON CONFLICT (tenant_id, day) DO UPDATE SET
    sales = excluded.sales, total = excluded.total, discount = excluded.discount, tax = excluded.tax, cash = excluded.cash,
    card = excluded.card, credit = excluded.credit, other = excluded.other, quantity = excluded.quantity,
    products = excluded.products, customers = excluded.customers, new_customers = excluded.new_customers,
    refunds = excluded.refunds, refund_total = excluded.refund_total, opened = excluded.opened, closed = excluded.closed
)
SELECT kept_day AS day, count(*) OVER () AS differing FROM differs ORDER BY kept_day LIMIT 1000

-- Customers of tenant $1 whose sums are not those of the facts, over all days: first and last purchase are for life. Reads
-- only, and facts and sums are committed together: run it on a session beside the writer's, so that the stream goes on.
-- Where it finds something, somebody's first day may have moved too: recompute_daily over all days kept.
-- name: differing_customers
WITH fresh AS MATERIALIZED (
  SELECT f.customer_id, f.day, count(*) AS sales, sum(f.total) AS spent, count(f.credit) AS credit_sales,
         coalesce(sum(f.credit), 0) AS credit
  FROM {state}.sale f
  WHERE f.tenant_id = $1 AND f.status = 'c' AND f.day IS NOT NULL AND f.customer_id IS NOT NULL
  GROUP BY 1, 2
), totals AS (
  {+fresh_customers fresh}
)
SELECT customer_id
FROM fresh f FULL JOIN (SELECT * FROM {state}.customer_day WHERE tenant_id = $1) k USING (customer_id, day)
WHERE (coalesce(f.sales, 0), coalesce(f.spent, 0), coalesce(f.credit_sales, 0), coalesce(f.credit, 0))
      <> (coalesce(k.sales, 0), coalesce(k.spent, 0), coalesce(k.credit_sales, 0), coalesce(k.credit, 0))
UNION
SELECT customer_id
FROM totals f FULL JOIN (SELECT * FROM {state}.customer_total WHERE tenant_id = $1) k USING (customer_id)
WHERE (coalesce(f.sales, 0), coalesce(f.spent, 0), coalesce(f.credit, 0), coalesce(f.payments, 0), coalesce(f.paid, 0),
       coalesce(f.window_sales, 0), coalesce(f.window_spent, 0), coalesce(f.window_credit_sales, 0),
       coalesce(f.window_credit, 0), coalesce(f.delay_days, 0))
      <> (coalesce(k.sales, 0), coalesce(k.spent, 0), coalesce(k.credit, 0), coalesce(k.payments, 0), coalesce(k.paid, 0),
       coalesce(k.window_sales, 0), coalesce(k.window_spent, 0), coalesce(k.window_credit_sales, 0),
       coalesce(k.window_credit, 0), coalesce(k.delay_days, 0))
   OR (f.first_day, f.last_day) IS DISTINCT FROM (k.first_day, k.last_day)
ORDER BY customer_id

-- The sums of customers $2 of tenant $1 anew, whatever they say now. Reads every sale of the tenant: give it many at once.
-- name: recompute_customers
WITH k AS (SELECT DISTINCT customer_id FROM unnest($2::bigint[]) k(customer_id)),
fresh AS MATERIALIZED (
  SELECT f.customer_id, f.day, count(*) AS sales, sum(f.total) AS spent, count(f.credit) AS credit_sales,
         coalesce(sum(f.credit), 0) AS credit
  FROM k JOIN {state}.sale f ON f.customer_id = k.customer_id
  WHERE f.tenant_id = $1 AND f.status = 'c' AND f.day IS NOT NULL
  GROUP BY 1, 2
), gone AS (
  DELETE FROM {state}.customer_day c USING k
  WHERE c.tenant_id = $1 AND c.customer_id = k.customer_id
    AND NOT EXISTS (SELECT FROM fresh f WHERE f.customer_id = c.customer_id AND f.day = c.day)
), days AS (
  INSERT INTO {state}.customer_day (tenant_id, customer_id, day, sales, spent, credit_sales, credit)
  SELECT $1, f.* FROM fresh f
  ON CONFLICT (tenant_id, customer_id, day) DO UPDATE SET
    sales = excluded.sales, spent = excluded.spent, credit_sales = excluded.credit_sales, credit = excluded.credit
), f AS (
  {+fresh_customers fresh}
), totals AS (
  -- A customer without facts keeps a row of zeros: by it the live row is found and taken away.
  INSERT INTO {state}.customer_total (tenant_id, customer_id, sales, spent, credit, payments, paid, first_day, last_day,
    window_sales, window_spent, window_credit_sales, window_credit, delay_days, first_day_before)
  SELECT $1, k.customer_id, coalesce(f.sales, 0), coalesce(f.spent, 0), coalesce(f.credit, 0), coalesce(f.payments, 0),
         coalesce(f.paid, 0), f.first_day, f.last_day, coalesce(f.window_sales, 0), coalesce(f.window_spent, 0),
         coalesce(f.window_credit_sales, 0), coalesce(f.window_credit, 0), coalesce(f.delay_days, 0), f.first_day
  FROM k LEFT JOIN f ON f.customer_id = k.customer_id
  ON CONFLICT (tenant_id, customer_id) DO UPDATE SET
    sales = excluded.sales, spent = excluded.spent, credit = excluded.credit, payments = excluded.payments,
    paid = excluded.paid, first_day = excluded.first_day, last_day = excluded.last_day,
    window_sales = excluded.window_sales, window_spent = excluded.window_spent,
    window_credit_sales = excluded.window_credit_sales, window_credit = excluded.window_credit,
    delay_days = excluded.delay_days, first_day_before = excluded.first_day_before
  RETURNING 1
)
SELECT count(*) AS changed FROM totals

-- Part: products of tenant $1 whose sums or attributes are not those of the facts, with what they should be.
-- name: differing_products
SELECT product_id, coalesce(f.on_hand, 0) AS on_hand, coalesce(f.reserved, 0) AS reserved, coalesce(f.sold, 0) AS sold,
         coalesce(f.cost_price, 0) AS cost_price, coalesce(f.sale_price, 0) AS sale_price,
         coalesce(f.min_quantity, 0) AS min_quantity, f.max_quantity, coalesce(f.shown, false) AS shown
  FROM ({+fresh_inventory}) f FULL JOIN (SELECT * FROM {state}.inventory WHERE tenant_id = $1) k USING (product_id)
  WHERE (coalesce(f.on_hand, 0), coalesce(f.reserved, 0), coalesce(f.sold, 0), coalesce(f.cost_price, 0),
         coalesce(f.sale_price, 0), coalesce(f.min_quantity, 0), coalesce(f.shown, false))
        <> (coalesce(k.on_hand, 0), coalesce(k.reserved, 0), coalesce(k.sold, 0), coalesce(k.cost_price, 0),
         coalesce(k.sale_price, 0), coalesce(k.min_quantity, 0), coalesce(k.shown, false))
     OR f.max_quantity IS DISTINCT FROM k.max_quantity

-- Reads only, as differing_customers does.
-- name: differing_stock
SELECT product_id FROM ({+differing_products}) d ORDER BY product_id

-- name: recompute_stock
WITH differs AS MATERIALIZED (
  {+differing_products}
), put AS (
  INSERT INTO {state}.inventory (tenant_id, product_id, on_hand, reserved, sold, cost_price, sale_price, min_quantity,
    max_quantity, shown)
  SELECT $1, d.* FROM differs d
  ON CONFLICT (tenant_id, product_id) DO UPDATE SET
    on_hand = excluded.on_hand, reserved = excluded.reserved, sold = excluded.sold, cost_price = excluded.cost_price,
    sale_price = excluded.sale_price, min_quantity = excluded.min_quantity, max_quantity = excluded.max_quantity,
    shown = excluded.shown
)
SELECT product_id, count(*) OVER () AS differing FROM differs ORDER BY product_id LIMIT 1000
