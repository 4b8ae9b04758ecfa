//! The source is restored from a backup, or fails over: followed on where it has everything that the reports hold, else
//! refused with the reason.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tillstream::demo::postgres::{Postgres, StartOptions, StopMode};
use tillstream::lsn::Lsn;
use tokio_postgres::Client;

use crate::harness::{Daemon, TestDb, connect, tillstream, wait_until};
use crate::proxy::Proxy;
use crate::slots::{refuses, resync};
use crate::traders::{PATIENCE, all_live, said, set_up, trade_some, verify};

fn start(version: Option<u32>, settings: &[(&str, &str)]) -> Result<Postgres, String> {
    let settings = settings.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Postgres::start(StartOptions { settings, version, tcp: true, ..StartOptions::default() }).map_err(|e| e.to_string())
}

fn run(program: &str, args: &[&Path]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn copy(from: &Path, to: &Path) {
    run("rm", &[Path::new("-rf"), to]);
    run("cp", &[Path::new("-a"), from, to]);
}

/// From the next start on it is a standby.
fn make_standby(server: &Postgres) {
    let signal = server.data_dir().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    std::fs::set_permissions(&signal, std::fs::Permissions::from_mode(0o666)).unwrap();
}

async fn promote(client: &Client) {
    assert!(client.query_one("SELECT pg_promote()", &[]).await.unwrap().get::<_, bool>(0));
}

async fn copied_at(client: &Client) -> Vec<String> {
    let query = "SELECT synchronized_at::text FROM analytics.tenant ORDER BY tenant";
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_server_that_has_everything_is_followed_on() {
    let mut server = start(None, &[]).unwrap();
    let db = TestDb::on(&server).await;
    let config = set_up(&db, 1, "").await;
    let mut daemon = Daemon::run(&config, &[]);
    let client = db.client().await;
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    let copied = copied_at(&client).await;
    trade_some(&db, 1, 40).await;
    drop(client);
    server.stop(StopMode::Fast).unwrap();
    make_standby(&server);
    server.start_again().unwrap();
    said(&daemon, "trying again until it is well", 1).await;
    let client = db.client().await;
    let status = tillstream(&config, &["status"]).await.expect(0);
    assert!(status.stdout.contains("the source is a standby"), "{}", status.stdout);
    promote(&client).await;
    said(&daemon, "well again", 1).await;
    said(&daemon, "the source has failed over and has all that the reports hold", 1).await;
    trade_some(&db, 2, 40).await;
    verify(&config, "promoted").await;
    assert_eq!(copied_at(&client).await, copied, "nothing had to be copied again");
    assert!(daemon.is_running());
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    drop((client, db));
}

/// The reports are elsewhere, so they are not restored with the source.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_was_restored_is_refused() {
    let mut server = start(None, &[]).unwrap();
    let (db, reports) = (TestDb::on(&server).await, TestDb::new().await);
    let config = set_up(&db, 11, &format!("[target]\nurl = '{}'\n", reports.url)).await;
    tillstream(&config, &["run", "--once"]).await.expect(0);
    let backup = server.socket_dir().join("backup");
    server.stop(StopMode::Fast).unwrap();
    copy(&server.data_dir(), &backup);
    server.start_again().unwrap();
    trade_some(&db, 11, 40).await;
    tillstream(&config, &["run", "--once"]).await.expect(0);

    // The files of a while ago, and nothing else.
    server.stop(StopMode::Fast).unwrap();
    copy(&backup, &server.data_dir());
    server.start_again().unwrap();
    refuses(&config, "ahead of the source's WAL").await;

    // A recovery from the backup: it goes its own way from before the reports' position.
    server.stop(StopMode::Fast).unwrap();
    copy(&backup, &server.data_dir());
    make_standby(&server);
    server.start_again().unwrap();
    promote(&db.client().await).await;
    // Until it is further on than the reports ever were.
    let stored = connect(&reports.url).await;
    let stored: Lsn = stored.query_one("SELECT lsn FROM analytics_state.position", &[]).await.unwrap().get(0);
    let client = db.client().await;
    wait_until("its wal is further on", PATIENCE, || async {
        trade_some(&db, 12, 20).await;
        client.query_one("SELECT pg_current_wal_lsn()", &[]).await.unwrap().get::<_, Lsn>(0) > stored
    })
    .await;
    refuses(&config, "left the reports' timeline 1 at").await;
    resync(&config, "restored").await;
    drop((client, db));
}

/// A primary and its standby, of PostgreSQL 17, the first with slots that survive a failover; fetched where it is not
/// installed. `None`: it cannot be had here.
async fn pair() -> Option<(Postgres, Postgres)> {
    let mut primary = match start(Some(17), &[]) {
        Ok(server) => server,
        Err(e) => {
            eprintln!("skipped: {e}");
            return None;
        }
    };
    let mut standby = start(Some(17), &[]).unwrap();
    standby.stop(StopMode::Fast).unwrap();
    primary.stop(StopMode::Fast).unwrap();
    copy(&primary.data_dir(), &standby.data_dir());
    primary.start_again().unwrap();
    let admin = connect(&primary.url("postgres")).await;
    admin.execute("SELECT pg_create_physical_replication_slot('standby', true)", &[]).await.unwrap();
    let primary_conninfo =
        format!("host={} port={} user=postgres dbname=postgres", primary.socket_dir().display(), primary.port());
    let own = [
        ("port", standby.port().to_string()),
        ("unix_socket_directories", standby.socket_dir().display().to_string()),
        ("primary_conninfo", primary_conninfo),
        ("primary_slot_name", "standby".to_string()),
        ("hot_standby_feedback", "on".to_string()),
        ("sync_replication_slots", "on".to_string()),
    ];
    standby.configure(&own.map(|(key, value)| (key.to_string(), value))).unwrap();
    make_standby(&standby);
    standby.start_again().unwrap();
    Some((primary, standby))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_slot_is_followed_on_to_the_standby() {
    let Some((mut primary, standby)) = pair().await else { return };
    // Nothing is sent to us before the standby has it.
    let admin = connect(&primary.url("postgres")).await;
    admin.batch_execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby'").await.unwrap();
    admin.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    // The daemon comes to either by the same address, as by a virtual one.
    let db = TestDb::on(&primary).await;
    let proxy = Proxy::to(primary.port()).await;
    let url = format!("postgresql://postgres@127.0.0.1:{}/{}?sslmode=disable", proxy.address.port(), db.name);
    let config = set_up(&db, 21, &format!("[source]\nurl = '{url}'\n")).await;
    let check = tillstream(&config, &["check"]).await.expect(0);
    assert!(check.stdout.contains("standbys keep a copy of it"), "{}", check.stdout);
    let mut daemon = Daemon::run(&config, &[]);
    let client = db.client().await;
    wait_until("all stores live", PATIENCE, || all_live(&client)).await;
    trade_some(&db, 21, 40).await;
    verify(&config, "on the primary").await;
    let copied = copied_at(&client).await;
    let replica = connect(&standby.url(&db.name)).await;
    let synced = "SELECT count(*) FROM pg_replication_slots WHERE slot_name::text = $1 AND synced AND NOT temporary";
    wait_until("the slot is at the standby", PATIENCE, || async {
        replica.query_one(synced, &[&db.slot()]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    trade_some(&db, 22, 40).await;
    primary.stop(StopMode::Immediate).unwrap();
    said(&daemon, "trying again until it is well", 1).await;
    promote(&replica).await;
    proxy.lead_to(standby.port());
    said(&daemon, "the source has failed over and has all that the reports hold", 1).await;
    said(&daemon, "well again", 1).await;
    replica.batch_execute("UPDATE tenant_east.sales_sale SET total_amount = total_amount + 1").await.unwrap();
    verify(&config, "failed over").await;
    assert_eq!(copied_at(&replica).await, copied, "nothing had to be copied again");
    assert!(daemon.is_running());
    assert!(daemon.terminate(Duration::from_secs(5)).await.success());
    drop((client, db));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_in_conflict_with_recovery_is_called_that() {
    let Some((mut primary, standby)) = pair().await else { return };
    let db = TestDb::on(&primary).await;
    set_up(&db, 31, "").await;
    let (client, replica) = (db.client().await, connect(&standby.url(&db.name)).await);
    client.execute("SELECT pg_drop_replication_slot($1::text::name)", &[&db.slot()]).await.unwrap();
    let there =
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'analytics'";
    wait_until("the standby is up to date", PATIENCE, || async {
        replica.query_one(there, &[]).await.is_ok_and(|row| row.get::<_, i64>(0) > 0)
    })
    .await;
    // The standby may have taken over the slot before it was dropped; it drops its own a moment later.
    let gone = "SELECT count(*) = 0 FROM pg_replication_slots WHERE slot_name::text = $1";
    wait_until("the standby has no such slot", PATIENCE, || async {
        replica.query_one(gone, &[&db.slot()]).await.unwrap().get(0)
    })
    .await;
    let (url, slot) = (standby.url(&db.name), db.slot().to_string());
    let create = tokio::spawn(async move {
        let client = connect(&url).await;
        client
            .execute("SELECT pg_create_logical_replication_slot($1::text::name, 'pgoutput')", &[&slot])
            .await
            .unwrap();
    });
    // It waits for a word from the primary on running transactions.
    while !create.is_finished() {
        client.execute("SELECT pg_log_standby_snapshot()", &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    create.await.unwrap();
    client.batch_execute("ALTER SYSTEM SET wal_level = replica").await.unwrap();
    primary.stop(StopMode::Fast).unwrap();
    primary.start_again().unwrap();
    let conflicting = "SELECT conflicting FROM pg_replication_slots WHERE slot_name::text = $1";
    wait_until("the slot is in conflict", PATIENCE, || async {
        replica.query_one(conflicting, &[&db.slot()]).await.unwrap().get::<_, Option<bool>>(0) == Some(true)
    })
    .await;
    promote(&replica).await;
    let config = db.daemon_toml(&format!("[source]\nurl = '{}'\n", standby.url(&db.name)));
    let ran = tillstream(&config, &["run"]).await.expect(2);
    let told = ran.stderr.lines().last().unwrap();
    assert!(told.contains("conflict with recovery") && told.contains("tillstream resync"), "{told}");
    resync(&config, "a new slot").await;
    drop((client, db));
}
