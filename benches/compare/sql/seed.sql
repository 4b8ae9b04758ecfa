-- One store's goods, customers and past: {history} finished sales over the {days} days before today and {today} of today, each of
-- three items and one payment; {percent} of 100 have a customer. Rows are written once, as they stand in the end: no dead
-- rows, no update to decode. The last product and the last customer are in no sale: they are the probe's.
SET session_replication_role = replica;   -- no check of a foreign key that holds by construction
SET synchronous_commit = off;

INSERT INTO {schema}.products_product (id, name, slug, sku, barcode)
SELECT p, 'Article ' || p, 'article-' || p, 'A-' || p, (4780000000000 + p)::text FROM generate_series(1, {products} + 1) p;

INSERT INTO {schema}.products_product_pricing (id, product_id, cost_price, sale_price)
SELECT p, p, 4000 + dice(p, 1, 5000), 10000 + dice(p, 2, 20000) FROM generate_series(1, {products} + 1) p;

INSERT INTO {schema}.products_product_inventory (id, product_id, min_quantity, max_quantity)
SELECT p, p, 10, 2000000 FROM generate_series(1, {products} + 1) p;

INSERT INTO {schema}.products_product_batch (id, product_id, batch_number, quantity, purchase_price)
SELECT p, p, 'B-' || p, 1000000, 4000 FROM generate_series(1, {products} + 1) p;

INSERT INTO {schema}.products_stock_movement (id, product_id, movement_type, quantity)
SELECT p, p, 'purchase', 1000000 FROM generate_series(1, {products} + 1) p;

INSERT INTO {schema}.customers_customer (id, first_name, last_name, phone, created_at)
SELECT c, 'First' || c, 'Last' || c, '+' || (998000000000 + c), now() - interval '{days} days' FROM generate_series(1, {customers} + 1) c;

-- Session 1 is today's; the others are those of past days.
INSERT INTO {schema}.sales_cashier_session (id, status, opened_at) SELECT 1, 'open', midnight
FROM (SELECT date_trunc('day', now() AT TIME ZONE '{zone}') AT TIME ZONE '{zone}' AS midnight) m;
INSERT INTO {schema}.sales_cashier_session (id, status, opened_at, closed_at)
SELECT 1 + d, 'closed', midnight - make_interval(days => d::int, hours => -8), midnight - make_interval(days => d::int, hours => -20)
FROM (SELECT date_trunc('day', now() AT TIME ZONE '{zone}') AT TIME ZONE '{zone}' AS midnight) m, generate_series(1, {days}) d;

INSERT INTO {schema}.sales_sale_item (id, sale_id, product_id, quantity, unit_price, line_total, created_at)
SELECT s.id * 3 + k - 3, s.id, product, quantity, price, round(quantity * price, 2), s.at
FROM (SELECT g AS id,
             CASE WHEN g <= {history}
                  THEN midnight - make_interval(secs => (1 + {history} - g) * ({days} * 86400.0 / greatest({history}, 1)))
                  ELSE midnight + (now() - midnight) * ((g - {history}) / (1.0 + {today})) END AS at
      FROM (SELECT date_trunc('day', now() AT TIME ZONE '{zone}') AT TIME ZONE '{zone}' AS midnight) m,
           generate_series(1, {history} + {today}) g) s,
     generate_series(1, 3) k,
     LATERAL (SELECT 1 + dice(s.id * 3 + k, 3, {products}) AS product, (1 + dice(s.id * 3 + k, 4, 20)) * 0.25 AS quantity) i,
     LATERAL (SELECT (10000 + dice(product, 2, 20000))::numeric(12, 2) AS price) p;

INSERT INTO {schema}.sales_sale (id, session_id, receipt_number, status, customer_id, subtotal, total_amount, created_at, completed_at)
SELECT sale_id,
       CASE WHEN sale_id > {history} THEN 1 ELSE 1 + {days} - (sale_id - 1) * {days} / greatest({history}, 1) END,
       'H-' || sale_id, 'completed',
       CASE WHEN dice(sale_id, 5, 100) < {percent} THEN 1 + (sale_id * 7919) % {customers} END,
       total, total, at, at
FROM (SELECT sale_id, sum(line_total) AS total, min(created_at) AS at FROM {schema}.sales_sale_item GROUP BY sale_id) i
ORDER BY sale_id;

INSERT INTO {schema}.sales_payment (id, sale_id, session_id, payment_method, amount, created_at)
SELECT id, id, session_id, (ARRAY['cash', 'cash', 'card', 'card', 'credit', 'transfer'])[1 + dice(id, 6, 6)], total_amount, completed_at
FROM {schema}.sales_sale ORDER BY id;

-- Two instalments of whoever buys on credit now and then.
INSERT INTO {schema}.customers_transaction (id, customer_id, transaction_type, amount, balance_before, balance_after, created_at)
SELECT c * 2 - k, c, 'payment', 50000, 0, 50000, now() - make_interval(days => (10 + 40 * k)::int)
FROM generate_series(1, {customers}) c, generate_series(0, 1) k;

SELECT setval(pg_get_serial_sequence(format('{schema}.%I', t), 'id'), {history} + {today} + 1) FROM unnest(ARRAY['sales_sale', 'sales_payment']) t;
SELECT setval(pg_get_serial_sequence('{schema}.sales_sale_item', 'id'), 3 * ({history} + {today}) + 1);
SELECT setval(pg_get_serial_sequence(format('{schema}.%I', t), 'id'), {products} + 2)
FROM unnest(ARRAY['products_product', 'products_product_pricing', 'products_product_inventory', 'products_product_batch', 'products_stock_movement']) t;
SELECT setval(pg_get_serial_sequence('{schema}.customers_customer', 'id'), {customers} + 2);
SELECT setval(pg_get_serial_sequence('{schema}.customers_transaction', 'id'), 2 * {customers} + 1);
SELECT setval(pg_get_serial_sequence('{schema}.sales_cashier_session', 'id'), {days} + 2);

RESET synchronous_commit;
RESET session_replication_role;
