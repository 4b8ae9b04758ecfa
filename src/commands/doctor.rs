//! `doctor`: what a bug report needs, as one text on stdout. Goes on where a part cannot be had, and says why.
//! No secret: the configuration is shown as parsed, without comments and passwords, and whatever else comes is searched
//! for the passwords that are known.

use std::fmt::Write;
use std::process::Stdio;
use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::{Outcome, check, say, status};
use crate::cli::Global;
use crate::config::{Config, Connection, parse_connection};
use crate::sql::ident;
use crate::told::chain;
use crate::version;

const HIDDEN: &str = "(hidden)";
/// A shorter password could be any word: it is looked for in the configuration alone.
const SEARCHED: usize = 4;
/// How long systemd's tools may take.
const TOOL_LIMIT: Duration = Duration::from_secs(5);

/// # Errors
/// Only where stdout cannot be written.
pub async fn run(global: &Global) -> anyhow::Result<Outcome> {
    let mut text = String::new();
    let _ = writeln!(text, "tillstream {}, {}", version::FULL, chrono::Utc::now().to_rfc3339());
    let _ = writeln!(text, "{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let file = match global.config_file() {
        Ok(file) => file,
        Err(message) => {
            say(format!("{text}{message}"))?;
            return Ok(Outcome::Done);
        }
    };
    section(&mut text, &format!("configuration {}", file.display()));
    text += &match std::fs::read_to_string(&file) {
        Ok(toml) => shown(&toml),
        Err(e) => format!("cannot be read: {e}\n"),
    };
    let config = match Config::load(&file) {
        Ok(config) => config,
        Err(problems) => {
            let _ = writeln!(text, "\nproblems:\n{problems}");
            say(text)?;
            return Ok(Outcome::Done);
        }
    };
    section(&mut text, "check");
    match check::find(&config).await {
        Ok(findings) => text += &check::lines(&findings),
        Err(e) => text += &format!("{}\n", chain(&e)),
    }
    section(&mut text, "status");
    match status::look(&config).await {
        Ok(status) => text += &format!("{}\n{}\n", status::screen(&status), status::document(&status)),
        Err(e) => text += &format!("{}\n", chain(&e)),
    }
    service(&mut text).await;
    if let Some(metrics) = status::metrics(config.http.listen).await {
        section(&mut text, "metrics");
        // Buckets of histograms are for graphs.
        let lines = metrics.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
        lines.for_each(|line| text += &format!("{line}\n"));
    }
    database(&mut text, "source", &config.source.connection, &SOURCE, &config).await;
    database(&mut text, "target", config.target_connection(), &TARGET, &config).await;
    say(scrubbed(text, &config))?;
    Ok(Outcome::Done)
}

/// What systemd knows of the service, and its last log lines, where there is a systemd that knows it.
async fn service(text: &mut String) {
    let unit = "tillstream.service";
    let properties = "LoadState,ActiveState,SubState,StatusText,NRestarts,Result,ExecMainStatus,ActiveEnterTimestamp";
    let calls: [(&str, &[&str]); 2] = [
        ("systemctl", &["show", unit, "--property", properties]),
        ("journalctl", &["--unit", unit, "--lines", "100", "--no-pager", "--output", "short-iso", "--quiet"]),
    ];
    for (program, arguments) in calls {
        let ran =
            tokio::process::Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let Ok(Ok(ran)) = tokio::time::timeout(TOOL_LIMIT, ran).await else { continue };
        let said = String::from_utf8_lossy(&ran.stdout);
        if ran.status.success() && !said.trim().is_empty() && !said.contains("LoadState=not-found") {
            section(text, &format!("{program} {}", arguments.join(" ")));
            text.push_str(&said);
        }
    }
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n== {title}");
}

/// The file as parsed: comments, which may hold anything, are gone.
fn shown(toml: &str) -> String {
    match toml.parse::<toml::Table>() {
        Ok(mut table) => {
            hide(&mut table);
            table.to_string()
        }
        // The parser's message would quote the line.
        Err(_) => "not shown: it is not valid toml\n".to_string(),
    }
}

fn hide(table: &mut toml::Table) {
    for (key, value) in table.iter_mut() {
        match value {
            toml::Value::Table(inner) => hide(inner),
            toml::Value::String(text) if key == "url" => *text = place(text),
            value if key.contains("pass") && key != "password_file" => *value = HIDDEN.into(),
            _ => {}
        }
    }
}

/// Where a connection string leads, without its password and options.
fn place(url: &str) -> String {
    match parse_connection(url, None, &|name| std::env::var(name).ok().filter(|v| !v.is_empty())) {
        Ok(c) => format!("{}, sslmode {:?}", c.place(), c.tls.mode),
        Err(_) => HIDDEN.to_string(),
    }
}

/// Catches what a server's message, or a line of the log, might quote.
fn scrubbed(mut text: String, config: &Config) -> String {
    let connections = [Some(&config.source.connection), config.target.connection.as_ref()].into_iter().flatten();
    let used = connections.filter_map(|c| c.pg.get_password()).map(|p| String::from_utf8_lossy(p).into_owned());
    for password in used.chain(std::env::var("PGPASSWORD")).filter(|password| password.len() >= SEARCHED) {
        text = text.replace(&password, HIDDEN);
    }
    text
}

const SOURCE: [(&str, &str); 4] = [
    (
        "slots",
        "SELECT slot_name, plugin, database, active, wal_status, restart_lsn::text, confirmed_flush_lsn::text, \
         pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) AS kept FROM pg_replication_slots ORDER BY 1",
    ),
    (
        "replication connections",
        "SELECT application_name, state, sent_lsn::text, flush_lsn::text, reply_time::text FROM pg_stat_replication",
    ),
    (
        "publications",
        "SELECT p.pubname, p.puballtables, p.pubviaroot, count(r.oid) AS tables FROM pg_publication p \
         LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid GROUP BY 1, 2, 3 ORDER BY 1",
    ),
    ("settings", SETTINGS),
];
const TARGET: [(&str, &str); 6] = [
    (
        "position",
        "SELECT slot, source_database, timeline, lsn::text, committed_at::text, updated_at::text FROM {state}.position",
    ),
    ("migrations", "SELECT version, name, applied_at::text FROM {state}.migration ORDER BY 1"),
    (
        "failed, drifted and last job runs",
        "SELECT * FROM (SELECT tenant, job, due::text, started::text, finished::text, rows_changed, rows_drifted, attempts, \
         error FROM {state}.job_run WHERE error IS NOT NULL OR rows_drifted > 0 ORDER BY id DESC LIMIT 50) failed \
         UNION ALL SELECT * FROM (SELECT tenant, job, due::text, started::text, finished::text, rows_changed, rows_drifted, \
         attempts, error FROM {state}.job_run ORDER BY id DESC LIMIT 20) last",
    ),
    (
        "verification",
        "SELECT tenant, finished::text, took_ms, lsn::text, rows_compared, differences, error, right_at::text \
         FROM {state}.verification ORDER BY 1",
    ),
    ("open requests", "SELECT id, kind, state FROM {state}.request ORDER BY id DESC LIMIT 20"),
    ("settings", SETTINGS),
];
/// Of those that somebody set, the ones that matter here; none of them is a secret.
const SETTINGS: &str = "SELECT name, setting, unit, source FROM pg_settings WHERE name = 'server_version' \
    OR source NOT IN ('default', 'client', 'override') AND name ~ '^(wal_|max_|synchronous|fsync|full_page|shared_buffers|\
    work_mem|maintenance|checkpoint|autovacuum|idle_|statement_timeout|lock_timeout|logical_|tcp_|ssl$|TimeZone|jit)' ORDER BY 1";

async fn database(text: &mut String, side: &str, connection: &Connection, queries: &[(&str, &str)], config: &Config) {
    let client = match connection.connect("tillstream doctor").await {
        Ok(client) => client,
        Err(e) => {
            section(text, side);
            let _ = writeln!(text, "{e}");
            return;
        }
    };
    for (title, query) in queries {
        section(text, &format!("{side}: {title}"));
        let query = query.replace("{state}", &ident(&config.state_schema()));
        text.push_str(&rows(&client, &query).await);
    }
}

async fn rows(client: &Client, query: &str) -> String {
    match client.query(query, &[]).await {
        Ok(rows) if rows.is_empty() => "none\n".to_string(),
        Ok(rows) => rows.iter().map(line).collect(),
        Err(e) => format!("{}\n", crate::apply::describe(&e)),
    }
}

/// `name=value …`, without what is null.
fn line(row: &Row) -> String {
    let mut text = String::new();
    for (index, column) in row.columns().iter().enumerate() {
        let value = match *column.type_() {
            Type::BOOL => row.try_get::<_, Option<bool>>(index).map(|v| v.map(|v| v.to_string())),
            Type::INT4 => row.try_get::<_, Option<i32>>(index).map(|v| v.map(|v| v.to_string())),
            Type::INT8 => row.try_get::<_, Option<i64>>(index).map(|v| v.map(|v| v.to_string())),
            _ => row.try_get::<_, Option<String>>(index),
        };
        match value {
            Ok(Some(value)) => text += &format!("{}={} ", column.name(), value.replace('\n', " ")),
            Ok(None) => {}
            Err(_) => text += &format!("{}=? ", column.name()),
        }
    }
    text.trim_end().to_string() + "\n"
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_shown_without_secrets() {
        let text = shown(
            "# the old password was sesame-1\n[source]\nurl = 'postgresql://till:sesame-2@db.example:5433/pos?sslmode=require'\n\
             password = 'sesame-3'\npassword_file = '/etc/tillstream/password'\n\
             [target]\nurl = 'host=/run/pg user=till password=sesame-4 dbname=reports'\n[tenants]\nschemas = ['shop_%']",
        );
        assert!(!text.contains("sesame"), "{text}");
        for part in ["db.example:5433", "\"pos\"", "Require", "/etc/tillstream/password", "/run/pg", "shop_%"] {
            assert!(text.contains(part) || text.contains(&part.replace('"', "\\\"")), "{part} is not in\n{text}");
        }
        assert!(!shown("url = 'postgresql://till:sesame@[broken'").contains("sesame"));
        assert!(!shown("url = postgresql://till:sesame@db/pos").contains("sesame"));
    }

    #[test]
    fn a_password_that_a_message_quotes_is_hidden() {
        let config = Config::parse("x", "[source]\nurl = 'postgresql://till:sesame@db/pos'", &|_| None).unwrap();
        assert_eq!(scrubbed("failed for sesame!".into(), &config), "failed for (hidden)!");
    }
}
