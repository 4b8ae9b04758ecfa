//! SIGHUP: the configuration is read again. What can change at run time does; what cannot is said.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
use crate::engine::Ops;
use crate::ops::telemetry;

/// Reads the file at each SIGHUP. A file with mistakes changes nothing.
pub(super) async fn on_hangup(file: PathBuf, configs: watch::Sender<Arc<Config>>, ops: Ops) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "cannot listen for sighup: a changed configuration needs a restart");
            return;
        }
    };
    while hangup.recv().await.is_some() {
        ops.notifier.reloading();
        let found = Config::load(&file);
        ops.metrics.reload_successful.set(i64::from(found.is_ok()));
        match found {
            Ok(found) => take(found, &configs),
            Err(problems) => {
                for problem in problems.problems {
                    tracing::error!(%problem, "the configuration is left as it was");
                }
            }
        }
        ops.notifier.reloaded();
    }
}

fn take(found: Config, configs: &watch::Sender<Arc<Config>>) {
    let current = Arc::clone(&configs.borrow());
    let (merged, kept) = merge(&current, found);
    if !kept.is_empty() {
        tracing::warn!(sections = kept.join(", "), "changes in these sections need a restart");
    }
    if merged == *current {
        tracing::info!("configuration read again: nothing to change");
        return;
    }
    let changed = changes(&current, &merged);
    tracing::info!(sections = changed.join(", "), "configuration read again: changed");
    telemetry::set_level(merged.log.level);
    // A new session costs a reconnection; the level alone is not worth it.
    if changed == ["[log]"] {
        configs.send_if_modified(|config| {
            *config = Arc::new(merged);
            false
        });
    } else {
        configs.send_replace(Arc::new(merged));
    }
}

/// The new configuration as far as it can be taken while running, and the sections that cannot.
fn merge(current: &Config, found: Config) -> (Config, Vec<&'static str>) {
    let mut kept = Vec::new();
    let mut keep = |section: &'static str, same: bool| {
        if !same {
            kept.push(section);
        }
    };
    // Where the data are and what they mean: another process with other locks, or a copy of everything.
    keep("[source]", current.source == found.source);
    keep("[source.tables]", current.mapping == found.mapping);
    keep("[target]", current.target == found.target);
    keep("[payments]", current.payments == found.payments);
    keep("[inventory]", current.inventory == found.inventory);
    keep("[http]", current.http == found.http);
    let taken = current.clone();
    let Config { tenants, rfm, apply, schedule, verify, log, .. } = found;
    (Config { tenants, rfm, apply, schedule, verify, log, ..taken }, kept)
}

/// The sections that differ, of those that can.
fn changes(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("[tenants]", old.tenants != new.tenants),
        ("[rfm]", old.rfm != new.rfm),
        ("[apply]", old.apply != new.apply),
        ("[schedule]", old.schedule != new.schedule),
        ("[verify]", old.verify != new.verify),
        ("[log]", old.log != new.log),
    ]
    .into_iter()
    .filter_map(|(section, differs)| differs.then_some(section))
    .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse("daemon.toml", text, &|_| None).unwrap()
    }

    #[test]
    fn what_the_data_are_about_stays() {
        let old = parse("");
        let found = parse(
            "[source]\nslot = 'other'\n[target]\nschema = 'other'\n[http]\nlisten = ''\n[payments]\ncash = ['coins']\n\
             [tenants]\ntime_zone = 'Europe/Moscow'\n[rfm]\nwindow_days = 30\n[schedule]\nprune = 'off'\n[log]\nlevel = 'debug'",
        );
        let (merged, kept) = merge(&old, found.clone());
        assert_eq!(kept, ["[source]", "[target]", "[payments]", "[http]"]);
        assert_eq!((&merged.source, &merged.target, &merged.http), (&old.source, &old.target, &old.http));
        assert_eq!((&merged.tenants, &merged.rfm, &merged.schedule), (&found.tenants, &found.rfm, &found.schedule));
        assert_eq!(changes(&old, &merged), ["[tenants]", "[rfm]", "[schedule]", "[log]"]);
    }

    #[test]
    fn the_level_alone_begins_no_new_session() {
        let (sender, mut receiver) = watch::channel(Arc::new(parse("")));
        receiver.mark_unchanged();
        take(parse("[log]\nlevel = 'warn'"), &sender);
        assert!(!receiver.has_changed().unwrap());
        take(parse("[log]\nlevel = 'warn'\n[apply]\nmax_batch_rows = 7"), &sender);
        assert!(receiver.has_changed().unwrap());
        assert_eq!(receiver.borrow().apply.max_batch_rows, 7);
    }
}
