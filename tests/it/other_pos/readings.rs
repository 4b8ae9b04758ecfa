//! Single readings: values at their edges against the server's own reading of them, a small shop of odd tables, and what
//! `check` says of a mapping that does not fit.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use tillstream::facts::local;
use tillstream::pgoutput::Value;

use super::PATIENCE;
use crate::harness::{Daemon, TestDb, tillstream, wait_until};
use crate::live::{live, verify};
use crate::reports_db::rows;

/// The decimal number that the server prints of a floating-point one, or none where it is beyond ours.
#[tokio::test]
async fn floating_point_numbers_are_those_that_the_server_prints() {
    let db = TestDb::new().await;
    let client = db.client().await;
    // Whatever the session shows of them otherwise.
    client.batch_execute("SET extra_float_digits = 3").await.unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut doubles: Vec<f64> =
        vec![0.1 + 0.2, 1.0 / 3.0, 1e15, 1e-7, 123_456_789.125, 9.95, 0.0, -0.0, 4_503_599_627_370_496.5];
    let mut reals: Vec<f32> = vec![0.1, 33_554_450.0, 8_589_973_000.0, 67_108_864.0, 1e-10, 16_777_216.0];
    for _ in 0..4000 {
        let whole: i64 = rng.random_range(-10_000_000..10_000_000);
        doubles.push(whole as f64 / [1.0, 3.0, 10.0, 1000.0, 1e7, 7e9][rng.random_range(0..6)]);
        doubles
            .push(f64::from_bits(rng.random::<u64>() & 0x800F_FFFF_FFFF_FFFF | rng.random_range(960_u64..1076) << 52));
        reals.push(f32::from_bits(rng.random::<u32>() & 0x807F_FFFF | rng.random_range(100_u32..181) << 23));
    }
    let query = "SELECT ARRAY(SELECT v::text::numeric::text FROM unnest($1::float8[]) WITH ORDINALITY u(v, n) ORDER BY n),
                        ARRAY(SELECT v::text::numeric::text FROM unnest($2::float4[]) WITH ORDINALITY u(v, n) ORDER BY n)";
    let row = client.query_one(query, &[&doubles, &reals]).await.unwrap();
    let (printed, printed_reals): (Vec<String>, Vec<String>) = (row.get(0), row.get(1));
    let mut exact = 0;
    let mut hold = |read: Result<Option<Decimal>, _>, printed: &String, shown: String| match read {
        Ok(Some(number)) => {
            exact += 1;
            assert_eq!(number.normalize(), printed.parse::<Decimal>().unwrap().normalize(), "{shown}");
        }
        // More digits than 28 places, or than 96 bits: nothing else is given up.
        _ => {
            let digits = printed.trim_start_matches('-').replace('.', "");
            let places = printed.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            assert!(places > 28 || digits.trim_start_matches('0').len() > 28, "{shown} {printed}");
        }
    };
    for (value, printed) in doubles.iter().zip(&printed) {
        hold(Value::Binary(&value.to_be_bytes()).as_decimal(701), printed, format!("{value:?}"));
    }
    for (value, printed) in reals.iter().zip(&printed_reals) {
        hold(Value::Binary(&value.to_be_bytes()).as_decimal(700), printed, format!("{value:?} (real)"));
    }
    assert!(exact > 9000, "{exact}");
}

/// Also those that the clock shows twice, or never.
#[tokio::test]
async fn local_times_are_those_of_the_server() {
    let db = TestDb::new().await;
    let client = db.client().await;
    let zones: [Tz; 8] = [
        chrono_tz::Europe::Vienna,
        chrono_tz::America::Sao_Paulo,
        chrono_tz::America::Santiago,
        chrono_tz::Asia::Beirut,
        chrono_tz::Australia::Lord_Howe,
        chrono_tz::Pacific::Apia,
        chrono_tz::Europe::Dublin,
        chrono_tz::Asia::Tashkent,
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for zone in zones {
        let start = NaiveDate::from_ymd_opt(1995, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap();
        let mut times: Vec<NaiveDateTime> = Vec::new();
        // Where the clock jumps: all around it, and at any other time.
        for hour in 0..(365 * 28 * 24) {
            let at = start + TimeDelta::hours(hour);
            let single = |at: NaiveDateTime| chrono::TimeZone::from_local_datetime(&zone, &at).single().is_none();
            if single(at) || single(at + TimeDelta::minutes(30)) {
                times.extend([-61, -1, 0, 1, 29, 30, 59, 60, 61].map(|minutes| at + TimeDelta::minutes(minutes)));
            }
        }
        times.extend((0..200).map(|_| start + TimeDelta::seconds(rng.random_range(0..900_000_000))));
        let query =
            "SELECT ARRAY(SELECT t AT TIME ZONE $2 FROM unnest($1::timestamp[]) WITH ORDINALITY u(t, n) ORDER BY n)";
        let expected: Vec<DateTime<Utc>> = client.query_one(query, &[&times, &zone.name()]).await.unwrap().get(0);
        for (time, expected) in times.iter().zip(expected) {
            assert_eq!(local::instant(zone, *time), Some(expected), "{time} {zone}");
        }
    }
}

/// A shop of one table a part, none of them usual: no status, no payments' table, stock on the product, a business day beside
/// the time, names that have to be quoted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_of_odd_tables() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE SCHEMA \"corner-shop\"; SET search_path TO \"corner-shop\";
             CREATE TABLE \"till receipts\" (\"order\" bigint PRIMARY KEY, \"when\" timestamp, \"left\" date, paid real, how char(4));
             CREATE TABLE \"sale_line-account_tax\" (\"from\" int PRIMARY KEY, \"to\" bigint, \"Select\" smallint, \"User\" numeric);
             CREATE TABLE goods (nr smallint PRIMARY KEY, \"Name\" text, stock numeric, price int, gone boolean NOT NULL DEFAULT false);
             ALTER DATABASE CURRENT_DATABASE_NAME SET extra_float_digits = 0"
                .replace("CURRENT_DATABASE_NAME", &db.name)
                .as_str(),
        )
        .await
        .unwrap();
    let config = db.daemon_toml(
        "[source]\npreset = 'none'
         [source.tables.sale]\ntable = 'till receipts'
         [source.tables.sale.columns]\nid = 'order'\nstatus = ''\ncustomer_id = ''\ndiscount_amount = ''\ntax_amount = ''
         completed_at = { column = 'when', time_zone = 'store' }\nday = 'left'\ntotal_amount = { column = 'paid', round = 2 }
         [source.tables.sale_item]\ntable = 'sale_line-account_tax'
         [source.tables.sale_item.columns]\nid = 'from'\nsale_id = 'to'\nproduct_id = 'Select'\nquantity = ''
         unit_price = { column = 'User', round = 2 }\nline_total = ''
         [source.tables.payment]\ntable = 'till receipts'
         [source.tables.payment.columns]\nid = 'order'\nsale_id = 'order'\npayment_method = 'how'\namount = 'paid'
         [source.tables.product]\ntable = 'goods'\nonly = { gone = ['false'] }
         [source.tables.product.columns]\nid = 'nr'\nname = 'Name'\nsku = 'nr'\nbarcode = { value = 'none' }\nis_active = ''
         [source.tables.pricing]\ntable = 'goods'
         [source.tables.pricing.columns]\nid = 'nr'\nproduct_id = 'nr'\ncost_price = { value = '0.5' }
         sale_price = { column = 'price', scale = 2 }
         [source.tables.batch]\ntable = 'goods'
         [source.tables.batch.columns]\nid = 'nr'\nproduct_id = 'nr'\nquantity = 'stock'\nis_active = ''
         [payments]\ncash = ['bar']\ncard = ['card']\n[tenants]\nschemas = ['corner-%']\nregistry = ''\ntime_zone = 'Europe/Vienna'\n",
    );
    tillstream(&config, &["init"]).await.expect(0);
    let receipts = "INSERT INTO \"till receipts\" VALUES
          (1, localtimestamp - interval '10 days', NULL, 10.1, 'bar'), (2, localtimestamp, current_date - 3, 0.3, 'card'),
          (3, NULL, current_date, 77, 'bar'), (4, localtimestamp, current_date - 3, 5, NULL);
        INSERT INTO \"sale_line-account_tax\" VALUES (1, 1, 7, 10.105), (2, 2, 7, 0.3), (3, 2, 8, NULL), (4, 3, 8, 77), (5, 4, NULL, 5);
        INSERT INTO goods VALUES (7, 'Tea', 12.5, 1099, false), (8, 'Cup', NULL, 5, true)";
    let change = "UPDATE \"till receipts\" SET paid = 0.7, \"left\" = \"left\" - 1 WHERE \"order\" = 2;
        DELETE FROM \"sale_line-account_tax\" WHERE \"from\" = 3; UPDATE goods SET gone = NOT gone, stock = -0.25;
        UPDATE \"till receipts\" SET \"when\" = NULL WHERE \"order\" = 1; UPDATE \"till receipts\" SET how = 'bar' WHERE \"order\" = 4";
    let (today, back) = ("(now() AT TIME ZONE 'Europe/Vienna')::date", |days: i32| format!("current_date - {days}"));
    client.batch_execute("SET TimeZone = 'Europe/Vienna'").await.unwrap();
    client.batch_execute(receipts).await.unwrap();
    let daemon = Daemon::run(&config, &[]);
    wait_until("the store is live", PATIENCE, async || live(&client, 1).await).await;
    let daily = "SELECT date, total_sales, total_sales_count, cash_sales, card_sales, other_sales, total_items_sold, unique_products_sold
                 FROM analytics.daily_sales_report ORDER BY date";
    let products = "SELECT product_id, date, quantity_sold, total_revenue, avg_price, total_cost FROM analytics.product_performance
                    ORDER BY product_id, date";
    let stock = format!(
        "SELECT product_id, quantity_on_hand, total_cost, total_value FROM analytics.inventory_snapshot WHERE date = {today}"
    );
    let names =
        "SELECT product_id, name, sku, barcode, is_active, source_key FROM analytics.product WHERE deleted_at IS NULL";
    let at = async |days: i32| rows(&client, &format!("SELECT {}", back(days))).await[0][0].clone();
    let (three, four, ten) = (at(3).await, at(4).await, at(10).await);
    let (three, four, ten) = (three.as_str(), four.as_str(), ten.as_str());
    // Both ways: as the copy read it, and as the stream did.
    for copied in [false, true] {
        if copied {
            tillstream(&config, &["resync"]).await.expect(0);
            wait_until("the store is copied", PATIENCE, async || live(&client, 1).await).await;
        }
        let first = if copied { "second" } else { "first" };
        println!("{first} look");
        if !copied {
            assert_eq!(
                rows(&client, daily).await,
                [[ten, "10.1", "1", "10.1", "0", "0", "1", "1"], [three, "5.3", "2", "0", "0.3", "5", "3", "3"],]
            );
            client.batch_execute(change).await.unwrap();
            verify(&config, &client, &daemon, "changed").await;
        }
        assert_eq!(
            rows(&client, daily).await,
            [[four, "0.7", "1", "0", "0.7", "0", "1", "1"], [three, "5", "1", "5", "0", "0", "1", "1"],]
        );
        assert_eq!(
            rows(&client, products).await,
            [["0", three, "1", "5", "5", "0"], ["7", four, "1", "0.3", "0.3", "0.5"]]
        );
        assert_eq!(rows(&client, &stock).await, [["8", "-0.25", "-0.13", "-0.01"]]);
        assert_eq!(rows(&client, names).await, [["8", "Cup", "8", "none", "t", "null"]]);
        verify(&config, &client, &daemon, first).await;
    }
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
}

#[tokio::test]
async fn check_tells_of_a_mapping_that_does_not_fit() {
    let db = TestDb::new().await;
    let client = db.client().await;
    client
        .batch_execute(
            "CREATE TABLE sale (id uuid PRIMARY KEY, state int, at timestamp, total money, paid text, deleted boolean, total2 numeric);
             CREATE TABLE item (id int PRIMARY KEY, sale text, product int, quantity double precision GENERATED ALWAYS AS (1) STORED);
             CREATE TABLE product (id text PRIMARY KEY, name jsonb)",
        )
        .await
        .unwrap();
    let config = db.daemon_toml(
        "[source]\npreset = 'none'\n[source.tables.sale]\ntable = 'sale'\ndeleted_at = 'deleted'\nonly = { total = ['x'], chanel = ['y'] }
         [source.tables.sale.columns]\nstatus = 'state'\ncustomer_id = 'paid'\ncompleted_at = 'at'\ntotal_amount = 'total'
         discount_amount = 'discount'\ntax_amount = { column = 'total2', scale = 2 }
         [source.tables.sale_item]\ntable = 'item'\n[source.tables.sale_item.columns]\nsale_id = 'sale'\nproduct_id = 'product'
         unit_price = ''\nline_total = ''\n[source.tables.product]\ntable = 'product'\n[source.tables.product.columns]
         sku = ''\nbarcode = ''\nis_active = ''\n[tenants]\nschemas = ['public']\nregistry = ''\n",
    );
    let found = tillstream(&config, &["check"]).await.expect(1).stdout;
    for told in [
        "column \"total\" is money, expected numeric, an integer, double precision or real for total_amount",
        "has no column \"discount\", expected for discount_amount",
        "-- map another column: discount_amount = \"...\" in [source.tables.sale.columns]; \"\" where there is none",
        "column \"at\" has no time zone; nothing says whose clock it shows",
        "-- say so: completed_at = { column = \"at\", time_zone = \"UTC\" } in [source.tables.sale.columns]",
        "column \"deleted\" is boolean; in deleted_at every value but NULL means deleted",
        "-- instead: only = { \"deleted\" = [\"false\"] } in [source.tables.sale]",
        "column \"total\" is money, expected text, varchar, char, citext, an enum, an integer, boolean or uuid for only",
        "has no column \"chanel\", expected for only",
        "column \"quantity\" is generated",
        "column \"name\" is jsonb, expected text",
        "are keys of the same product, one a number and the other text",
    ] {
        assert!(found.contains(told), "{told}\n{found}");
    }
    assert!(!found.contains("keys of the same sale"), "{found}");
    // Nothing of it is published, and nothing stops.
    tillstream(&config, &["init"]).await.expect(0);
    assert!(rows(&client, "SELECT 1 FROM pg_publication_rel").await.is_empty());
}
