-- Every report row now follows from one row of sums: what slides (the customers' window, the 30 days of sales behind the
-- stock) is kept as a sum too and moves on with the tenant's today, and what a product's row needs of other facts stands
-- beside its stock. The definitions of the rows move from views to sql/apply/show.sql, which also takes the rows that a
-- write has just made. Items and payments find their sale through blocks of ids instead of an index entry each.

DROP VIEW {state}.daily_row;
DROP VIEW {state}.product_row;
DROP VIEW {state}.customer_row;
DROP VIEW {state}.inventory_row;

-- Distinct counts arrive before the sums of their day may have.
ALTER TABLE {state}.daily
  ALTER sales SET DEFAULT 0, ALTER total SET DEFAULT 0, ALTER discount SET DEFAULT 0, ALTER tax SET DEFAULT 0,
  ALTER cash SET DEFAULT 0, ALTER card SET DEFAULT 0, ALTER credit SET DEFAULT 0, ALTER other SET DEFAULT 0,
  ALTER quantity SET DEFAULT 0, ALTER products SET DEFAULT 0, ALTER customers SET DEFAULT 0, ALTER new_customers SET DEFAULT 0,
  ALTER refunds SET DEFAULT 0, ALTER refund_total SET DEFAULT 0, ALTER opened SET DEFAULT 0, ALTER closed SET DEFAULT 0;

-- How late a customer pays credit back, first in, first out: the mean over the settled sales of the days given, in whole
-- days. A sale is settled by the first payment at which the running sum of payments reaches the running sum of credits up
-- to and including it.
CREATE FUNCTION {state}.payment_delay(tenant integer, customer bigint, first date, last date) RETURNS integer
LANGUAGE sql STABLE AS $$
  SELECT coalesce(round(avg(greatest(settled.day - owed.day, 0))), 0)::integer
  FROM (SELECT f.day, sum(f.credit) OVER (ORDER BY f.completed_at, f.id) AS running
        FROM {state}.sale f
        WHERE f.tenant_id = tenant AND f.customer_id = customer AND f.credit IS NOT NULL
          AND f.status = 'c' AND f.day IS NOT NULL) owed
  CROSS JOIN LATERAL (
       SELECT paid.day
       FROM (SELECT p.day, sum(p.amount) OVER (ORDER BY p.created_at, p.id) AS running
             FROM {state}.credit_payment p
             WHERE p.tenant_id = tenant AND p.customer_id = customer AND p.amount > 0) paid
       WHERE paid.running >= owed.running ORDER BY paid.running LIMIT 1) settled
  WHERE owed.day BETWEEN first AND last $$;

ALTER TABLE {state}.customer_total
  ADD last_day date,                                  -- of the last counted sale; null: none
  ADD window_sales bigint NOT NULL DEFAULT 0,         -- the window: the tenant's today and as many days before it as the
  ADD window_spent numeric NOT NULL DEFAULT 0,        -- settings say
  ADD window_credit_sales bigint NOT NULL DEFAULT 0,
  ADD window_credit numeric NOT NULL DEFAULT 0,
  ADD delay_days integer NOT NULL DEFAULT 0,          -- see payment_delay, over the window
  ADD first_day_before date,                          -- what first_day was before the last write
  ADD unsettled smallint NOT NULL DEFAULT 0;          -- within a transaction: 1 how late it pays, 2 also its days have
                                                      -- to be looked up before its row is right
UPDATE {state}.customer_total c SET
  last_day = d.last_day, window_sales = d.sales, window_spent = d.spent, window_credit_sales = d.credit_sales,
  window_credit = d.credit, first_day_before = c.first_day,
  delay_days = CASE WHEN c.payments > 0
                    THEN {state}.payment_delay(c.tenant_id, c.customer_id, d.today - d.window_days, d.today) ELSE 0 END
FROM (SELECT d.tenant_id, d.customer_id, t.today, s.window_days, max(d.day) FILTER (WHERE d.sales > 0) AS last_day,
             coalesce(sum(d.sales) FILTER (WHERE w), 0)::bigint AS sales, coalesce(sum(d.spent) FILTER (WHERE w), 0) AS spent,
             coalesce(sum(d.credit_sales) FILTER (WHERE w), 0)::bigint AS credit_sales,
             coalesce(sum(d.credit) FILTER (WHERE w), 0) AS credit
      FROM {state}.customer_day d JOIN {state}.tenant t ON t.id = d.tenant_id CROSS JOIN {state}.settings s,
           LATERAL (SELECT d.day BETWEEN t.today - s.window_days AND t.today AS w) w
      GROUP BY 1, 2, 3, 4) d
WHERE d.tenant_id = c.tenant_id AND d.customer_id = c.customer_id;

-- Everything that today's row of a product follows from.
ALTER TABLE {state}.stock RENAME TO inventory;
ALTER INDEX {state}.stock_pkey RENAME TO inventory_pkey;
ALTER TABLE {state}.inventory
  ALTER on_hand SET DEFAULT 0, ALTER reserved SET DEFAULT 0,
  ADD sold numeric NOT NULL DEFAULT 0,                -- over the tenant's today and the 30 days before it
  ADD cost_price numeric NOT NULL DEFAULT 0, ADD sale_price numeric NOT NULL DEFAULT 0,
  ADD min_quantity numeric NOT NULL DEFAULT 0, ADD max_quantity numeric,
  ADD shown boolean NOT NULL DEFAULT false;           -- the product exists and its stock is tracked
INSERT INTO {state}.inventory AS i (tenant_id, product_id, sold, cost_price, sale_price, min_quantity, max_quantity, shown)
SELECT k.tenant_id, k.product_id,
       coalesce((SELECT sum(d.quantity) FROM {state}.product_day d WHERE d.tenant_id = k.tenant_id
                   AND d.product_id = k.product_id AND d.day BETWEEN t.today - 30 AND t.today), 0),
       coalesce(pricing.cost_price, 0), coalesce(pricing.sale_price, 0),
       coalesce(limits.min_quantity, 0), limits.max_quantity, p.id IS NOT NULL AND coalesce(limits.track_inventory, true)
FROM (SELECT tenant_id, id AS product_id FROM {state}.product UNION SELECT tenant_id, product_id FROM {state}.inventory
      UNION SELECT tenant_id, product_id FROM {state}.product_day) k
JOIN {state}.tenant t ON t.id = k.tenant_id
LEFT JOIN {state}.product p ON p.tenant_id = k.tenant_id AND p.id = k.product_id
LEFT JOIN LATERAL (SELECT r.cost_price, r.sale_price FROM {state}.pricing r
                   WHERE r.tenant_id = k.tenant_id AND r.product_id = k.product_id ORDER BY r.id DESC LIMIT 1) pricing ON true
LEFT JOIN LATERAL (SELECT l.min_quantity, l.max_quantity, l.track_inventory FROM {state}.stock_limits l
                   WHERE l.tenant_id = k.tenant_id AND l.product_id = k.product_id ORDER BY l.id DESC LIMIT 1) limits ON true
ON CONFLICT (tenant_id, product_id) DO UPDATE SET
  sold = excluded.sold, cost_price = excluded.cost_price, sale_price = excluded.sale_price,
  min_quantity = excluded.min_quantity, max_quantity = excluded.max_quantity, shown = excluded.shown;

-- Which sale an item or a payment came into: 64 consecutive ids a row. Only ever added to; the sale itself tells whether it
-- is still there.
CREATE TABLE {state}.child (
  tenant_id integer NOT NULL,
  kind      "char" NOT NULL,            -- i item, p payment
  block     bigint NOT NULL,            -- id >> 6
  ids       bigint[] NOT NULL,
  sales     bigint[] NOT NULL,
  PRIMARY KEY (tenant_id, kind, block)
) WITH (fillfactor = 50);
INSERT INTO {state}.child (tenant_id, kind, block, ids, sales)
SELECT tenant_id, kind, id >> 6, array_agg(id), array_agg(sale)
FROM (SELECT tenant_id, 'i'::"char" AS kind, unnest(item_ids) AS id, id AS sale FROM {state}.sale
      UNION ALL SELECT tenant_id, 'p', unnest(payment_ids), id FROM {state}.sale) c
GROUP BY 1, 2, 3;
DROP INDEX {state}.sale_item_ids;
DROP INDEX {state}.sale_payment_ids;
-- Nobody asks for a sale by what its arrays hold: statistics of them would only make ANALYZE slow.
ALTER TABLE {state}.sale
  ALTER item_ids SET STATISTICS 0, ALTER item_products SET STATISTICS 0, ALTER item_quantities SET STATISTICS 0,
  ALTER item_prices SET STATISTICS 0, ALTER item_totals SET STATISTICS 0, ALTER item_costs SET STATISTICS 0,
  ALTER payment_ids SET STATISTICS 0, ALTER payment_kinds SET STATISTICS 0, ALTER payment_amounts SET STATISTICS 0;
-- Items and payments that came before their sale.
CREATE INDEX sale_headless ON {state}.sale (tenant_id, id) WHERE status IS NULL;

-- Whose window changes when the day moves on is found by day; rows are written about in its order.
CREATE INDEX customer_day_day ON {state}.customer_day USING brin (day) WITH (pages_per_range = 32);

-- Stops a transaction whose position does not follow from the stored one, with everything that was sent along.
CREATE FUNCTION {state}.taken(stored pg_lsn) RETURNS pg_lsn LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the stored position is %: another process wrote it', stored USING ERRCODE = 'TS001';
END $$;

COMMENT ON TABLE {state}.inventory IS 'What today''s rows of inventory_snapshot follow from, one row a product';
COMMENT ON TABLE {state}.child IS 'Which sale an item or a payment came into, 64 consecutive ids a row';
COMMENT ON FUNCTION {state}.payment_delay(integer, bigint, date, date) IS 'How late a customer pays credit back, in days';
COMMENT ON FUNCTION {state}.taken(pg_lsn) IS 'Refuses a position that does not follow from the stored one';
DO $do$
DECLARE
  c record;
BEGIN
  FOR c IN VALUES
    ('customer_total', 'last_day', 'Day of the last counted sale; null: none'),
    ('customer_total', 'window_sales', 'Number of counted sales in the window'),
    ('customer_total', 'window_spent', 'Their totals'),
    ('customer_total', 'window_credit_sales', 'Those with credit'),
    ('customer_total', 'window_credit', 'Their credit'),
    ('customer_total', 'delay_days', 'How late the credit of the window was paid back'),
    ('customer_total', 'first_day_before', 'What first_day was before the last write'),
    ('customer_total', 'unsettled', 'Within a transaction: more has to be read before its row is right'),
    ('inventory', 'sold', 'Quantity sold over today and the 30 days before it'),
    ('inventory', 'cost_price', 'Current cost price'),
    ('inventory', 'sale_price', 'Current sale price'),
    ('inventory', 'min_quantity', 'Low at or below it'),
    ('inventory', 'max_quantity', 'Too much at or above it; null: no such limit'),
    ('inventory', 'shown', 'The product exists and its stock is tracked'),
    ('child', 'tenant_id', 'Number of the store'),
    ('child', 'kind', 'i item, p payment'),
    ('child', 'block', 'Id of the item or payment divided by 64'),
    ('child', 'ids', 'Items or payments'),
    ('child', 'sales', 'The sale of each')
  LOOP
    EXECUTE $sql$COMMENT ON COLUMN {state}.$sql$ || format('%I.%I IS %L', c.column1, c.column2, c.column3);
  END LOOP;
END $do$;
