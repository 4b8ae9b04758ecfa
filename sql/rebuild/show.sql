-- Statements that show report rows again from their sums, for jobs, recalculation and copies: comes back how many rows
-- changed. Where a report has a row and the sums have none the sums are taken for zeros, so that the row goes.

-- Those of tenant $1 from day $2 to day $3.
-- name: show_days_of_daily_sales
WITH u AS (
  SELECT d.* FROM {state}.daily d WHERE d.tenant_id = $1 AND d.day BETWEEN $2 AND $3
  UNION ALL
  SELECT $1, r.date, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
  FROM {reports}.daily_sales_report r JOIN {state}.tenant t ON t.tenant = r.tenant
  WHERE t.id = $1 AND r.date BETWEEN $2 AND $3
    AND NOT EXISTS (SELECT FROM {state}.daily d WHERE d.tenant_id = $1 AND d.day = r.date)
), {+daily_sales_report u}
SELECT (SELECT count(*) FROM gone_daily) + (SELECT count(*) FROM put_daily) AS changed

-- name: show_days_of_product_performance
WITH u AS (
  SELECT p.* FROM {state}.product_day p WHERE p.tenant_id = $1 AND p.day BETWEEN $2 AND $3
  UNION ALL
  SELECT $1, r.product_id, r.date, 0, 0, 0, 0, 0, 0, 0
  FROM {reports}.product_performance r JOIN {state}.tenant t ON t.tenant = r.tenant
  WHERE t.id = $1 AND r.date BETWEEN $2 AND $3
    AND NOT EXISTS (SELECT FROM {state}.product_day p
                    WHERE p.tenant_id = $1 AND p.product_id = r.product_id AND p.day = r.date)
), {+product_performance u}
SELECT (SELECT count(*) FROM gone_performance) + (SELECT count(*) FROM put_performance) AS changed

-- Live rows have only one day, today: all of tenant $1.
-- name: show_all_customer_analytics
WITH u AS (
  SELECT c.* FROM {state}.customer_total c WHERE c.tenant_id = $1
), stray AS (
  DELETE FROM {reports}.customer_analytics r USING {state}.tenant t
  WHERE t.id = $1 AND r.tenant = t.tenant AND r.period_end = t.today
    AND NOT EXISTS (SELECT FROM {state}.customer_total c WHERE c.tenant_id = $1 AND c.customer_id = r.customer_id)
  RETURNING 1
), {+customer_analytics u}
SELECT (SELECT count(*) FROM stray) + (SELECT count(*) FROM gone_customers) + (SELECT count(*) FROM put_customers) AS changed

-- A part of them: those after customer $2 up to customer $3 (customers_end says where a part ends).
-- name: show_some_customer_analytics
WITH u AS (
  SELECT c.* FROM {state}.customer_total c WHERE c.tenant_id = $1 AND c.customer_id > $2 AND c.customer_id <= $3
), stray AS (
  DELETE FROM {reports}.customer_analytics r USING {state}.tenant t
  WHERE t.id = $1 AND r.tenant = t.tenant AND r.period_end = t.today AND r.customer_id > $2 AND r.customer_id <= $3
    AND NOT EXISTS (SELECT FROM {state}.customer_total c WHERE c.tenant_id = $1 AND c.customer_id = r.customer_id)
  RETURNING 1
), {+customer_analytics u}
SELECT (SELECT count(*) FROM stray) + (SELECT count(*) FROM gone_customers) + (SELECT count(*) FROM put_customers) AS changed

-- Every active product, and every product that has a row today.
-- name: show_all_inventory
WITH u AS (
  SELECT i.* FROM {state}.inventory i
  WHERE i.tenant_id = $1
    AND (EXISTS (SELECT FROM {state}.product p WHERE p.tenant_id = $1 AND p.id = i.product_id AND p.is_active)
         OR EXISTS (SELECT FROM {reports}.inventory_snapshot r JOIN {state}.tenant t ON t.tenant = r.tenant
                    WHERE t.id = $1 AND r.product_id = i.product_id AND r.date = t.today))
), stray AS (
  DELETE FROM {reports}.inventory_snapshot r USING {state}.tenant t
  WHERE t.id = $1 AND r.tenant = t.tenant AND r.date = t.today
    AND NOT EXISTS (SELECT FROM {state}.inventory i WHERE i.tenant_id = $1 AND i.product_id = r.product_id)
  RETURNING 1
), {+inventory_snapshot u}
SELECT (SELECT count(*) FROM stray) + (SELECT count(*) FROM gone_inventory) + (SELECT count(*) FROM put_inventory) AS changed

-- A part of them: those after product $2 up to product $3 (products_end says where a part ends).
-- name: show_some_inventory
WITH u AS (
  SELECT i.* FROM {state}.inventory i
  WHERE i.tenant_id = $1 AND i.product_id > $2 AND i.product_id <= $3
    AND (EXISTS (SELECT FROM {state}.product p WHERE p.tenant_id = $1 AND p.id = i.product_id AND p.is_active)
         OR EXISTS (SELECT FROM {reports}.inventory_snapshot r JOIN {state}.tenant t ON t.tenant = r.tenant
                    WHERE t.id = $1 AND r.product_id = i.product_id AND r.date = t.today))
), stray AS (
  DELETE FROM {reports}.inventory_snapshot r USING {state}.tenant t
  WHERE t.id = $1 AND r.tenant = t.tenant AND r.date = t.today AND r.product_id > $2 AND r.product_id <= $3
    AND NOT EXISTS (SELECT FROM {state}.inventory i WHERE i.tenant_id = $1 AND i.product_id = r.product_id)
  RETURNING 1
), {+inventory_snapshot u}
SELECT (SELECT count(*) FROM stray) + (SELECT count(*) FROM gone_inventory) + (SELECT count(*) FROM put_inventory) AS changed

-- Whether product_performance has a row of tenant $1. In key order, or the planner would go through the rows of all stores,
-- of which it expects the first few to have one.
-- name: has_product_performance
SELECT count(*) > 0
FROM (SELECT FROM {reports}.product_performance r WHERE r.tenant = (SELECT tenant FROM {state}.tenant WHERE id = $1)
      ORDER BY r.tenant, r.product_id, r.date LIMIT 1) r
