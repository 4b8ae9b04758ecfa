-- How many of the probe's sales each report shows.
SELECT coalesce((SELECT (total_tax * 100)::bigint FROM analytics.daily_sales_report
                 WHERE tenant = 'tenant_1' ORDER BY date DESC LIMIT 1), 0) AS daily,
       coalesce((SELECT sales_count FROM analytics.product_performance
                 WHERE tenant = 'tenant_1' AND product_id = {product} ORDER BY date DESC LIMIT 1), 0) AS product,
       coalesce((SELECT frequency FROM analytics.customer_analytics
                 WHERE tenant = 'tenant_1' AND customer_id = {customer} ORDER BY period_end DESC LIMIT 1), 0) AS customer,
       coalesce((SELECT (1000000 - quantity_on_hand)::bigint FROM analytics.inventory_snapshot
                 WHERE tenant = 'tenant_1' AND product_id = {product} ORDER BY date DESC LIMIT 1), 0) AS inventory
