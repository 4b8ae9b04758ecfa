//! Where the server's programs are: in the order in which somebody would want them used.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use super::user::ServerUser;

/// Names a folder with `postgres` and `initdb` in it; taken before anything else is looked at.
pub const BIN_VARIABLE: &str = "TILLSTREAM_PG_BIN";
/// The oldest major that the daemon is tested with.
pub const OLDEST_MAJOR: u32 = 14;

/// A folder of server programs that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub bin: PathBuf,
    pub major: u32,
}

/// Looks for an installed server: `TILLSTREAM_PG_BIN`, `PATH`, `pg_config`, then the folders that distributions use,
/// the newest major first. `version` accepts that major only. `Ok(None)`: there is none.
///
/// # Errors
/// `TILLSTREAM_PG_BIN` is set but names no server that can be used.
pub fn installed(version: Option<u32>, user: &ServerUser) -> Result<Option<Binaries>, Error> {
    if let Some(dir) = std::env::var_os(BIN_VARIABLE).filter(|v| !v.is_empty()) {
        let found = probe(Path::new(&dir), user).map_err(|why| Error::Unusable { dir: PathBuf::from(dir), why })?;
        // Tests that need another major than the preferred one go on looking.
        if version.is_none_or(|v| v == found.major) {
            return Ok(Some(found));
        }
    }
    let usable = |dir: &PathBuf| probe(dir, user).ok().filter(|b| version.is_none_or(|v| v == b.major));
    let named = on_path().into_iter().chain(from_pg_config());
    if let Some(found) = named.into_iter().find_map(|dir| usable(&dir)) {
        return Ok(Some(found));
    }
    Ok(versioned_folders().iter().filter_map(usable).max_by_key(|b| b.major))
}

/// Checks that the folder holds a server that this user can run, by running it.
pub(super) fn probe(dir: &Path, user: &ServerUser) -> Result<Binaries, String> {
    for program in ["postgres", "initdb"] {
        let path = dir.join(program);
        if !path.is_file() {
            return Err(format!("there is no {program} in it"));
        }
        if !user.can_reach(&path) {
            return Err(format!("user {} cannot read {}", user.name, path.display()));
        }
    }
    let output =
        Command::new(dir.join("postgres")).arg("--version").output().map_err(|e| format!("postgres --version: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    let text = String::from_utf8_lossy(&output.stdout).trim().to_string();
    match major_of(&text) {
        Some(major) if major >= OLDEST_MAJOR => Ok(Binaries { bin: dir.to_path_buf(), major }),
        Some(major) => Err(format!("version {major} is older than {OLDEST_MAJOR}")),
        None => Err(format!("cannot tell the version from {text:?}")),
    }
}

/// The major of `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `… 18beta1` and the like.
fn major_of(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL)")?.1.trim_start();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|dir| dir.join("postgres").is_file()).collect()
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let dir = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(dir.trim())).filter(|d| d.is_absolute())
}

/// `/usr/lib/postgresql/17/bin` and its like elsewhere.
fn versioned_folders() -> Vec<PathBuf> {
    // Parent folder, what a child's name starts with, what leads from the child to the programs.
    const PLACES: [(&str, &str, &str); 7] = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql", "bin"),
        ("/usr/local/opt", "postgresql", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
        ("/usr/local", "pgsql", "bin"),
        ("/usr/libexec", "postgresql", ""),
    ];
    let mut found = Vec::new();
    for (parent, prefix, rest) in PLACES {
        let Ok(children) = std::fs::read_dir(parent) else { continue };
        for child in children.flatten() {
            if child.file_name().to_string_lossy().starts_with(prefix) {
                found.push(child.path().join(rest));
            }
        }
    }
    found
}

/// Whether others may pass every folder that leads to `path`, and read and run it.
pub(super) fn open_to_others(path: &Path) -> bool {
    let Ok(real) = path.canonicalize() else { return false };
    let mode = |p: &Path| p.metadata().map(|m| m.mode()).unwrap_or(0);
    mode(&real) & 0o5 == 0o5 && real.ancestors().skip(1).all(|dir| mode(dir) & 0o1 == 0o1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_of_every_kind_of_version_line() {
        for (text, major) in [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 9.6.1", Some(9)),
            ("postgres (EnterpriseDB) 15", None),
            ("", None),
        ] {
            assert_eq!(major_of(text), major, "{text:?}");
        }
    }
}
