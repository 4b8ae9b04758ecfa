-- The sums, from the base facts of tenant $1, from scratch. The report rows follow through show.sql.

-- name: clear_sums
WITH a AS (DELETE FROM {state}.daily WHERE tenant_id = $1), b AS (DELETE FROM {state}.product_day WHERE tenant_id = $1),
     c AS (DELETE FROM {state}.customer_day WHERE tenant_id = $1), d AS (DELETE FROM {state}.customer_total WHERE tenant_id = $1)
DELETE FROM {state}.stock WHERE tenant_id = $1

-- name: build_product_days
INSERT INTO {state}.product_day (tenant_id, product_id, day, lines, sales, quantity, revenue, price_sum, cost)
SELECT f.tenant_id, i.product_id, f.day, count(*), count(DISTINCT f.id), sum(i.quantity), sum(i.total), sum(i.price),
       coalesce(sum(i.quantity * i.cost), 0)
FROM {state}.sale f JOIN {state}.tenant t ON t.id = f.tenant_id,
     unnest(f.item_products, f.item_quantities, f.item_prices, f.item_totals, f.item_costs)
       AS i(product_id, quantity, price, total, cost)
WHERE f.tenant_id = $1 AND f.status = 'c' AND f.day >= t.horizon
GROUP BY 1, 2, 3

-- name: build_customer_days
INSERT INTO {state}.customer_day (tenant_id, customer_id, day, sales, spent, credit_sales, credit)
SELECT f.tenant_id, f.customer_id, f.day, count(*), sum(f.total), count(f.credit), coalesce(sum(f.credit), 0)
FROM {state}.sale f
WHERE f.tenant_id = $1 AND f.status = 'c' AND f.day IS NOT NULL AND f.customer_id IS NOT NULL
GROUP BY 1, 2, 3

-- name: build_customer_totals
INSERT INTO {state}.customer_total (tenant_id, customer_id, sales, spent, credit, payments, paid, first_day)
SELECT $1, coalesce(d.customer_id, p.customer_id), coalesce(d.sales, 0), coalesce(d.spent, 0), coalesce(d.credit, 0),
       coalesce(p.payments, 0), coalesce(p.paid, 0), d.first_day
FROM (SELECT customer_id, sum(sales)::bigint AS sales, sum(spent) AS spent, sum(credit) AS credit, min(day) AS first_day
      FROM {state}.customer_day WHERE tenant_id = $1 GROUP BY 1) d
FULL JOIN (SELECT customer_id, count(*) AS payments, sum(amount) AS paid
           FROM {state}.credit_payment WHERE tenant_id = $1 GROUP BY 1) p USING (customer_id)

-- name: build_stock
INSERT INTO {state}.stock (tenant_id, product_id, on_hand, reserved)
SELECT $1, product_id, sum(on_hand), sum(reserved)
FROM (SELECT m.product_id, m.quantity AS on_hand, 0 AS reserved
      FROM {state}.stock_movement b, unnest(b.products, b.quantities) m(product_id, quantity) WHERE b.tenant_id = $1
      UNION ALL SELECT product_id, quantity, 0 FROM {state}.batch WHERE tenant_id = $1
      UNION ALL SELECT product_id, 0, quantity FROM {state}.reservation WHERE tenant_id = $1) s
GROUP BY product_id

-- name: build_daily
INSERT INTO {state}.daily (tenant_id, day, sales, total, discount, tax, cash, card, credit, other, quantity, products,
                           customers, new_customers, refunds, refund_total, opened, closed)
SELECT $1, day, coalesce(sum(sales), 0), coalesce(sum(total), 0), coalesce(sum(discount), 0), coalesce(sum(tax), 0),
       coalesce(sum(cash), 0), coalesce(sum(card), 0), coalesce(sum(credit), 0), coalesce(sum(other), 0),
       coalesce(sum(quantity), 0), coalesce(sum(products), 0), coalesce(sum(customers), 0), coalesce(sum(new_customers), 0),
       coalesce(sum(refunds), 0), coalesce(sum(refund_total), 0), coalesce(sum(opened), 0), coalesce(sum(closed), 0)
FROM (
  SELECT f.day, count(*) FILTER (WHERE f.status = 'c') AS sales, sum(f.total) FILTER (WHERE f.status = 'c') AS total,
         sum(f.discount) FILTER (WHERE f.status = 'c') AS discount, sum(f.tax) FILTER (WHERE f.status = 'c') AS tax,
         NULL::numeric AS cash, NULL::numeric AS card, NULL::numeric AS credit, NULL::numeric AS other,
         sum((SELECT sum(q) FROM unnest(f.item_quantities) q)) FILTER (WHERE f.status = 'c') AS quantity,
         NULL::bigint AS products, NULL::bigint AS customers, NULL::bigint AS new_customers,
         count(*) FILTER (WHERE f.status = 'r') AS refunds, sum(f.total) FILTER (WHERE f.status = 'r') AS refund_total,
         NULL::bigint AS opened, NULL::bigint AS closed
  FROM {state}.sale f WHERE f.tenant_id = $1 AND f.status IN ('c', 'r') AND f.day IS NOT NULL GROUP BY 1
  UNION ALL
  SELECT f.day, NULL, NULL, NULL, NULL, sum(p.amount) FILTER (WHERE p.kind = 'c'), sum(p.amount) FILTER (WHERE p.kind = 'd'),
         sum(p.amount) FILTER (WHERE p.kind = 'r'), sum(p.amount) FILTER (WHERE p.kind = 'o'),
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
  FROM {state}.sale f, unnest(f.payment_kinds, f.payment_amounts) AS p(kind, amount)
  WHERE f.tenant_id = $1 AND f.status = 'c' AND f.day IS NOT NULL GROUP BY 1
  UNION ALL
  SELECT day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL, NULL
  FROM {state}.product_day WHERE tenant_id = $1 AND lines > 0 GROUP BY 1
  UNION ALL
  SELECT day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*), NULL, NULL, NULL, NULL, NULL
  FROM {state}.customer_day WHERE tenant_id = $1 AND sales > 0 GROUP BY 1
  UNION ALL
  SELECT first_day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*), NULL, NULL, NULL, NULL
  FROM {state}.customer_total WHERE tenant_id = $1 AND first_day IS NOT NULL GROUP BY 1
  UNION ALL
  SELECT opened_day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*), NULL
  FROM {state}.session WHERE tenant_id = $1 AND opened_day IS NOT NULL GROUP BY 1
  UNION ALL
  SELECT closed_day, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, count(*)
  FROM {state}.session WHERE tenant_id = $1 AND closed_day IS NOT NULL GROUP BY 1) parts
WHERE day >= (SELECT horizon FROM {state}.tenant WHERE id = $1)
GROUP BY day
