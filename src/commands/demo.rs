//! `demo`: the whole of it on a throwaway server, live in the terminal, verified at the end.
//!
//! ```text
//! server ─ POS tables ─ init ─ daemon (own thread) ─┬─ shop or replay ─ catch up ─ verify ─ everything gone
//!                                                   └─ view, refreshed
//! ```
//! It needs no configuration and leaves nothing behind: the server and its folder go with [`Postgres`], also when the
//! process is killed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};

use super::run::stop_on_signal;
use super::{Outcome, init, say, tell, verify};
use crate::cli::{DemoArgs, InitArgs, VerifyArgs};
use crate::config::Config;
use crate::demo::daemon::Daemon;
use crate::demo::meter::Meter;
use crate::demo::pos;
use crate::demo::postgres::{Postgres, StartOptions};
use crate::demo::replay::{self, Log};
use crate::demo::scene::{Done, Place, Scene};
use crate::demo::show::{self, Show};
use crate::domain::Money;
use crate::sql::ident;

const DATABASE: &str = "pos";
/// The daemon's role, which is given no more than `init --admin-url` gives.
const ROLE: &str = "tillstream";

/// # Errors
/// There is no server to be had, the log cannot be read, or the daemon gave up.
pub async fn run(args: &DemoArgs) -> anyhow::Result<Outcome> {
    let mut stop = stop_on_signal()?;
    let log = match args.replay.clone() {
        Some(path) => {
            tell(format!("reading      {}", path.display()));
            Some(tokio::task::spawn_blocking(move || replay::read(&path)).await??)
        }
        None => None,
    };
    tell("starting     a throwaway postgresql");
    let starting = tokio::task::spawn_blocking(|| Postgres::start(StartOptions::default()));
    // Where the start is not waited for, the runtime does so at its end, and drops what came of it.
    let Some(server) = unless(&mut stop, starting).await else {
        tell("stopped before it began");
        return Ok(Outcome::Done);
    };
    let server = server??;
    let (major, dir) = (server.binaries().major, server.socket_dir().to_path_buf());
    let pid = server.pid().map_or("-".to_string(), |pid| pid.to_string());
    tell(format!("server       postgresql {major}, process {pid}, in {}", dir.display()));
    let outcome = play(&server, args, log, &mut stop).await;
    tokio::task::spawn_blocking(move || drop(server)).await?;
    if dir.exists() {
        bail!("{} could not be removed; remove it by hand", dir.display());
    }
    tell("gone         the server is stopped, its folder removed");
    outcome
}

/// `None`: told to stop first.
async fn unless<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        _ = stop.wait_for(|stop| *stop) => None,
    }
}

async fn play(
    server: &Postgres,
    args: &DemoArgs,
    log: Option<Log>,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<Outcome> {
    let Some(stage) = unless(stop, set(server, log)).await else {
        tell("stopped before it began");
        return Ok(Outcome::Done);
    };
    let Stage { config, daemon, scene, store } = stage?;
    let reports = &config.target.schema;
    let meter = Meter::start(connect(server).await?, store, reports);
    let running = scene.begin(&server.url(DATABASE).parse()?);
    let mut show = Show::new(connect(server).await?, reports, daemon, meter, running.heading());
    let enough = async {
        let time = async {
            match args.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        let _ = unless(stop, time).await;
    };
    let done = show.during(running.until(enough)).await.map_err(shown)??;
    let caught_up = show.meter.caught_up();
    show.during(caught_up).await.map_err(shown)??;
    let daemon = show.end().await.map_err(shown)?;
    let outcome = verified(server, &config, &done).await;
    daemon.stop().await?;
    outcome
}

/// An output that nobody reads any more is to be seen as what it is: the end of a good run.
fn shown(error: show::Error) -> anyhow::Error {
    match error {
        show::Error::Output(error) => error.into(),
        other => other.into(),
    }
}

/// Everything ready for the scene to begin.
struct Stage {
    config: Arc<Config>,
    daemon: Daemon,
    scene: Scene,
    /// The first store.
    store: &'static str,
}

async fn set(server: &Postgres, log: Option<Log>) -> anyhow::Result<Stage> {
    connect_to(server, "postgres").await?.batch_execute(&format!("CREATE DATABASE {}", ident(DATABASE))).await?;
    let client = connect(server).await?;
    let places = Scene::places(log.is_some());
    for (schema, name, _) in places {
        pos::create_store(&client, schema, name).await?;
    }
    tell(format!(
        "stores       {}",
        places.iter().map(|(_, name, zone)| format!("{name} ({zone})")).collect::<Vec<_>>().join(", ")
    ));
    let scene = Scene::set(&server.url(DATABASE).parse()?, log).await?;
    let config = Arc::new(config(server, places)?);
    init::run(&config, &InitArgs { print_sql: false, admin_url: Some(server.url(DATABASE)) }).await?;
    let mut daemon = Daemon::start(Arc::clone(&config))?;
    daemon.live().await?;
    let store = places.first().map_or("", |(schema, ..)| schema);
    Ok(Stage { config, daemon, scene, store })
}

/// What an operator would write in daemon.toml for these stores.
fn config(server: &Postgres, places: &[Place]) -> anyhow::Result<Config> {
    let zones: toml::Table = places.iter().map(|(schema, _, zone)| (schema.to_string(), zone.name().into())).collect();
    let text = toml::Table::from_iter([
        (
            "source".to_string(),
            toml::Table::from_iter([("url".to_string(), server.url_as(ROLE, DATABASE).into())]).into(),
        ),
        (
            "tenants".to_string(),
            toml::Table::from_iter([
                ("registry".to_string(), "public.users_store".into()),
                ("time_zones".to_string(), toml::Value::Table(zones)),
            ])
            .into(),
        ),
        // A replayed log may be of any year: no day of it is too old.
        ("schedule".to_string(), toml::Table::from_iter([("retention".to_string(), "36500d".into())]).into()),
        ("http".to_string(), toml::Table::from_iter([("listen".to_string(), "".into())]).into()),
    ])
    .to_string();
    // Nothing of the environment is looked at: a PGHOST there is somebody's real database.
    Ok(Config::parse("the demo's configuration", &text, &|_| None)?)
}

async fn connect(server: &Postgres) -> anyhow::Result<Client> {
    connect_to(server, DATABASE).await
}

async fn connect_to(server: &Postgres, database: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(database), NoTls).await?;
    // It ends with its client, or with the server, which the client's next statement tells.
    tokio::spawn(connection);
    Ok(client)
}

/// Holds every report row to the POS tables beside the running daemon, and a log's takings to the days' totals.
async fn verified(server: &Postgres, config: &Arc<Config>, done: &Done) -> anyhow::Result<Outcome> {
    say(&done.said)?;
    let takings_differ = match done.takings {
        Some(takings) => {
            let reported = reported(&connect(server).await?, config).await?;
            say(format!("takings      {takings} in the log, {reported} in the daily reports"))?;
            takings != reported
        }
        None => false,
    };
    let args = VerifyArgs { tenant: None, repair: false, json: false };
    let found = verify::compare(config, &args, true).await.context("verifying")?;
    found.tell_tables(&mut std::io::stdout())?;
    let (rows, stores, position) = (found.rows(), found.tenants, &found.position);
    let s = if stores == 1 { "" } else { "s" };
    if found.differences > 0 || takings_differ || !found.skipped.is_empty() {
        say(format!("NOT RIGHT: verify found {} differences in {rows} rows at {position}", found.differences))?;
        return Ok(Outcome::DoesNotHold);
    }
    say(format!("verified: all {rows} report rows of {stores} store{s} are right at {position}"))?;
    Ok(Outcome::Done)
}

/// What all days of all stores took.
async fn reported(client: &Client, config: &Config) -> anyhow::Result<Money> {
    let query =
        format!("SELECT coalesce(sum(total_sales), 0) FROM {}.daily_sales_report", ident(&config.target.schema));
    Ok(client.query_one(&query, &[]).await?.try_get(0)?)
}
