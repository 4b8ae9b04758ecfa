-- Every product and day of one store with counted item lines. Frozen unit costs cannot be recomputed (the price may
-- have changed since): they come from what was kept, in a temporary table filled beforehand.
WITH counted AS (
  SELECT s.id, s.day
  FROM {table sale} s
  WHERE s.status = ANY ({completed}) AND s.completed_at IS NOT NULL
), current_cost AS (
  SELECT DISTINCT ON (product_id) product_id, cost_price FROM {table pricing} r ORDER BY product_id, id DESC
), line AS (
  SELECT i.product_id, c.day, c.id AS sale_id, i.quantity, i.unit_price, i.line_total,
         i.quantity * coalesce(k.cost, p.cost_price, 0) AS cost
  FROM counted c
  JOIN {table sale_item} i ON i.sale_id = c.id
  LEFT JOIN pg_temp.tillstream_cost k ON k.item_id = i.id
  LEFT JOIN current_cost p ON p.product_id = i.product_id
  WHERE c.day >= {horizon}
), sums AS (
  SELECT product_id, day, count(*) AS lines, count(DISTINCT sale_id) AS sales, sum(quantity) AS quantity,
         sum(line_total) AS revenue, sum(unit_price) AS prices,
         round(sum(line_total), 2) AS shown_revenue, round(sum(cost), 2) AS shown_cost
  FROM line GROUP BY product_id, day
), shares AS (
  -- The percentages as one fraction each, so that nothing is rounded before the end. With the mean price prices/lines:
  -- (mean - revenue/quantity) / mean = (prices * quantity - revenue * lines) / (prices * quantity)
  SELECT s.*, 100 * sign(prices) * (prices * quantity - revenue * lines) AS discount_over, abs(prices * quantity) AS discount_under,
         100 * (shown_revenue - shown_cost) AS margin_over
  FROM sums s
)
SELECT product_id, day AS date,
       round(quantity, 3) AS quantity_sold,
       shown_revenue AS total_revenue,
       sales AS sales_count,
       round(prices / lines, 2) AS avg_price,
       -- div() is exact, the quotient of a plain division is not: half a cent more or less must not depend on its digits.
       CASE WHEN quantity > 0 AND prices <> 0 AND discount_over > 0
            THEN least(div(discount_over * 200 + discount_under, 2 * discount_under) * 0.01, 9999999999.99)
            ELSE 0.00 END AS avg_discount,
       shown_cost AS total_cost,
       shown_revenue - shown_cost AS total_profit,
       CASE WHEN shown_revenue > 0
            THEN greatest(least(sign(margin_over) * div(abs(margin_over) * 200 + shown_revenue, 2 * shown_revenue) * 0.01,
                                9999999999.99), -9999999999.99)
            ELSE 0.00 END AS profit_margin
FROM shares
ORDER BY product_id, day
