-- Today's row of every tracked product of one store. `required` is no column of the report: a row of an inactive
-- product may be there (it was active when it was written) but need not.
WITH ledger AS (
  SELECT product_id,
         sum(CASE WHEN movement_type = ANY ({incoming}) THEN quantity
                  WHEN movement_type = ANY ({outgoing}) THEN -quantity
                  WHEN movement_type = ANY ({signed}) THEN quantity
                  ELSE 0 END) AS quantity
  FROM {table stock_movement} m WHERE {by_movements} GROUP BY product_id
), shelf AS (
  SELECT product_id, sum(quantity) AS quantity
  FROM {table batch} b WHERE is_active AND NOT {by_movements} GROUP BY product_id
), reserved AS (
  SELECT product_id, sum(quantity) AS quantity
  FROM {table reservation} r WHERE status = ANY ({reservation_active}) GROUP BY product_id
), sold AS (
  SELECT i.product_id, sum(i.quantity) AS quantity
  FROM {table sale} s JOIN {table sale_item} i ON i.sale_id = s.id
  WHERE s.status = ANY ({completed})
    AND s.day BETWEEN {today} - 30 AND {today}
  GROUP BY i.product_id
), price AS (
  SELECT DISTINCT ON (product_id) product_id, cost_price, sale_price FROM {table pricing} r ORDER BY product_id, id DESC
), limits AS (
  SELECT DISTINCT ON (product_id) product_id, min_quantity, max_quantity, track_inventory
  FROM {table stock_limits} l ORDER BY product_id, id DESC
), stock AS (
  SELECT p.id AS product_id, p.is_active,
         coalesce(ledger.quantity, shelf.quantity, 0) AS on_hand,
         coalesce(reserved.quantity, 0) AS reserved,
         coalesce(sold.quantity, 0) AS sold,
         coalesce(price.cost_price, 0) AS cost_price, coalesce(price.sale_price, 0) AS sale_price,
         coalesce(limits.min_quantity, 0) AS min_quantity, limits.max_quantity
  FROM {table product} p
  LEFT JOIN ledger ON ledger.product_id = p.id
  LEFT JOIN shelf ON shelf.product_id = p.id
  LEFT JOIN reserved ON reserved.product_id = p.id
  LEFT JOIN sold ON sold.product_id = p.id
  LEFT JOIN price ON price.product_id = p.id
  LEFT JOIN limits ON limits.product_id = p.id
  WHERE limits.track_inventory IS DISTINCT FROM false
)
SELECT product_id, {today} AS date,
       round(on_hand, 3) AS quantity_on_hand,
       round(reserved, 3) AS reserved_quantity,
       round(on_hand - reserved, 3) AS available_quantity,
       round(on_hand * cost_price, 2) AS total_cost,
       round(on_hand * sale_price, 2) AS total_value,
       -- div() of positive numbers is floor(), exactly: round half up in hundredths, and whole days.
       CASE WHEN on_hand > 0 AND sold > 0
            THEN least(div(sold * 200 + on_hand, 2 * on_hand) * 0.01, 9999999999.99) ELSE 0.00 END AS turnover_rate,
       CASE WHEN on_hand > 0 AND sold > 0 THEN least(div(on_hand * 30, sold), 2147483647) ELSE 0 END AS days_of_stock,
       on_hand <= 0 AS is_out_of_stock,
       on_hand <= min_quantity AS is_low_stock,
       max_quantity IS NOT NULL AND on_hand >= max_quantity AS is_overstock,
       is_active AS required
FROM stock
ORDER BY product_id
