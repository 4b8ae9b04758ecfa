-- A tenant as a whole: registered, emptied, filled by the first copy, rolled on to a new day.

-- name: register_tenant
INSERT INTO {state}.tenant AS t (tenant, time_zone, stock_source, definitions, horizon, today, floor_lsn)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant) DO UPDATE SET time_zone = excluded.time_zone, stock_source = excluded.stock_source,
  definitions = excluded.definitions, horizon = greatest(t.horizon, excluded.horizon), today = excluded.today,
  days_left = '{}', floor_lsn = excluded.floor_lsn
RETURNING id, horizon

-- Unit costs stay with their items when tenant $1 is copied again, unless nothing that is kept of it is worth anything
-- any more (its definitions are empty).
-- name: make_kept_costs
CREATE UNLOGGED TABLE {state}.kept_cost (id bigint NOT NULL, product_id bigint NOT NULL, cost numeric NOT NULL)

-- name: keep_costs
INSERT INTO {state}.kept_cost (id, product_id, cost)
SELECT i.id, i.product_id, i.cost
FROM {state}.tenant t JOIN {state}.sale f ON f.tenant_id = t.id,
     unnest(f.item_ids, f.item_products, f.item_costs) i(id, product_id, cost)
WHERE t.tenant = $1 AND t.definitions <> '' AND i.cost IS NOT NULL

-- name: restore_costs
UPDATE {state}.sale f SET item_costs = n.costs
FROM (SELECT s.id, array_agg(coalesce(k.cost, i.cost) ORDER BY i.place) AS costs
      FROM {state}.sale s, unnest(s.item_ids, s.item_products, s.item_costs) WITH ORDINALITY i(id, product_id, cost, place)
      LEFT JOIN {state}.kept_cost k ON k.id = i.id AND k.product_id = i.product_id
      WHERE s.tenant_id = $1
      GROUP BY s.id HAVING bool_or(k.cost IS NOT NULL AND k.cost IS DISTINCT FROM i.cost)) n
WHERE f.tenant_id = $1 AND f.id = n.id

-- name: drop_kept_costs
DROP TABLE {state}.kept_cost

-- name: clear_facts
WITH a AS (DELETE FROM {state}.sale WHERE tenant_id = $1), b AS (DELETE FROM {state}.stock_movement WHERE tenant_id = $1),
     c AS (DELETE FROM {state}.batch WHERE tenant_id = $1), d AS (DELETE FROM {state}.reservation WHERE tenant_id = $1),
     e AS (DELETE FROM {state}.credit_payment WHERE tenant_id = $1), f AS (DELETE FROM {state}.session WHERE tenant_id = $1),
     j AS (DELETE FROM {state}.product WHERE tenant_id = $1), k AS (DELETE FROM {state}.product_name WHERE tenant_id = $1),
     g AS (DELETE FROM {state}.pricing WHERE tenant_id = $1), h AS (DELETE FROM {state}.stock_limits WHERE tenant_id = $1),
     -- Live rows of the day that was today when the store was last copied.
     i AS (DELETE FROM {reports}.customer_analytics r USING {state}.tenant t
           WHERE t.id = $1 AND r.tenant = t.tenant AND r.period_end <> t.today
             AND NOT EXISTS (SELECT FROM {state}.kept_period k WHERE k.tenant_id = $1 AND k.period_end = r.period_end))
DELETE FROM {state}.customer WHERE tenant_id = $1

-- A copy of tenant $1 holds what commits before $2: the stream goes on from there.
-- name: set_floor
UPDATE {state}.tenant SET floor_lsn = $2 WHERE id = $1

-- name: synchronize_tenant
UPDATE {reports}.tenant SET state = 'live', message = NULL, synchronized_at = $2, updated_at = now() WHERE tenant = $1

-- The live rows of tenant $1 are dated $2 from now on; see roll.sql.
-- name: begin_day
UPDATE {state}.tenant SET today = $2,
  days_left = CASE WHEN today = $2 THEN days_left ELSE array_append(array_remove(days_left, $2), today) END
WHERE id = $1 RETURNING days_left

-- All live rows of tenant $1 are dated today.
-- name: end_day
UPDATE {state}.tenant SET days_left = '{}' WHERE id = $1

-- The store's name stands for itself here: joined with, and without nested loops, it would be the rows of all stores.
-- name: show_dimension_products
WITH gone AS (
  UPDATE {reports}.product r SET deleted_at = now(), updated_at = now()
  WHERE r.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND r.deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM {state}.product p WHERE p.tenant_id = $1 AND p.id = r.product_id)
)
INSERT INTO {reports}.product AS r (tenant, product_id, name, sku, barcode, is_active, source_key)
SELECT v.tenant, v.product_id, v.name, v.sku, v.barcode, v.is_active, v.source_key
FROM {state}.product_dimension v WHERE v.tenant_id = $1
ON CONFLICT (tenant, product_id) DO UPDATE SET
  name = excluded.name, sku = excluded.sku, barcode = excluded.barcode, is_active = excluded.is_active,
  source_key = excluded.source_key, deleted_at = NULL, updated_at = now()
WHERE (r.name, r.sku, r.barcode, r.is_active, r.source_key, r.deleted_at)
      IS DISTINCT FROM (excluded.name, excluded.sku, excluded.barcode, excluded.is_active, excluded.source_key, NULL)

-- name: show_dimension_customers
WITH gone AS (
  UPDATE {reports}.customer r SET deleted_at = now(), updated_at = now()
  WHERE r.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND r.deleted_at IS NULL
    AND NOT EXISTS (SELECT FROM {state}.customer c WHERE c.tenant_id = $1 AND c.id = r.customer_id)
)
INSERT INTO {reports}.customer AS r (tenant, customer_id, full_name, phone, customer_type, is_active, source_key)
SELECT v.tenant, v.customer_id, v.full_name, v.phone, v.customer_type, v.is_active, v.source_key
FROM {state}.customer_dimension v WHERE v.tenant_id = $1
ON CONFLICT (tenant, customer_id) DO UPDATE SET
  full_name = excluded.full_name, phone = excluded.phone, customer_type = excluded.customer_type,
  is_active = excluded.is_active, source_key = excluded.source_key, deleted_at = NULL, updated_at = now()
WHERE (r.full_name, r.phone, r.customer_type, r.is_active, r.source_key, r.deleted_at)
      IS DISTINCT FROM (excluded.full_name, excluded.phone, excluded.customer_type, excluded.is_active, excluded.source_key, NULL)

-- Rows with values that no report can hold, by table and key: those of the sales $2, and what is found. NaN compares greater
-- than every number. What the stream refuses is refused here as well: more digits than 96 bits hold, or more than 28 behind
-- the point. Of the ledger only rows are taken apart whose values look odd as a text, in half the time.
-- name: find_unusable
WITH odd_movement AS MATERIALIZED (
  SELECT m.id, m.quantity FROM {state}.stock_movement b, unnest(b.ids, b.quantities) m(id, quantity)
  WHERE b.tenant_id = $1 AND b.quantities::text ~ 'NaN|Infinity|[0-9]{17}|[.][0-9]{13}'
)
SELECT u.kind, coalesce(k.key, u.id::text) FROM (
SELECT 'sale' AS kind, s.id FROM unnest($2::bigint[]) s(id)
UNION ALL
SELECT 'stock_movement', m.id FROM odd_movement m WHERE m.quantity NOT BETWEEN -1e16 AND 1e16
UNION ALL SELECT 'batch', id FROM {state}.batch WHERE tenant_id = $1 AND quantity NOT BETWEEN -1e16 AND 1e16
UNION ALL SELECT 'reservation', id FROM {state}.reservation WHERE tenant_id = $1 AND quantity NOT BETWEEN -1e16 AND 1e16
UNION ALL SELECT 'customer_transaction', id FROM {state}.credit_payment
          WHERE tenant_id = $1 AND (amount NOT BETWEEN -1e16 AND 1e16 OR NOT (isfinite(created_at) AND created_at < '200000-01-01'))
UNION ALL SELECT 'session', id FROM {state}.session
          WHERE tenant_id = $1 AND (NOT (isfinite(opened_day) AND opened_day < '200000-01-01')
                                    OR NOT (isfinite(closed_day) AND closed_day < '200000-01-01'))
UNION ALL SELECT 'pricing', id FROM {state}.pricing
          WHERE tenant_id = $1 AND NOT (cost_price BETWEEN -1e16 AND 1e16 AND sale_price BETWEEN -1e16 AND 1e16)
UNION ALL SELECT 'stock_limits', id FROM {state}.stock_limits
          WHERE tenant_id = $1 AND NOT (min_quantity BETWEEN -1e16 AND 1e16 AND coalesce(max_quantity, 0) BETWEEN -1e16 AND 1e16)
UNION ALL
SELECT v.kind, v.id
FROM (SELECT 'stock_movement', m.id, m.quantity FROM odd_movement m
      UNION ALL SELECT 'batch', id, quantity FROM {state}.batch WHERE tenant_id = $1
      UNION ALL SELECT 'reservation', id, quantity FROM {state}.reservation WHERE tenant_id = $1
      UNION ALL SELECT 'customer_transaction', id, amount FROM {state}.credit_payment WHERE tenant_id = $1
      UNION ALL SELECT 'pricing', id, unnest(ARRAY[cost_price, sale_price]) FROM {state}.pricing WHERE tenant_id = $1
      UNION ALL SELECT 'stock_limits', id, unnest(ARRAY[min_quantity, max_quantity]) FROM {state}.stock_limits
                WHERE tenant_id = $1) v(kind, id, amount)
-- Up to 12 digits behind the point 10^16 is the narrower limit.
WHERE min_scale(v.amount) > 12
  AND (min_scale(v.amount) > 28 OR abs(v.amount) * 10::numeric ^ min_scale(v.amount) >= 79228162514264337593543950336)
LIMIT 5) u
LEFT JOIN {state}.source_key k ON k.tenant_id = $1 AND k.kind = u.kind AND k.id = u.id

-- Which of the tables $2 of the schema $1 have had more changes, those of this transaction among them, than the planner's
-- statistics know rows: the rest is left to autovacuum. The views of these figures would go through every table there is.
-- name: outgrown
SELECT c.relname::text
FROM pg_class c
WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND c.relname = ANY ($2)
  AND (NOT current_setting('track_counts')::boolean
       OR coalesce(pg_stat_get_mod_since_analyze(c.oid), 0) + coalesce(pg_stat_get_xact_tuples_inserted(c.oid), 0)
          + coalesce(pg_stat_get_xact_tuples_updated(c.oid), 0) + coalesce(pg_stat_get_xact_tuples_deleted(c.oid), 0)
          >= greatest(c.reltuples, 1))
