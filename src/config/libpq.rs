//! Connection strings as libpq reads them: URL or key=value, environment, password files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, Host, SslMode as PgSslMode};

use super::reader::nearest;
use super::service::{self, Service};
use super::{Connection, SslMode, TlsSettings};

/// Looks up an environment variable; an empty one is none.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Keywords that libpq knows and that change nothing for us.
pub(super) const HARMLESS: &[&str] = &[
    "fallback_application_name",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "sslcompression",
    "sslsni",
    "client_encoding",
    "application_name",
];
/// Keywords the client library reads by itself.
const PASSED_ON: &[&str] = &[
    "user",
    "password",
    "dbname",
    "options",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
];
const OURS: &[&str] =
    &["sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "passfile", "service", "servicefile"];

/// Where distributions keep the certificates that `sslrootcert=system` means.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Reads a connection string. `password` is the content of the configured password file, if any.
pub fn connection(text: &str, password: Option<String>, env: Env<'_>) -> Result<Connection, String> {
    let parts = Parts::split(text)?;
    let service = match parts.ours("service").or_else(|| env("PGSERVICE")) {
        Some(name) => service::find(&name, parts.ours("servicefile"), env)?,
        None => Service::new(),
    };
    let env: Env<'_> = &|name| service.get(name).cloned().filter(|value| !value.is_empty()).or_else(|| env(name));
    let mut pg: tokio_postgres::Config = parts.rest.parse().map_err(|e: tokio_postgres::Error| {
        let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
        format!("not a connection string: {cause}")
    })?;
    fill_from_environment(&mut pg, env)?;
    let on_socket = pg.get_hostaddrs().is_empty() && pg.get_hosts().iter().any(|h| matches!(h, Host::Unix(_)));
    let tls = parts.tls(on_socket, env)?;
    pg.ssl_mode(match tls.mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => PgSslMode::Require,
    });
    pg.channel_binding(match parts.ours("channel_binding").or_else(|| env("PGCHANNELBINDING")).as_deref() {
        None | Some("prefer") => ChannelBinding::Prefer,
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        Some(other) => return Err(format!("unknown channel_binding {other:?}; one of disable, prefer, require")),
    });
    if pg.get_password().is_none() {
        let found = match password.or_else(|| env("PGPASSWORD")) {
            Some(password) => Some(password),
            None => from_passfile(&pg, parts.ours("passfile"), env)?,
        };
        if let Some(password) = found {
            pg.password(password);
        }
    }
    if pg.get_connect_timeout().is_none() {
        pg.connect_timeout(Duration::from_secs(10));
    }
    // A dead peer must be noticed within a minute, not within the two hours of the kernel's default.
    if pg.get_tcp_user_timeout().is_none() {
        pg.tcp_user_timeout(Duration::from_secs(30));
    }
    pg.keepalives_idle(Duration::from_secs(30));
    Ok(Connection { pg, tls })
}

/// A connection string without the keywords that the client library does not know.
struct Parts {
    rest: String,
    ours: Vec<(String, String)>,
}

impl Parts {
    fn split(text: &str) -> Result<Self, String> {
        let is_url = text.starts_with("postgresql://") || text.starts_with("postgres://");
        let (base, pairs) = if is_url {
            let (base, query) = text.split_once('?').unwrap_or((text, ""));
            (base, url_pairs(query)?)
        } else {
            ("", key_values(text)?)
        };
        let mut ours = Vec::new();
        let mut rest = Vec::new();
        for (key, value) in pairs {
            if OURS.contains(&key.as_str()) {
                ours.push((key, value));
            } else if PASSED_ON.contains(&key.as_str()) {
                rest.push((key, value));
            } else if !HARMLESS.contains(&key.as_str()) {
                let known = nearest(&key, PASSED_ON.iter().chain(OURS).copied()).unwrap_or("host");
                return Err(format!("connection keyword {key:?} is not supported; did you mean \"{known}\"?"));
            }
        }
        let rest = if is_url {
            let query: Vec<String> = rest.iter().map(|(k, v)| format!("{k}={}", percent_encode(v))).collect();
            if query.is_empty() { base.to_string() } else { format!("{base}?{}", query.join("&")) }
        } else {
            let quoted = |v: &str| v.replace('\\', "\\\\").replace('\'', "\\'");
            rest.iter().map(|(k, v)| format!("{k}='{}'", quoted(v))).collect::<Vec<_>>().join(" ")
        };
        Ok(Self { rest, ours })
    }

    fn ours(&self, key: &str) -> Option<String> {
        self.ours.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.clone()).filter(|v| !v.is_empty())
    }

    fn tls(&self, on_socket: bool, env: Env<'_>) -> Result<TlsSettings, String> {
        if on_socket {
            // PostgreSQL has no TLS on Unix sockets; libpq ignores sslmode there as well.
            return Ok(TlsSettings { mode: SslMode::Disable, ..TlsSettings::default() });
        }
        let setting = |key: &str, variable: &str| self.ours(key).or_else(|| env(variable));
        let path = |key: &str, variable: &str| setting(key, variable).map(PathBuf::from);
        let mut mode = match setting("sslmode", "PGSSLMODE").as_deref() {
            None | Some("prefer" | "allow") => SslMode::Prefer,
            Some("disable") => SslMode::Disable,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(other) => {
                return Err(format!(
                    "unknown sslmode {other:?}; one of disable, allow, prefer, require, verify-ca, verify-full"
                ));
            }
        };
        let home = |file: &str| env("HOME").map(|h| Path::new(&h).join(".postgresql").join(file));
        let mut root_cert = path("sslrootcert", "PGSSLROOTCERT");
        if root_cert.as_deref() == Some(Path::new("system")) {
            mode = SslMode::VerifyFull;
            let bundle = SYSTEM_ROOTS.iter().map(PathBuf::from).find(|p| p.exists());
            root_cert = Some(bundle.ok_or("sslrootcert=system: this system has no certificate bundle; name a file")?);
        }
        root_cert = root_cert.or_else(|| home("root.crt").filter(|p| p.exists()));
        if mode == SslMode::Require && root_cert.is_some() {
            mode = SslMode::VerifyCa; // as libpq does: a root certificate is there to be checked against
        }
        if matches!(mode, SslMode::VerifyCa | SslMode::VerifyFull) && root_cert.is_none() {
            return Err("sslmode verify-ca and verify-full need sslrootcert=FILE or sslrootcert=system".to_string());
        }
        let client_cert = path("sslcert", "PGSSLCERT");
        let client_key = path("sslkey", "PGSSLKEY");
        if client_cert.is_some() != client_key.is_some() {
            return Err("sslcert and sslkey belong together; one of them is missing".to_string());
        }
        Ok(TlsSettings { mode, root_cert, client_cert, client_key })
    }
}

fn fill_from_environment(pg: &mut tokio_postgres::Config, env: Env<'_>) -> Result<(), String> {
    if pg.get_hosts().len() > 1 || pg.get_hostaddrs().len() > 1 || pg.get_ports().len() > 1 {
        return Err("one host only: a replication slot lives on one server".to_string());
    }
    if pg.get_hostaddrs().is_empty()
        && pg.get_hosts().is_empty()
        && let Some(address) = env("PGHOSTADDR")
    {
        pg.hostaddr(address.parse().map_err(|_| format!("PGHOSTADDR is not an address: {address:?}"))?);
    }
    if pg.get_options().is_none()
        && let Some(options) = env("PGOPTIONS")
    {
        pg.options(options);
    }
    if pg.get_connect_timeout().is_none()
        && let Some(seconds) = env("PGCONNECT_TIMEOUT")
    {
        let wrong = |_| format!("PGCONNECT_TIMEOUT is not a number of seconds: {seconds:?}");
        // As libpq reads it, but for "without end", which is no good for a daemon.
        match seconds.parse::<u64>().map_err(wrong)? {
            0 => {}
            seconds => drop(pg.connect_timeout(Duration::from_secs(seconds.max(2)))),
        }
    }
    if pg.get_hosts().is_empty() {
        let socket_dir = Path::new("/var/run/postgresql");
        match (env("PGHOST"), pg.get_hostaddrs().first()) {
            (Some(host), _) => pg.host(host),
            (None, Some(address)) => pg.host(address.to_string()),
            (None, None) if socket_dir.is_dir() => pg.host_path(socket_dir),
            (None, None) => pg.host("localhost"),
        };
    }
    if pg.get_ports().is_empty() {
        let port = env("PGPORT").unwrap_or_else(|| "5432".to_string());
        pg.port(port.parse().map_err(|_| format!("PGPORT is not a port number: {port:?}"))?);
    }
    if pg.get_user().is_none() {
        let os_user = || nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|u| u.name);
        pg.user(env("PGUSER").or_else(os_user).ok_or("no user named, and the system user has no name")?);
    }
    if pg.get_dbname().is_none() {
        let user = pg.get_user().unwrap_or_default().to_string();
        pg.dbname(env("PGDATABASE").unwrap_or(user));
    }
    Ok(())
}

/// The password in PGPASSFILE or ~/.pgpass for this host, port, database and user.
fn from_passfile(pg: &tokio_postgres::Config, named: Option<String>, env: Env<'_>) -> Result<Option<String>, String> {
    let home = || env("HOME").map(|home| Path::new(&home).join(".pgpass"));
    let Some(path) = named.or_else(|| env("PGPASSFILE")).map(PathBuf::from).or_else(home) else { return Ok(None) };
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let host = match pg.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        // The default socket directories go by the name of localhost.
        Some(Host::Unix(dir)) if dir == Path::new("/var/run/postgresql") || dir == Path::new("/tmp") => {
            "localhost".to_string()
        }
        Some(Host::Unix(dir)) => dir.display().to_string(),
        None => return Ok(None),
    };
    let port = pg.get_ports().first().map(u16::to_string).unwrap_or_default();
    let wanted = [host.as_str(), port.as_str(), pg.get_dbname().unwrap_or(""), pg.get_user().unwrap_or("")];
    let Some(password) = passfile_entry(&text, wanted) else { return Ok(None) };
    let open_to_others = {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0)
    };
    if open_to_others {
        return Err(format!("password file {} can be read by others; run chmod 600 on it", path.display()));
    }
    Ok(Some(password))
}

fn passfile_entry(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = vec![String::new()];
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                ':' if fields.len() < 5 => fields.push(String::new()),
                '\\' => fields.last_mut()?.extend(chars.next()),
                c => fields.last_mut()?.push(c),
            }
        }
        let [host, port, database, user, password] = <[String; 5]>::try_from(fields).ok()?;
        let fits = [host, port, database, user].iter().zip(wanted).all(|(f, w)| f == "*" || f == w);
        fits.then_some(password)
    })
}

fn url_pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or("a part of the URL after ? that is not keyword=value")?;
            Ok((percent_decode(key)?, percent_decode(value)?))
        })
        .collect()
}

fn percent_decode(text: &str) -> Result<String, String> {
    let wrong = || "a percent sign in the URL that is not followed by two hexadecimal digits".to_string();
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).ok_or_else(wrong);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(out).map_err(|_| "the URL is not UTF-8".to_string())
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|b| {
            let plain = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/' | b':');
            if plain { char::from(b).to_string() } else { format!("%{b:02X}") }
        })
        .collect()
}

/// `key = value` pairs; values may be quoted with ' and escaped with \.
fn key_values(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut key = String::new();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '=') {
            key.push(c);
        }
        if key.is_empty() && chars.peek().is_none() {
            return Ok(pairs);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            // The word is not shown: it may be a piece of a password.
            return Err(
                "not a connection string: a keyword without \"=\"; write postgresql://user@host/db or key=value pairs"
                    .to_string(),
            );
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some('\\') => value.extend(chars.next()),
                Some(c) => value.push(c),
                None if quoted => return Err("not a connection string: a quote that is not closed".to_string()),
                None => break,
            }
        }
        pairs.push((key, value));
    }
}

#[cfg(test)]
#[path = "libpq_tests.rs"]
mod tests;
