-- Random report rows for three stores, for tests of what reads them: {seed} is in [-1, 1]. The stores' todays differ.
SELECT setseed({seed});
INSERT INTO analytics.tenant (tenant, name, time_zone, state, synchronized_at) VALUES
  ('tenant_central', 'Central', 'Asia/Tashkent', 'live', '0/100'),
  ('tenant_north', 'North', 'Europe/Moscow', 'live', '0/100'),
  ('tenant_quiet', 'Quiet', 'Asia/Tashkent', 'live', '0/100'),
  ('tenant_new', 'New', 'Asia/Tashkent', 'discovered', NULL);
INSERT INTO analytics_state.tenant (tenant, time_zone, stock_source, definitions, horizon, today, floor_lsn)
SELECT tenant, time_zone, 'batches', '', current_date - 365, current_date - (tenant = 'tenant_north')::int, '0/0'
FROM analytics.tenant WHERE state = 'live';

INSERT INTO analytics.product (tenant, product_id, name, sku, barcode, is_active, deleted_at)
SELECT t, p, t || ' secret product ' || p, 'SKU' || p, '', random() < 0.9, CASE WHEN random() < 0.05 THEN now() END
FROM unnest(ARRAY['tenant_central', 'tenant_north']) t, generate_series(1, 40) p;
INSERT INTO analytics.customer (tenant, customer_id, full_name, phone, customer_type, is_active)
SELECT t, c, t || ' secret customer ' || c, '+998' || c, 'individual', true
FROM unnest(ARRAY['tenant_central', 'tenant_north']) t, generate_series(1, 58) c;  -- two have a row but no name
INSERT INTO analytics_state.stock_limits
SELECT t.id, p.product_id, p.product_id, 5, CASE WHEN p.product_id % 3 = 0 THEN 40 END, p.product_id % 13 <> 0
FROM analytics.product p JOIN analytics_state.tenant t USING (tenant) WHERE p.product_id % 7 <> 0;

INSERT INTO analytics.daily_sales_report
SELECT t.tenant, t.today - back, round((random() * 1000000)::numeric, 2), n, round((random() * 1000)::numeric, 2),
       round((random() * 1000)::numeric, 2), round((random() * 1000)::numeric, 2), round((random() * 1000)::numeric, 2),
       round((random() * 1000)::numeric, 2), round((random() * 100)::numeric, 2), round((random() * 100)::numeric, 2),
       round((random() * 100)::numeric, 3), n, n, n / 3, n / 5, n * 10, 1, n % 2
FROM analytics_state.tenant t, generate_series(0, 120) back, LATERAL (SELECT (random() * 50)::int AS n, back AS b) x
WHERE t.tenant <> 'tenant_quiet' AND random() < 0.7 AND NOT (t.tenant = 'tenant_north' AND back = 0);
INSERT INTO analytics.product_performance
SELECT t.tenant, p.product_id, t.today - back, q, round(q * price, 2), 1 + floor(random() * 3), price, 0, round(q * cost, 2),
       round(q * price, 2) - round(q * cost, 2), 0
FROM analytics.product p JOIN analytics_state.tenant t USING (tenant), generate_series(0, 60) back,
     LATERAL (SELECT round((random() * 5 - 0.2)::numeric, 3) AS q, round((random() * 100)::numeric, 2) AS price,
                     round((random() * 90)::numeric, 2) AS cost, back AS b, p.product_id AS c) x
WHERE random() < 0.05;
INSERT INTO analytics.inventory_snapshot
SELECT t.tenant, p.product_id, t.today - back, q, 1, q - 1, q * 10, q * 20, 1, 10, q <= 0, q <= 5, q >= 40
FROM analytics.product p JOIN analytics_state.tenant t USING (tenant), generate_series(0, 6) back,
     LATERAL (SELECT round((random() * 60 - 12)::numeric, 3) AS q, back AS b, p.product_id AS c) x
WHERE random() < 0.8;
INSERT INTO analytics.customer_analytics
SELECT t.tenant, c, t.today - back, t.today - back - 90, 5, n, n * 1000, n, n * 1000, 1000, 5, 2, 1, 2,
       (ARRAY['Champions', 'Can''t Lose Them', 'At Risk', 'Loyal Customers', 'Hibernating', 'Lost', 'Promising'])[1 + floor(random() * 7)::int],
       1, 100, 3, CASE WHEN random() < 0.3 THEN round((random() * 5000)::numeric, 2) ELSE 0 END,
       t.today - 300, t.today - back - 5, n + 1, n * 1000 + 5
FROM analytics_state.tenant t, generate_series(1, 60) c, unnest(ARRAY[0, 7, 14]) back,
     LATERAL (SELECT (random() * 20)::int AS n, back AS b, c AS d) x
WHERE t.tenant <> 'tenant_quiet' AND random() < 0.8;

INSERT INTO analytics_state.job_run (tenant, job, due, started, finished, error)
SELECT tenant, 'daily_sales', now(), now(), now(), tenant || ' went wrong' FROM analytics_state.tenant;
