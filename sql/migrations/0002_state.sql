-- What the daemon keeps for itself: position, base facts, the sums behind the reports.
-- Base facts are the few POS columns that the reports need, as of the applied position. Every sum below is additive
-- over them, so a change is applied by adding (contribution after - contribution before).

-- One row: where in the source's WAL these tables stand. Guarded: it is only ever moved by the writer that read it.
CREATE TABLE {state}.position (
  only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  slot              text NOT NULL,
  source_database   text NOT NULL,
  system_identifier text NOT NULL,
  timeline          integer NOT NULL,
  lsn               pg_lsn NOT NULL,     -- end of the last commit that is in the reports
  committed_at      timestamptz,         -- when that commit happened at the source
  updated_at        timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE {state}.tenant (
  id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant       text COLLATE "C" NOT NULL UNIQUE REFERENCES {reports}.tenant,
  time_zone    text NOT NULL,
  stock_source text NOT NULL,            -- movements or batches
  definitions  text NOT NULL,            -- what its facts were read by; another value means: copy again
  horizon      date NOT NULL,            -- no report row is dated before it
  today        date NOT NULL,            -- the local day its live rows carry
  floor_lsn    pg_lsn NOT NULL           -- its changes up to here are in already: skip them when they come again
);

-- Days whose live customer rows the weekly run keeps as history.
CREATE TABLE {state}.kept_period (
  tenant_id integer NOT NULL, period_end date NOT NULL,
  PRIMARY KEY (tenant_id, period_end)
);

-- One row: thresholds from the config, so that the row definitions below need no parameters.
CREATE TABLE {state}.settings (
  only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  window_days  integer NOT NULL,
  recency_days integer[] NOT NULL,
  frequency    bigint[] NOT NULL,
  monetary     numeric[] NOT NULL
);

-- What commands ask of the running daemon, and its answers. Rows are few and short-lived.
CREATE TABLE {state}.request (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind         text NOT NULL,
  arguments    jsonb NOT NULL,
  requested_at timestamptz NOT NULL DEFAULT now(),
  state        text NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'taken', 'done', 'failed')),
  answer       jsonb
);

-- Base facts ----------------------------------------------------------------------------------------------------

-- A sale with its items and payments as one row. The header is null while only children have arrived.
CREATE TABLE {state}.sale (
  tenant_id       integer NOT NULL,
  id              bigint NOT NULL,
  status          "char",               -- c counted status, r refunded status, o any other; null: no header
  customer_id     bigint,
  completed_at    timestamptz,
  day             date,                 -- local date of completed_at
  total           numeric NOT NULL,
  discount        numeric NOT NULL,
  tax             numeric NOT NULL,
  credit          numeric,              -- sum of its credit payments; null: it has none
  item_ids        bigint[] NOT NULL,
  item_products   bigint[] NOT NULL,
  item_quantities numeric[] NOT NULL,
  item_prices     numeric[] NOT NULL,
  item_totals     numeric[] NOT NULL,
  item_costs      numeric[] NOT NULL,   -- unit cost, frozen when first counted; null: not counted yet
  payment_ids     bigint[] NOT NULL,
  payment_kinds   "char"[] NOT NULL,    -- c cash, d card, r credit, o other
  payment_amounts numeric[] NOT NULL,
  PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 90);
-- A deletion names only the item's or the payment's id: these find its sale.
CREATE INDEX sale_item_ids ON {state}.sale USING gin (item_ids) WITH (fastupdate = off);
CREATE INDEX sale_payment_ids ON {state}.sale USING gin (payment_ids) WITH (fastupdate = off);
CREATE INDEX sale_credit ON {state}.sale (tenant_id, customer_id) WHERE credit IS NOT NULL;
CREATE INDEX sale_day ON {state}.sale USING brin (day) WITH (pages_per_range = 32);

-- The stock ledger, 64 consecutive ids a row: entries are many, tiny and hardly ever touched again.
CREATE TABLE {state}.stock_movement (
  tenant_id  integer NOT NULL,
  block      bigint NOT NULL,           -- id >> 6
  ids        bigint[] NOT NULL,
  products   bigint[] NOT NULL,
  quantities numeric[] NOT NULL,        -- signed: what the entry adds to the stock
  PRIMARY KEY (tenant_id, block)
) WITH (fillfactor = 50);

-- Only what counts is kept: active batches, active reservations.
CREATE TABLE {state}.batch (
  tenant_id integer NOT NULL, id bigint NOT NULL, product_id bigint NOT NULL, quantity numeric NOT NULL,
  PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 80);
CREATE TABLE {state}.reservation (
  tenant_id integer NOT NULL, id bigint NOT NULL, product_id bigint NOT NULL, quantity numeric NOT NULL,
  PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 80);

-- Customer transactions that pay off credit.
CREATE TABLE {state}.credit_payment (
  tenant_id integer NOT NULL, id bigint NOT NULL, customer_id bigint NOT NULL, amount numeric NOT NULL,
  created_at timestamptz NOT NULL,
  day date NOT NULL,                    -- local date of created_at
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX credit_payment_customer ON {state}.credit_payment (tenant_id, customer_id);

CREATE TABLE {state}.session (
  tenant_id integer NOT NULL, id bigint NOT NULL, opened_day date, closed_day date,
  PRIMARY KEY (tenant_id, id)
);

CREATE TABLE {state}.pricing (
  tenant_id integer NOT NULL, id bigint NOT NULL, product_id bigint NOT NULL,
  cost_price numeric NOT NULL, sale_price numeric NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX pricing_product ON {state}.pricing (tenant_id, product_id);

CREATE TABLE {state}.stock_limits (
  tenant_id integer NOT NULL, id bigint NOT NULL, product_id bigint NOT NULL,
  min_quantity numeric NOT NULL, max_quantity numeric, track_inventory boolean NOT NULL,
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX stock_limits_product ON {state}.stock_limits (tenant_id, product_id);

CREATE TABLE {state}.product (
  tenant_id integer NOT NULL, id bigint NOT NULL,
  name text NOT NULL, sku text NOT NULL, barcode text NOT NULL, is_active boolean NOT NULL,
  PRIMARY KEY (tenant_id, id)
);

CREATE TABLE {state}.customer (
  tenant_id integer NOT NULL, id bigint NOT NULL,
  first_name text NOT NULL, last_name text NOT NULL, middle_name text NOT NULL,
  customer_type text NOT NULL, company_name text NOT NULL, phone text NOT NULL, is_active boolean NOT NULL,
  is_company boolean NOT NULL,          -- customer_type is one of the company types
  PRIMARY KEY (tenant_id, id)
);

-- Sums: unrounded, so that rounding happens once, on the value shown ----------------------------------------------

CREATE TABLE {state}.daily (
  tenant_id integer NOT NULL, day date NOT NULL,
  sales bigint NOT NULL, total numeric NOT NULL, discount numeric NOT NULL, tax numeric NOT NULL,
  cash numeric NOT NULL, card numeric NOT NULL, credit numeric NOT NULL, other numeric NOT NULL,
  quantity numeric NOT NULL, products bigint NOT NULL, customers bigint NOT NULL, new_customers bigint NOT NULL,
  refunds bigint NOT NULL, refund_total numeric NOT NULL, opened bigint NOT NULL, closed bigint NOT NULL,
  PRIMARY KEY (tenant_id, day)
) WITH (fillfactor = 50);

CREATE TABLE {state}.product_day (
  tenant_id integer NOT NULL, product_id bigint NOT NULL, day date NOT NULL,
  lines bigint NOT NULL, sales bigint NOT NULL, quantity numeric NOT NULL, revenue numeric NOT NULL,
  price_sum numeric NOT NULL, cost numeric NOT NULL,
  lines_before bigint NOT NULL DEFAULT 0, -- what lines was before the last write: tells whether the product came or went
  PRIMARY KEY (tenant_id, product_id, day)
) WITH (fillfactor = 80);

-- All days, also those before the horizon: first and last purchase are for life.
CREATE TABLE {state}.customer_day (
  tenant_id integer NOT NULL, customer_id bigint NOT NULL, day date NOT NULL,
  sales bigint NOT NULL, spent numeric NOT NULL, credit_sales bigint NOT NULL, credit numeric NOT NULL,
  sales_before bigint NOT NULL DEFAULT 0, -- as lines_before of product_day
  PRIMARY KEY (tenant_id, customer_id, day)
) WITH (fillfactor = 80);

CREATE TABLE {state}.customer_total (
  tenant_id integer NOT NULL, customer_id bigint NOT NULL,
  sales bigint NOT NULL, spent numeric NOT NULL, credit numeric NOT NULL,
  payments bigint NOT NULL,             -- number of credit payments
  paid numeric NOT NULL,                -- their sum
  first_day date,                       -- of the first counted sale; null: none
  PRIMARY KEY (tenant_id, customer_id)
) WITH (fillfactor = 80);

CREATE TABLE {state}.stock (
  tenant_id integer NOT NULL, product_id bigint NOT NULL,
  on_hand numeric NOT NULL, reserved numeric NOT NULL,
  PRIMARY KEY (tenant_id, product_id)
) WITH (fillfactor = 80);
