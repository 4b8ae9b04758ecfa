-- The newest inventory row of each product: how many, how many low, how many out. {reports} is the report schema.
SELECT count(*), count(*) FILTER (WHERE is_low_stock), count(*) FILTER (WHERE is_out_of_stock)
FROM (SELECT DISTINCT ON (tenant, product_id) tenant, product_id, is_low_stock, is_out_of_stock
      FROM {reports}.inventory_snapshot ORDER BY tenant, product_id, date DESC) i
