-- Today's rows of inventory_snapshot of one store that keeps a stock ledger.
SELECT product_id, (now() AT TIME ZONE '{zone}')::date AS date,
       on_hand AS quantity_on_hand, reserved AS reserved_quantity, on_hand - reserved AS available_quantity,
       round(on_hand * cost_price, 2) AS total_cost, round(on_hand * sale_price, 2) AS total_value,
       CASE WHEN on_hand > 0 AND sold > 0 THEN round(sold / on_hand, 2) ELSE 0 END AS turnover_rate,
       CASE WHEN on_hand > 0 AND sold > 0 THEN floor(on_hand * 30 / sold) ELSE 0 END AS days_of_stock,
       on_hand <= 0 AS is_out_of_stock, on_hand <= min_quantity AS is_low_stock,
       coalesce(on_hand >= max_quantity, false) AS is_overstock
FROM (SELECT p.id AS product_id, coalesce(ledger.quantity, 0) AS on_hand, coalesce(held.quantity, 0) AS reserved,
             coalesce(sales.quantity, 0) AS sold, coalesce(c.cost_price, 0) AS cost_price,
             coalesce(c.sale_price, 0) AS sale_price, coalesce(l.min_quantity, 0) AS min_quantity, l.max_quantity
      FROM {schema}.products_product p
      LEFT JOIN {schema}.products_product_pricing c ON c.product_id = p.id
      LEFT JOIN {schema}.products_product_inventory l ON l.product_id = p.id
      LEFT JOIN (SELECT product_id, sum(CASE WHEN movement_type IN ('purchase', 'return', 'transfer_in', 'adjustment') THEN quantity
                                             WHEN movement_type IN ('sale', 'write_off', 'transfer_out') THEN -quantity ELSE 0 END) AS quantity
                 FROM {schema}.products_stock_movement GROUP BY 1) ledger ON ledger.product_id = p.id
      LEFT JOIN (SELECT product_id, sum(quantity) AS quantity FROM {schema}.products_stock_reservation
                 WHERE status = 'active' GROUP BY 1) held ON held.product_id = p.id
      LEFT JOIN (SELECT i.product_id, sum(i.quantity) AS quantity
                 FROM {schema}.sales_sale_item i JOIN {schema}.sales_sale s ON s.id = i.sale_id
                 WHERE s.status = 'completed'
                   AND s.completed_at >= ((now() AT TIME ZONE '{zone}')::date - 30)::timestamp AT TIME ZONE '{zone}'
                 GROUP BY 1) sales ON sales.product_id = p.id
      WHERE l.track_inventory IS DISTINCT FROM false) stock
