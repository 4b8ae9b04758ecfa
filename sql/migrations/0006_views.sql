-- The questions an owner asks of the reports as they stand now. "Today" is the day the tenant's live rows carry.
--
-- All of these read {state} or are read beside tables that do, with the rights of their owner: each filters by
-- {reports}.my_tenants (see 0005_readers.sql) and is a security_barrier. Names come from the dimensions by outer joins: a
-- figure is not lost because its product or customer is not known by name.

CREATE VIEW {reports}.daily_sales_today WITH (security_barrier) AS
SELECT n.tenant, n.name AS tenant_name, t.today AS date,
       coalesce(d.total_sales, 0)::numeric(18,2) AS total_sales,
       coalesce(d.total_sales_count, 0) AS total_sales_count,
       coalesce(d.avg_sale_amount, 0)::numeric(18,2) AS avg_sale_amount,
       coalesce(d.cash_sales, 0)::numeric(18,2) AS cash_sales,
       coalesce(d.card_sales, 0)::numeric(18,2) AS card_sales,
       coalesce(d.credit_sales, 0)::numeric(18,2) AS credit_sales,
       coalesce(d.other_sales, 0)::numeric(18,2) AS other_sales,
       coalesce(d.total_discount, 0)::numeric(18,2) AS total_discount,
       coalesce(d.total_tax, 0)::numeric(18,2) AS total_tax,
       coalesce(d.total_items_sold, 0)::numeric(18,3) AS total_items_sold,
       coalesce(d.unique_products_sold, 0) AS unique_products_sold,
       coalesce(d.unique_customers, 0) AS unique_customers,
       coalesce(d.new_customers, 0) AS new_customers,
       coalesce(d.refund_count, 0) AS refund_count,
       coalesce(d.refund_amount, 0)::numeric(18,2) AS refund_amount,
       coalesce(d.sessions_opened, 0) AS sessions_opened,
       coalesce(d.sessions_closed, 0) AS sessions_closed,
       d.updated_at
FROM {state}.tenant t
JOIN {reports}.tenant n ON n.tenant = t.tenant
LEFT JOIN {reports}.daily_sales_report d ON d.tenant = t.tenant AND d.date = t.today
WHERE n.tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m));

CREATE VIEW {reports}.customer_live WITH (security_barrier) AS
SELECT n.tenant, n.name AS tenant_name, r.customer_id,
       c.full_name, c.phone, c.customer_type, c.is_active,
       r.segment, r.r_score, r.f_score, r.m_score, r.rfm_score,
       r.period_start, r.period_end, r.recency_days, r.purchases_count, r.total_spent, r.avg_purchase_amount,
       r.credit_purchases, r.total_credit_amount, r.avg_payment_delay_days, r.credit_outstanding,
       r.first_purchase_date, r.last_purchase_date, r.lifetime_purchases, r.lifetime_spent, r.updated_at
FROM {state}.tenant t
JOIN {reports}.tenant n ON n.tenant = t.tenant
JOIN {reports}.customer_analytics r ON r.tenant = t.tenant AND r.period_end = t.today
LEFT JOIN {reports}.customer c ON c.tenant = r.tenant AND c.customer_id = r.customer_id
WHERE n.tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m));

CREATE VIEW {reports}.customer_segments WITH (security_barrier) AS
SELECT l.tenant, l.tenant_name, l.segment,
       count(*) AS customers,
       round(count(*) * 100 / sum(count(*)) OVER (PARTITION BY l.tenant), 2)::numeric(12,2) AS customers_percent,
       sum(l.total_spent)::numeric(18,2) AS total_spent,
       round(avg(l.total_spent), 2)::numeric(18,2) AS avg_spent,
       sum(l.purchases_count)::bigint AS purchases_count,
       round(avg(l.recency_days), 1)::numeric(12,1) AS avg_recency_days,
       sum(l.lifetime_spent)::numeric(18,2) AS lifetime_spent,
       sum(l.credit_outstanding)::numeric(18,2) AS credit_outstanding
FROM {reports}.customer_live l
GROUP BY l.tenant, l.tenant_name, l.segment;

CREATE VIEW {reports}.customers_at_risk WITH (security_barrier) AS
SELECT l.tenant, l.tenant_name, l.customer_id, l.full_name, l.phone, l.segment, l.recency_days, l.last_purchase_date,
       l.lifetime_purchases, l.lifetime_spent, l.purchases_count, l.total_spent, l.credit_outstanding
FROM {reports}.customer_live l
WHERE l.segment IN ('At Risk', 'Can''t Lose Them', 'Hibernating', 'Lost');

CREATE VIEW {reports}.debtors WITH (security_barrier) AS
SELECT l.tenant, l.tenant_name, l.customer_id, l.full_name, l.phone, l.credit_outstanding, l.avg_payment_delay_days,
       l.credit_purchases, l.total_credit_amount, l.last_purchase_date, l.segment
FROM {reports}.customer_live l
WHERE l.credit_outstanding > 0;

-- A product's newest row: today's where something touched it today, else that of the last nightly snapshot. A product
-- whose stock is no longer tracked keeps its old rows as history; they do not say what there is now.
CREATE VIEW {reports}.inventory_latest WITH (security_barrier) AS
SELECT n.tenant, n.name AS tenant_name, p.product_id, p.name AS product_name, p.sku, p.barcode, p.is_active,
       i.date, i.quantity_on_hand, i.reserved_quantity, i.available_quantity,
       limits.min_quantity, limits.max_quantity, i.total_cost, i.total_value, i.turnover_rate, i.days_of_stock,
       i.is_out_of_stock, i.is_low_stock, i.is_overstock, i.updated_at
FROM {state}.tenant t
JOIN {reports}.tenant n ON n.tenant = t.tenant
JOIN {reports}.product p ON p.tenant = t.tenant AND p.deleted_at IS NULL
CROSS JOIN LATERAL (
  SELECT * FROM {reports}.inventory_snapshot s
  WHERE s.tenant = p.tenant AND s.product_id = p.product_id ORDER BY s.date DESC LIMIT 1) i
LEFT JOIN LATERAL (
  SELECT l.min_quantity::numeric(18,3), l.max_quantity::numeric(18,3), l.track_inventory FROM {state}.stock_limits l
  WHERE l.tenant_id = t.id AND l.product_id = p.product_id ORDER BY l.id DESC LIMIT 1) limits ON true
WHERE coalesce(limits.track_inventory, true)
  AND n.tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m));

CREATE VIEW {reports}.low_stock_alerts WITH (security_barrier) AS
SELECT l.tenant, l.tenant_name, l.product_id, l.product_name, l.sku, l.barcode, l.quantity_on_hand, l.reserved_quantity,
       l.available_quantity, coalesce(l.min_quantity, 0)::numeric(18,3) AS min_quantity, l.days_of_stock,
       l.is_out_of_stock, l.date
FROM {reports}.inventory_latest l
WHERE l.is_low_stock AND l.is_active;

CREATE VIEW {reports}.out_of_stock WITH (security_barrier) AS
SELECT l.tenant, l.tenant_name, l.product_id, l.product_name, l.sku, l.barcode, l.quantity_on_hand, l.reserved_quantity,
       l.date
FROM {reports}.inventory_latest l
WHERE l.is_out_of_stock AND l.is_active;

CREATE VIEW {reports}.overstock WITH (security_barrier) AS
SELECT l.tenant, l.tenant_name, l.product_id, l.product_name, l.sku, l.barcode, l.quantity_on_hand, l.max_quantity,
       l.total_cost, l.total_value, l.days_of_stock, l.turnover_rate, l.date
FROM {reports}.inventory_latest l
WHERE l.is_overstock AND l.is_active;

-- Where the slot is on this server, two things are known at first hand: how far the WAL has grown, and that positions
-- without anything for us in them were confirmed too (a confirmed position is in the reports). The system identifier
-- keeps us from taking another cluster's slot of the same name for ours.
CREATE VIEW {state}.reached WITH (security_barrier) AS
SELECT greatest(p.lsn, s.confirmed_flush_lsn) AS lsn, p.committed_at, p.updated_at,
       CASE WHEN s.slot_name IS NULL OR pg_is_in_recovery() THEN NULL
            ELSE greatest(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), greatest(p.lsn, s.confirmed_flush_lsn)), 0)::bigint
       END AS lag_bytes
FROM {state}.position p
LEFT JOIN pg_catalog.pg_replication_slots s
  ON s.slot_name = p.slot AND s.database = p.source_database
 AND p.system_identifier = (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c);

-- A store that is not live does not stand at any position of the others: its figures are those of some earlier one.
CREATE VIEW {reports}.freshness WITH (security_barrier) AS
SELECT n.tenant, n.name AS tenant_name, n.state, t.today,
       CASE WHEN n.state = 'live' THEN p.committed_at END AS exact_at,
       CASE WHEN n.state = 'live' THEN greatest(p.lsn, t.floor_lsn) END AS exact_lsn,
       CASE WHEN n.state = 'live' THEN p.lag_bytes END AS lag_bytes,
       CASE WHEN n.state <> 'live' THEN NULL
            WHEN p.lag_bytes = 0 THEN interval '0'
            ELSE greatest(clock_timestamp(), p.updated_at) - p.updated_at END AS lag
FROM {reports}.tenant n
LEFT JOIN {state}.tenant t ON t.tenant = n.tenant
LEFT JOIN {state}.reached p ON true
WHERE n.tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m));

-- As 0004_jobs.sql has it, but for readers: of their stores.
CREATE OR REPLACE VIEW {reports}.job_runs WITH (security_barrier) AS
SELECT DISTINCT ON (r.tenant, r.job, r.requested)
       r.tenant, r.job, r.requested, r.due, r.started, r.finished, r.finished - r.started AS took,
       CASE WHEN r.finished IS NULL THEN 'running' WHEN r.error IS NULL THEN 'done' ELSE 'failed' END AS state,
       r.rows_changed, r.rows_drifted, r.attempts, r.error
FROM {state}.job_run r
WHERE r.tenant = ANY (ARRAY(SELECT m.tenant FROM {reports}.my_tenants m))
ORDER BY r.tenant, r.job, r.requested, r.due DESC, r.id DESC;

-- What these and the functions of 0007 look up that no primary key finds: a span of dates of one store.
CREATE INDEX product_performance_date ON {reports}.product_performance (tenant, date);
CREATE INDEX customer_analytics_period_end ON {reports}.customer_analytics (tenant, period_end);
CREATE INDEX inventory_snapshot_date ON {reports}.inventory_snapshot (tenant, date);

-- Foreign keys to the dimensions where they hold and cost nothing to speak of, so that tools find the joins. The rest is
-- left out on purpose: a customer's or sold product's name may be unknown to us, and a check for each row of
-- product_performance would double what writing it costs. Deferred: within a batch rows may come in any order.
ALTER TABLE {reports}.daily_sales_report
  ADD FOREIGN KEY (tenant) REFERENCES {reports}.tenant DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE {reports}.product
  ADD FOREIGN KEY (tenant) REFERENCES {reports}.tenant DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE {reports}.customer
  ADD FOREIGN KEY (tenant) REFERENCES {reports}.tenant DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE {reports}.inventory_snapshot
  ADD FOREIGN KEY (tenant, product_id) REFERENCES {reports}.product DEFERRABLE INITIALLY DEFERRED;
