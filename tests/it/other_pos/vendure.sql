-- The tables of a Vendure shop, as far as orders, customers and stock need them.
CREATE TABLE "order" (
  id serial PRIMARY KEY, "createdAt" timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'), "updatedAt" timestamp(6),
  type varchar NOT NULL DEFAULT 'Regular', code varchar NOT NULL, state varchar NOT NULL, active boolean NOT NULL DEFAULT true,
  "orderPlacedAt" timestamp(6), "couponCodes" text NOT NULL DEFAULT '', "customerId" integer,
  "subTotal" integer NOT NULL DEFAULT 0, "subTotalWithTax" integer NOT NULL DEFAULT 0
);
CREATE TABLE order_line (
  id serial PRIMARY KEY, "orderId" integer, "productVariantId" integer NOT NULL, quantity integer NOT NULL,
  "listPrice" integer NOT NULL, "listPriceIncludesTax" boolean NOT NULL DEFAULT true, adjustments text NOT NULL DEFAULT '[]'
);
CREATE TABLE payment (
  id serial PRIMARY KEY, "createdAt" timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'), "orderId" integer,
  method varchar NOT NULL, state varchar NOT NULL, amount integer NOT NULL, metadata text NOT NULL DEFAULT '{}'
);
CREATE TABLE customer (
  id serial PRIMARY KEY, "deletedAt" timestamp(6), title varchar, "firstName" varchar NOT NULL, "lastName" varchar NOT NULL,
  "phoneNumber" varchar, "emailAddress" varchar NOT NULL DEFAULT ''
);
CREATE TABLE product_variant (
  id serial PRIMARY KEY, "deletedAt" timestamp(6), enabled boolean NOT NULL DEFAULT true, sku varchar NOT NULL, "productId" integer
);
CREATE TABLE product_variant_translation (
  id serial PRIMARY KEY, "languageCode" varchar NOT NULL, name varchar NOT NULL, "baseId" integer
);
CREATE TABLE product_variant_price (
  id serial PRIMARY KEY, "currencyCode" varchar NOT NULL DEFAULT 'EUR', price integer NOT NULL, "channelId" integer, "variantId" integer
);
CREATE TABLE stock_level (
  id serial PRIMARY KEY, "productVariantId" integer NOT NULL, "stockLocationId" integer NOT NULL,
  "stockOnHand" integer, "stockAllocated" integer
);
