-- The product dimension of one store. A source row that exists is never marked deleted. Where names are kept in a table
-- of their own, that which refers to the product counts before that to which the product refers.
WITH naming AS (
  SELECT id, product_id, name FROM {table product_name} n
)
SELECT p.id AS product_id, coalesce(its.name, referred.name, p.name) AS name, p.sku, p.barcode, p.is_active,
       NULL::timestamptz AS deleted_at, p.source_key
FROM {table product} p
LEFT JOIN (SELECT DISTINCT ON (product_id) product_id, name FROM naming WHERE product_id IS NOT NULL
           ORDER BY product_id, id DESC) its ON its.product_id = p.id
LEFT JOIN naming referred ON referred.id = p.name_id
ORDER BY p.id
