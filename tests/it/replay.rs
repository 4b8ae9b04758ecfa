//! A log of real sales, played through the POS tables.

use rust_decimal::Decimal;
use tillstream::demo::replay::{self, ReplayOptions};

use crate::harness::TestDb;

const LOG: &str = "time,sale,line,product,name,quantity,unit_price,customer
2011-03-26 09:00:00,1,1,A,Tea,3,2.50,c1
2011-03-26 09:00:00,1,2,B,Cup,1,0.005,c1
2011-03-26 23:59:59,2,1,A,Tea,10,0.001,
2011-03-27 01:30:00,C3,1,A,Tea,-3,2.50,c1
2011-03-28 10:00:00,4,1,D,,2,-1.25,c2
2011-03-28 10:00:00,4,1,D,,2,-1.25,c2
";

#[tokio::test]
async fn a_log_becomes_sales() {
    let db = TestDb::new().await;
    db.create_store("tenant_uk").await;
    let path = db.dir.path().join("log.csv");
    std::fs::write(&path, LOG).unwrap();
    let options = ReplayOptions { schema: "tenant_uk".into(), time_zone: chrono_tz::Tz::Europe__London, batch: 2 };
    let log = replay::read(&path).unwrap();
    let mut heard = 0;
    let counts = replay::play(&db.url.parse().unwrap(), &log, &options, |_| heard += 1).await.unwrap();
    assert_eq!(heard, 2);
    assert_eq!((counts.sales, counts.lines, counts.products, counts.customers, counts.sessions), (4, 6, 3, 2, 3));
    assert_eq!(counts.takings_logged, Decimal::new(-4985, 3));
    assert_eq!(counts.takings, Decimal::new(-498, 2));

    let client = db.client().await;
    client.batch_execute("SET search_path TO tenant_uk; SET timezone TO 'Europe/London'").await.unwrap();
    let sales = client
        .query(
            "SELECT concat_ws(' ', receipt_number, total_amount, (SELECT sum(amount) FROM sales_payment WHERE sale_id = s.id),
                    (SELECT count(*) FROM sales_sale_item WHERE sale_id = s.id), completed_at::timestamp, status)
             FROM sales_sale s ORDER BY completed_at",
            &[],
        )
        .await
        .unwrap();
    let sales: Vec<String> = sales.iter().map(|r| r.get(0)).collect();
    assert_eq!(
        sales,
        [
            "1 7.51 7.51 2 2011-03-26 09:00:00 completed",
            "2 0.01 0.01 1 2011-03-26 23:59:59 completed",
            // The clocks went from 1:00 to 2:00 that night.
            "C3 -7.50 -7.50 1 2011-03-27 02:30:00 completed",
            "4 -5.00 -5.00 2 2011-03-28 10:00:00 completed",
        ]
    );
    // Played again it is refused, and nothing of it stays.
    replay::play(&db.url.parse().unwrap(), &log, &options, |_| ()).await.unwrap_err();
    let lines: i64 = client.query_one("SELECT count(*) FROM sales_sale_item", &[]).await.unwrap().get(0);
    assert_eq!(lines, 6);
}

#[tokio::test]
#[ignore = "plays the log that TILLSTREAM_REPLAY_LOG names, which may take minutes"]
async fn a_whole_log_becomes_sales() {
    let path = std::env::var_os("TILLSTREAM_REPLAY_LOG").expect("TILLSTREAM_REPLAY_LOG");
    let db = TestDb::new().await;
    db.create_store("tenant_log").await;
    let options = ReplayOptions { schema: "tenant_log".into(), time_zone: chrono_tz::Tz::Europe__London, batch: 200 };
    let begun = std::time::Instant::now();
    let log = replay::read(path.as_ref()).unwrap();
    println!("read in {:?}", begun.elapsed());
    let counts = replay::play(&db.url.parse().unwrap(), &log, &options, |_| ()).await.unwrap();
    println!("played in {:?}: {counts:?}", begun.elapsed());
    let row = db
        .client()
        .await
        .query_one(
            "SELECT (SELECT sum(total_amount) FROM tenant_log.sales_sale), sum(line_total), sum(quantity), count(*)
             FROM tenant_log.sales_sale_item",
            &[],
        )
        .await
        .unwrap();
    let stored: (Decimal, Decimal, Decimal, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!(stored, (counts.takings, counts.takings, counts.quantity, i64::try_from(counts.lines).unwrap()));
}
