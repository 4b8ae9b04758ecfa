//! The replication stream and the exported snapshot against a real server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pgwire_replication::ReplicationConfig;
use tillstream::lsn::Lsn;
use tillstream::pgoutput::{Message, RelationCache, decode};
use tillstream::source::{ExportedSnapshot, SourceErrorKind, Stream, StreamEvent, slot};
use tokio_postgres::{Client, NoTls, config::Host};

const PATIENCE: Duration = Duration::from_secs(60);

fn server() -> tokio_postgres::Config {
    crate::harness::server().url("postgres").parse().unwrap()
}

async fn connect() -> Client {
    let (client, connection) = server().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A name that no other test uses; mixed case and a quote, so that a missing quotation shows.
fn name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("Odd \"t\", {}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A table, a publication and a slot of its own for one test.
struct Shop {
    sql: Client,
    name: String,
    slot: String,
}

impl Shop {
    async fn open() -> Shop {
        let (sql, name) = (connect().await, name());
        let slot: String = name.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let shop = Shop { sql, name, slot };
        let quoted = shop.quoted();
        shop.run(&format!(
            "CREATE TABLE {quoted} (id bigint PRIMARY KEY, amount numeric, note text);
             CREATE PUBLICATION {quoted} FOR TABLE {quoted}"
        ))
        .await;
        shop.run(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", shop.slot)).await;
        shop
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }

    async fn run(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    async fn insert(&self, id: i64) {
        self.run(&format!("INSERT INTO {} VALUES ({id}, 12.50, 'x')", self.quoted())).await;
    }

    fn config(&self) -> ReplicationConfig {
        let pg = server();
        let host = match &pg.get_hosts()[0] {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.to_str().unwrap().to_string(),
        };
        let mut cfg = ReplicationConfig::new(
            host,
            pg.get_user().unwrap(),
            "",
            pg.get_dbname().unwrap(),
            self.slot.clone(),
            self.name.clone(),
        );
        cfg.port = pg.get_ports()[0];
        cfg
    }

    async fn confirmed(&self) -> Lsn {
        let sql = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1";
        self.sql.query_one(sql, &[&self.slot]).await.unwrap().get(0)
    }

    /// Drops everything; waits for the server to let go of the slot.
    async fn close(self) {
        within(async {
            let sql = format!("SELECT pg_drop_replication_slot('{}')", self.slot);
            while self.sql.batch_execute(&sql).await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.run(&format!("DROP PUBLICATION {0}; DROP TABLE {0}", self.quoted())).await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this took too long")
}

async fn kind_of(cfg: ReplicationConfig, start: Lsn) -> (SourceErrorKind, String) {
    match within(Stream::open(cfg, start)).await {
        Ok(_) => panic!("opened"),
        Err(e) => (e.kind(), e.to_string()),
    }
}

/// The ids inserted up to and including `last`, with their commit's positions.
async fn ids_until(stream: &mut Stream, last: i64) -> Vec<(i64, Lsn, Lsn)> {
    let mut relations = RelationCache::new();
    let (mut ids, mut open) = (Vec::new(), Vec::new());
    loop {
        match within(stream.next()).await.unwrap() {
            StreamEvent::Change(bytes) => match decode(&bytes).unwrap() {
                Message::Relation(relation) => drop(relations.replace(relation)),
                Message::Insert { relation, new } => {
                    let relation = relations.get(relation).unwrap();
                    let id = new.get(0).unwrap().as_i64(relation.columns[0].type_oid).unwrap().unwrap();
                    let amount = new.get(1).unwrap().as_decimal(relation.columns[1].type_oid).unwrap().unwrap();
                    assert_eq!(amount.to_string(), "12.5");
                    open.push(id);
                }
                other => panic!("{other:?}"),
            },
            StreamEvent::Commit { commit_lsn, end_lsn, .. } => {
                ids.extend(open.drain(..).map(|id| (id, commit_lsn, end_lsn)));
                if ids.iter().any(|(id, ..)| *id == last) {
                    return ids;
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn streams_confirms_and_resumes() {
    let shop = Shop::open().await;
    let start = shop.confirmed().await;
    let (mut stream, identity) = within(Stream::open(shop.config(), start)).await.unwrap();
    assert!(identity.flushed >= start && identity.timeline >= 1 && !identity.system_identifier.is_empty());
    assert_eq!(Some(identity.database.as_str()), server().get_dbname());
    shop.insert(1).await;
    shop.insert(2).await;
    let ids = ids_until(&mut stream, 2).await;
    assert_eq!(ids.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [1, 2]);
    assert!(ids[0].1 < ids[0].2 && ids[0].2 <= ids[1].1);
    let (first_end, second_end) = (ids[0].2, ids[1].2);

    // Never beyond what the server has: it would believe it.
    stream.confirm(Lsn(second_end.0 + (1 << 40)));
    stream.confirm(first_end);
    stream.end().await;
    within(async { while shop.confirmed().await != first_end {} }).await;

    // In use while somebody else has it; then from the position given.
    let (stream, _) = within(reopen(&shop, first_end)).await;
    let (kind, message) = kind_of(shop.config(), first_end).await;
    assert_eq!(kind, SourceErrorKind::SlotInUse, "{message}");
    drop(stream);
    let (mut stream, _) = within(reopen(&shop, first_end)).await;
    let ids = ids_until(&mut stream, 2).await;
    assert_eq!(ids.iter().map(|(id, ..)| *id).collect::<Vec<_>>(), [2]);
    stream.end().await;
    shop.close().await;
}

#[tokio::test]
async fn the_slot_is_freed_of_a_walsender_that_has_not_noticed() {
    let shop = Shop::open().await;
    let start = shop.confirmed().await;
    let (mut stream, _) = within(Stream::open(shop.config(), start)).await.unwrap();
    let walsender = stream.walsender().unwrap();
    // Of the one that is named and of nobody else.
    slot::release(&shop.sql, &shop.slot, walsender + 1).await.unwrap();
    slot::release(&shop.sql, "another", walsender).await.unwrap();
    shop.insert(1).await;
    assert_eq!(ids_until(&mut stream, 1).await.len(), 1);
    slot::release(&shop.sql, &shop.slot, walsender).await.unwrap();
    let ended = within(async {
        loop {
            if let Err(e) = stream.next().await {
                return e;
            }
        }
    });
    assert_eq!(ended.await.kind(), SourceErrorKind::Transient);
    let (mut next, _) = within(reopen(&shop, start)).await;
    assert_eq!(ids_until(&mut next, 1).await.len(), 1);
    next.end().await;
    shop.close().await;
}

/// Opens the stream as soon as the server has let go of the predecessor's slot.
async fn reopen(shop: &Shop, start: Lsn) -> (Stream, tillstream::source::Identity) {
    loop {
        match Stream::open(shop.config(), start).await {
            Ok(opened) => return opened,
            Err(e) => assert_eq!(e.kind(), SourceErrorKind::SlotInUse, "{e}"),
        }
    }
}

#[tokio::test]
async fn where_it_starts_is_confirmed_once_the_server_has_read_that_far() {
    let shop = Shop::open().await;
    let before = shop.confirmed().await;
    shop.insert(1).await;
    let start: Lsn = shop.sql.query_one("SELECT pg_current_wal_insert_lsn()", &[]).await.unwrap().get(0);
    let (mut stream, _) = within(Stream::open(shop.config(), start)).await.unwrap();
    // It has reported what it has, and nobody has looked at what the server said.
    let replied = "SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid \
                   WHERE s.slot_name = $1 AND r.reply_time IS NOT NULL";
    within(async {
        while shop.sql.query_one(replied, &[&shop.slot]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(shop.confirmed().await, before);
    within(async {
        while shop.confirmed().await < start {
            let _ = tokio::time::timeout(Duration::from_millis(5), stream.next()).await;
        }
    })
    .await;
    assert_eq!(shop.confirmed().await, start);
    within(stream.end()).await;
    shop.close().await;
}

#[tokio::test]
async fn an_idle_source_is_confirmed_by_keepalives() {
    let shop = Shop::open().await;
    let (mut stream, _) = within(Stream::open(shop.config(), shop.confirmed().await)).await.unwrap();
    let other = format!("\"{}_other\"", shop.slot);
    shop.run(&format!("CREATE TABLE {other} AS SELECT generate_series(1, 5000)")).await;
    let end: Lsn = shop.sql.query_one("SELECT pg_current_wal_flush_lsn()", &[]).await.unwrap().get(0);
    within(async {
        while shop.confirmed().await < end {
            while let Some(event) = stream.try_next().unwrap() {
                if let StreamEvent::KeepAlive { wal_end, .. } = event {
                    stream.confirm(wal_end);
                }
            }
        }
    })
    .await;
    stream.end().await;
    shop.run(&format!("DROP TABLE {other}")).await;
    shop.close().await;
}

#[tokio::test]
async fn events_survive_dropped_waits() {
    let shop = Shop::open().await;
    let (mut stream, _) = within(Stream::open(shop.config(), shop.confirmed().await)).await.unwrap();
    let table = shop.quoted();
    let writer = connect().await;
    let sql = format!("DO $$ BEGIN FOR i IN 1..2000 LOOP INSERT INTO {table} VALUES (i); COMMIT; END LOOP; END $$");
    let writing = tokio::spawn(async move { writer.batch_execute(&sql).await });
    let (mut commits, mut begins) = (0, 0);
    within(async {
        while commits < 2000 {
            let event = tokio::select! {
                biased;
                event = stream.next() => event.unwrap(),
                () = tokio::task::yield_now() => continue,
            };
            begins += u32::from(matches!(event, StreamEvent::Begin { .. }));
            commits += u32::from(matches!(event, StreamEvent::Commit { .. }));
        }
    })
    .await;
    assert_eq!(begins, 2000);
    writing.await.unwrap().unwrap();
    stream.end().await;
    shop.close().await;
}

#[tokio::test]
async fn errors_are_told_apart() {
    let shop = Shop::open().await;
    let start = shop.confirmed().await;
    let with = |change: &dyn Fn(&mut ReplicationConfig)| {
        let mut cfg = shop.config();
        change(&mut cfg);
        cfg
    };
    let far = Lsn(start.0 + (1 << 40));
    let cases = [
        (with(&|c| c.slot = "nowhere".into()), start, SourceErrorKind::SlotMissing, "tillstream init"),
        (with(&|c| c.publication = "nowhere".into()), start, SourceErrorKind::PublicationMissing, "tillstream init"),
        (with(&|c| c.database = "nowhere".into()), start, SourceErrorKind::Config, "[source] url"),
        (with(&|c| c.database = "template1".into()), start, SourceErrorKind::Config, "belongs to database"),
        (with(&|c| c.user = "nobody_here".into()), start, SourceErrorKind::Auth, "pg_hba.conf"),
        (with(&|c| c.port = 1), start, SourceErrorKind::Transient, "cannot reach"),
        (shop.config(), far, SourceErrorKind::Config, "ahead of the server's WAL"),
    ];
    for (cfg, start, kind, part) in cases {
        let (found, message) = kind_of(cfg, start).await;
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    }
    // A publication that is younger than the slot's position does not exist for the stream's first changes.
    shop.run(&format!("DROP PUBLICATION {}", shop.quoted())).await;
    shop.insert(1).await;
    shop.run(&format!("CREATE PUBLICATION {0} FOR TABLE {0}", shop.quoted())).await;
    let version: String = shop.sql.query_one("SHOW server_version_num", &[]).await.unwrap().get(0);
    let (mut stream, _) = within(Stream::open(shop.config(), start)).await.unwrap();
    if version.parse::<u32>().unwrap() < 180_000 {
        let error = within(async {
            loop {
                if let Err(e) = stream.next().await {
                    return e;
                }
            }
        })
        .await;
        assert_eq!(error.kind(), SourceErrorKind::PublicationMissing, "{error}");
    }
    drop(stream);
    shop.close().await;
}

#[tokio::test]
async fn a_terminated_walsender_is_transient() {
    let shop = Shop::open().await;
    let (mut stream, _) = within(Stream::open(shop.config(), shop.confirmed().await)).await.unwrap();
    shop.run(&format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{}'",
        shop.slot
    ))
    .await;
    let error = within(async {
        loop {
            if let Err(e) = stream.next().await {
                return e;
            }
        }
    })
    .await;
    assert_eq!(error.kind(), SourceErrorKind::Transient, "{error}");
    assert_eq!(stream.next().await.unwrap_err().kind(), SourceErrorKind::Transient);
    shop.close().await;
}

#[tokio::test]
async fn the_snapshot_is_the_stream_cut_at_its_position() {
    let shop = Shop::open().await;
    let (mut stream, _) = within(Stream::open(shop.config(), shop.confirmed().await)).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    // Writers of small and of longer transactions, some rolled back.
    let mut writers = Vec::new();
    for writer in 0..4_i64 {
        let (sql, done, table) = (connect().await, Arc::clone(&done), shop.quoted());
        writers.push(tokio::spawn(async move {
            let mut id = writer;
            while !done.load(Ordering::Relaxed) {
                let (first, second) = (id, id + 4);
                id += 8;
                let end = if id % 5 == 0 { "ROLLBACK" } else { "COMMIT" };
                sql.batch_execute(&format!("BEGIN; INSERT INTO {table} VALUES ({first}, 12.50)")).await.unwrap();
                sql.batch_execute(&format!("INSERT INTO {table} VALUES ({second}, 12.50); {end}")).await.unwrap();
            }
        }));
    }
    let mut cuts = Vec::new();
    for _ in 0..5 {
        let snapshot = within(ExportedSnapshot::create(shop.config())).await.unwrap();
        let reader = connect().await;
        reader
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT '{}'",
                snapshot.name
            ))
            .await
            .unwrap();
        let position = snapshot.position;
        // The reader keeps it from here on.
        drop(snapshot);
        let rows = reader.query(&format!("SELECT id FROM {}", shop.quoted()), &[]).await.unwrap();
        cuts.push((position, rows.iter().map(|row| row.get(0)).collect::<BTreeSet<i64>>()));
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    shop.insert(-1).await;
    let streamed = ids_until(&mut stream, -1).await;
    for (position, rows) in cuts {
        let before: BTreeSet<i64> =
            streamed.iter().filter(|(_, commit, _)| *commit < position).map(|(id, ..)| *id).collect();
        let before_end: BTreeSet<i64> =
            streamed.iter().filter(|(_, _, end)| *end <= position).map(|(id, ..)| *id).collect();
        println!("snapshot at {position}: {} rows of {}", rows.len(), streamed.len());
        let odd: Vec<_> = streamed.iter().filter(|(id, ..)| rows.contains(id) != before.contains(id)).collect();
        assert_eq!(rows, before, "at {position} differ {odd:?}");
        assert_eq!(before, before_end);
    }
    stream.end().await;
    shop.close().await;
}
