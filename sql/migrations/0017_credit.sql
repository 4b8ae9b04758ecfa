-- The credit of a customer from some day on is found without what was before.
DROP INDEX {state}.sale_credit;
CREATE INDEX sale_credit ON {state}.sale (tenant_id, customer_id, day) WHERE credit IS NOT NULL;

-- How late customers pay credit back, in days, as defined for customer_analytics.avg_payment_delay_days; those are missing
-- who paid nothing back of it. Both queues are walked once, from their ends: what is owed is settled by the payment met
-- last, the first that reaches it. Asked for one customer it reads nobody else's.
CREATE FUNCTION {state}.payment_delays(tenant integer, first date, last date) RETURNS TABLE (customer_id bigint, days integer)
LANGUAGE sql STABLE AS $$
  SELECT q.customer_id, round(avg(greatest(q.settled - q.day, 0)))::integer
  FROM (SELECT n.*, first_value(n.day) OVER (PARTITION BY n.customer_id, n.payment ORDER BY n.running DESC, n.owed) AS settled
        FROM (SELECT u.*, count(*) FILTER (WHERE NOT u.owed) OVER (
                       PARTITION BY u.customer_id ORDER BY u.running DESC, u.owed) AS payment
              FROM (SELECT f.customer_id, true AS owed, f.day,
                           sum(f.credit) OVER (PARTITION BY f.customer_id ORDER BY f.completed_at, f.id) AS running
                    FROM {state}.sale f
                    WHERE f.tenant_id = tenant AND f.customer_id IS NOT NULL AND f.credit IS NOT NULL
                      AND f.status = 'c' AND f.day IS NOT NULL
                    UNION ALL
                    SELECT p.customer_id, false, p.day,
                           sum(p.amount) OVER (PARTITION BY p.customer_id ORDER BY p.created_at, p.id)
                    FROM {state}.credit_payment p
                    WHERE p.tenant_id = tenant AND p.amount > 0) u) n) q
  WHERE q.owed AND q.payment > 0 AND q.day BETWEEN first AND last
  GROUP BY 1 $$;
COMMENT ON FUNCTION {state}.payment_delays(integer, date, date) IS 'How late customers pay credit back, in days';
DROP FUNCTION {state}.payment_delay(integer, bigint, date, date);
