WITH r AS NOT MATERIALIZED (SELECT * FROM {reports}.product_performance WHERE tenant = {tenant})
SELECT {state}.compat_id(r.product_id, r.date) AS id,
       r.date,
       {state}.clamp(r.quantity_sold, 999999999.999)::numeric(12,3) AS quantity_sold,
       {state}.clamp(r.total_revenue, 9999999999.99)::numeric(12,2) AS total_revenue,
       {state}.clamp(r.sales_count, 2147483647)::integer AS sales_count,
       {state}.clamp(r.avg_price, 9999999999.99)::numeric(12,2) AS avg_price,
       {state}.clamp(r.avg_discount, 999.99)::numeric(5,2) AS avg_discount,
       {state}.clamp(r.total_cost, 9999999999.99)::numeric(12,2) AS total_cost,
       {state}.clamp(r.total_profit, 9999999999.99)::numeric(12,2) AS total_profit,
       {state}.clamp(r.profit_margin, 999.99)::numeric(5,2) AS profit_margin,
       r.created_at,
       r.updated_at,
       r.product_id
FROM r
