-- product_performance of one store, at today's cost prices.
SELECT product_id, date, quantity AS quantity_sold, revenue AS total_revenue, sales AS sales_count,
       round(prices / lines, 2) AS avg_price,
       CASE WHEN quantity > 0 AND prices > 0
            THEN greatest(round(100 * (prices * quantity - revenue * lines) / (prices * quantity), 2), 0) ELSE 0 END AS avg_discount,
       cost AS total_cost, revenue - cost AS total_profit,
       CASE WHEN revenue > 0 THEN round(100 * (revenue - cost) / revenue, 2) ELSE 0 END AS profit_margin
FROM (SELECT i.product_id, (s.completed_at AT TIME ZONE '{zone}')::date AS date,
             sum(i.quantity) AS quantity, sum(i.line_total) AS revenue, sum(i.unit_price) AS prices,
             count(*) AS lines, count(DISTINCT i.sale_id) AS sales,
             round(sum(i.quantity * coalesce(c.cost_price, 0)), 2) AS cost
      FROM {schema}.sales_sale_item i
      JOIN {schema}.sales_sale s ON s.id = i.sale_id
      LEFT JOIN {schema}.products_product_pricing c ON c.product_id = i.product_id
      WHERE s.status = 'completed' AND s.completed_at IS NOT NULL
        AND s.completed_at >= ((now() AT TIME ZONE '{zone}')::date - 365)::timestamp AT TIME ZONE '{zone}'
      GROUP BY 1, 2) sums
