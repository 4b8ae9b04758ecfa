-- What pg_ivm can say of the reports: plain sums by day, by product and day, by customer. Distinct counts, filters, windows
-- and everything that is computed from a sum stay out.
SELECT create_immv('public.ivm_daily', $$
  SELECT (completed_at AT TIME ZONE '{zone}')::date AS date, count(*) AS sales, sum(total_amount) AS total,
         sum(discount_amount) AS discount, sum(tax_amount) AS tax
  FROM {schema}.sales_sale WHERE status = 'completed' GROUP BY (completed_at AT TIME ZONE '{zone}')::date $$);
SELECT create_immv('public.ivm_product', $$
  SELECT i.product_id, (s.completed_at AT TIME ZONE '{zone}')::date AS date, sum(i.quantity) AS quantity,
         sum(i.line_total) AS revenue, sum(i.unit_price) AS prices, count(*) AS lines
  FROM {schema}.sales_sale_item i JOIN {schema}.sales_sale s ON s.id = i.sale_id
  WHERE s.status = 'completed' GROUP BY i.product_id, (s.completed_at AT TIME ZONE '{zone}')::date $$);
SELECT create_immv('public.ivm_customer', $$
  SELECT customer_id, count(*) AS sales, sum(total_amount) AS spent, max(completed_at) AS last
  FROM {schema}.sales_sale WHERE status = 'completed' AND customer_id IS NOT NULL GROUP BY customer_id $$);
