//! Every view and function of the report schema after a random workload that the daemon has followed, against what the
//! oracle makes of the POS tables: no report row is looked at in between.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use tokio_postgres::Client;

use crate::expected::{DAILY, Expected, Line, check, check_view, ratio, text};
use crate::harness::{TestDb, tillstream};
use crate::reports_db::{NULL, round, rows};
use crate::workload::Workload;

const STORES: [(&str, Tz); 2] =
    [("tenant_auckland", chrono_tz::Pacific::Auckland), ("tenant_lima", chrono_tz::America::Lima)];
const ZONES: &str = "[tenants.time_zones]\ntenant_auckland = 'Pacific/Auckland'\ntenant_lima = 'America/Lima'\n";

/// Stock beyond its limit, and some that does not sell: what the workload hardly ever makes.
const PLENTY: &str = "INSERT INTO products_stock_movement (product_id, movement_type, quantity)
        SELECT id, 'purchase', 50000 FROM products_product WHERE id % 2 = 0;
    UPDATE products_product_inventory SET max_quantity = 100 WHERE product_id % 2 = 0";

/// Two stores; some of their history comes by the first copy, the rest by the stream.
async fn traded(seed: u64) -> (TestDb, Client, Vec<Expected>) {
    let db = TestDb::new().await;
    for (schema, _) in STORES {
        db.create_store(schema).await;
    }
    let mut client = db.client().await;
    let config = db.daemon_toml(ZONES);
    let now = Utc::now();
    let mut workloads = STORES.map(|(schema, zone)| (schema, Workload::new(seed, now, zone)));
    tillstream(&config, &["init"]).await.expect(0);
    for part in 0..2 {
        for (schema, workload) in &mut workloads {
            if part == 0 {
                workload.populate(&mut client, schema).await.expect("populate");
            }
            for _ in 0..150 {
                workload.step(&mut client, schema).await.expect("step");
            }
            client
                .batch_execute(&format!("SET search_path TO {schema}; {PLENTY}; RESET search_path"))
                .await
                .expect("plenty");
        }
        tillstream(&config, &["run", "--once"]).await.expect(0);
    }
    let mut expected = Vec::new();
    for (schema, zone) in STORES {
        expected.push(Expected::read(&client, schema, zone).await);
    }
    (db, client, expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_and_function_says_what_the_oracle_says() {
    let seed = crate::live::seeds(1).next().expect("a seed");
    println!("seed {seed}");
    let (_db, client, stores) = traded(seed).await;
    for store in &stores {
        assert!(store.products.len() > 20 && store.customers.len() > 5, "seed {seed}: too little was sold");
        today(&client, store).await;
        spans(&client, store).await;
        top_products(&client, store).await;
        slow_movers(&client, store).await;
        customers(&client, store).await;
        segments(&client, store).await;
        stock(&client, store).await;
    }
    store_totals(&client, &stores).await;
}

async fn today(client: &Client, store: &Expected) {
    let mut expected = vec![store.today.to_string()];
    let columns = DAILY.strip_prefix("date ").expect("the date first");
    expected.extend(store.value(store.today, columns));
    check_view(client, store, "daily_sales_today", DAILY, vec![expected]).await;
}

async fn spans(client: &Client, store: &Expected) {
    let tenant = store.tenant;
    for (from, to) in [(0, 0), (6, 0), (90, 0), (60, 20), (400, 0)].map(|(a, b)| (store.back(a), store.back(b))) {
        let sum = |column: &str| store.sum(from, to, column);
        let columns = "total_sales total_sales_count cash_sales card_sales credit_sales other_sales total_discount \
                       total_tax total_items_sold new_customers refund_count refund_amount";
        let mut expected: Vec<String> = columns.split_whitespace().map(|c| text(sum(c))).collect();
        expected.push(text(ratio(sum("total_sales"), sum("total_sales_count"), 2)));
        let sold = |d: &&Line| (from..=to).contains(&d.date("date")) && d.text("total_sales_count") != "0";
        expected.push(store.daily.iter().filter(sold).count().to_string());
        let list = columns.split_whitespace().collect::<Vec<_>>().join(", ");
        let query = format!(
            "SELECT {list}, avg_sale_amount, days_with_sales FROM analytics.daily_sales_period('{tenant}', '{from}', '{to}')"
        );
        check(client, &query, &[expected]).await;
    }

    let columns = "total_sales total_sales_count avg_sale_amount total_items_sold unique_customers new_customers \
                   refund_count refund_amount";
    for (argument, days) in [("", 30), (", 1", 1), (", 200", 200)] {
        let expected: Vec<Vec<String>> = (0..days)
            .rev()
            .map(|back| [vec![store.back(back).to_string()], store.value(store.back(back), columns)].concat())
            .collect();
        let query = format!("SELECT * FROM analytics.sales_trends('{tenant}'{argument})");
        check(client, &query, &expected).await;
    }

    for (argument, weeks) in [("", 8_u64), (", 1", 1), (", 40", 40)] {
        let weekday = |weekday: chrono::Weekday| {
            let dates = (1..=weeks * 7).map(|back| store.back(back)).filter(|date| date.weekday() == weekday);
            let days: Vec<&Line> = dates.filter_map(|date| store.day(date)).collect();
            let total = |column: &str| days.iter().map(|d| d.number(column)).sum::<Decimal>();
            let (sales, count, weeks) = (total("total_sales"), total("total_sales_count"), Decimal::from(weeks));
            vec![
                weekday.number_from_monday().to_string(),
                NAMES[weekday.num_days_from_monday() as usize].to_string(),
                text(weeks),
                text(sales),
                text(count),
                text(round(sales / weeks, 2)),
                text(round(count / weeks, 2)),
                text(ratio(sales, count, 2)),
            ]
        };
        let expected: Vec<_> = (0..7_u8).map(|n| weekday(n.try_into().expect("a weekday"))).collect();
        check(client, &format!("SELECT * FROM analytics.sales_by_weekday('{tenant}'{argument})"), &expected).await;
    }
}

const NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

async fn top_products(client: &Client, store: &Expected) {
    let last = store.products.iter().map(|line| line.date("date")).max().expect("a sale");
    for (span, from, to, limit) in [
        (String::new(), store.back(29), store.today, 10),
        (format!(", '{}', '{}'", store.back(80), store.back(2)), store.back(80), store.back(2), 3),
        (", '0001-01-01', '9999-12-31'".to_string(), NaiveDate::MIN, last, 1000),
    ] {
        let sums = store.sold(from, to);
        let margin = |[_, revenue, _, _, profit]: &[Decimal; 5]| {
            if *revenue > Decimal::ZERO { *profit / *revenue } else { Decimal::ZERO }
        };
        for order in ["revenue", "quantity", "profit", "margin"] {
            let mut best: Vec<_> = sums.iter().collect();
            best.sort_by_key(|(id, sums)| {
                let by = match order {
                    "revenue" => sums[1],
                    "quantity" => sums[0],
                    "profit" => sums[4],
                    _ => margin(sums),
                };
                (std::cmp::Reverse(by), **id)
            });
            let row = |(rank, (id, sums)): (usize, &(&i64, &[Decimal; 5]))| {
                let [quantity, revenue, sales, cost, profit] = **sums;
                let mut row = vec![(rank + 1).to_string(), id.to_string()];
                row.extend(store.product(&id.to_string()));
                row.extend([quantity, revenue, sales, ratio(revenue, quantity, 2), cost, profit].map(text));
                row.push(text(round(margin(sums) * Decimal::ONE_HUNDRED, 2)));
                row
            };
            let expected: Vec<_> = best.iter().enumerate().take(limit).map(row).collect();
            let query = format!(
                "SELECT * FROM analytics.top_products('{}'{span}, row_limit => {limit}, order_by => '{order}')",
                store.tenant
            );
            check(client, &query, &expected).await;
        }
    }
}

async fn slow_movers(client: &Client, store: &Expected) {
    for (arguments, days, below) in [("", 30, 5), (", 7, 2", 7, 2), (", 365, 1000000", 365, 1_000_000)] {
        let sold = store.sold(store.back(days - 1), store.today);
        let mut slow: Vec<(Decimal, Decimal, i64, &Line)> = Vec::new();
        for line in store.stock.iter().filter(|line| line.number("quantity_on_hand") > Decimal::ZERO) {
            let id: i64 = line.text("product_id").parse().expect("id");
            let quantity = sold.get(&id).map_or(Decimal::ZERO, |sums| sums[0]);
            if quantity < Decimal::from(below) {
                slow.push((quantity, -line.number("total_value"), id, line));
            }
        }
        slow.sort_by_key(|(quantity, value, id, _)| (*quantity, *value, *id));
        let row = |(quantity, _, id, line): &(Decimal, Decimal, i64, &Line)| {
            let own = store.products.iter().filter(|p| p.text("product_id") == id.to_string());
            let last = own.map(|p| p.date("date")).max().map_or(NULL.to_string(), |date| date.to_string());
            let mut row = vec![id.to_string()];
            row.extend(store.product(&id.to_string()));
            row.extend([text(*quantity), text(sold.get(id).map_or(Decimal::ZERO, |sums| sums[1])), last]);
            row.extend(line.all("quantity_on_hand total_cost total_value"));
            row
        };
        let expected: Vec<_> = slow.iter().map(row).collect();
        check(client, &format!("SELECT * FROM analytics.slow_movers('{}'{arguments})", store.tenant), &expected).await;
    }
}

async fn customers(client: &Client, store: &Expected) {
    type Wanted = fn(&Line) -> bool;
    let at_risk =
        |c: &Line| ["At Risk", "Can't Lose Them", "Hibernating", "Lost"].contains(&c.text("segment").as_str());
    let views: [(&str, &str, &str, Wanted); 3] = [
        (
            "customer_live",
            "full_name phone customer_type is_active",
            "segment r_score f_score m_score rfm_score period_start period_end recency_days purchases_count total_spent \
             avg_purchase_amount credit_purchases total_credit_amount avg_payment_delay_days credit_outstanding \
             first_purchase_date last_purchase_date lifetime_purchases lifetime_spent",
            |_| true,
        ),
        (
            "customers_at_risk",
            "full_name phone",
            "segment recency_days last_purchase_date lifetime_purchases lifetime_spent purchases_count total_spent \
             credit_outstanding",
            at_risk,
        ),
        (
            "debtors",
            "full_name phone",
            "credit_outstanding avg_payment_delay_days credit_purchases total_credit_amount last_purchase_date segment",
            |c| c.number("credit_outstanding") > Decimal::ZERO,
        ),
    ];
    for (view, names, columns, wanted) in views {
        let row = |c: &Line| {
            let id = c.text("customer_id");
            let names = store.name(&store.customer_names, &id, names);
            [vec![id], names, c.all(columns)].concat()
        };
        let expected = store.customers.iter().filter(|c| wanted(c)).map(row).collect();
        check_view(client, store, view, &format!("customer_id {names} {columns}"), expected).await;
    }
}

async fn segments(client: &Client, store: &Expected) {
    let mut segments: BTreeMap<String, Vec<&Line>> = BTreeMap::new();
    for line in &store.customers {
        segments.entry(line.text("segment")).or_default().push(line);
    }
    let row = |(segment, members): (&String, &Vec<&Line>)| {
        let count = Decimal::from(members.len());
        let sum = |column: &str| members.iter().map(|m| m.number(column)).sum::<Decimal>();
        let numbers = [
            count,
            round(count * Decimal::ONE_HUNDRED / Decimal::from(store.customers.len()), 2),
            sum("total_spent"),
            round(sum("total_spent") / count, 2),
            sum("purchases_count"),
            round(sum("recency_days") / count, 1),
            sum("lifetime_spent"),
            sum("credit_outstanding"),
        ];
        [vec![segment.clone()], numbers.map(text).to_vec()].concat()
    };
    let columns = "segment customers customers_percent total_spent avg_spent purchases_count avg_recency_days \
                   lifetime_spent credit_outstanding";
    check_view(client, store, "customer_segments", columns, segments.iter().map(row).collect()).await;
}

async fn stock(client: &Client, store: &Expected) {
    let limits = |id: &str| store.limits.get(id).cloned().unwrap_or([NULL, NULL].map(String::from));
    let row = |line: &Line, names: &str, columns: &str| {
        let id = line.text("product_id");
        let [least, most] = limits(&id);
        let value = |column: &str| match column {
            "min_quantity" => least.clone(),
            "max_quantity" => most.clone(),
            "least" if least == NULL => "0".to_string(),
            "least" => least.clone(),
            other => line.text(other),
        };
        let mut row = vec![id.clone()];
        row.extend(store.name(&store.product_names, &id, names));
        row.extend(columns.split_whitespace().map(value));
        row
    };
    let latest = "date quantity_on_hand reserved_quantity available_quantity min_quantity max_quantity total_cost \
                  total_value turnover_rate days_of_stock is_out_of_stock is_low_stock is_overstock";
    // Inactive products may have a row. One that is there has to be right, so what is found decides only which are expected.
    let query = format!(
        "SELECT product_id FROM analytics.inventory_latest WHERE tenant = '{}' AND NOT is_active",
        store.tenant
    );
    let inactive = rows(client, &query).await.concat();
    let shown = store.inactive_stock.iter().filter(|line| inactive.contains(&line.text("product_id")));
    let expected =
        store.stock.iter().chain(shown).map(|line| row(line, "name sku barcode is_active", latest)).collect();
    let columns = format!("product_id product_name sku barcode is_active {latest}");
    check_view(client, store, "inventory_latest", &columns, expected).await;

    for (view, flag, columns) in [
        (
            "low_stock_alerts",
            "is_low_stock",
            "quantity_on_hand reserved_quantity available_quantity least days_of_stock is_out_of_stock date",
        ),
        ("out_of_stock", "is_out_of_stock", "quantity_on_hand reserved_quantity date"),
        (
            "overstock",
            "is_overstock",
            "quantity_on_hand max_quantity total_cost total_value days_of_stock turnover_rate date",
        ),
    ] {
        let wanted = store.stock.iter().filter(|line| line.is(flag));
        let expected = wanted.map(|line| row(line, "name sku barcode", columns)).collect();
        let columns = format!("product_id product_name sku barcode {}", columns.replace("least", "min_quantity"));
        check_view(client, store, view, &columns, expected).await;
    }
}

async fn store_totals(client: &Client, stores: &[Expected]) {
    let (from, to) = (stores[0].back(60), stores[0].back(1));
    let sum = |of: &[&Expected], column: &str| of.iter().map(|s| s.sum(from, to, column)).sum::<Decimal>();
    let everyone: Vec<&Expected> = stores.iter().collect();
    let line = |head: [String; 3], of: &[&Expected]| {
        let sum = |column: &str| sum(of, column);
        let sales = sum("total_sales");
        let share =
            ratio(sales * Decimal::ONE_HUNDRED, everyone.iter().map(|s| s.sum(from, to, "total_sales")).sum(), 2);
        let mut row = head.to_vec();
        row.extend([sales, share, sum("total_sales_count"), ratio(sales, sum("total_sales_count"), 2)].map(text));
        let columns = ["total_items_sold", "total_discount", "new_customers", "refund_count", "refund_amount"];
        row.extend(columns.map(|column| text(sum(column))));
        row
    };
    let mut best = everyone.clone();
    best.sort_by_key(|s| (std::cmp::Reverse(s.sum(from, to, "total_sales")), s.tenant));
    let store = |(rank, store): (usize, &&Expected)| {
        line([(rank + 1).to_string(), store.tenant.to_string(), format!("Store {}", store.tenant)], &[store])
    };
    let mut expected: Vec<_> = best.iter().enumerate().map(store).collect();
    expected.push(line([NULL, NULL, "all stores"].map(String::from), &everyone));
    check(client, &format!("SELECT * FROM analytics.store_totals('{from}', '{to}')"), &expected).await;
}
