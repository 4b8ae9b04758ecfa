-- A batch in one statement, where it is of new sales and the rows they add to are there: what each statement costs beside its
-- work, at the server and here, comes once. Often that is all of a transaction. It takes the parameters of the statements that
-- it stands for, in the order of WHOLE in whole.rs ({+PART ROWS +n}: n come before the part's own); of what the batch has not they are NULL. No part may look at what another
-- one writes, for all of them see what was there before; so a day's customers are added to its row with everything else.

-- name: write_whole
WITH {+whole_sales}, {+customer_days +35}, {+customers_grow customers +42},
days_n AS MATERIALIZED (
  SELECT n.*, coalesce((SELECT m.customers FROM met m WHERE m.tenant_id = n.tenant_id AND m.day = n.day), 0) AS customers
  FROM {+daily_given +17} n
), {+daily_grow days}
SELECT CASE WHEN {+all_of product_days} AND {+all_of customers} AND {+all_of days} THEN 0 ELSE {state}.missing() END AS missing

-- The same of sales without customers.
-- name: write_whole_anonymous
WITH {+whole_sales},
{+days_alone days +17}, {+daily_grow days}
SELECT CASE WHEN {+all_of product_days} AND {+all_of days} THEN 0 ELSE {state}.missing() END AS missing

-- Part of both.
-- name: whole_sales
sales AS ({+add_sales}),
movements AS ({+add_movements +1}),
children AS ({+add_children +2}),
{+product_days_grow product_days +3},
{+stock_added +12}, {+inventory_rows u},
position AS ({+move_position +32})
