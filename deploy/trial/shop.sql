-- Something to sell in store tenant_a, and someone to sell it to.
INSERT INTO tenant_a.sales_cashier_session (id) VALUES (1);
INSERT INTO tenant_a.products_product (id, name, slug, sku)
  SELECT n, 'product ' || n, 'p' || n, 'p' || n FROM generate_series(1, 50) n;
INSERT INTO tenant_a.products_product_pricing (product_id, cost_price, sale_price)
  SELECT n, 50 + n, 100 + n FROM generate_series(1, 50) n;
INSERT INTO tenant_a.customers_customer (id, first_name, phone)
  SELECT n, 'customer ' || n, '+9989' || n FROM generate_series(1, 20) n;
