-- The latest price and limits of a product are found by these indexes alone, whatever the planner thinks of the tables: in
-- a store that it does not know yet it walked back through all prices, for each product.
DROP INDEX {state}.pricing_product;
CREATE INDEX pricing_latest ON {state}.pricing (tenant_id, product_id, id);
DROP INDEX {state}.stock_limits_product;
CREATE INDEX stock_limits_latest ON {state}.stock_limits (tenant_id, product_id, id);
