-- Base facts as they are after the batch. Rows to put and keys to remove; nothing here adds up.

-- Sales of which nothing is stored.
-- name: add_sales
INSERT INTO {state}.sale SELECT * FROM unnest($1::{state}.sale[])

-- name: put_sales
INSERT INTO {state}.sale SELECT * FROM unnest($1::{state}.sale[])
ON CONFLICT (tenant_id, id) DO UPDATE SET
  status = excluded.status, customer_id = excluded.customer_id, completed_at = excluded.completed_at, day = excluded.day,
  total = excluded.total, discount = excluded.discount, tax = excluded.tax, credit = excluded.credit,
  item_ids = excluded.item_ids, item_products = excluded.item_products, item_quantities = excluded.item_quantities,
  item_prices = excluded.item_prices, item_totals = excluded.item_totals, item_costs = excluded.item_costs,
  payment_ids = excluded.payment_ids, payment_kinds = excluded.payment_kinds, payment_amounts = excluded.payment_amounts

-- name: add_children
INSERT INTO {state}.child SELECT * FROM unnest($1::{state}.child[])

-- name: remove_sales
DELETE FROM {state}.sale f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- name: add_movements
INSERT INTO {state}.stock_movement SELECT * FROM unnest($1::{state}.stock_movement[])

-- name: remove_movements
DELETE FROM {state}.stock_movement f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, block)
WHERE f.tenant_id = k.tenant_id AND f.block = k.block

-- name: put_batches
INSERT INTO {state}.batch SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::numeric[])
ON CONFLICT (tenant_id, id) DO UPDATE SET product_id = excluded.product_id, quantity = excluded.quantity

-- name: remove_batches
DELETE FROM {state}.batch f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- name: put_reservations
INSERT INTO {state}.reservation SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::numeric[])
ON CONFLICT (tenant_id, id) DO UPDATE SET product_id = excluded.product_id, quantity = excluded.quantity

-- name: remove_reservations
DELETE FROM {state}.reservation f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- name: put_credit_payments
INSERT INTO {state}.credit_payment
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::numeric[], $5::timestamptz[], $6::date[])
ON CONFLICT (tenant_id, id) DO UPDATE SET
  customer_id = excluded.customer_id, amount = excluded.amount, created_at = excluded.created_at, day = excluded.day

-- name: remove_credit_payments
DELETE FROM {state}.credit_payment f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- name: put_sessions
INSERT INTO {state}.session SELECT * FROM unnest($1::integer[], $2::bigint[], $3::date[], $4::date[])
ON CONFLICT (tenant_id, id) DO UPDATE SET opened_day = excluded.opened_day, closed_day = excluded.closed_day

-- name: remove_sessions
DELETE FROM {state}.session f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- name: put_pricing
INSERT INTO {state}.pricing SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::numeric[], $5::numeric[])
ON CONFLICT (tenant_id, id) DO UPDATE SET
  product_id = excluded.product_id, cost_price = excluded.cost_price, sale_price = excluded.sale_price

-- name: remove_pricing
DELETE FROM {state}.pricing f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- name: put_stock_limits
INSERT INTO {state}.stock_limits
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::numeric[], $5::numeric[], $6::boolean[])
ON CONFLICT (tenant_id, id) DO UPDATE SET
  product_id = excluded.product_id, min_quantity = excluded.min_quantity, max_quantity = excluded.max_quantity,
  track_inventory = excluded.track_inventory

-- name: remove_stock_limits
DELETE FROM {state}.stock_limits f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- A null text was left out of the stream as unchanged: what is stored stays.
-- name: put_products
INSERT INTO {state}.product AS p
SELECT n.tenant_id, n.id, coalesce(n.name, o.name, ''), coalesce(n.sku, o.sku, ''), coalesce(n.barcode, o.barcode, ''), n.is_active,
       n.name_id
FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::bigint[])
       n(tenant_id, id, name, sku, barcode, is_active, name_id)
LEFT JOIN {state}.product o ON o.tenant_id = n.tenant_id AND o.id = n.id
ON CONFLICT (tenant_id, id) DO UPDATE SET
  name = excluded.name, sku = excluded.sku, barcode = excluded.barcode, is_active = excluded.is_active,
  name_id = excluded.name_id

-- name: put_product_names
INSERT INTO {state}.product_name SELECT n.tenant_id, n.id, n.product_id, coalesce(n.name, '')
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[]) n(tenant_id, id, product_id, name)
ON CONFLICT (tenant_id, id) DO UPDATE SET product_id = excluded.product_id, name = excluded.name

-- name: remove_product_names
DELETE FROM {state}.product_name f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- name: remove_products
DELETE FROM {state}.product f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- The dimension follows the facts of the products named.
-- name: show_products
WITH k AS (
  SELECT t.tenant, k.tenant_id, k.id FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
  JOIN {state}.tenant t ON t.id = k.tenant_id
), gone AS (
  UPDATE {reports}.product r SET deleted_at = now(), updated_at = now() FROM k
  WHERE r.tenant = k.tenant AND r.product_id = k.id AND r.deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM {state}.product p WHERE p.tenant_id = k.tenant_id AND p.id = k.id)
)
INSERT INTO {reports}.product AS r (tenant, product_id, name, sku, barcode, is_active, source_key)
SELECT v.tenant, v.product_id, v.name, v.sku, v.barcode, v.is_active, v.source_key
FROM k JOIN {state}.product_dimension v ON v.tenant_id = k.tenant_id AND v.product_id = k.id
ON CONFLICT (tenant, product_id) DO UPDATE SET
  name = excluded.name, sku = excluded.sku, barcode = excluded.barcode, is_active = excluded.is_active,
  source_key = excluded.source_key, deleted_at = NULL, updated_at = now()
WHERE (r.name, r.sku, r.barcode, r.is_active, r.source_key, r.deleted_at)
      IS DISTINCT FROM (excluded.name, excluded.sku, excluded.barcode, excluded.is_active, excluded.source_key, NULL)

-- name: put_customers
INSERT INTO {state}.customer AS c
SELECT n.tenant_id, n.id, coalesce(n.first_name, o.first_name, ''), coalesce(n.last_name, o.last_name, ''),
       coalesce(n.middle_name, o.middle_name, ''), coalesce(n.customer_type, o.customer_type, ''),
       coalesce(n.company_name, o.company_name, ''), coalesce(n.phone, o.phone, ''), n.is_active,
       coalesce(n.is_company, o.is_company, false)
FROM unnest($1::integer[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::boolean[], $10::boolean[])
       n(tenant_id, id, first_name, last_name, middle_name, customer_type, company_name, phone, is_active, is_company)
LEFT JOIN {state}.customer o ON o.tenant_id = n.tenant_id AND o.id = n.id
ON CONFLICT (tenant_id, id) DO UPDATE SET
  first_name = excluded.first_name, last_name = excluded.last_name, middle_name = excluded.middle_name,
  customer_type = excluded.customer_type, company_name = excluded.company_name, phone = excluded.phone,
  is_active = excluded.is_active, is_company = excluded.is_company

-- name: remove_customers
DELETE FROM {state}.customer f USING unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
WHERE f.tenant_id = k.tenant_id AND f.id = k.id

-- The dimension follows the facts of the customers named.
-- name: show_customers
WITH k AS (
  SELECT t.tenant, k.tenant_id, k.id FROM unnest($1::integer[], $2::bigint[]) k(tenant_id, id)
  JOIN {state}.tenant t ON t.id = k.tenant_id
), gone AS (
  UPDATE {reports}.customer r SET deleted_at = now(), updated_at = now() FROM k
  WHERE r.tenant = k.tenant AND r.customer_id = k.id AND r.deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM {state}.customer c WHERE c.tenant_id = k.tenant_id AND c.id = k.id)
)
INSERT INTO {reports}.customer AS r (tenant, customer_id, full_name, phone, customer_type, is_active, source_key)
SELECT v.tenant, v.customer_id, v.full_name, v.phone, v.customer_type, v.is_active, v.source_key
FROM k JOIN {state}.customer_dimension v ON v.tenant_id = k.tenant_id AND v.customer_id = k.id
ON CONFLICT (tenant, customer_id) DO UPDATE SET
  full_name = excluded.full_name, phone = excluded.phone, customer_type = excluded.customer_type,
  is_active = excluded.is_active, source_key = excluded.source_key, deleted_at = NULL, updated_at = now()
WHERE (r.full_name, r.phone, r.customer_type, r.is_active, r.source_key, r.deleted_at)
      IS DISTINCT FROM (excluded.full_name, excluded.phone, excluded.customer_type, excluded.is_active, excluded.source_key, NULL)
