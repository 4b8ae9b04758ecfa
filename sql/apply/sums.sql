-- The sums behind the reports: differences added in, keys in the order of the primary key.

-- How many products the days gained or lost comes back: a product counts while it has a line.
-- name: add_product_days
WITH d AS (
  SELECT * FROM unnest($1::integer[], $2::bigint[], $3::date[], $4::bigint[], $5::bigint[], $6::numeric[], $7::numeric[],
                       $8::numeric[], $9::numeric[])
                d(tenant_id, product_id, day, lines, sales, quantity, revenue, price_sum, cost)
), u AS (
  INSERT INTO {state}.product_day AS p (tenant_id, product_id, day, lines, sales, quantity, revenue, price_sum, cost)
  SELECT * FROM d
  ON CONFLICT (tenant_id, product_id, day) DO UPDATE SET
    lines = p.lines + excluded.lines, sales = p.sales + excluded.sales, quantity = p.quantity + excluded.quantity,
    revenue = p.revenue + excluded.revenue, price_sum = p.price_sum + excluded.price_sum, cost = p.cost + excluded.cost,
    lines_before = p.lines
  RETURNING p.tenant_id, p.day, p.lines, p.lines_before
)
SELECT tenant_id, day, sum((lines > 0)::integer - (lines_before > 0)::integer)::bigint AS products
FROM u GROUP BY 1, 2 HAVING sum((lines > 0)::integer - (lines_before > 0)::integer) <> 0

-- The same for customers.
-- name: add_customer_days
WITH d AS (
  SELECT * FROM unnest($1::integer[], $2::bigint[], $3::date[], $4::bigint[], $5::numeric[], $6::bigint[], $7::numeric[])
                d(tenant_id, customer_id, day, sales, spent, credit_sales, credit)
), u AS (
  INSERT INTO {state}.customer_day AS c (tenant_id, customer_id, day, sales, spent, credit_sales, credit)
  SELECT * FROM d
  ON CONFLICT (tenant_id, customer_id, day) DO UPDATE SET
    sales = c.sales + excluded.sales, spent = c.spent + excluded.spent,
    credit_sales = c.credit_sales + excluded.credit_sales, credit = c.credit + excluded.credit, sales_before = c.sales
  RETURNING c.tenant_id, c.day, c.sales, c.sales_before
)
SELECT tenant_id, day, sum((sales > 0)::integer - (sales_before > 0)::integer)::bigint AS customers
FROM u GROUP BY 1, 2 HAVING sum((sales > 0)::integer - (sales_before > 0)::integer) <> 0

-- name: add_customer_totals
INSERT INTO {state}.customer_total AS c (tenant_id, customer_id, sales, spent, credit, payments, paid)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::numeric[], $5::numeric[], $6::bigint[], $7::numeric[])
ON CONFLICT (tenant_id, customer_id) DO UPDATE SET
  sales = c.sales + excluded.sales, spent = c.spent + excluded.spent, credit = c.credit + excluded.credit,
  payments = c.payments + excluded.payments, paid = c.paid + excluded.paid

-- First days of the customers named, where they moved: the day left and the day reached come back.
-- name: move_first_days
WITH k AS (
  SELECT c.tenant_id, c.customer_id, c.first_day AS old_day,
         (SELECT min(d.day) FROM {state}.customer_day d
          WHERE d.tenant_id = c.tenant_id AND d.customer_id = c.customer_id AND d.sales > 0) AS new_day
  FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, customer_id)
  JOIN {state}.customer_total c ON c.tenant_id = k.tenant_id AND c.customer_id = k.customer_id
), u AS (
  UPDATE {state}.customer_total c SET first_day = k.new_day FROM k
  WHERE c.tenant_id = k.tenant_id AND c.customer_id = k.customer_id AND k.new_day IS DISTINCT FROM k.old_day
)
SELECT tenant_id, old_day, new_day, count(*) AS customers FROM k WHERE new_day IS DISTINCT FROM old_day GROUP BY 1, 2, 3

-- name: add_stock
INSERT INTO {state}.stock AS s (tenant_id, product_id, on_hand, reserved)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::numeric[], $4::numeric[])
ON CONFLICT (tenant_id, product_id) DO UPDATE SET
  on_hand = s.on_hand + excluded.on_hand, reserved = s.reserved + excluded.reserved

-- name: add_daily
INSERT INTO {state}.daily AS d
SELECT * FROM unnest($1::integer[], $2::date[], $3::bigint[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[],
  $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[],
  $16::numeric[], $17::bigint[], $18::bigint[])
ON CONFLICT (tenant_id, day) DO UPDATE SET
  sales = d.sales + excluded.sales, total = d.total + excluded.total, discount = d.discount + excluded.discount,
  tax = d.tax + excluded.tax, cash = d.cash + excluded.cash, card = d.card + excluded.card,
  credit = d.credit + excluded.credit, other = d.other + excluded.other, quantity = d.quantity + excluded.quantity,
  products = d.products + excluded.products, customers = d.customers + excluded.customers,
  new_customers = d.new_customers + excluded.new_customers, refunds = d.refunds + excluded.refunds,
  refund_total = d.refund_total + excluded.refund_total, opened = d.opened + excluded.opened, closed = d.closed + excluded.closed
