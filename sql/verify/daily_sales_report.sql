-- Every day of one store that has a daily_sales_report row, from its POS tables alone.
WITH sale AS (
  SELECT s.id, s.status, s.customer_id, s.total_amount, s.discount_amount, s.tax_amount, s.day
  FROM {table sale} s
  WHERE s.completed_at IS NOT NULL
), counted AS (
  SELECT * FROM sale WHERE status = ANY ({completed})
), head AS (
  SELECT day, count(*) AS sales, sum(total_amount) AS total, sum(discount_amount) AS discount,
         sum(tax_amount) AS tax, count(DISTINCT customer_id) AS customers
  FROM counted GROUP BY day
), money AS (
  SELECT c.day,
         sum(p.amount) FILTER (WHERE p.payment_method = ANY ({cash})) AS cash,
         sum(p.amount) FILTER (WHERE p.payment_method = ANY ({card})) AS card,
         sum(p.amount) FILTER (WHERE p.payment_method = ANY ({credit})) AS credit,
         sum(p.amount) FILTER (WHERE p.payment_method <> ALL ({cash} || {card} || {credit})) AS other
  FROM counted c JOIN {table payment} p ON p.sale_id = c.id GROUP BY c.day
), goods AS (
  SELECT c.day, sum(i.quantity) AS quantity, count(DISTINCT i.product_id) AS products
  FROM counted c JOIN {table sale_item} i ON i.sale_id = c.id GROUP BY c.day
), newcomers AS (
  -- The first counted day ever: the horizon plays no part in it.
  SELECT day, count(*) AS customers
  FROM (SELECT min(day) AS day FROM counted WHERE customer_id IS NOT NULL GROUP BY customer_id) f
  GROUP BY day
), refund AS (
  SELECT day, count(*) AS refunds, sum(total_amount) AS amount
  FROM sale WHERE status = ANY ({refunded}) GROUP BY day
), session AS (
  SELECT opened_day, closed_day
  FROM {table session} x
), opened AS (
  SELECT opened_day AS day, count(*) AS sessions FROM session WHERE opened_day IS NOT NULL GROUP BY opened_day
), closed AS (
  SELECT closed_day AS day, count(*) AS sessions FROM session WHERE closed_day IS NOT NULL GROUP BY closed_day
), busy AS (
  SELECT day FROM head UNION SELECT day FROM refund UNION SELECT day FROM opened UNION SELECT day FROM closed
)
SELECT day AS date,
       round(coalesce(head.total, 0), 2) AS total_sales,
       coalesce(head.sales, 0) AS total_sales_count,
       round(coalesce(head.total / nullif(head.sales, 0), 0), 2) AS avg_sale_amount,
       round(coalesce(money.cash, 0), 2) AS cash_sales,
       round(coalesce(money.card, 0), 2) AS card_sales,
       round(coalesce(money.credit, 0), 2) AS credit_sales,
       round(coalesce(money.other, 0), 2) AS other_sales,
       round(coalesce(head.discount, 0), 2) AS total_discount,
       round(coalesce(head.tax, 0), 2) AS total_tax,
       round(coalesce(goods.quantity, 0), 3) AS total_items_sold,
       coalesce(goods.products, 0) AS unique_products_sold,
       coalesce(head.customers, 0) AS unique_customers,
       coalesce(newcomers.customers, 0) AS new_customers,
       coalesce(refund.refunds, 0) AS refund_count,
       round(coalesce(refund.amount, 0), 2) AS refund_amount,
       coalesce(opened.sessions, 0) AS sessions_opened,
       coalesce(closed.sessions, 0) AS sessions_closed
FROM busy
LEFT JOIN head USING (day)
LEFT JOIN money USING (day)
LEFT JOIN goods USING (day)
LEFT JOIN newcomers USING (day)
LEFT JOIN refund USING (day)
LEFT JOIN opened USING (day)
LEFT JOIN closed USING (day)
WHERE day >= {horizon}
ORDER BY day
