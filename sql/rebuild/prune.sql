-- What is dated before day $2 goes, tenant $1. The horizon first, so that nothing builds it again; then each table in
-- batches of at most $3 rows from key $4 on (start with the smallest bigint): the number of rows that went and the last
-- key come back, the next batch starts at that key, and one of fewer than $3 rows was the last. customer_day stays: first
-- purchases are for life.

-- name: move_horizon
UPDATE {state}.tenant SET horizon = greatest(horizon, $2) WHERE id = $1 RETURNING horizon

-- One row a day: no batches.
-- name: prune_daily
WITH a AS (DELETE FROM {state}.daily WHERE tenant_id = $1 AND day < $2),
     b AS (DELETE FROM {state}.kept_period WHERE tenant_id = $1 AND period_end < $2),
     gone AS (DELETE FROM {reports}.daily_sales_report r USING {state}.tenant t
              WHERE t.id = $1 AND r.tenant = t.tenant AND r.date < $2 RETURNING 1)
SELECT count(*) AS gone FROM gone

-- name: prune_product_days
WITH gone AS (
  DELETE FROM {state}.product_day p WHERE p.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {state}.product_day o WHERE o.tenant_id = $1 AND o.product_id >= $4 AND o.day < $2
    ORDER BY o.product_id, o.day LIMIT $3))
  RETURNING p.product_id
)
SELECT count(*) AS gone, max(product_id) AS last FROM gone

-- name: prune_product_performance
WITH gone AS (
  DELETE FROM {reports}.product_performance p WHERE p.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {reports}.product_performance o
    WHERE o.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND o.product_id >= $4 AND o.date < $2
    ORDER BY o.product_id, o.date LIMIT $3))
  RETURNING p.product_id
)
SELECT count(*) AS gone, max(product_id) AS last FROM gone

-- name: prune_customer_analytics
WITH gone AS (
  DELETE FROM {reports}.customer_analytics p WHERE p.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {reports}.customer_analytics o
    WHERE o.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND o.customer_id >= $4 AND o.period_end < $2
    ORDER BY o.customer_id, o.period_end LIMIT $3))
  RETURNING p.customer_id
)
SELECT count(*) AS gone, max(customer_id) AS last FROM gone

-- name: prune_inventory_snapshot
WITH gone AS (
  DELETE FROM {reports}.inventory_snapshot p WHERE p.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {reports}.inventory_snapshot o
    WHERE o.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND o.product_id >= $4 AND o.date < $2
    ORDER BY o.product_id, o.date LIMIT $3))
  RETURNING p.product_id
)
SELECT count(*) AS gone, max(product_id) AS last FROM gone

-- Names of deleted products and customers that no report row needs any more: after the rows, at most $2 at a time until
-- none go.
-- name: prune_products
WITH gone AS (
  DELETE FROM {reports}.product p WHERE p.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {reports}.product o
    WHERE o.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND o.deleted_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM {reports}.product_performance r WHERE r.tenant = o.tenant AND r.product_id = o.product_id)
      AND NOT EXISTS (SELECT FROM {reports}.inventory_snapshot r WHERE r.tenant = o.tenant AND r.product_id = o.product_id)
    LIMIT $2))
  RETURNING 1
)
SELECT count(*) AS gone FROM gone

-- name: prune_customers
WITH gone AS (
  DELETE FROM {reports}.customer p WHERE p.ctid = ANY (ARRAY(
    SELECT o.ctid FROM {reports}.customer o
    WHERE o.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1) AND o.deleted_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM {reports}.customer_analytics r WHERE r.tenant = o.tenant AND r.customer_id = o.customer_id)
    LIMIT $2))
  RETURNING 1
)
SELECT count(*) AS gone FROM gone
