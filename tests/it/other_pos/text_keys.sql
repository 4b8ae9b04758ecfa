-- A shop whose keys are text and UUIDs, and whose deleted rows stay; after Medusa's tables.
CREATE TYPE order_status AS ENUM ('pending', 'completed', 'archived', 'canceled', 'requires_action');
CREATE TABLE "order" (
  id text PRIMARY KEY, status order_status NOT NULL DEFAULT 'pending', customer_id uuid, summary jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), shift timestamp, deleted_at timestamptz
);
CREATE TABLE order_line_item (
  id text PRIMARY KEY, order_id text NOT NULL, variant_id varchar(64), quantity numeric NOT NULL, unit_price numeric NOT NULL,
  deleted_at timestamptz
);
CREATE TABLE order_transaction (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), order_id text NOT NULL, amount numeric NOT NULL, reference text);
CREATE TABLE customer (id uuid PRIMARY KEY, first_name text, last_name text, phone text, deleted_at timestamptz);
CREATE TABLE product_variant (
  id varchar(64) PRIMARY KEY, title text NOT NULL, sku text, barcode text, price numeric, deleted_at timestamptz
);
CREATE TABLE inventory_level (
  id text PRIMARY KEY, variant_id varchar(64) NOT NULL, stocked_quantity numeric, reserved_quantity numeric, deleted_at timestamptz
);
