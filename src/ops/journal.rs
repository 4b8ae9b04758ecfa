//! Logs to the journal as fields, where systemd connected our stderr to it.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::Subscriber;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// Our fields appear as `TILLSTREAM_STORE` and so on, apart from the journal's own.
const FIELD_PREFIX: &str = "TILLSTREAM";

/// A layer that writes to the journal. `None` where stderr is not the journal (a terminal, a file, or redirected by a
/// service's child), or the journal cannot be reached: log text or JSON to stderr there.
pub fn journal_layer<S>() -> Option<impl Layer<S> + Send + Sync + 'static>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if !stderr_is_journal() {
        return None;
    }
    let layer = tracing_journald::layer().ok()?;
    Some(
        layer
            .with_field_prefix(Some(FIELD_PREFIX.to_owned()))
            .with_syslog_identifier("tillstream".to_owned())
            // Syslog's own words for the levels: the default shifts info to notice and debug to info.
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            }),
    )
}

/// `JOURNAL_STREAM` is inherited by children whose stderr may be another file: the file itself decides.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let file = std::io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    file.and_then(|file| file.metadata()).is_ok_and(|stderr| names(&stream, stderr.dev(), stderr.ino()))
}

/// Whether `device:inode` names this file.
fn names(stream: &str, device: u64, inode: u64) -> bool {
    stream
        .split_once(':')
        .and_then(|(d, i)| Some((d.parse::<u64>().ok()?, i.parse::<u64>().ok()?)))
        .is_some_and(|named| named == (device, inode))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Set for the child: started by hand with `--ignored` it does nothing.
    const CHILD: &str = "TILLSTREAM_TEST_CHILD";

    #[test]
    fn only_an_exact_name_counts() {
        assert!(names("8:15", 8, 15));
        for other in ["", "8", "8:", ":15", "8:16", "9:15", "8:15:1", "-8:15", "x:y", "99999999999999999999:15"] {
            assert!(!names(other, 8, 15), "{other}");
        }
    }

    /// Runs `child_stderr` with stderr in a file and this `JOURNAL_STREAM`.
    fn child_says(stream: impl FnOnce(&std::fs::Metadata) -> String) -> bool {
        let file = tempfile::tempfile().unwrap();
        let stream = stream(&file.metadata().unwrap());
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "ops::journal::tests::child_stderr"])
            .env(CHILD, "1")
            .env("JOURNAL_STREAM", stream)
            .stdout(Stdio::null())
            .stderr(file)
            .status()
            .unwrap()
            .success()
    }

    #[test]
    fn stderr_itself_decides() {
        assert!(child_says(|file| format!("{}:{}", file.dev(), file.ino())));
        assert!(!child_says(|file| format!("{}:{}", file.dev(), file.ino() + 1)));
        assert!(!child_says(|_| String::new()));
    }

    #[test]
    #[ignore = "run by stderr_itself_decides with its environment"]
    fn child_stderr() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        assert!(stderr_is_journal());
    }
}
