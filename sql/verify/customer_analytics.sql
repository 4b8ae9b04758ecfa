-- The live row of every customer of one store with a counted sale.
WITH credit AS (
  SELECT sale_id, sum(amount) AS amount FROM {table payment} p WHERE payment_method = ANY ({credit}) GROUP BY sale_id
), purchase AS (
  SELECT d.*, d.day BETWEEN {today} - {window_days} AND {today} AS in_window
  FROM (SELECT s.id, s.customer_id, s.completed_at, s.total_amount AS spent, k.amount AS credit, s.day
        FROM {table sale} s LEFT JOIN credit k ON k.sale_id = s.id
        WHERE s.status = ANY ({completed}) AND s.completed_at IS NOT NULL AND s.customer_id IS NOT NULL) d
), settlement AS (
  SELECT customer_id, amount, created_at, created_day, id FROM {table customer_transaction} t
  WHERE transaction_type = ANY ({payment_types})
), paid_back AS (
  SELECT customer_id, sum(amount) AS amount FROM settlement GROUP BY customer_id
), debt AS (
  SELECT customer_id, day, in_window, sum(credit) OVER (PARTITION BY customer_id ORDER BY completed_at, id) AS owed
  FROM purchase WHERE credit IS NOT NULL
), instalment AS (
  -- Only money that comes in settles anything, so the running sum strictly grows and `already` is 0 for the first alone.
  SELECT customer_id, created_day AS day,
         sum(amount) OVER queue AS reached, sum(amount) OVER queue - amount AS already
  FROM settlement WHERE amount > 0
  WINDOW queue AS (PARTITION BY customer_id ORDER BY created_at, id)
), delay AS (
  SELECT d.customer_id, round(avg(greatest(i.day - d.day, 0))) AS days
  FROM debt d JOIN instalment i
    ON i.customer_id = d.customer_id AND d.owed <= i.reached AND (d.owed > i.already OR i.already = 0)
  WHERE d.in_window GROUP BY d.customer_id
), totals AS (
  SELECT customer_id,
         count(*) AS lifetime, sum(spent) AS lifetime_spent, min(day) AS first_day, max(day) AS last_day,
         coalesce(sum(credit), 0) AS lifetime_credit,
         count(*) FILTER (WHERE in_window) AS sales,
         coalesce(sum(spent) FILTER (WHERE in_window), 0) AS spent,
         count(credit) FILTER (WHERE in_window) AS credit_sales,
         coalesce(sum(credit) FILTER (WHERE in_window), 0) AS credit,
         greatest({today} - max(day), 0) AS recency
  FROM purchase GROUP BY customer_id
), scored AS (
  SELECT t.*,
         1 + (recency <= {recency 1})::int + (recency <= {recency 2})::int
           + (recency <= {recency 3})::int + (recency <= {recency 4})::int AS r,
         1 + (sales >= {frequency 1})::int + (sales >= {frequency 2})::int
           + (sales >= {frequency 3})::int + (sales >= {frequency 4})::int AS f,
         1 + (spent >= {monetary 1})::int + (spent >= {monetary 2})::int
           + (spent >= {monetary 3})::int + (spent >= {monetary 4})::int AS m
  FROM totals t
)
SELECT s.customer_id, {today} AS period_end, {today} - {window_days} AS period_start,
       s.recency AS recency_days,
       s.sales AS frequency,
       round(s.spent, 2) AS monetary,
       s.sales AS purchases_count,
       round(s.spent, 2) AS total_spent,
       round(coalesce(s.spent / nullif(s.sales, 0), 0), 2) AS avg_purchase_amount,
       s.r AS r_score, s.f AS f_score, s.m AS m_score,
       (s.r + s.f + s.m) / 3 AS rfm_score,
       CASE
         WHEN s.f >= 4 AND s.m >= 4 THEN
           CASE WHEN s.r >= 4 THEN 'Champions'
                WHEN s.r = 3 THEN 'Loyal Customers'
                WHEN s.f = 5 AND s.m = 5 THEN 'Can''t Lose Them'
                ELSE 'At Risk' END
         WHEN s.r >= 4 AND s.f >= 3 AND s.m >= 3 THEN 'Potential Loyalists'
         WHEN s.r >= 4 AND s.f < 3 AND s.m < 3 THEN 'New Customers'
         WHEN s.r >= 3 THEN CASE WHEN s.f < 3 THEN 'Promising' ELSE 'Need Attention' END
         WHEN s.f > 1 THEN 'Hibernating'
         WHEN s.r = 2 THEN 'About To Sleep'
         ELSE 'Lost' END AS segment,
       s.credit_sales AS credit_purchases,
       round(s.credit, 2) AS total_credit_amount,
       coalesce(d.days, 0) AS avg_payment_delay_days,
       round(greatest(s.lifetime_credit - coalesce(b.amount, 0), 0), 2) AS credit_outstanding,
       s.first_day AS first_purchase_date, s.last_day AS last_purchase_date,
       s.lifetime AS lifetime_purchases,
       round(s.lifetime_spent, 2) AS lifetime_spent
FROM scored s
LEFT JOIN delay d USING (customer_id)
LEFT JOIN paid_back b USING (customer_id)
ORDER BY s.customer_id
