//! `man`: manual pages, one per command, and one of the configuration.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use super::Outcome;
use crate::cli::Cli;

/// The shipped file explains each of its keys.
const CONFIGURATION: &str = include_str!("../../daemon.toml");

/// Writes `tillstream.1`, `tillstream-run.1` and so on, and `tillstream-daemon.toml.5`.
pub(super) fn write(folder: &Path) -> anyhow::Result<Outcome> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder).context("cannot write the manual pages")?;
    let page = folder.join("tillstream-daemon.toml.5");
    std::fs::write(&page, configuration()).with_context(|| format!("cannot write {}", page.display()))?;
    Ok(Outcome::Done)
}

fn configuration() -> String {
    let shown: String = CONFIGURATION.lines().map(|line| format!("{}\n", literal(line))).collect();
    format!(
        ".TH tillstream-daemon.toml 5 \"\" \"tillstream {}\"\n\
         .SH NAME\ntillstream\\-daemon.toml \\- configuration of tillstream\n\
         .SH SYNOPSIS\n\\&./daemon.toml\n.br\n/etc/tillstream/daemon.toml\n\
         .SH DESCRIPTION\nEvery key with its default, as the file is shipped. A key left out has the value shown here; an \
         unknown key is an error. \\fBsystemctl reload tillstream\\fR takes what can change while it runs, and says what \
         would need a restart.\n.PP\n.nf\n{shown}.fi\n.SH SEE ALSO\n\\fBtillstream\\fR(1)\n",
        crate::version::NUMBER
    )
}

/// A line as it is, whatever roff would make of it.
fn literal(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(page("tillstream.1").contains("tillstream\\-run"), "{}", page("tillstream.1"));
        for name in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()).map(|c| c.get_name().to_owned()) {
            assert!(page(&format!("tillstream-{name}.1")).contains(".TH"), "{name}");
        }
        let configuration = page("tillstream-daemon.toml.5");
        assert!(configuration.contains("\n\\&./daemon.toml\n"), "roff takes a dot for a command");
        assert!(configuration.contains("\n[source]") && configuration.contains("on_slot_lost = \"stop\""));
    }
}
