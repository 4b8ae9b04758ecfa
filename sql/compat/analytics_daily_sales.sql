-- The application's daily sales. In all four: the CTE keeps the application's SELECT ... FOR UPDATE from locking report
-- rows, which the daemon would have to wait for; being one row source, it costs nothing else.
WITH r AS NOT MATERIALIZED (SELECT * FROM {reports}.daily_sales_report WHERE tenant = {tenant})
SELECT {state}.compat_id(0, r.date) AS id,
       r.date,
       {state}.clamp(r.total_sales, 9999999999.99)::numeric(12,2) AS total_sales,
       {state}.clamp(r.total_sales_count, 2147483647)::integer AS total_sales_count,
       {state}.clamp(r.avg_sale_amount, 9999999999.99)::numeric(12,2) AS avg_sale_amount,
       {state}.clamp(r.cash_sales, 9999999999.99)::numeric(12,2) AS cash_sales,
       {state}.clamp(r.card_sales, 9999999999.99)::numeric(12,2) AS card_sales,
       {state}.clamp(r.credit_sales, 9999999999.99)::numeric(12,2) AS credit_sales,
       {state}.clamp(r.total_discount, 9999999999.99)::numeric(12,2) AS total_discount,
       {state}.clamp(r.total_tax, 9999999999.99)::numeric(12,2) AS total_tax,
       {state}.clamp(trunc(r.total_items_sold), 2147483647)::integer AS total_items_sold,
       {state}.clamp(r.unique_products_sold, 2147483647)::integer AS unique_products_sold,
       {state}.clamp(r.unique_customers, 2147483647)::integer AS unique_customers,
       {state}.clamp(r.new_customers, 2147483647)::integer AS new_customers,
       {state}.clamp(r.sessions_opened, 2147483647)::integer AS sessions_opened,
       {state}.clamp(r.sessions_closed, 2147483647)::integer AS sessions_closed,
       r.created_at,
       r.updated_at
FROM r
