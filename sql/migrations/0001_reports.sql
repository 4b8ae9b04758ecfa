-- The four report tables and the dimensions. {reports} is the report schema, {state} the daemon's own.

CREATE TABLE {reports}.tenant (
  tenant           text COLLATE "C" PRIMARY KEY,
  name             text NOT NULL,
  time_zone        text NOT NULL,
  state            text NOT NULL,        -- discovered, published, copying, live, quarantined, gone
  message          text,                 -- why it is quarantined or gone, and what to do
  synchronized_at  pg_lsn,               -- the position its copy was taken at
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE {reports}.daily_sales_report (
  tenant               text COLLATE "C" NOT NULL,
  date                 date NOT NULL,
  total_sales          numeric(18,2) NOT NULL,
  total_sales_count    bigint NOT NULL,
  avg_sale_amount      numeric(18,2) NOT NULL,
  cash_sales           numeric(18,2) NOT NULL,
  card_sales           numeric(18,2) NOT NULL,
  credit_sales         numeric(18,2) NOT NULL,
  other_sales          numeric(18,2) NOT NULL,
  total_discount       numeric(18,2) NOT NULL,
  total_tax            numeric(18,2) NOT NULL,
  total_items_sold     numeric(18,3) NOT NULL,
  unique_products_sold bigint NOT NULL,
  unique_customers     bigint NOT NULL,
  new_customers        bigint NOT NULL,
  refund_count         bigint NOT NULL,
  refund_amount        numeric(18,2) NOT NULL,
  sessions_opened      bigint NOT NULL,
  sessions_closed      bigint NOT NULL,
  created_at           timestamptz NOT NULL DEFAULT now(),
  updated_at           timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, date)
) WITH (fillfactor = 50);

CREATE TABLE {reports}.product_performance (
  tenant        text COLLATE "C" NOT NULL,
  product_id    bigint NOT NULL,
  date          date NOT NULL,
  quantity_sold numeric(18,3) NOT NULL,
  total_revenue numeric(18,2) NOT NULL,
  sales_count   bigint NOT NULL,
  avg_price     numeric(18,2) NOT NULL,
  avg_discount  numeric(12,2) NOT NULL,
  total_cost    numeric(18,2) NOT NULL,
  total_profit  numeric(18,2) NOT NULL,
  profit_margin numeric(12,2) NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, product_id, date)
) WITH (fillfactor = 80);

CREATE TABLE {reports}.customer_analytics (
  tenant                 text COLLATE "C" NOT NULL,
  customer_id            bigint NOT NULL,
  period_end             date NOT NULL,
  period_start           date NOT NULL,
  recency_days           integer NOT NULL,
  frequency              bigint NOT NULL,
  monetary               numeric(18,2) NOT NULL,
  purchases_count        bigint NOT NULL,
  total_spent            numeric(18,2) NOT NULL,
  avg_purchase_amount    numeric(18,2) NOT NULL,
  r_score                smallint NOT NULL,
  f_score                smallint NOT NULL,
  m_score                smallint NOT NULL,
  rfm_score              smallint NOT NULL,
  segment                text NOT NULL,
  credit_purchases       bigint NOT NULL,
  total_credit_amount    numeric(18,2) NOT NULL,
  avg_payment_delay_days integer NOT NULL,
  credit_outstanding     numeric(18,2) NOT NULL,
  first_purchase_date    date NOT NULL,
  last_purchase_date     date NOT NULL,
  lifetime_purchases     bigint NOT NULL,
  lifetime_spent         numeric(18,2) NOT NULL,
  created_at             timestamptz NOT NULL DEFAULT now(),
  updated_at             timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, customer_id, period_end)
) WITH (fillfactor = 80);

CREATE TABLE {reports}.inventory_snapshot (
  tenant             text COLLATE "C" NOT NULL,
  product_id         bigint NOT NULL,
  date               date NOT NULL,
  quantity_on_hand   numeric(18,3) NOT NULL,
  reserved_quantity  numeric(18,3) NOT NULL,
  available_quantity numeric(18,3) NOT NULL,
  total_cost         numeric(18,2) NOT NULL,
  total_value        numeric(18,2) NOT NULL,
  turnover_rate      numeric(12,2) NOT NULL,
  days_of_stock      integer NOT NULL,
  is_out_of_stock    boolean NOT NULL,
  is_low_stock       boolean NOT NULL,
  is_overstock       boolean NOT NULL,
  created_at         timestamptz NOT NULL DEFAULT now(),
  updated_at         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, product_id, date)
) WITH (fillfactor = 80);

CREATE TABLE {reports}.product (
  tenant     text COLLATE "C" NOT NULL,
  product_id bigint NOT NULL,
  name       text NOT NULL,
  sku        text NOT NULL,
  barcode    text NOT NULL,
  is_active  boolean NOT NULL,
  deleted_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, product_id)
);

CREATE TABLE {reports}.customer (
  tenant        text COLLATE "C" NOT NULL,
  customer_id   bigint NOT NULL,
  full_name     text NOT NULL,
  phone         text NOT NULL,
  customer_type text NOT NULL,
  is_active     boolean NOT NULL,
  deleted_at    timestamptz,
  created_at    timestamptz NOT NULL DEFAULT now(),
  updated_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, customer_id)
);
