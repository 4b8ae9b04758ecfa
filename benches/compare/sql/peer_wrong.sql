-- How many rows of the peers' tables differ from what the POS's tables say, of those columns that the peers keep.
SELECT (SELECT count(*) FROM ({daily_sales_report}) r FULL JOIN peer.daily p USING (date)
        WHERE (r.total_sales, r.total_sales_count, r.avg_sale_amount, r.cash_sales, r.card_sales, r.credit_sales, r.other_sales,
               r.total_items_sold, r.unique_products_sold, r.unique_customers) IS DISTINCT FROM
              (p.total_sales, p.total_sales_count, p.avg_sale_amount, p.cash_sales, p.card_sales, p.credit_sales, p.other_sales,
               p.total_items_sold, p.unique_products_sold, p.unique_customers))
     + (SELECT count(*) FROM ({product_performance}) r FULL JOIN peer.product p USING (product_id, date)
        WHERE (r.quantity_sold, r.total_revenue, r.sales_count, r.avg_price, r.avg_discount, r.total_cost, r.profit_margin)
              IS DISTINCT FROM
              (p.quantity_sold, p.total_revenue, p.sales_count, p.avg_price, p.avg_discount, p.total_cost, p.profit_margin))
     + (SELECT count(*) FROM ({customer_analytics}) r FULL JOIN peer.customer p USING (customer_id)
        WHERE (r.frequency, r.monetary, r.avg_purchase_amount, r.r_score, r.f_score, r.m_score, r.credit_purchases,
               r.total_credit_amount) IS DISTINCT FROM
              (p.frequency, p.monetary, p.avg_purchase_amount, p.r_score, p.f_score, p.m_score, p.credit_purchases,
               p.total_credit_amount))
