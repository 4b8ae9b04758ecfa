-- daily_sales_report of one store, as a careful analyst asks it of the POS's tables.
SELECT date,
       coalesce(sold.total, 0) AS total_sales,
       coalesce(sold.sales, 0) AS total_sales_count,
       round(coalesce(sold.total / nullif(sold.sales, 0), 0), 2) AS avg_sale_amount,
       coalesce(paid.cash, 0) AS cash_sales, coalesce(paid.card, 0) AS card_sales,
       coalesce(paid.credit, 0) AS credit_sales, coalesce(paid.other, 0) AS other_sales,
       coalesce(sold.discount, 0) AS total_discount, coalesce(sold.tax, 0) AS total_tax,
       coalesce(lines.quantity, 0) AS total_items_sold, coalesce(lines.products, 0) AS unique_products_sold,
       coalesce(sold.customers, 0) AS unique_customers, coalesce(newcomers.customers, 0) AS new_customers,
       coalesce(sold.refunds, 0) AS refund_count, coalesce(sold.refunded, 0) AS refund_amount,
       coalesce(opened.sessions, 0) AS sessions_opened, coalesce(closed.sessions, 0) AS sessions_closed
FROM (SELECT (completed_at AT TIME ZONE '{zone}')::date AS date,
             count(*) FILTER (WHERE status = 'completed') AS sales,
             sum(total_amount) FILTER (WHERE status = 'completed') AS total,
             sum(discount_amount) FILTER (WHERE status = 'completed') AS discount,
             sum(tax_amount) FILTER (WHERE status = 'completed') AS tax,
             count(DISTINCT customer_id) FILTER (WHERE status = 'completed') AS customers,
             count(*) FILTER (WHERE status = 'refunded') AS refunds,
             sum(total_amount) FILTER (WHERE status = 'refunded') AS refunded
      FROM {schema}.sales_sale
      WHERE completed_at IS NOT NULL AND status IN ('completed', 'refunded') GROUP BY 1) sold
FULL JOIN (SELECT (opened_at AT TIME ZONE '{zone}')::date AS date, count(*) AS sessions
           FROM {schema}.sales_cashier_session GROUP BY 1) opened USING (date)
FULL JOIN (SELECT (closed_at AT TIME ZONE '{zone}')::date AS date, count(*) AS sessions
           FROM {schema}.sales_cashier_session WHERE closed_at IS NOT NULL GROUP BY 1) closed USING (date)
LEFT JOIN (SELECT (s.completed_at AT TIME ZONE '{zone}')::date AS date,
                  sum(p.amount) FILTER (WHERE p.payment_method = 'cash') AS cash,
                  sum(p.amount) FILTER (WHERE p.payment_method = 'card') AS card,
                  sum(p.amount) FILTER (WHERE p.payment_method = 'credit') AS credit,
                  sum(p.amount) FILTER (WHERE p.payment_method NOT IN ('cash', 'card', 'credit')) AS other
           FROM {schema}.sales_payment p JOIN {schema}.sales_sale s ON s.id = p.sale_id
           WHERE s.status = 'completed' AND s.completed_at IS NOT NULL GROUP BY 1) paid USING (date)
LEFT JOIN (SELECT (s.completed_at AT TIME ZONE '{zone}')::date AS date,
                  sum(i.quantity) AS quantity, count(DISTINCT i.product_id) AS products
           FROM {schema}.sales_sale_item i JOIN {schema}.sales_sale s ON s.id = i.sale_id
           WHERE s.status = 'completed' AND s.completed_at IS NOT NULL GROUP BY 1) lines USING (date)
LEFT JOIN (SELECT date, count(*) AS customers
           FROM (SELECT min((completed_at AT TIME ZONE '{zone}')::date) AS date FROM {schema}.sales_sale
                 WHERE status = 'completed' AND completed_at IS NOT NULL AND customer_id IS NOT NULL
                 GROUP BY customer_id) first
           GROUP BY 1) newcomers USING (date)
WHERE date >= (now() AT TIME ZONE '{zone}')::date - 365
