//! [`Connection`] -> a live client, or the settings of the replication transport. Both speak to the same server as the
//! same user, with the same settings of the session.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use pgwire_replication::{ReplicationConfig, SslMode as WireSslMode, TlsConfig};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::tls;
use crate::config::{Connection, SslMode, TlsSettings};

/// What values look like must not depend on how a role or the server is set up. And the server is to notice soon that
/// our machine is gone: the writer's lock and the slot are held until then.
const SESSION: &str = "-c DateStyle=ISO,YMD -c IntervalStyle=postgres -c extra_float_digits=3 -c TimeZone=UTC \
                       -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 \
                       -c tcp_user_timeout=30000";
/// Unless the URL says otherwise: how long a connection attempt takes at most.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For logging in, after the connection is made.
const LOGIN_LIMIT: Duration = Duration::from_secs(10);
/// Unless the URL says otherwise: our side notices a machine that is gone after about this long, sending or silent.
const DEAD_PEER: Duration = Duration::from_secs(30);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// What the client library has where the URL says nothing.
const LIBRARY_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Why there is no connection. One line that names the place and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {place}: {problem}")]
pub struct ConnectError {
    place: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}; is PostgreSQL running and listening there?")]
    Unreachable(String),
    #[error("{0}; set password_file, PGPASSWORD or ~/.pgpass, and check the role and pg_hba.conf")]
    Refused(String),
    #[error("{0}; check the database name in url")]
    UnknownDatabase(String),
    #[error("TLS: {0}; check sslmode and sslrootcert, and the server's ssl settings")]
    Tls(String),
    #[error("{0}; the server is not ready, try again")]
    Busy(String),
    #[error("{0}")]
    Other(String),
}

impl ConnectError {
    /// Whether trying again later may help without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.problem, Problem::Unreachable(_) | Problem::Busy(_))
    }

    /// It was reached and cannot serve now.
    pub fn is_busy(&self) -> bool {
        matches!(self.problem, Problem::Busy(_))
    }

    /// Nobody answers there; else it is the server that says no.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.problem, Problem::Unreachable(_))
    }

    fn new(place: String, error: &tokio_postgres::Error) -> Self {
        let cause = error.source().map_or_else(|| error.to_string(), one_line);
        let io_error = error.source().and_then(|e| e.downcast_ref::<io::Error>());
        let problem = match error.code() {
            Some(code) => {
                let message = error.as_db_error().map_or(cause, crate::told::server);
                match *code {
                    SqlState::INVALID_PASSWORD
                    | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                    | SqlState::INSUFFICIENT_PRIVILEGE => Problem::Refused(message),
                    SqlState::INVALID_CATALOG_NAME => Problem::UnknownDatabase(message),
                    SqlState::CANNOT_CONNECT_NOW
                    | SqlState::TOO_MANY_CONNECTIONS
                    | SqlState::ADMIN_SHUTDOWN
                    | SqlState::CRASH_SHUTDOWN => Problem::Busy(message),
                    _ if ["08", "53", "57"].iter().any(|class| code.code().starts_with(class)) => {
                        Problem::Busy(message)
                    }
                    _ => Problem::Other(message),
                }
            }
            // A server that stops in the middle of a handshake is no fault of the certificates.
            None if io_error.is_some_and(|e| was_cut(e.kind())) => Problem::Unreachable(cause),
            None if error.to_string().contains("TLS") => Problem::Tls(tls::in_words(&cause)),
            None if io_error.is_some() || error.is_closed() => Problem::Unreachable(cause),
            None if error.to_string().starts_with("error connecting") => Problem::Unreachable(cause),
            None if cause.contains("password missing") => {
                Problem::Refused("the server asks for a password".to_string())
            }
            None => Problem::Other(cause),
        };
        Self { place, problem }
    }
}

fn was_cut(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// An error with its causes.
fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text.replace('\n', "; ")
}

impl Connection {
    /// Where and as whom, for messages.
    pub fn place(&self) -> String {
        format!("{}:{} database {:?} as {:?}", self.host(), self.port(), self.database(), self.user())
    }

    fn session_options(&self) -> String {
        match self.pg.get_options() {
            Some(own) => format!("{own} {SESSION}"),
            None => SESSION.to_string(),
        }
    }

    /// Connects. The connection lives in a task of its own and ends when the client is dropped.
    ///
    /// # Errors
    /// [`ConnectError`]: one line that says where, what and what to do.
    pub async fn connect(&self, application_name: &str) -> Result<Client, ConnectError> {
        let limit = self.pg.get_connect_timeout().copied().unwrap_or(CONNECT_LIMIT) + LOGIN_LIMIT;
        tokio::time::timeout(limit, self.connect_unlimited(application_name)).await.unwrap_or_else(|_| {
            let said = format!("no answer within {} s", limit.as_secs());
            Err(ConnectError { place: self.place(), problem: Problem::Unreachable(said) })
        })
    }

    async fn connect_unlimited(&self, application_name: &str) -> Result<Client, ConnectError> {
        let mut pg = self.pg.clone();
        pg.options(self.session_options()).application_name(application_name);
        notice_dead_peers(&mut pg);
        let failed = |e: tokio_postgres::Error| ConnectError::new(self.place(), &e);
        // Two arms, since the two connections are different types.
        if self.tls.mode == SslMode::Disable {
            let (client, connection) = pg.connect(NoTls).await.map_err(failed)?;
            spawn(connection);
            return Ok(client);
        }
        let tls = tls::client_config(&self.tls)
            .map_err(|message| ConnectError { place: self.place(), problem: Problem::Tls(message) })?;
        let (client, connection) =
            pg.connect(tokio_postgres_rustls::MakeRustlsConnect::new(tls)).await.map_err(failed)?;
        spawn(connection);
        Ok(client)
    }

    /// Settings of a replication connection to the same place; names as in the catalogue.
    pub fn replication(&self, slot: &str, publication: &str, application_name: &str) -> ReplicationConfig {
        let password = self.pg.get_password().map(|p| String::from_utf8_lossy(p).into_owned()).unwrap_or_default();
        // libpq connects to hostaddr where there is one, and checks the certificate against host.
        let address = self.pg.get_hostaddrs().first().map_or_else(|| self.host(), ToString::to_string);
        ReplicationConfig::new(address, self.user(), password, self.database(), slot, publication)
            .with_port(self.port())
            .with_tls(wire_tls(&self.tls, self.host()))
            .with_options(self.session_options())
            .with_application_name(application_name)
    }
}

fn notice_dead_peers(pg: &mut tokio_postgres::Config) {
    if pg.get_connect_timeout().is_none() {
        pg.connect_timeout(CONNECT_LIMIT);
    }
    if pg.get_tcp_user_timeout().is_none() {
        pg.tcp_user_timeout(DEAD_PEER);
    }
    if pg.get_keepalives_idle() == LIBRARY_IDLE {
        pg.keepalives_idle(KEEPALIVE_IDLE);
    }
    if pg.get_keepalives_interval().is_none() {
        pg.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if pg.get_keepalives_retries().is_none() {
        pg.keepalives_retries(KEEPALIVE_RETRIES);
    }
}

fn wire_tls(tls: &TlsSettings, host: String) -> TlsConfig {
    let mode = match tls.mode {
        SslMode::Disable => return TlsConfig::disabled(),
        SslMode::Prefer => WireSslMode::Prefer,
        SslMode::Require => WireSslMode::Require,
        SslMode::VerifyCa => WireSslMode::VerifyCa,
        SslMode::VerifyFull => WireSslMode::VerifyFull,
    };
    TlsConfig {
        mode,
        ca_pem_path: tls.root_cert.clone(),
        sni_hostname: Some(host),
        client_cert_pem_path: tls.client_cert.clone(),
        client_key_pem_path: tls.client_key.clone(),
    }
}

fn spawn<F>(connection: F)
where
    F: Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static,
{
    tokio::spawn(async move {
        // Whoever uses the client gets an error of their own; this is for the curious.
        if let Err(e) = connection.await {
            tracing::debug!(error = %crate::told::describe(&e), "database connection ended");
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use crate::config::parse_connection;

    #[test]
    fn the_transport_goes_to_the_same_place() {
        let text = "host=db.example hostaddr=10.0.0.1 port=5433 user=till dbname=pos password=pw sslmode=verify-ca \
                    sslrootcert=/root.crt options='-c work_mem=8MB'";
        let r = parse_connection(text, None, &|_| None).unwrap().replication("tillstream", "Mixed\"Case", "me");
        assert_eq!((r.host.as_str(), r.port, r.user.as_str(), r.database.as_str()), ("10.0.0.1", 5433, "till", "pos"));
        assert_eq!(r.password, "pw");
        assert_eq!((r.slot.as_str(), r.publication.names()), ("tillstream", &["Mixed\"Case".to_string()][..]));
        assert_eq!(r.tls.sni_hostname.as_deref(), Some("db.example"));
        assert_eq!(r.tls.ca_pem_path.as_deref(), Some(std::path::Path::new("/root.crt")));
        let options = r.options.unwrap();
        assert!(options.starts_with("-c work_mem=8MB ") && options.contains("TimeZone=UTC"), "{options}");
    }

    #[test]
    fn sockets_have_no_tls() {
        let c = parse_connection("host=/run/pg user=till dbname=pos sslmode=require", None, &|_| None).unwrap();
        let r = c.replication("s", "p", "me");
        assert!(r.is_unix_socket());
        assert!(!r.tls.mode.requires_tls());
    }

    #[tokio::test]
    async fn a_closed_port_is_said_in_one_line() {
        let c = parse_connection("postgresql://till@127.0.0.1:1/pos?sslmode=disable", None, &|_| None).unwrap();
        let e = c.connect("test").await.err().unwrap();
        assert!(e.is_transient());
        assert_eq!(
            e.to_string(),
            "cannot connect to 127.0.0.1:1 database \"pos\" as \"till\": Connection refused (os error 111); \
             is PostgreSQL running and listening there?"
        );
    }
}
