-- The tables of a point of sale in a Tryton ERP, as far as a till needs them.
CREATE TABLE product_template (
  id serial PRIMARY KEY, name varchar, active boolean DEFAULT true, default_uom integer, write_date timestamp(6)
);
CREATE TABLE product_product (
  id serial PRIMARY KEY, template integer NOT NULL, code varchar, suffix_code varchar, active boolean DEFAULT true
);
CREATE TABLE product_cost_price (id serial PRIMARY KEY, product integer, company integer, cost_price numeric);
CREATE TABLE sale_point_sale (
  id serial PRIMARY KEY, create_date timestamp(6) DEFAULT now(), create_uid integer, number varchar, state varchar NOT NULL,
  date date, point integer NOT NULL DEFAULT 1, employee integer
);
CREATE TABLE sale_point_sale_line (
  id serial PRIMARY KEY, sale integer NOT NULL, product integer, quantity double precision NOT NULL,
  unit_list_price numeric, unit_gross_price numeric
);
-- Not ours to read: names that have to be quoted stand beside those that we read.
CREATE TABLE "sale_line-account_tax" (id serial PRIMARY KEY, line integer, tax integer);
CREATE TABLE sale_point_payment_method (id serial PRIMARY KEY, name varchar NOT NULL, cash boolean DEFAULT false);
CREATE TABLE sale_point_payment (id serial PRIMARY KEY, sale integer NOT NULL, method integer NOT NULL, amount numeric NOT NULL);
CREATE TABLE stock_location (id serial PRIMARY KEY, name varchar, type varchar, "left" integer, "right" integer);
CREATE TABLE stock_move (
  id serial PRIMARY KEY, product integer NOT NULL, quantity double precision, internal_quantity double precision,
  from_location integer NOT NULL, to_location integer NOT NULL, state varchar NOT NULL, effective_date date
);
CREATE TABLE "stock-order_point" (
  id serial PRIMARY KEY, product integer NOT NULL, "left" double precision, "right" double precision
);
INSERT INTO sale_point_payment_method (name, cash) VALUES ('Cash', true), ('Card', false), ('Voucher', false);
INSERT INTO stock_location (id, name, type) VALUES
  (5, 'Storage Zone', 'storage'), (6, 'Shop floor', 'storage'), (7, 'Customer', 'customer'), (8, 'Supplier', 'supplier'),
  (9, 'Lost and Found', 'lost_found');
