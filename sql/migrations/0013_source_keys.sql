-- For a POS that is not ours: numbers for keys that it keeps as text, and names of products in a table of their own.

-- Given once, by the transaction that first needs them, and kept as long as the store is: a key that is deleted and made
-- again, or copied anew, has the number it had.
CREATE TABLE {state}.source_key (
  tenant_id integer NOT NULL REFERENCES {state}.tenant ON DELETE CASCADE,
  kind      text COLLATE "C" NOT NULL,  -- whose key it is: sale, product, ...
  key       text COLLATE "C" NOT NULL,  -- as the POS has it
  id        bigint NOT NULL,            -- stands for it in all other tables
  PRIMARY KEY (key, kind, tenant_id),
  UNIQUE (tenant_id, kind, id)
);

-- The last number given to a key, or the highest that stands for one in the reports.
CREATE FUNCTION {state}.last_number(of_tenant integer, of_kind text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(
    (SELECT max(k.id) FROM {state}.source_key k WHERE k.tenant_id = of_tenant AND k.kind = of_kind),
    CASE of_kind
      WHEN 'product' THEN (SELECT max(p.product_id) FROM {reports}.product p JOIN {state}.tenant t ON t.tenant = p.tenant
                           WHERE t.id = of_tenant)
      WHEN 'customer' THEN (SELECT max(c.customer_id) FROM {reports}.customer c JOIN {state}.tenant t ON t.tenant = c.tenant
                            WHERE t.id = of_tenant)
    END,
    0)
$$;

-- Where a POS keeps its products' names apart: by name_id a product refers to the row that names it, or by product_id the
-- row refers to the product.
CREATE TABLE {state}.product_name (
  tenant_id integer NOT NULL, id bigint NOT NULL, product_id bigint, name text NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX product_name_product ON {state}.product_name (tenant_id, product_id) WHERE product_id IS NOT NULL;
ALTER TABLE {state}.product ADD COLUMN name_id bigint;
CREATE INDEX product_name_id ON {state}.product (tenant_id, name_id) WHERE name_id IS NOT NULL;

ALTER TABLE {reports}.product ADD COLUMN source_key text;
ALTER TABLE {reports}.customer ADD COLUMN source_key text;

CREATE OR REPLACE VIEW {state}.product_dimension AS
SELECT p.tenant_id, t.tenant, p.id AS product_id,
       coalesce((SELECT n.name FROM {state}.product_name n WHERE n.tenant_id = p.tenant_id AND n.product_id = p.id
                 ORDER BY n.id DESC LIMIT 1),
                (SELECT n.name FROM {state}.product_name n WHERE n.tenant_id = p.tenant_id AND n.id = p.name_id),
                p.name) AS name,
       p.sku, p.barcode, p.is_active,
       (SELECT k.key FROM {state}.source_key k
        WHERE k.tenant_id = p.tenant_id AND k.kind = 'product' AND k.id = p.id) AS source_key
FROM {state}.product p JOIN {state}.tenant t ON t.id = p.tenant_id;

CREATE OR REPLACE VIEW {state}.customer_dimension AS
SELECT c.tenant_id, t.tenant, c.id AS customer_id,
       CASE WHEN c.is_company AND c.company_name <> '' THEN c.company_name
            ELSE coalesce(nullif(concat_ws(' ', nullif(c.last_name, ''), nullif(c.first_name, ''), nullif(c.middle_name, '')), ''), c.phone)
       END AS full_name,
       c.phone, c.customer_type, c.is_active,
       (SELECT k.key FROM {state}.source_key k
        WHERE k.tenant_id = c.tenant_id AND k.kind = 'customer' AND k.id = c.id) AS source_key
FROM {state}.customer c JOIN {state}.tenant t ON t.id = c.tenant_id;

COMMENT ON COLUMN {reports}.product.source_key IS 'The product''s key where the POS keeps it as text: product_id stands for it; null: product_id is the key';
COMMENT ON COLUMN {reports}.customer.source_key IS 'The customer''s key where the POS keeps it as text: customer_id stands for it; null: customer_id is the key';
COMMENT ON TABLE {state}.source_key IS 'Numbers that stand for keys which the POS keeps as text';
COMMENT ON COLUMN {state}.source_key.tenant_id IS 'Number of the store';
COMMENT ON COLUMN {state}.source_key.kind IS 'Whose key it is';
COMMENT ON COLUMN {state}.source_key.key IS 'The key as the POS has it';
COMMENT ON COLUMN {state}.source_key.id IS 'The number that stands for it';
COMMENT ON FUNCTION {state}.last_number IS 'The last number given to a key of a store';
COMMENT ON TABLE {state}.product_name IS 'Base facts: names of products, where the POS keeps them apart';
COMMENT ON COLUMN {state}.product_name.tenant_id IS 'Number of the store';
COMMENT ON COLUMN {state}.product_name.id IS 'Id in the POS';
COMMENT ON COLUMN {state}.product_name.product_id IS 'The product that it names; null: products refer to it';
COMMENT ON COLUMN {state}.product_name.name IS 'The name';
COMMENT ON COLUMN {state}.product.name_id IS 'The row of product_name that names it';
COMMENT ON COLUMN {state}.product_dimension.source_key IS 'The key as the POS has it, where that is text';
COMMENT ON COLUMN {state}.customer_dimension.source_key IS 'The key as the POS has it, where that is text';
