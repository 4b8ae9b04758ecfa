-- Every store with its newest day up to its own today. {reports} is the report schema.
SELECT t.name, t.state, d.date, d.total_sales_count, d.total_sales, d.avg_sale_amount, d.cash_sales, d.card_sales,
       d.credit_sales, d.other_sales, d.unique_customers, d.refund_count, d.refund_amount
FROM {reports}.tenant t
LEFT JOIN LATERAL (SELECT * FROM {reports}.daily_sales_report r
                   WHERE r.tenant = t.tenant AND r.date <= (now() AT TIME ZONE t.time_zone)::date
                   ORDER BY r.date DESC LIMIT 1) d ON true
WHERE t.state <> 'gone'
ORDER BY t.name
