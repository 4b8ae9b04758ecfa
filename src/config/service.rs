//! Connection services as libpq has them: a name for a set of connection keywords, kept in pg_service.conf.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::libpq::Env;

/// The environment variable that says the same as a keyword. What a service sets stands where these would: below the
/// connection string, above the environment.
const VARIABLES: [(&str, &str); 14] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("passfile", "PGPASSFILE"),
    ("options", "PGOPTIONS"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
];

/// The folder for the whole system, as distributions build libpq; `PGSYSCONFDIR` names another.
const SYSTEM: [&str; 4] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc/postgresql", "/usr/local/pgsql/etc"];
const FILE: &str = "pg_service.conf";

/// Settings by environment variable.
pub(super) type Service = BTreeMap<&'static str, String>;

/// Looks the service up. `file`: where the connection string names one.
pub(super) fn find(name: &str, file: Option<String>, env: Env<'_>) -> Result<Service, String> {
    let own = || env("HOME").map(|home| Path::new(&home).join(format!(".{FILE}")));
    let named = file.or_else(|| env("PGSERVICEFILE")).map(PathBuf::from);
    let is_named = named.is_some();
    let system = env("PGSYSCONFDIR").map_or_else(|| SYSTEM.iter().map(PathBuf::from).collect(), |d| vec![d.into()]);
    let system = system.into_iter().map(|dir: PathBuf| dir.join(FILE));
    let mut looked = Vec::new();
    for path in named.or_else(own).into_iter().chain(system) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if is_named && looked.is_empty() => {
                return Err(format!("cannot read service file {}: {e}", path.display()));
            }
            Err(_) => continue,
        };
        if let Some(service) = section(&text, name).map_err(|why| format!("service file {}: {why}", path.display()))? {
            return Ok(service);
        }
        looked.push(path.display().to_string());
    }
    let looked = if looked.is_empty() { "no service file found".to_string() } else { looked.join(", ") };
    Err(format!("no definition of service {name:?} ({looked}); see PGSERVICEFILE, ~/.{FILE}, PGSYSCONFDIR"))
}

/// The settings below `[name]`; of a keyword given twice the first counts.
fn section(text: &str, name: &str) -> Result<Option<Service>, String> {
    let mut found: Option<Service> = None;
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.strip_suffix(']') == Some(name) {
                found = Some(Service::new());
            }
            continue;
        }
        let Some(service) = &mut found else { continue };
        // Lines are not shown: they may hold a password.
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {number} is not keyword=value"))?;
        let key = key.trim_end();
        if key == "service" || key == "servicefile" {
            return Err(format!("line {number}: a service cannot name another"));
        }
        match VARIABLES.iter().find(|(keyword, _)| *keyword == key) {
            Some((_, variable)) => {
                service.entry(variable).or_insert_with(|| value.trim_start().to_string());
            }
            None if super::libpq::HARMLESS.contains(&key) => {}
            None => return Err(format!("line {number}: keyword {key:?} is not supported")),
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const TEXT: &str = "# shops\n[north]\nhost=north.example\n\n[pos]\nhost=db.example\nport = 5433\nhost=second\n\
                        application_name=x\npassword=a=b\n[south]\nnonsense\n";

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let service = section(TEXT, "pos").unwrap().unwrap();
        assert_eq!(service["PGHOST"], "db.example");
        assert_eq!(service["PGPORT"], "5433");
        assert_eq!(service["PGPASSWORD"], "a=b");
        assert_eq!(service.len(), 3);
        assert_eq!(section(TEXT, "west").unwrap(), None);
    }

    #[test]
    fn mistakes_are_told_by_line() {
        assert_eq!(section(TEXT, "south").unwrap_err(), "line 12 is not keyword=value");
        assert!(section("[a]\nslmode=x", "a").unwrap_err().contains("line 2: keyword \"slmode\""));
        assert!(section("[a]\nservice=b", "a").unwrap_err().contains("cannot name another"));
    }
}
