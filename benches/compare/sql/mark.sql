-- The probe's sale number $1, of a customer and a product that nobody else buys as; its cent of tax is the day's only one.
WITH sale AS (
  INSERT INTO tenant_1.sales_sale (session_id, receipt_number, customer_id, status, subtotal, tax_amount, total_amount, completed_at)
  VALUES (1, 'mark-' || $1::bigint, {customer}, 'completed', 1, 0.01, 1.01, now()) RETURNING id
), item AS (
  INSERT INTO tenant_1.sales_sale_item (sale_id, product_id, quantity, unit_price, line_total)
  SELECT id, {product}, 1, 1, 1 FROM sale
), payment AS (
  INSERT INTO tenant_1.sales_payment (sale_id, session_id, payment_method, amount) SELECT id, 1, 'cash', 1.01 FROM sale
)
INSERT INTO tenant_1.products_stock_movement (product_id, movement_type, quantity) VALUES ({product}, 'sale', 1)
