-- The live rows of customer_analytics of one store.
SELECT customer_id, today AS period_end, today - 90 AS period_start, recency AS recency_days,
       sales AS frequency, spent AS monetary, sales AS purchases_count, spent AS total_spent,
       round(coalesce(spent / nullif(sales, 0), 0), 2) AS avg_purchase_amount,
       r AS r_score, f AS f_score, m AS m_score, (r + f + m) / 3 AS rfm_score,
       CASE WHEN r >= 4 AND f >= 4 AND m >= 4 THEN 'Champions'
            WHEN r <= 2 AND f = 5 AND m = 5 THEN 'Can''t Lose Them'
            WHEN r <= 2 AND f >= 4 AND m >= 4 THEN 'At Risk'
            WHEN f >= 4 AND m >= 4 THEN 'Loyal Customers'
            WHEN r >= 4 AND f >= 3 AND m >= 3 THEN 'Potential Loyalists'
            WHEN r >= 4 AND f <= 2 AND m <= 2 THEN 'New Customers'
            WHEN r >= 3 AND f <= 2 THEN 'Promising'
            WHEN r >= 3 THEN 'Need Attention'
            WHEN f >= 2 THEN 'Hibernating'
            WHEN r = 2 THEN 'About To Sleep'
            ELSE 'Lost' END AS segment,
       credit_sales AS credit_purchases, credit AS total_credit_amount,
       coalesce(delay, 0) AS avg_payment_delay_days,
       greatest(lifetime_credit - coalesce(paid, 0), 0) AS credit_outstanding,
       first_day AS first_purchase_date, last_day AS last_purchase_date,
       lifetime AS lifetime_purchases, lifetime_spent
FROM (SELECT *, CASE WHEN recency <= 7 THEN 5 WHEN recency <= 30 THEN 4 WHEN recency <= 60 THEN 3 WHEN recency <= 90 THEN 2 ELSE 1 END AS r,
             CASE WHEN sales >= 20 THEN 5 WHEN sales >= 10 THEN 4 WHEN sales >= 5 THEN 3 WHEN sales >= 2 THEN 2 ELSE 1 END AS f,
             CASE WHEN spent >= 5000000 THEN 5 WHEN spent >= 2000000 THEN 4 WHEN spent >= 1000000 THEN 3 WHEN spent >= 500000 THEN 2 ELSE 1 END AS m
      FROM (SELECT s.customer_id, now.today,
                   greatest(now.today - max((s.completed_at AT TIME ZONE '{zone}')::date), 0) AS recency,
                   count(*) FILTER (WHERE s.completed_at >= now.since) AS sales,
                   coalesce(sum(s.total_amount) FILTER (WHERE s.completed_at >= now.since), 0) AS spent,
                   count(k.amount) FILTER (WHERE s.completed_at >= now.since) AS credit_sales,
                   coalesce(sum(k.amount) FILTER (WHERE s.completed_at >= now.since), 0) AS credit,
                   coalesce(sum(k.amount), 0) AS lifetime_credit,
                   min((s.completed_at AT TIME ZONE '{zone}')::date) AS first_day,
                   max((s.completed_at AT TIME ZONE '{zone}')::date) AS last_day,
                   count(*) AS lifetime, sum(s.total_amount) AS lifetime_spent
            FROM {schema}.sales_sale s
            CROSS JOIN (SELECT (now() AT TIME ZONE '{zone}')::date AS today,
                               ((now() AT TIME ZONE '{zone}')::date - 90)::timestamp AT TIME ZONE '{zone}' AS since) now
            LEFT JOIN (SELECT sale_id, sum(amount) AS amount FROM {schema}.sales_payment
                       WHERE payment_method = 'credit' GROUP BY sale_id) k ON k.sale_id = s.id
            WHERE s.status = 'completed' AND s.completed_at IS NOT NULL AND s.customer_id IS NOT NULL
            GROUP BY s.customer_id, now.today) sums) scored
LEFT JOIN (SELECT customer_id, sum(amount) AS paid FROM {schema}.customers_transaction
           WHERE transaction_type = 'payment' GROUP BY customer_id) payments USING (customer_id)
LEFT JOIN (
  -- First in, first out: the instalment that brings what was paid up to what was owed settles the sale.
  SELECT customer_id, round(avg(greatest(settled - bought, 0))) AS delay
  FROM (SELECT s.customer_id, s.completed_at, (s.completed_at AT TIME ZONE '{zone}')::date AS bought,
               sum(k.amount) OVER (PARTITION BY s.customer_id ORDER BY s.completed_at, s.id) AS owed
        FROM {schema}.sales_sale s
        JOIN (SELECT sale_id, sum(amount) AS amount FROM {schema}.sales_payment
              WHERE payment_method = 'credit' GROUP BY sale_id) k ON k.sale_id = s.id
        WHERE s.status = 'completed' AND s.completed_at IS NOT NULL AND s.customer_id IS NOT NULL) debts
  JOIN (SELECT customer_id, (created_at AT TIME ZONE '{zone}')::date AS settled,
               coalesce(sum(amount) OVER (PARTITION BY customer_id ORDER BY created_at, id
                                          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before,
               sum(amount) OVER (PARTITION BY customer_id ORDER BY created_at, id) AS after
        FROM {schema}.customers_transaction WHERE transaction_type = 'payment' AND amount > 0) instalments
    USING (customer_id)
  WHERE owed > before AND owed <= after
    AND completed_at >= ((now() AT TIME ZONE '{zone}')::date - 90)::timestamp AT TIME ZONE '{zone}'
  GROUP BY customer_id) delays USING (customer_id)
