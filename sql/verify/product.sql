-- The product dimension of one store. A source row that exists is never marked deleted.
SELECT id AS product_id, name, sku, barcode, is_active, NULL::timestamptz AS deleted_at
FROM {table product} p
ORDER BY id
