//! The terminal view's questions, asked of real report tables.

use rust_decimal::Decimal;
use tillstream::demo::view;

use crate::harness::TestDb;

#[tokio::test]
async fn the_view_reads_the_report_tables() {
    let db = TestDb::new().await;
    let mut client = db.client().await;
    tillstream::apply::migrate::migrate(&mut client, "analytics").await.unwrap();
    assert_eq!(view::query(&client, "analytics").await.unwrap(), view::Rows::default());
    client
        .batch_execute(
            "INSERT INTO analytics.tenant (tenant, name, time_zone, state) VALUES
               ('tenant_a', 'A', 'Asia/Tashkent', 'live'), ('tenant_b', 'B', 'Europe/Moscow', 'copying'),
               ('tenant_c', 'C', 'Europe/Moscow', 'gone');
             INSERT INTO analytics.product
               SELECT 'tenant_a', id, CASE id WHEN 9 THEN 'Nine' ELSE 'product ' || id END, 's', '', true
               FROM generate_series(1, 9) id;
             INSERT INTO analytics.customer
               SELECT 'tenant_a', id, 'Customer', '', 'individual', true FROM generate_series(1, 3) id;
             INSERT INTO analytics.daily_sales_report
               SELECT 'tenant_a', (now() AT TIME ZONE 'Asia/Tashkent')::date - back, 100 + back, 2, 50, 10, 20, 30, 40, 0,
                      0, 3, 1, 1, 0, 1, 7, 1, 0 FROM generate_series(-1, 1) back;
             INSERT INTO analytics.product_performance
               SELECT 'tenant_a', id, (now() AT TIME ZONE 'Asia/Tashkent')::date, 2.5, id * 10, 1, 1, 0, 0, 0, 0
               FROM generate_series(1, 9) id;
             INSERT INTO analytics.customer_analytics
               SELECT 'tenant_a', id, day, day, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 'Promising', 0, 0, 0, 0, day, day, 1, 1
               FROM generate_series(1, 3) id, unnest(ARRAY[current_date - 7, current_date]) day;
             INSERT INTO analytics.inventory_snapshot
               SELECT 'tenant_a', id, day, 0, 0, 0, 0, 0, 0, 0, id = 1, id < 3 OR day < current_date, false
               FROM generate_series(1, 4) id, unnest(ARRAY[current_date - 1, current_date]) day",
        )
        .await
        .unwrap();
    let rows = view::query(&client, "analytics").await.unwrap();
    assert_eq!(rows.stores.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["A", "B"]);
    let day = rows.stores[0].day.as_ref().unwrap();
    assert_eq!((day.total, day.refunded, day.sales), (Decimal::from(100), Decimal::from(7), 2), "today, not tomorrow");
    assert_eq!(rows.stores[1].day, None);
    assert_eq!((rows.top.len(), rows.top[0].name.as_str(), rows.top[1].name.as_str()), (8, "Nine", "product 8"));
    assert_eq!(rows.segments, [("Promising".to_string(), 3)]);
    assert_eq!((rows.products, rows.low_stock, rows.out_of_stock), (4, 2, 1));
}
