-- The sums, from the base facts of tenant $1, from scratch. The report rows follow through show.sql.

-- name: clear_sums
WITH a AS (DELETE FROM {state}.daily WHERE tenant_id = $1), b AS (DELETE FROM {state}.product_day WHERE tenant_id = $1),
     c AS (DELETE FROM {state}.customer_day WHERE tenant_id = $1), d AS (DELETE FROM {state}.customer_total WHERE tenant_id = $1),
     e AS (DELETE FROM {state}.child WHERE tenant_id = $1)
DELETE FROM {state}.inventory WHERE tenant_id = $1

-- What the sales of tenant {tenant} come to, in parts: several of a day or a product's or customer's day where they come out
-- of order; see gather.rs. The tables are made and dropped within one transaction: nobody else ever sees them, and their rows
-- are not in the WAL. Each store has its own, as others are copied and rebuilt at the same time.
-- name: make_gathered
CREATE UNLOGGED TABLE {state}.gathered_product_day_{tenant} (product_id bigint, day date, lines bigint, sales bigint,
  quantity numeric, revenue numeric, price_sum numeric, cost numeric);
CREATE UNLOGGED TABLE {state}.gathered_customer_day_{tenant} (customer_id bigint, day date, sales bigint, spent numeric,
  credit_sales bigint, credit numeric);
CREATE UNLOGGED TABLE {state}.gathered_day_{tenant} (day date, sales bigint, total numeric, discount numeric, tax numeric,
  cash numeric, card numeric, credit numeric, other numeric, quantity numeric, refunds bigint, refund_total numeric)

-- name: drop_gathered
DROP TABLE {state}.gathered_product_day_{tenant}, {state}.gathered_customer_day_{tenant}, {state}.gathered_day_{tenant}

-- name: copy_product_days
COPY {state}.gathered_product_day_{tenant} FROM STDIN (FORMAT binary)

-- name: copy_customer_days
COPY {state}.gathered_customer_day_{tenant} FROM STDIN (FORMAT binary)

-- name: copy_days
COPY {state}.gathered_day_{tenant} FROM STDIN (FORMAT binary)

-- name: copy_children
COPY {state}.child (tenant_id, kind, block, ids, sales) FROM STDIN (FORMAT binary)

-- Sales that are stored already, some at a time.
-- name: open_sales
DECLARE sales NO SCROLL CURSOR FOR SELECT f.* FROM {state}.sale f WHERE f.tenant_id = $1

-- name: next_sales
FETCH FORWARD 1500 FROM sales

-- In key order, as the rows are read and written by it. Sorted before they are added up: where a sum has hardly two parts
-- that takes half as long as a hash table, and half the memory.
-- name: build_product_days
INSERT INTO {state}.product_day (tenant_id, product_id, day, lines, sales, quantity, revenue, price_sum, cost)
SELECT $1, g.product_id, g.day, sum(g.lines), sum(g.sales), sum(g.quantity), sum(g.revenue), sum(g.price_sum), sum(g.cost)
FROM (SELECT * FROM {state}.gathered_product_day_{tenant} ORDER BY product_id, day OFFSET 0) g GROUP BY 2, 3 ORDER BY 2, 3

-- Where the report has no row of tenant $1 yet; otherwise show_days_of_product_performance.
-- name: build_product_performance
INSERT INTO {reports}.product_performance ({+performance_columns})
{+performance_select} FROM {state}.product_day u JOIN {state}.tenant t ON t.id = u.tenant_id, {+performance_where} AND t.id = $1

-- In the order of the days, by which they are found when the day moves on.
-- name: build_customer_days
INSERT INTO {state}.customer_day (tenant_id, customer_id, day, sales, spent, credit_sales, credit)
SELECT $1, g.customer_id, g.day, sum(g.sales), sum(g.spent), sum(g.credit_sales), sum(g.credit)
FROM (SELECT * FROM {state}.gathered_customer_day_{tenant} ORDER BY day, customer_id OFFSET 0) g GROUP BY 2, 3 ORDER BY 3, 2

-- Part: the sums of all customers of tenant $1 who have a counted sale (their days are ROWS) or paid credit back.
-- name: fresh_customers
SELECT customer_id, coalesce(d.sales, 0) AS sales, coalesce(d.spent, 0) AS spent, coalesce(d.credit, 0) AS credit,
         coalesce(p.payments, 0) AS payments, coalesce(p.paid, 0) AS paid, d.first_day, d.last_day,
         coalesce(d.window_sales, 0) AS window_sales, coalesce(d.window_spent, 0) AS window_spent,
         coalesce(d.window_credit_sales, 0) AS window_credit_sales, coalesce(d.window_credit, 0) AS window_credit,
         coalesce(l.days, 0) AS delay_days
  FROM (SELECT d.customer_id, sum(d.sales)::bigint AS sales, sum(d.spent) AS spent, sum(d.credit) AS credit,
               min(d.day) FILTER (WHERE d.sales > 0) AS first_day, max(d.day) FILTER (WHERE d.sales > 0) AS last_day,
               sum(d.sales) FILTER (WHERE d.day BETWEEN w.first AND w.last)::bigint AS window_sales,
               sum(d.spent) FILTER (WHERE d.day BETWEEN w.first AND w.last) AS window_spent,
               sum(d.credit_sales) FILTER (WHERE d.day BETWEEN w.first AND w.last)::bigint AS window_credit_sales,
               sum(d.credit) FILTER (WHERE d.day BETWEEN w.first AND w.last) AS window_credit
        FROM {rows} d, (SELECT t.today - s.window_days AS first, t.today AS last
                        FROM {state}.tenant t, {state}.settings s WHERE t.id = $1) w
        GROUP BY 1) d
  FULL JOIN (SELECT o.customer_id, count(*) AS payments, sum(o.amount) AS paid
             FROM {state}.credit_payment o WHERE o.tenant_id = $1 GROUP BY 1) p USING (customer_id)
  LEFT JOIN ({+all_delays}) l USING (customer_id)

-- Part: how late the customers of tenant $1 pay.
-- name: all_delays
SELECT l.* FROM {state}.tenant t CROSS JOIN {state}.settings s,
     {state}.payment_delays($1, t.today - s.window_days, t.today) l
WHERE t.id = $1

-- name: build_customer_totals
WITH days AS (SELECT * FROM {state}.customer_day WHERE tenant_id = $1),
f AS (
  {+fresh_customers days}
)
INSERT INTO {state}.customer_total (tenant_id, customer_id, sales, spent, credit, payments, paid, first_day, last_day,
  window_sales, window_spent, window_credit_sales, window_credit, delay_days, first_day_before)
SELECT $1, f.*, f.first_day FROM f

-- Part: stock, sales of 30 days and attributes of every product of tenant $1.
-- name: fresh_inventory
SELECT k.product_id, coalesce(stock.on_hand, 0) AS on_hand, coalesce(stock.reserved, 0) AS reserved,
         coalesce(sold.quantity, 0) AS sold, {+attributes k}
  FROM (SELECT $1::integer AS tenant_id, product_id
        FROM (SELECT p.id AS product_id FROM {state}.product p WHERE p.tenant_id = $1
              UNION SELECT unnest(b.products) FROM {state}.stock_movement b WHERE b.tenant_id = $1
              UNION SELECT b.product_id FROM {state}.batch b WHERE b.tenant_id = $1
              UNION SELECT r.product_id FROM {state}.reservation r WHERE r.tenant_id = $1
              UNION SELECT d.product_id FROM {state}.product_day d WHERE d.tenant_id = $1) k) k
  LEFT JOIN (SELECT s.product_id, sum(s.on_hand) AS on_hand, sum(s.reserved) AS reserved
             FROM (SELECT m.product_id, m.quantity AS on_hand, 0 AS reserved
                   FROM {state}.stock_movement b, unnest(b.products, b.quantities) m(product_id, quantity)
                   WHERE b.tenant_id = $1
                   UNION ALL SELECT product_id, quantity, 0 FROM {state}.batch WHERE tenant_id = $1
                   UNION ALL SELECT product_id, 0, quantity FROM {state}.reservation WHERE tenant_id = $1) s
             GROUP BY 1) stock ON stock.product_id = k.product_id
  LEFT JOIN (SELECT d.product_id, sum(d.quantity) AS quantity FROM {state}.product_day d JOIN {state}.tenant t ON t.id = $1
             WHERE d.tenant_id = $1 AND d.day BETWEEN t.today - 30 AND t.today GROUP BY 1) sold ON sold.product_id = k.product_id
  {+attribute_sources k}

-- name: build_inventory
INSERT INTO {state}.inventory (tenant_id, product_id, on_hand, reserved, sold, cost_price, sale_price, min_quantity,
  max_quantity, shown)
SELECT $1, f.* FROM ({+fresh_inventory}) f

-- name: build_daily
INSERT INTO {state}.daily (tenant_id, day, sales, total, discount, tax, cash, card, credit, other, quantity, products,
                           customers, new_customers, refunds, refund_total, opened, closed)
SELECT $1, day, coalesce(sum(sales), 0), coalesce(sum(total), 0), coalesce(sum(discount), 0), coalesce(sum(tax), 0),
       coalesce(sum(cash), 0), coalesce(sum(card), 0), coalesce(sum(credit), 0), coalesce(sum(other), 0),
       coalesce(sum(quantity), 0), coalesce(sum(products), 0), coalesce(sum(customers), 0), coalesce(sum(new_customers), 0),
       coalesce(sum(refunds), 0), coalesce(sum(refund_total), 0), coalesce(sum(opened), 0), coalesce(sum(closed), 0)
FROM (
  SELECT g.day, g.sales, g.total, g.discount, g.tax, g.cash, g.card, g.credit, g.other, g.quantity, NULL::bigint AS products,
         NULL::bigint AS customers, NULL::bigint AS new_customers, g.refunds, g.refund_total, NULL::bigint AS opened,
         NULL::bigint AS closed
  FROM {state}.gathered_day_{tenant} g
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
