-- The sums behind the reports: differences added in, keys in the order of the primary key. {+PART ROWS} stands for the part
-- of that name, reading ROWS: those of show.sql write the report rows that follow from some sums. Statements are sent before
-- those before them are answered, so nothing here answers with what a later one would need.

-- A product counts for its day while it has a line.
-- name: add_product_days
WITH {+product_days_plus added}, begun AS (
  INSERT INTO {state}.product_day AS p (tenant_id, product_id, day, lines, sales, quantity, revenue, price_sum, cost)
  SELECT n.* FROM added_n n
  WHERE (n.tenant_id, n.product_id, n.day) NOT IN (SELECT a.tenant_id, a.product_id, a.day FROM added a)
  RETURNING p.*
), u AS (
  SELECT * FROM added UNION ALL SELECT * FROM begun
), day AS (
  INSERT INTO {state}.daily AS d (tenant_id, day, products)
  SELECT tenant_id, day, sum((lines > 0)::integer - (lines_before > 0)::integer)
  FROM u GROUP BY 1, 2 HAVING sum((lines > 0)::integer - (lines_before > 0)::integer) <> 0
  ON CONFLICT (tenant_id, day) DO UPDATE SET products = d.products + excluded.products
), {+product_performance u}
SELECT (SELECT count(*) FROM gone_performance) + (SELECT count(*) FROM put_performance) AS changed

-- Where all rows are there and stay.
-- name: grow_product_days
WITH {+product_days_grow u}
SELECT CASE WHEN {+all_of u} THEN 0 ELSE {state}.missing() END AS missing

-- Part: sums and report rows, of which {rows} are the sums then.
-- name: product_days_grow
{+product_days_plus {rows}}, {+said_performance {rows}}, {rows}_shown AS ({+update_performance} RETURNING 1)

-- Part: what is given added to the rows that are there, which are {rows} then.
-- name: product_days_plus
{rows}_n AS MATERIALIZED (
  SELECT * FROM unnest($1::integer[], $2::bigint[], $3::date[], $4::bigint[], $5::bigint[], $6::numeric[], $7::numeric[],
                       $8::numeric[], $9::numeric[])
    n(tenant_id, product_id, day, lines, sales, quantity, revenue, price_sum, cost)
), {rows} AS (
  UPDATE {state}.product_day p SET
    lines = p.lines + n.lines, sales = p.sales + n.sales, quantity = p.quantity + n.quantity,
    revenue = p.revenue + n.revenue, price_sum = p.price_sum + n.price_sum, cost = p.cost + n.cost, lines_before = p.lines
  FROM {rows}_n n WHERE p.tenant_id = n.tenant_id AND p.product_id = n.product_id AND p.day = n.day
  RETURNING p.*
)

-- Part: all rows that were taken to be there are. Where they are not the transaction has to stop.
-- name: all_of
(SELECT count(*) FROM {rows}_n) = (SELECT count(*) FROM {rows})
  AND (SELECT count(*) FROM {rows}_n) = (SELECT count(*) FROM {rows}_shown)

-- A customer counts for the day while there is a sale.
-- name: add_customer_days
WITH {+customer_days}
INSERT INTO {state}.daily AS d (tenant_id, day, customers) SELECT * FROM met
ON CONFLICT (tenant_id, day) DO UPDATE SET customers = d.customers + excluded.customers

-- Part: how many customers that makes more or fewer on a day.
-- name: customer_days
customer_days AS (
  INSERT INTO {state}.customer_day AS c (tenant_id, customer_id, day, sales, spent, credit_sales, credit)
  SELECT * FROM unnest($1::integer[], $2::bigint[], $3::date[], $4::bigint[], $5::numeric[], $6::bigint[], $7::numeric[])
  ON CONFLICT (tenant_id, customer_id, day) DO UPDATE SET
    sales = c.sales + excluded.sales, spent = c.spent + excluded.spent,
    credit_sales = c.credit_sales + excluded.credit_sales, credit = c.credit + excluded.credit, sales_before = c.sales
  RETURNING c.*
), met AS (
  SELECT u.tenant_id, u.day, sum((u.sales > 0)::integer - (u.sales_before > 0)::integer) AS customers
  FROM customer_days u {+its_store} WHERE u.day >= t.horizon
  GROUP BY 1, 2 HAVING sum((u.sales > 0)::integer - (u.sales_before > 0)::integer) <> 0
)

-- A first or last day that is given was come by; one that may be lost, and how late a customer pays, is for
-- settle_customers: those wait whose days lost a sale ($14 is 2), and those with payments whose credit changed (1).
-- name: add_customers
WITH {+customers_plus added}, begun AS (
  INSERT INTO {state}.customer_total AS c (tenant_id, customer_id, sales, spent, credit, payments, paid, first_day, last_day,
    window_sales, window_spent, window_credit_sales, window_credit, unsettled)
  SELECT n.* FROM added_n n
  WHERE (n.tenant_id, n.customer_id) NOT IN (SELECT a.tenant_id, a.customer_id FROM added a)
  RETURNING c.*
), u AS (
  SELECT * FROM added UNION ALL SELECT * FROM begun
), {+first_days u}, {+daily_sales_report day}, settled AS (SELECT * FROM u WHERE u.unsettled = 0), {+customer_analytics settled}
SELECT (SELECT count(*) FROM gone_customers) + (SELECT count(*) FROM put_customers) AS changed

-- Where all rows are there and stay, their first day does not move, and nothing is left unsettled.
-- name: grow_customers
WITH {+customers_grow u}
SELECT CASE WHEN {+all_of u} THEN 0 ELSE {state}.missing() END AS missing

-- Part: the same of customers.
-- name: customers_grow
{+customers_plus {rows}}, {+said_customers {rows}}, {rows}_shown AS ({+update_customers} RETURNING 1)

-- Part: what is given added to the rows that are there, which are {rows} then.
-- name: customers_plus
{rows}_n AS MATERIALIZED (
  SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::numeric[], $5::numeric[], $6::bigint[], $7::numeric[],
    $8::date[], $9::date[], $10::bigint[], $11::numeric[], $12::bigint[], $13::numeric[], $14::smallint[])
    n(tenant_id, customer_id, sales, spent, credit, payments, paid, first_day, last_day, window_sales, window_spent,
      window_credit_sales, window_credit, unsettled)
), {rows} AS (
  UPDATE {state}.customer_total c SET
    sales = c.sales + n.sales, spent = c.spent + n.spent, credit = c.credit + n.credit, payments = c.payments + n.payments,
    paid = c.paid + n.paid, first_day = least(c.first_day, n.first_day), last_day = greatest(c.last_day, n.last_day),
    window_sales = c.window_sales + n.window_sales, window_spent = c.window_spent + n.window_spent,
    window_credit_sales = c.window_credit_sales + n.window_credit_sales, window_credit = c.window_credit + n.window_credit,
    first_day_before = c.first_day,
    unsettled = CASE WHEN n.unsettled = 1 AND c.payments = 0 AND n.payments = 0 THEN 0 ELSE n.unsettled END
  FROM {rows}_n n WHERE c.tenant_id = n.tenant_id AND c.customer_id = n.customer_id
  RETURNING c.*
)

-- The customers left unsettled: how late they pay is found out anew, and where a day may have lost its last sale the days
-- are counted. Where all that is new is credit of counted sales, of day $3 or later, and the credit before that day uses up
-- all payments, as with whoever pays after buying, nothing from that day on is settled, new or not: how late they pay stays.
-- name: settle_customers
WITH n AS (
  SELECT o.tenant_id, o.customer_id, o.unsettled = 2 AS recount, f.*,
         CASE WHEN o.payments = 0 THEN 0
              WHEN k.credit_from IS NOT NULL AND (
                SELECT o.credit - coalesce(sum(f.credit), 0) >= (
                         SELECT coalesce(sum(p.amount), 0) FROM {state}.credit_payment p
                         WHERE p.tenant_id = k.tenant_id AND p.customer_id = k.customer_id AND p.amount > 0)
                       AND bool_and(f.credit > 0)
                FROM {state}.sale f
                WHERE f.tenant_id = k.tenant_id AND f.customer_id = k.customer_id AND f.credit IS NOT NULL
                  AND f.status = 'c' AND f.day >= k.credit_from) THEN o.delay_days
              ELSE coalesce((SELECT l.days
                             FROM {state}.payment_delays(o.tenant_id, t.today - s.window_days, t.today) l
                             WHERE l.customer_id = o.customer_id), 0) END AS delay
  FROM unnest($1::integer[], $2::bigint[], $3::date[]) k(tenant_id, customer_id, credit_from)
  JOIN {state}.customer_total o ON o.tenant_id = k.tenant_id AND o.customer_id = k.customer_id AND o.unsettled <> 0
  JOIN {state}.tenant t ON t.id = k.tenant_id CROSS JOIN {state}.settings s
  CROSS JOIN LATERAL (
    SELECT min(d.day) FILTER (WHERE d.sales > 0) AS first_day, max(d.day) FILTER (WHERE d.sales > 0) AS last_day,
           coalesce(sum(d.sales) FILTER (WHERE w), 0)::bigint AS sales, coalesce(sum(d.spent) FILTER (WHERE w), 0) AS spent,
           coalesce(sum(d.credit_sales) FILTER (WHERE w), 0)::bigint AS credit_sales,
           coalesce(sum(d.credit) FILTER (WHERE w), 0) AS credit
    FROM {state}.customer_day d, LATERAL (SELECT d.day BETWEEN t.today - s.window_days AND t.today AS w) w
    WHERE o.unsettled = 2 AND d.tenant_id = k.tenant_id AND d.customer_id = k.customer_id) f
), u AS (
  UPDATE {state}.customer_total c SET
    first_day_before = c.first_day, delay_days = n.delay, unsettled = 0,
    first_day = CASE WHEN n.recount THEN n.first_day ELSE c.first_day END,
    last_day = CASE WHEN n.recount THEN n.last_day ELSE c.last_day END,
    window_sales = CASE WHEN n.recount THEN n.sales ELSE c.window_sales END,
    window_spent = CASE WHEN n.recount THEN n.spent ELSE c.window_spent END,
    window_credit_sales = CASE WHEN n.recount THEN n.credit_sales ELSE c.window_credit_sales END,
    window_credit = CASE WHEN n.recount THEN n.credit ELSE c.window_credit END
  FROM n WHERE c.tenant_id = n.tenant_id AND c.customer_id = n.customer_id
  RETURNING c.*
), {+first_days u}, {+daily_sales_report day}, {+customer_analytics u}
SELECT (SELECT count(*) FROM gone_customers) + (SELECT count(*) FROM put_customers) AS changed

-- Part: where the first days of some customers moved, the day left loses a new customer and the day reached gets
-- one. Comes out as `day`, the sums of those days.
-- name: first_days
moved AS (
  SELECT u.tenant_id, u.day, sum(u.n)::bigint AS n
  FROM (SELECT u.tenant_id, u.first_day AS day, 1 AS n FROM {rows} u
        WHERE u.first_day IS DISTINCT FROM u.first_day_before AND u.first_day IS NOT NULL
        UNION ALL
        SELECT u.tenant_id, u.first_day_before, -1 FROM {rows} u
        WHERE u.first_day IS DISTINCT FROM u.first_day_before AND u.first_day_before IS NOT NULL) u
  {+its_store} WHERE u.day >= t.horizon
  GROUP BY 1, 2 HAVING sum(u.n) <> 0
), day AS (
  INSERT INTO {state}.daily AS d (tenant_id, day, new_customers) SELECT * FROM moved
  ON CONFLICT (tenant_id, day) DO UPDATE SET new_customers = d.new_customers + excluded.new_customers
  RETURNING d.*
)

-- name: add_inventory
WITH {+stock_added}, {+inventory_rows u}
SELECT count(*) AS changed FROM put_inventory

-- Alone, for products that settle_inventory shows.
-- name: add_stock
WITH {+stock_added} SELECT count(*) FROM u

-- Part: the rows that quantities were added to, as they are then.
-- name: stock_added
n AS MATERIALIZED (
  SELECT * FROM unnest($1::integer[], $2::bigint[], $3::numeric[], $4::numeric[], $5::numeric[])
    n(tenant_id, product_id, on_hand, reserved, sold)
), added AS (
  UPDATE {state}.inventory i SET on_hand = i.on_hand + n.on_hand, reserved = i.reserved + n.reserved, sold = i.sold + n.sold
  FROM n WHERE i.tenant_id = n.tenant_id AND i.product_id = n.product_id
  RETURNING i.*
), begun AS (
  INSERT INTO {state}.inventory AS i (tenant_id, product_id, on_hand, reserved, sold)
  SELECT n.* FROM n
  WHERE (n.tenant_id, n.product_id) NOT IN (SELECT a.tenant_id, a.product_id FROM added a)
  RETURNING i.*
), u AS (
  SELECT * FROM added UNION ALL SELECT * FROM begun
)

-- Products of which a price, a limit or the product itself changed.
-- name: settle_inventory
WITH u AS (
  INSERT INTO {state}.inventory AS i (tenant_id, product_id, cost_price, sale_price, min_quantity, max_quantity, shown)
  SELECT k.tenant_id, k.product_id, {+attributes k}
  FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, product_id) {+attribute_sources k}
  ON CONFLICT (tenant_id, product_id) DO UPDATE SET
    cost_price = excluded.cost_price, sale_price = excluded.sale_price, min_quantity = excluded.min_quantity,
    max_quantity = excluded.max_quantity, shown = excluded.shown
  RETURNING i.*
), {+inventory_snapshot u}
SELECT (SELECT count(*) FROM gone_inventory) + (SELECT count(*) FROM put_inventory) AS changed

-- name: add_daily
WITH {+days_alone added}, {+daily_plus added}, begun AS (
  INSERT INTO {state}.daily AS d (tenant_id, day, sales, total, discount, tax, cash, card, credit, other, quantity, refunds,
                                  refund_total, opened, closed, customers)
  SELECT n.* FROM added_n n WHERE (n.tenant_id, n.day) NOT IN (SELECT a.tenant_id, a.day FROM added a)
  RETURNING d.*
), u AS (
  SELECT * FROM added UNION ALL SELECT * FROM begun
), {+daily_sales_report u}
SELECT (SELECT count(*) FROM gone_daily) + (SELECT count(*) FROM put_daily) AS changed

-- Where all rows are there and stay.
-- name: grow_daily
WITH {+days_alone u}, {+daily_grow u}
SELECT CASE WHEN {+all_of u} THEN 0 ELSE {state}.missing() END AS missing

-- Part: the same of days, those of {rows}_n.
-- name: daily_grow
{+daily_plus {rows}}, {+said_daily {rows}}, {rows}_shown AS ({+update_daily} RETURNING 1)

-- Part: days without what their customers come to, which add_customer_days adds.
-- name: days_alone
{rows}_n AS MATERIALIZED (SELECT n.*, 0 AS customers FROM {+daily_given} n)

-- Part: what is given of days.
-- name: daily_given
(SELECT * FROM unnest($1::integer[], $2::date[], $3::bigint[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[],
    $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[], $12::bigint[], $13::numeric[], $14::bigint[], $15::bigint[])
    n(tenant_id, day, sales, total, discount, tax, cash, card, credit, other, quantity, refunds, refund_total, opened, closed))

-- Part: {rows}_n added to the rows that are there, which are {rows} then.
-- name: daily_plus
{rows} AS (
  UPDATE {state}.daily d SET
    sales = d.sales + n.sales, total = d.total + n.total, discount = d.discount + n.discount,
    tax = d.tax + n.tax, cash = d.cash + n.cash, card = d.card + n.card,
    credit = d.credit + n.credit, other = d.other + n.other, quantity = d.quantity + n.quantity,
    refunds = d.refunds + n.refunds, refund_total = d.refund_total + n.refund_total,
    opened = d.opened + n.opened, closed = d.closed + n.closed, customers = d.customers + n.customers
  FROM {rows}_n n WHERE d.tenant_id = n.tenant_id AND d.day = n.day
  RETURNING d.*
)

-- Parts: what a product's row needs of other facts. Of several prices or limits the one with the highest id is valid.
-- name: attributes
coalesce(pricing.cost_price, 0) AS cost_price, coalesce(pricing.sale_price, 0) AS sale_price,
         coalesce(limits.min_quantity, 0) AS min_quantity, limits.max_quantity,
         product.id IS NOT NULL AND coalesce(limits.track_inventory, true) AS shown

-- name: attribute_sources
LEFT JOIN {state}.product product ON product.tenant_id = {rows}.tenant_id AND product.id = {rows}.product_id
  LEFT JOIN LATERAL (SELECT r.cost_price, r.sale_price FROM {state}.pricing r WHERE r.tenant_id = {rows}.tenant_id
                     AND r.product_id = {rows}.product_id ORDER BY r.id DESC LIMIT 1) pricing ON true
  LEFT JOIN LATERAL (SELECT l.min_quantity, l.max_quantity, l.track_inventory FROM {state}.stock_limits l
                     WHERE l.tenant_id = {rows}.tenant_id AND l.product_id = {rows}.product_id
                     ORDER BY l.id DESC LIMIT 1) limits ON true
