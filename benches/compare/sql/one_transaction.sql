-- {sales} sales of nine row changes each in a single transaction, table by table, as an import does it.
BEGIN;
SET LOCAL session_replication_role = replica;   -- millions of deferred checks would need gigabytes
CREATE TEMP TABLE batch ON COMMIT DROP AS
SELECT nextval(pg_get_serial_sequence('tenant_1.sales_sale', 'id')) AS id, g FROM generate_series(1, {sales}) g;
INSERT INTO tenant_1.sales_sale (id, session_id, receipt_number, customer_id)
SELECT id, 1, 'I-' || id, CASE WHEN g % 2 = 0 THEN 1 + dice(g, 11, {customers}) END FROM batch;
INSERT INTO tenant_1.sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
SELECT id, 1 + dice(g * 3 + k, 12, {products}), k, 10000, k * 10000 FROM batch, generate_series(1, 3) k;
INSERT INTO tenant_1.sales_payment (sale_id, session_id, payment_method, amount)
SELECT id, 1, (ARRAY['cash', 'cash', 'card', 'card', 'credit', 'transfer'])[1 + g % 6], 60000 FROM batch;
INSERT INTO tenant_1.products_stock_movement (product_id, movement_type, quantity)
SELECT 1 + dice(g * 3 + k, 12, {products}), 'sale', k FROM batch, generate_series(1, 3) k;
UPDATE tenant_1.sales_sale s SET status = 'completed', completed_at = now(), subtotal = 60000, total_amount = 60000
FROM batch b WHERE s.id = b.id;
COMMIT;
