-- Row triggers that add a sale to the reports when it is completed. Refunds, edits and deletions are not handled, windows
-- do not slide, how late credit is paid is not kept: all of that favours them. Products are written in the order of their
-- ids and the day last, so that two tills never wait for each other in a circle and the day is locked for the shortest time.
CREATE TABLE peer.seen (date date, kind "char", id bigint, PRIMARY KEY (date, kind, id));
INSERT INTO peer.seen
SELECT DISTINCT (s.completed_at AT TIME ZONE '{zone}')::date, 'p'::"char", i.product_id
FROM {schema}.sales_sale s JOIN {schema}.sales_sale_item i ON i.sale_id = s.id WHERE s.status = 'completed'
UNION ALL
SELECT DISTINCT (completed_at AT TIME ZONE '{zone}')::date, 'c'::"char", customer_id
FROM {schema}.sales_sale WHERE status = 'completed' AND customer_id IS NOT NULL;

CREATE FUNCTION peer.add_sale() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  day date := (NEW.completed_at AT TIME ZONE '{zone}')::date;
  fresh_products bigint;
  fresh_customers bigint := 0;
  newcomers bigint := 0;
  goods numeric;
  paid record;
BEGIN
  INSERT INTO peer.product AS p (product_id, date, quantity_sold, total_revenue, sales_count, avg_price, avg_discount,
                                 total_cost, total_profit, profit_margin, prices, lines)
  SELECT product_id, day, quantity, revenue, 1, round(prices / lines, 2), 0, cost, revenue - cost,
         round(100 * (revenue - cost) / nullif(revenue, 0), 2), prices, lines
  FROM (SELECT i.product_id, sum(i.quantity) AS quantity, sum(i.line_total) AS revenue, sum(i.unit_price) AS prices,
               count(*) AS lines, sum(i.quantity * c.cost_price) AS cost
        FROM {schema}.sales_sale_item i JOIN {schema}.products_product_pricing c ON c.product_id = i.product_id
        WHERE i.sale_id = NEW.id GROUP BY i.product_id) item
  ORDER BY product_id
  ON CONFLICT (product_id, date) DO UPDATE SET
    quantity_sold = p.quantity_sold + excluded.quantity_sold,
    total_revenue = p.total_revenue + excluded.total_revenue,
    sales_count = p.sales_count + 1,
    prices = p.prices + excluded.prices, lines = p.lines + excluded.lines,
    avg_price = round((p.prices + excluded.prices) / (p.lines + excluded.lines), 2),
    avg_discount = greatest(round(100 - 100 * (p.total_revenue + excluded.total_revenue) * (p.lines + excluded.lines)
                                  / ((p.prices + excluded.prices) * (p.quantity_sold + excluded.quantity_sold)), 2), 0),
    total_cost = p.total_cost + excluded.total_cost,
    total_profit = p.total_profit + excluded.total_profit,
    profit_margin = round(100 * (p.total_profit + excluded.total_profit)
                          / nullif(p.total_revenue + excluded.total_revenue, 0), 2);

  INSERT INTO peer.seen SELECT DISTINCT day, 'p'::"char", product_id FROM {schema}.sales_sale_item
  WHERE sale_id = NEW.id ORDER BY product_id ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS fresh_products = ROW_COUNT;
  SELECT sum(quantity) INTO goods FROM {schema}.sales_sale_item WHERE sale_id = NEW.id;
  SELECT coalesce(sum(amount) FILTER (WHERE payment_method = 'cash'), 0) AS cash,
         coalesce(sum(amount) FILTER (WHERE payment_method = 'card'), 0) AS card,
         coalesce(sum(amount) FILTER (WHERE payment_method = 'credit'), 0) AS credit,
         coalesce(sum(amount) FILTER (WHERE payment_method NOT IN ('cash', 'card', 'credit')), 0) AS other,
         count(*) FILTER (WHERE payment_method = 'credit') AS credits
  INTO paid FROM {schema}.sales_payment WHERE sale_id = NEW.id;

  IF NEW.customer_id IS NOT NULL THEN
    INSERT INTO peer.seen VALUES (day, 'c', NEW.customer_id) ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS fresh_customers = ROW_COUNT;
    UPDATE peer.customer c SET
      recency_days = 0, r_score = 5, last_purchase_date = day,
      frequency = c.frequency + 1, purchases_count = c.frequency + 1,
      monetary = c.monetary + NEW.total_amount, total_spent = c.monetary + NEW.total_amount,
      avg_purchase_amount = round((c.monetary + NEW.total_amount) / (c.frequency + 1), 2),
      credit_purchases = c.credit_purchases + (paid.credits > 0)::int, total_credit_amount = c.total_credit_amount + paid.credit,
      credit_outstanding = c.credit_outstanding + paid.credit,
      lifetime_purchases = c.lifetime_purchases + 1, lifetime_spent = c.lifetime_spent + NEW.total_amount,
      f_score = CASE WHEN c.frequency >= 19 THEN 5 WHEN c.frequency >= 9 THEN 4 WHEN c.frequency >= 4 THEN 3 WHEN c.frequency >= 1 THEN 2 ELSE 1 END,
      m_score = CASE WHEN c.monetary + NEW.total_amount >= 5000000 THEN 5 WHEN c.monetary + NEW.total_amount >= 2000000 THEN 4
                     WHEN c.monetary + NEW.total_amount >= 1000000 THEN 3 WHEN c.monetary + NEW.total_amount >= 500000 THEN 2 ELSE 1 END
    WHERE customer_id = NEW.customer_id;
    IF NOT FOUND THEN
      newcomers := 1;
      INSERT INTO peer.customer AS c (customer_id, period_end, period_start, recency_days, frequency, monetary, purchases_count,
                                      total_spent, avg_purchase_amount, r_score, f_score, m_score, credit_purchases,
                                      total_credit_amount, credit_outstanding, first_purchase_date, last_purchase_date,
                                      lifetime_purchases, lifetime_spent)
      VALUES (NEW.customer_id, day, day - 90, 0, 1, NEW.total_amount, 1, NEW.total_amount, NEW.total_amount, 5, 1,
              CASE WHEN NEW.total_amount >= 5000000 THEN 5 WHEN NEW.total_amount >= 2000000 THEN 4
                   WHEN NEW.total_amount >= 1000000 THEN 3 WHEN NEW.total_amount >= 500000 THEN 2 ELSE 1 END,
              (paid.credits > 0)::int, paid.credit, paid.credit, day, day, 1, NEW.total_amount)
      ON CONFLICT (customer_id) DO UPDATE SET frequency = c.frequency + 1, monetary = c.monetary + excluded.monetary;
    END IF;
  END IF;

  INSERT INTO peer.daily AS d (date, total_sales, total_sales_count, avg_sale_amount, cash_sales, card_sales, credit_sales,
                               other_sales, total_discount, total_tax, total_items_sold, unique_products_sold,
                               unique_customers, new_customers, refund_count, refund_amount, sessions_opened, sessions_closed)
  VALUES (day, NEW.total_amount, 1, NEW.total_amount, paid.cash, paid.card, paid.credit, paid.other, NEW.discount_amount,
          NEW.tax_amount, goods, fresh_products, fresh_customers, newcomers, 0, 0, 0, 0)
  ON CONFLICT (date) DO UPDATE SET
    total_sales = d.total_sales + excluded.total_sales, total_sales_count = d.total_sales_count + 1,
    avg_sale_amount = round((d.total_sales + excluded.total_sales) / (d.total_sales_count + 1), 2),
    cash_sales = d.cash_sales + excluded.cash_sales, card_sales = d.card_sales + excluded.card_sales,
    credit_sales = d.credit_sales + excluded.credit_sales, other_sales = d.other_sales + excluded.other_sales,
    total_discount = d.total_discount + excluded.total_discount, total_tax = d.total_tax + excluded.total_tax,
    total_items_sold = d.total_items_sold + excluded.total_items_sold,
    unique_products_sold = d.unique_products_sold + excluded.unique_products_sold,
    unique_customers = d.unique_customers + excluded.unique_customers,
    new_customers = d.new_customers + excluded.new_customers;
  RETURN NULL;
END $$;

CREATE TRIGGER add_sale AFTER UPDATE OF status ON {schema}.sales_sale FOR EACH ROW
WHEN (NEW.status = 'completed' AND OLD.status IS DISTINCT FROM 'completed') EXECUTE FUNCTION peer.add_sale();
