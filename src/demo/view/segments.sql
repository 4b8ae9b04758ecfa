-- Customers per segment, as of each store's newest period. {reports} is the report schema.
SELECT c.segment, count(*)
FROM {reports}.customer_analytics c
JOIN (SELECT tenant, max(period_end) AS period_end FROM {reports}.customer_analytics GROUP BY tenant) newest
     USING (tenant, period_end)
GROUP BY c.segment
ORDER BY count(*) DESC, c.segment
