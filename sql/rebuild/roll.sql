-- The live customer rows of a tenant move on from an old day to a new one. First, in one transaction, the sums behind them:
-- shift_customers, shift_inventory, begin_day; between those and the old day nothing is written. Then the rows, a batch of
-- customers at a time: customers_end, show_some_customer_analytics, roll_leave, commit. Between two batches the stream goes
-- on; a customer it touches gets today's row from it, and only loses the old one here. Any batch may be run again.

-- The windows of customers of tenant $1 who have a day that leaves or enters it when today becomes $2.
-- name: shift_customers
WITH t AS MATERIALIZED (
  SELECT t.today AS old, $2::date AS new, s.window_days AS days FROM {state}.tenant t, {state}.settings s WHERE t.id = $1
), crossing AS (
  SELECT d.customer_id, d.sales, d.spent, d.credit_sales, d.credit, CASE WHEN d.day > t.old THEN 1 ELSE -1 END AS sign
  FROM t JOIN {state}.customer_day d
    ON d.tenant_id = $1 AND (d.day BETWEEN t.old - t.days AND least(t.old, t.new - t.days - 1)
                             OR d.day BETWEEN greatest(t.old + 1, t.new - t.days) AND t.new)
), shift AS (
  SELECT customer_id, sum(sign * sales)::bigint AS sales, sum(sign * spent) AS spent,
         sum(sign * credit_sales)::bigint AS credit_sales, sum(sign * credit) AS credit
  FROM crossing GROUP BY 1
)
UPDATE {state}.customer_total c SET
  window_sales = c.window_sales + x.sales, window_spent = c.window_spent + x.spent,
  window_credit_sales = c.window_credit_sales + x.credit_sales, window_credit = c.window_credit + x.credit,
  delay_days = CASE WHEN c.payments > 0
                    THEN coalesce((SELECT l.days FROM {state}.payment_delays($1, t.new - t.days, t.new) l
                                   WHERE l.customer_id = c.customer_id), 0) ELSE 0 END
FROM shift x, t WHERE c.tenant_id = $1 AND c.customer_id = x.customer_id

-- The same for what was sold of products in 30 days.
-- name: shift_inventory
WITH t AS MATERIALIZED (SELECT t.today AS old, $2::date AS new FROM {state}.tenant t WHERE t.id = $1),
shift AS (
  SELECT i.product_id, sum(CASE WHEN d.day > t.old THEN d.quantity ELSE -d.quantity END) AS quantity
  FROM t CROSS JOIN {state}.inventory i JOIN {state}.product_day d
    ON d.tenant_id = $1 AND d.product_id = i.product_id
   AND (d.day BETWEEN t.old - 30 AND least(t.old, t.new - 31) OR d.day BETWEEN greatest(t.old + 1, t.new - 30) AND t.new)
  WHERE i.tenant_id = $1 GROUP BY 1
)
UPDATE {state}.inventory i SET sold = i.sold + x.quantity FROM shift x
WHERE i.tenant_id = $1 AND i.product_id = x.product_id

-- All windows of tenant $1 anew: the settings say another number of days.
-- name: recount_windows
WITH n AS (
  SELECT d.customer_id,
         coalesce(sum(d.sales) FILTER (WHERE w), 0)::bigint AS sales, coalesce(sum(d.spent) FILTER (WHERE w), 0) AS spent,
         coalesce(sum(d.credit_sales) FILTER (WHERE w), 0)::bigint AS credit_sales,
         coalesce(sum(d.credit) FILTER (WHERE w), 0) AS credit
  FROM {state}.tenant t CROSS JOIN {state}.settings s JOIN {state}.customer_day d ON d.tenant_id = t.id,
       LATERAL (SELECT d.day BETWEEN t.today - s.window_days AND t.today AS w) w
  WHERE t.id = $1 GROUP BY 1
)
UPDATE {state}.customer_total c SET
  window_sales = n.sales, window_spent = n.spent, window_credit_sales = n.credit_sales, window_credit = n.credit,
  delay_days = coalesce(l.days, 0)
FROM n LEFT JOIN ({+all_delays}) l USING (customer_id)
WHERE c.tenant_id = $1 AND c.customer_id = n.customer_id

-- The last of the next $3 customers of tenant $1 after customer $2, and how many they are.
-- name: customers_end
SELECT max(customer_id) AS last, count(*) AS found FROM (
  SELECT c.customer_id FROM {state}.customer_total c WHERE c.tenant_id = $1 AND c.customer_id > $2
  ORDER BY c.customer_id LIMIT $3) c

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
