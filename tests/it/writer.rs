//! Batches that are sent before the one before is answered: a refused one takes those after it along.

use std::time::Duration;

use chrono::Utc;
use rust_decimal::Decimal;
use tillstream::apply::batch::{Batch, End, Step};
use tillstream::apply::{ApplyError, Writer};
use tillstream::config::Config;
use tillstream::domain::TenantId;
use tillstream::engine::EngineError;
use tillstream::engine::prepare::{statements, stored_position};
use tillstream::facts::change::SaleRow;
use tillstream::facts::{Change, RowOp, SaleStatus};
use tillstream::lsn::Lsn;
use tillstream::reports::{Calendar, LocalDays};
use tokio_postgres::Client;

use crate::harness::{TestDb, tillstream, wait_until};
use crate::stores::number;

struct Scene {
    _db: TestDb,
    client: Client,
    writer: Writer,
    tenant: TenantId,
}

impl Scene {
    async fn open() -> Scene {
        let db = TestDb::new().await;
        db.create_store("tenant_a").await;
        let path = db.daemon_toml("");
        tillstream(&path, &["run", "--once"]).await.expect(0);
        let config = Config::load(&path).unwrap();
        let (client, target) = (db.client().await, db.client().await);
        let sql = statements(&config);
        let position = stored_position(&target, &sql).await.unwrap().unwrap().lsn;
        let row = client.query_one("SELECT id, horizon, today FROM analytics_state.tenant", &[]).await.unwrap();
        let (tenant, days) = (TenantId(row.get(0)), LocalDays { horizon: row.get(1), today: row.get(2) });
        let writer = Writer::new(target, sql, position, Calendar::from_iter([(tenant, days)]), 90).await.unwrap();
        Scene { _db: db, client, writer, tenant }
    }

    /// One counted sale of today.
    fn sale(&self, id: i64, total: Decimal) -> Batch {
        let row = SaleRow {
            status: Some(SaleStatus::Completed),
            customer: None,
            completed_at: Some(Utc::now()),
            day: Some(Utc::now().with_timezone(&chrono_tz::Asia::Tashkent).date_naive()),
            total,
            discount: Decimal::ZERO,
            tax: Decimal::ZERO,
        };
        let steps = vec![Step::Change(self.tenant, Change::Sale(RowOp::Insert(id, row))), Step::Commit];
        let lsn = Lsn(self.writer.position().0 + u64::try_from(id).unwrap());
        Batch { steps, end: Some(End { lsn, committed_at: Some(Utc::now()) }) }
    }

    async fn sold(&self) -> i64 {
        number(&self.client, "SELECT coalesce(sum(total_sales_count), 0)::bigint FROM analytics.daily_sales_report")
            .await
    }
}

#[tokio::test]
async fn batches_are_sent_ahead_and_answered_in_order() {
    let mut scene = Scene::open().await;
    let begin = scene.writer.position();
    let (first, second) = (scene.sale(1, Decimal::ONE), scene.sale(2, Decimal::TWO));
    let mut sent = [scene.writer.send(first).await.unwrap(), scene.writer.send(second).await.unwrap()];
    for (n, sent) in (1..).zip(&mut sent) {
        let applied = sent.answered().await.unwrap();
        assert_eq!((applied.position, applied.changes), (Lsn(begin.0 + n), 1));
        scene.writer.acknowledged(&applied);
    }
    assert_eq!(scene.sold().await, 2);
    assert_eq!(scene.writer.position(), Lsn(begin.0 + 2));
    // What was remembered of the first sale is what is stored of it.
    let taken_back = Step::Change(scene.tenant, Change::Sale(RowOp::Delete(1)));
    let end = Some(End { lsn: Lsn(begin.0 + 3), committed_at: None });
    scene.writer.apply(Batch { steps: vec![taken_back, Step::Commit], end }).await.unwrap();
    assert_eq!(scene.sold().await, 1);
}

#[tokio::test]
async fn a_refused_batch_takes_those_after_it_along() {
    let mut scene = Scene::open().await;
    let begin = scene.writer.position();
    // Too large for the report's column, though a fact may be as large.
    let (bad, good) =
        (scene.sale(1, Decimal::new(1, 0) * Decimal::new(9_000_000_000_000_000, 0)), scene.sale(3, Decimal::ONE));
    let twice = scene.sale(2, Decimal::new(9_000_000_000_000_000, 0));
    let mut sent = Vec::new();
    for batch in [bad, twice, good] {
        sent.push(scene.writer.send(batch).await.unwrap());
    }
    let first = sent[0].answered().await.unwrap();
    scene.writer.acknowledged(&first);
    let error = sent[1].answered().await.unwrap_err();
    assert!(error.is_of_a_store(), "{error}");
    let error = sent[2].answered().await.unwrap_err();
    assert!(matches!(error, ApplyError::Taken { .. }), "{error}");
    assert_eq!(scene.sold().await, 1);
    scene.writer.failed();
    scene.writer.roll_back().await.unwrap();
    // It goes on from where it stands.
    let mut again = scene.sale(3, Decimal::ONE);
    again.end = Some(End { lsn: Lsn(begin.0 + 3), committed_at: None });
    assert_eq!(scene.writer.apply(again).await.unwrap().position, Lsn(begin.0 + 3));
    assert_eq!(scene.sold().await, 2);
}

#[tokio::test]
async fn nothing_is_remembered_of_what_was_given_up() {
    let mut scene = Scene::open().await;
    let begin = scene.writer.position();
    let part = Batch { end: None, ..scene.sale(1, Decimal::ONE) };
    scene.writer.apply(part).await.unwrap();
    scene.writer.roll_back().await.unwrap();
    assert_eq!((scene.writer.position(), scene.writer.is_open()), (begin, false));
    // Another one is counted without it; read again it is counted once, and kept.
    let batch = scene.sale(2, Decimal::ONE);
    scene.writer.apply(batch).await.unwrap();
    assert_eq!(scene.sold().await, 1);
    let batch = scene.sale(1, Decimal::ONE);
    scene.writer.apply(batch).await.unwrap();
    assert_eq!(scene.sold().await, 2);
    assert_eq!(number(&scene.client, "SELECT count(*) FROM analytics_state.sale").await, 2);
}

#[tokio::test]
async fn rows_that_somebody_deleted_are_not_taken_to_be_there() {
    let mut scene = Scene::open().await;
    for id in [1, 2] {
        let batch = scene.sale(id, Decimal::ONE);
        scene.writer.apply(batch).await.unwrap();
    }
    assert_eq!(scene.client.execute("DELETE FROM analytics.daily_sales_report", &[]).await.unwrap(), 1);
    let batch = scene.sale(3, Decimal::ONE);
    let error = scene.writer.apply(batch).await.unwrap_err();
    assert!(error.to_string().contains("somebody else deleted them"), "{error}");
    assert!(EngineError::from(error).is_transient());
    let batch = scene.sale(3, Decimal::ONE);
    scene.writer.apply(batch).await.unwrap();
    assert_eq!(scene.sold().await, 3);
}

#[tokio::test]
async fn a_refusal_is_told_by_its_cause() {
    let mut scene = Scene::open().await;
    let refuse = "ALTER TABLE analytics_state.sale ADD CONSTRAINT small CHECK (total < 100)";
    scene.client.batch_execute(refuse).await.unwrap();
    // Statements are prepared after the one that is refused, and fail in consequence.
    let batch = scene.sale(1, Decimal::ONE_HUNDRED);
    let error = scene.writer.apply(batch).await.unwrap_err();
    assert!(error.to_string().contains("small") && !error.is_consequence(), "{error}");
    assert_eq!(scene.sold().await, 0);
    let again = scene.sale(1, Decimal::ONE);
    let again = Batch { end: again.end.map(|end| End { lsn: Lsn(scene.writer.position().0 + 1), ..end }), ..again };
    scene.writer.apply(again).await.unwrap();
    assert_eq!(scene.sold().await, 1);
}

#[tokio::test]
async fn nobody_writes_over_a_position_that_somebody_moved() {
    let mut scene = Scene::open().await;
    scene.client.batch_execute("UPDATE analytics_state.position SET lsn = lsn + 100").await.unwrap();
    let batch = scene.sale(1, Decimal::ONE);
    let error = scene.writer.apply(batch).await.unwrap_err();
    assert!(matches!(error, ApplyError::Taken { .. }) && error.to_string().contains("another process"), "{error}");
    wait_until("nothing is left of it", Duration::from_secs(5), async || scene.sold().await == 0).await;
}
