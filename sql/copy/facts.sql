-- The first copy: base facts from the POS tables of one store, as of an exported snapshot. Each statement's columns are
-- those of the table of its name in the state schema, after tenant_id. {table X} is the mapped POS table with our column names.

-- {joined}: the sales with what belongs to them, or what belongs to none; see sales.rs.
-- name: sale
WITH item AS (
  SELECT i.sale_id AS id, array_agg(i.id) AS item_ids, array_agg(i.product_id) AS item_products,
         array_agg(i.quantity) AS item_quantities, array_agg(i.unit_price) AS item_prices,
         array_agg(i.line_total) AS item_totals, array_agg(coalesce(i.cost_price, 0)) AS item_costs
  FROM (SELECT o.*, c.cost_price
        FROM {table sale_item} o
        LEFT JOIN (SELECT DISTINCT ON (p.product_id) p.product_id, p.cost_price FROM {table pricing} p
                   ORDER BY p.product_id, p.id DESC) c ON c.product_id = o.product_id
        ORDER BY o.sale_id, o.id) i
  GROUP BY i.sale_id
), payment AS (
  SELECT p.sale_id AS id, array_agg(p.id) AS payment_ids, array_agg(p.kind) AS payment_kinds,
         array_agg(p.amount) AS payment_amounts, sum(p.amount) FILTER (WHERE p.kind = 'r') AS credit
  FROM (SELECT o.sale_id, o.id, o.amount,
               (CASE WHEN o.payment_method = ANY ({cash}) THEN 'c' WHEN o.payment_method = ANY ({card}) THEN 'd'
                     WHEN o.payment_method = ANY ({credit}) THEN 'r' ELSE 'o' END)::"char" AS kind
        FROM {table payment} o ORDER BY o.sale_id, o.id) p
  GROUP BY p.sale_id
), sale AS (
  SELECT s.id, s.customer_id, s.completed_at, s.day, s.total_amount, s.discount_amount, s.tax_amount,
         (CASE WHEN s.status = ANY ({completed}) THEN 'c' WHEN s.status = ANY ({refunded}) THEN 'r' ELSE 'o' END)::"char" AS status
  FROM {table sale} s
)
SELECT coalesce(s.id, i.id, p.id), s.status, s.customer_id, s.completed_at, s.day,
       coalesce(s.total_amount, 0), coalesce(s.discount_amount, 0), coalesce(s.tax_amount, 0), p.credit,
       coalesce(i.item_ids, ARRAY[]::bigint[]), coalesce(i.item_products, ARRAY[]::bigint[]), coalesce(i.item_quantities, ARRAY[]::numeric[]),
       coalesce(i.item_prices, ARRAY[]::numeric[]), coalesce(i.item_totals, ARRAY[]::numeric[]),
       -- Items of sales that are counted now take the price they find; the others the one they will find.
       CASE WHEN s.status = 'c' AND s.completed_at IS NOT NULL THEN coalesce(i.item_costs, ARRAY[]::numeric[])
            ELSE array_fill(NULL::numeric, ARRAY[coalesce(cardinality(i.item_ids), 0)]) END,
       coalesce(p.payment_ids, ARRAY[]::bigint[]), coalesce(p.payment_kinds, ARRAY[]::"char"[]), coalesce(p.payment_amounts, ARRAY[]::numeric[])
FROM {joined}

-- name: stock_movement
SELECT m.id >> 6, array_agg(m.id), array_agg(m.product_id), array_agg(m.quantity)
FROM (SELECT o.id, o.product_id,
             CASE WHEN o.movement_type = ANY ({outgoing}) THEN -o.quantity ELSE o.quantity END AS quantity
      FROM {table stock_movement} o
      WHERE o.movement_type = ANY ({incoming} || {outgoing} || {signed}) ORDER BY o.id) m
GROUP BY m.id >> 6

-- name: batch
SELECT b.id, b.product_id, b.quantity FROM {table batch} b WHERE b.is_active AND b.quantity <> 0

-- name: reservation
SELECT r.id, r.product_id, r.quantity FROM {table reservation} r
WHERE r.status = ANY ({reservation_active}) AND r.quantity <> 0

-- name: credit_payment
SELECT t.id, t.customer_id, t.amount, t.created_at, t.created_day
FROM {table customer_transaction} t WHERE t.transaction_type = ANY ({payment_types})

-- name: session
SELECT s.id, s.opened_day, s.closed_day FROM {table session} s

-- name: pricing
SELECT p.id, p.product_id, p.cost_price, p.sale_price FROM {table pricing} p

-- name: stock_limits
SELECT l.id, l.product_id, l.min_quantity, l.max_quantity, l.track_inventory FROM {table stock_limits} l

-- name: customer
SELECT c.id, c.first_name, c.last_name, c.middle_name, c.customer_type, c.company_name, c.phone, c.is_active,
       c.customer_type = ANY ({company_types})
FROM {table customer} c

-- name: product
SELECT p.id, p.name, p.sku, p.barcode, p.is_active, p.name_id FROM {table product} p

-- name: product_name
SELECT n.id, n.product_id, n.name FROM {table product_name} n
