-- What brought most on each store's newest day. {reports} is the report schema.
SELECT coalesce(p.name, 'product ' || best.product_id), t.name, best.quantity_sold, best.total_revenue
FROM {reports}.tenant t
CROSS JOIN LATERAL (SELECT max(r.date) AS date FROM {reports}.daily_sales_report r
                    WHERE r.tenant = t.tenant AND r.date <= (now() AT TIME ZONE t.time_zone)::date) day
JOIN {reports}.product_performance best ON best.tenant = t.tenant AND best.date = day.date
LEFT JOIN {reports}.product p ON p.tenant = best.tenant AND p.product_id = best.product_id
ORDER BY best.total_revenue DESC, best.product_id
LIMIT 8
