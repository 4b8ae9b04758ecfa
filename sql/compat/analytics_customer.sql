WITH r AS NOT MATERIALIZED (SELECT * FROM {reports}.customer_analytics WHERE tenant = {tenant})
SELECT {state}.compat_id(r.customer_id, r.period_end) AS id,
       r.period_start,
       r.period_end,
       r.recency_days,
       {state}.clamp(r.frequency, 2147483647)::integer AS frequency,
       {state}.clamp(r.monetary, 9999999999.99)::numeric(12,2) AS monetary,
       r.rfm_score::integer AS rfm_score,
       r.segment::varchar(50) AS segment,
       {state}.clamp(r.purchases_count, 2147483647)::integer AS purchases_count,
       {state}.clamp(r.total_spent, 9999999999.99)::numeric(12,2) AS total_spent,
       {state}.clamp(r.avg_purchase_amount, 9999999999.99)::numeric(12,2) AS avg_purchase_amount,
       {state}.clamp(r.credit_purchases, 2147483647)::integer AS credit_purchases,
       {state}.clamp(r.total_credit_amount, 9999999999.99)::numeric(12,2) AS total_credit_amount,
       r.avg_payment_delay_days,
       r.created_at,
       r.updated_at,
       r.customer_id
FROM r
