-- The stored facts a batch must see before it can be folded: keys in (tenant numbers, ids), rows out.

-- name: load_sales
SELECT f.* FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.sale f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- The rows of a child's block name every sale that it ever came into; the sale itself tells whether it is there.
-- name: load_sales_by_item
SELECT f.* FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.child c ON c.tenant_id = k.tenant_id AND c.kind = 'i' AND c.block = k.id >> 6,
     unnest(c.ids, c.sales) AS h(id, sale)
JOIN {state}.sale f ON f.id = h.sale
WHERE h.id = k.id AND f.tenant_id = k.tenant_id AND k.id = ANY (f.item_ids)

-- name: load_sales_by_payment
SELECT f.* FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.child c ON c.tenant_id = k.tenant_id AND c.kind = 'p' AND c.block = k.id >> 6,
     unnest(c.ids, c.sales) AS h(id, sale)
JOIN {state}.sale f ON f.id = h.sale
WHERE h.id = k.id AND f.tenant_id = k.tenant_id AND k.id = ANY (f.payment_ids)

-- Sales of which only items or payments have arrived.
-- name: load_headless
SELECT tenant_id, id FROM {state}.sale WHERE status IS NULL LIMIT $1

-- name: load_movements
SELECT f.tenant_id, f.block, array_agg(m.id), array_agg(m.product), array_agg(m.quantity)
FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, block)
JOIN {state}.stock_movement f ON f.tenant_id = k.tenant_id AND f.block = k.block,
     unnest(f.ids, f.products, f.quantities) AS m(id, product, quantity)
GROUP BY f.tenant_id, f.block

-- name: load_batches
SELECT f.tenant_id, f.id, f.product_id, f.quantity FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.batch f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- name: load_reservations
SELECT f.tenant_id, f.id, f.product_id, f.quantity FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.reservation f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- name: load_credit_payments
SELECT f.tenant_id, f.id, f.customer_id, f.amount, f.created_at, f.day FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.credit_payment f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- name: load_sessions
SELECT f.tenant_id, f.id, f.opened_day, f.closed_day FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.session f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- name: load_stock_limits
SELECT f.tenant_id, f.id, f.product_id, f.min_quantity, f.max_quantity, f.track_inventory
FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.stock_limits f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- name: load_pricing
SELECT f.tenant_id, f.id, f.product_id, f.cost_price, f.sale_price
FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.pricing f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- name: load_pricing_of_products
SELECT f.tenant_id, f.id, f.product_id, f.cost_price, f.sale_price
FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, product_id)
JOIN {state}.pricing f ON f.tenant_id = k.tenant_id AND f.product_id = k.product_id

-- name: load_product_names
SELECT f.tenant_id, f.id, f.product_id, f.name
FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
JOIN {state}.product_name f ON f.tenant_id = k.tenant_id AND f.id = k.id

-- The products that refer to these names.
-- name: load_named_products
SELECT f.tenant_id, f.id
FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, name_id)
JOIN {state}.product f ON f.tenant_id = k.tenant_id AND f.name_id = k.name_id
