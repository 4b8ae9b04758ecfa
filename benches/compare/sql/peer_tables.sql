-- Three of the four reports as tables of the POS's own database, filled with the past by the plain queries, for those who
-- keep them within the sale's transaction. The stock is left out, which favours them.
CREATE SCHEMA peer;

CREATE TABLE peer.daily AS {daily_sales_report};
ALTER TABLE peer.daily SET (fillfactor = 50), ADD PRIMARY KEY (date);

CREATE TABLE peer.product AS
SELECT r.*, sums.prices, sums.lines
FROM ({product_performance}) r
JOIN (SELECT i.product_id, (s.completed_at AT TIME ZONE '{zone}')::date AS date, sum(i.unit_price) AS prices, count(*) AS lines
      FROM {schema}.sales_sale_item i JOIN {schema}.sales_sale s ON s.id = i.sale_id
      WHERE s.status = 'completed' GROUP BY 1, 2) sums USING (product_id, date);
ALTER TABLE peer.product SET (fillfactor = 80), ADD PRIMARY KEY (product_id, date);

CREATE TABLE peer.customer AS {customer_analytics};
ALTER TABLE peer.customer SET (fillfactor = 80), ADD PRIMARY KEY (customer_id);
