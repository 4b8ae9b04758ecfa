-- The keys that the statements of show.sql write.

-- Those of a batch.
-- name: batch_daily_sales
SELECT * FROM unnest($1::integer[], $2::date[])

-- name: batch_product_performance
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::date[])

-- name: batch_customer_analytics
SELECT * FROM unnest($1::integer[], $2::bigint[])

-- name: batch_inventory
SELECT * FROM unnest($1::integer[], $2::bigint[])

-- Those of tenant $1 from day $2 to day $3.
-- name: days_daily_sales
SELECT d.tenant_id, d.day FROM {state}.daily d WHERE d.tenant_id = $1 AND d.day BETWEEN $2 AND $3
UNION SELECT $1, r.date FROM {reports}.daily_sales_report r JOIN {state}.tenant t ON t.tenant = r.tenant
      WHERE t.id = $1 AND r.date BETWEEN $2 AND $3

-- name: days_product_performance
SELECT d.tenant_id, d.product_id, d.day FROM {state}.product_day d WHERE d.tenant_id = $1 AND d.day BETWEEN $2 AND $3
UNION SELECT $1, r.product_id, r.date FROM {reports}.product_performance r JOIN {state}.tenant t ON t.tenant = r.tenant
      WHERE t.id = $1 AND r.date BETWEEN $2 AND $3

-- Live rows have only one day, today: all of tenant $1.
-- name: all_customer_analytics
SELECT c.tenant_id, c.customer_id FROM {state}.customer_total c WHERE c.tenant_id = $1
UNION SELECT $1, r.customer_id FROM {reports}.customer_analytics r JOIN {state}.tenant t ON t.tenant = r.tenant
      WHERE t.id = $1 AND r.period_end = t.today

-- A part of them: those after customer $2 up to customer $3 (roll_batch_end says where a part ends).
-- name: some_customer_analytics
SELECT c.tenant_id, c.customer_id FROM {state}.customer_total c
WHERE c.tenant_id = $1 AND c.customer_id > $2 AND c.customer_id <= $3

-- Every active product, and every product that has a row today.
-- name: all_inventory
SELECT p.tenant_id, p.id FROM {state}.product p WHERE p.tenant_id = $1 AND p.is_active
UNION SELECT $1, r.product_id FROM {reports}.inventory_snapshot r JOIN {state}.tenant t ON t.tenant = r.tenant
      WHERE t.id = $1 AND r.date = t.today
