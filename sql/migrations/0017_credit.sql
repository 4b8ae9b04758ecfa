-- The credit of a customer from some day on is found without what was before.
DROP INDEX {state}.sale_credit;
CREATE INDEX sale_credit ON {state}.sale (tenant_id, customer_id, day) WHERE credit IS NOT NULL;

-- How late a customer pays credit back, as defined for customer_analytics.avg_payment_delay_days: both queues are walked
-- once, from their ends. What is owed is settled by the payment met last, the first that reaches it.
CREATE OR REPLACE FUNCTION {state}.payment_delay(tenant integer, customer bigint, first date, last date) RETURNS integer
LANGUAGE sql STABLE AS $$
  SELECT coalesce(round(avg(greatest(q.settled - q.day, 0))), 0)::integer
  FROM (SELECT n.owed, n.day, n.payment,
               first_value(n.day) OVER (PARTITION BY n.payment ORDER BY n.running DESC, n.owed) AS settled
        FROM (SELECT u.*, count(*) FILTER (WHERE NOT u.owed) OVER (ORDER BY u.running DESC, u.owed) AS payment
              FROM (SELECT true AS owed, f.day, sum(f.credit) OVER (ORDER BY f.completed_at, f.id) AS running
                    FROM {state}.sale f
                    WHERE f.tenant_id = tenant AND f.customer_id = customer AND f.credit IS NOT NULL
                      AND f.status = 'c' AND f.day IS NOT NULL
                    UNION ALL
                    SELECT false, p.day, sum(p.amount) OVER (ORDER BY p.created_at, p.id)
                    FROM {state}.credit_payment p
                    WHERE p.tenant_id = tenant AND p.customer_id = customer AND p.amount > 0) u) n) q
  WHERE q.owed AND q.payment > 0 AND q.day BETWEEN first AND last $$;
