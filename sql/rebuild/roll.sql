-- The live customer rows of a tenant move on from an old day to the day that {state}.tenant says is today, a batch of
-- customers at a time: customers_end, roll_unchanged, roll_changed, roll_leave, commit. Between two batches the stream goes on; a
-- customer it touches gets today's row from it, and only loses the old one here. Any batch may be run again.
--
-- Overnight a row's figures change only where a day left the window or came into it. Everybody else's row is rewritten
-- from itself: new period, recency, and the scores that follow.

-- The last of the next $3 customers of tenant $1 after customer $2, and how many they are.
-- name: customers_end
SELECT max(customer_id) AS last, count(*) AS found FROM (
  SELECT c.customer_id FROM {state}.customer_total c WHERE c.tenant_id = $1 AND c.customer_id > $2
  ORDER BY c.customer_id LIMIT $3) c

-- Those whose window stays as it was: tenant $1, day $2, customers after $3 up to $4. Moved in place, or copied where the
-- weekly run keeps day $2 as history.
-- name: roll_unchanged
WITH t AS MATERIALIZED (
  SELECT t.tenant, t.today, t.today - s.window_days AS start, s.recency_days AS days,
         -- The days that leave or enter the window's two ends.
         least(t.today, $2) - s.window_days AS tail_from, greatest(t.today, $2) - s.window_days - 1 AS tail_to,
         least(t.today, $2) + 1 AS head_from, greatest(t.today, $2) AS head_to,
         EXISTS (SELECT FROM {state}.kept_period k WHERE k.tenant_id = t.id AND k.period_end = $2) AS kept
  FROM {state}.tenant t, {state}.settings s WHERE t.id = $1 AND t.today <> $2
), v AS MATERIALIZED (
  SELECT o.ctid AS place, o.*, x.recency AS new_recency, x.r AS new_r
  FROM {state}.customer_total c CROSS JOIN t
  JOIN {reports}.customer_analytics o ON o.tenant = t.tenant AND o.customer_id = c.customer_id AND o.period_end = $2
  CROSS JOIN LATERAL (
    SELECT recency, CASE WHEN recency <= t.days[1] THEN 5 WHEN recency <= t.days[2] THEN 4
                         WHEN recency <= t.days[3] THEN 3 WHEN recency <= t.days[4] THEN 2 ELSE 1 END AS r
    FROM (SELECT greatest(t.today - o.last_purchase_date, 0) AS recency OFFSET 0) y OFFSET 0) x
  WHERE c.tenant_id = $1 AND c.customer_id > $3 AND c.customer_id <= $4 AND c.sales > 0
    AND NOT EXISTS (SELECT FROM {state}.customer_day d WHERE d.tenant_id = $1 AND d.customer_id = c.customer_id
                    AND d.day BETWEEN (SELECT tail_from FROM t) AND (SELECT tail_to FROM t))
    AND NOT EXISTS (SELECT FROM {state}.customer_day d WHERE d.tenant_id = $1 AND d.customer_id = c.customer_id
                    AND d.day BETWEEN (SELECT head_from FROM t) AND (SELECT head_to FROM t))
    AND NOT EXISTS (SELECT FROM {reports}.customer_analytics n
                    WHERE n.tenant = t.tenant AND n.customer_id = c.customer_id AND n.period_end = t.today)
), moved AS (
  UPDATE {reports}.customer_analytics r SET
    period_end = t.today, period_start = t.start, recency_days = v.new_recency, r_score = v.new_r,
    rfm_score = (v.new_r + v.f_score + v.m_score) / 3, segment = {state}.segment(v.new_r, v.f_score, v.m_score),
    created_at = now(), updated_at = now()
  FROM v, t
  WHERE NOT t.kept AND r.ctid = v.place
  RETURNING 1
), copied AS (
  INSERT INTO {reports}.customer_analytics (
    tenant, customer_id, period_end, period_start, recency_days, frequency, monetary, purchases_count, total_spent,
    avg_purchase_amount, r_score, f_score, m_score, rfm_score, segment, credit_purchases, total_credit_amount,
    avg_payment_delay_days, credit_outstanding, first_purchase_date, last_purchase_date, lifetime_purchases, lifetime_spent)
  SELECT v.tenant, v.customer_id, t.today, t.start, v.new_recency, v.frequency, v.monetary, v.purchases_count, v.total_spent,
    v.avg_purchase_amount, v.new_r, v.f_score, v.m_score, (v.new_r + v.f_score + v.m_score) / 3,
    {state}.segment(v.new_r, v.f_score, v.m_score), v.credit_purchases, v.total_credit_amount,
    v.avg_payment_delay_days, v.credit_outstanding, v.first_purchase_date, v.last_purchase_date, v.lifetime_purchases,
    v.lifetime_spent
  FROM v, t WHERE t.kept
  RETURNING 1
)
SELECT (SELECT count(*) FROM moved) + (SELECT count(*) FROM copied) AS changed

-- The others of the batch, who have no row of today yet: tenant $1, customers after $2 up to $3.
-- name: roll_changed
WITH k AS MATERIALIZED (
  SELECT c.tenant_id, c.customer_id FROM {state}.customer_total c JOIN {state}.tenant t ON t.id = c.tenant_id
  WHERE c.tenant_id = $1 AND c.customer_id > $2 AND c.customer_id <= $3 AND c.sales > 0
    AND NOT EXISTS (SELECT FROM {reports}.customer_analytics n
                    WHERE n.tenant = t.tenant AND n.customer_id = c.customer_id AND n.period_end = t.today)
), put AS (
  INSERT INTO {reports}.customer_analytics (
    tenant, customer_id, period_end, period_start, recency_days, frequency, monetary, purchases_count, total_spent,
    avg_purchase_amount, r_score, f_score, m_score, rfm_score, segment, credit_purchases, total_credit_amount,
    avg_payment_delay_days, credit_outstanding, first_purchase_date, last_purchase_date, lifetime_purchases, lifetime_spent)
  SELECT v.tenant, v.customer_id, v.period_end, v.period_start, v.recency_days, v.frequency, v.monetary, v.purchases_count,
    v.total_spent, v.avg_purchase_amount, v.r_score, v.f_score, v.m_score, v.rfm_score, v.segment, v.credit_purchases,
    v.total_credit_amount, v.avg_payment_delay_days, v.credit_outstanding, v.first_purchase_date, v.last_purchase_date,
    v.lifetime_purchases, v.lifetime_spent
  FROM k JOIN {state}.customer_row v ON v.tenant_id = k.tenant_id AND v.customer_id = k.customer_id
  RETURNING 1
)
SELECT count(*) AS changed FROM put

-- What is left of earlier days in the batch, unless it is kept: tenant $1, days $2, customers after $3 up to $4.
-- name: roll_leave
WITH gone AS (
  DELETE FROM {reports}.customer_analytics r USING {state}.customer_total c, {state}.tenant t
  WHERE t.id = $1 AND c.tenant_id = $1 AND c.customer_id > $3 AND c.customer_id <= $4
    AND r.tenant = t.tenant AND r.customer_id = c.customer_id AND r.period_end = ANY ($2::date[])
    AND r.period_end <> t.today
    AND NOT EXISTS (SELECT FROM {state}.kept_period k WHERE k.tenant_id = $1 AND k.period_end = r.period_end)
  RETURNING 1
)
SELECT count(*) AS changed FROM gone
