//! Encrypted connections to a server that insists on them: every sslmode, client certificates, and each way in which it
//! can go wrong with a message of its own. Always for both connections: SQL and replication.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tillstream::config::{Connection, parse_connection};
use tillstream::demo::postgres::{Postgres, StartOptions, StopMode};
use tillstream::lsn::Lsn;
use tillstream::source::Stream;

use crate::harness::{Daemon, TestDb, connect, wait_until};

const PASSWORD: &str = "open sesame";

/// A server of its own with certificates made for it.
struct Server {
    postgres: Postgres,
    dir: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Server {
    async fn start() -> Server {
        let mut postgres = Postgres::start(StartOptions { tcp: true, ..StartOptions::default() }).unwrap();
        let server = connect(&postgres.url("postgres")).await;
        server
            .batch_execute(&format!(
                "CREATE ROLE till LOGIN REPLICATION PASSWORD '{PASSWORD}'; CREATE ROLE card LOGIN REPLICATION;
                 CREATE PUBLICATION p"
            ))
            .await
            .unwrap();
        server.batch_execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let authority = authority("Till CA");
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        postgres.stop(StopMode::Fast).unwrap();
        let data = postgres.data_dir();
        std::fs::write(
            data.join("pg_hba.conf"),
            "local all all trust\nhostssl all card all cert\nhostssl all all all scram-sha-256\nhostnossl all all all reject\n",
        )
        .unwrap();
        std::fs::write(data.join("ca.pem"), authority.pem()).unwrap();
        let server = Server { postgres, dir, authority };
        server.certify(&["localhost"], false);
        let settings =
            [("ssl", "on"), ("ssl_cert_file", "till.pem"), ("ssl_key_file", "till.key"), ("ssl_ca_file", "ca.pem")];
        let settings: Vec<_> = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        server.postgres.configure(&settings).unwrap();
        let mut server = server;
        server.postgres.start_again().unwrap_or_else(|e| panic!("{e}\n{}", server.postgres.log_tail()));
        server
    }

    /// Gives the server a certificate for these names.
    fn certify(&self, names: &[&str], expired: bool) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let data = self.postgres.data_dir();
        let owner = std::fs::metadata(&data).unwrap();
        for (file, text) in [("till.pem", certificate.pem()), ("till.key", key.serialize_pem())] {
            let path = data.join(file);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        for file in ["ca.pem", "pg_hba.conf"] {
            std::fs::set_permissions(data.join(file), std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    }

    /// Files of a client's certificate for this role.
    fn client_certificate(&self, role: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, role);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let path = |name: &str| self.dir.path().join(format!("{role}.{name}"));
        std::fs::write(path("pem"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("pem"), path("key"))
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The server is reached at 127.0.0.1, whatever `host` it is checked against.
    fn connection(&self, host: &str, mode: &str, more: &str) -> Connection {
        let password = if more.contains("password=") { String::new() } else { format!("password='{PASSWORD}'") };
        let user = if more.contains("user=") { "" } else { "user=till" };
        let port = self.postgres.port();
        let text = format!(
            "host={host} hostaddr=127.0.0.1 port={port} {user} dbname=postgres sslmode={mode} {password} {more}"
        );
        parse_connection(&text, None, &|_| None).unwrap()
    }

    async fn admin(&self) -> tokio_postgres::Client {
        connect(&self.postgres.url("postgres")).await
    }
}

/// What both connections say against it.
async fn refused(connection: &Connection) -> [String; 2] {
    let sql = connection.connect("tls test").await.err().map(|e| e.to_string());
    let stream = Stream::open(connection.replication("s", "p", "tls test"), Lsn::ZERO).await.err();
    let stream = stream.map(|e| e.to_string());
    [sql.expect("the sql connection is made"), stream.expect("the stream is opened")]
}

/// Both connections are made, encrypted.
async fn accepted(server: &Server, connection: &Connection, context: &str) {
    let client = connection.connect("tls test").await.unwrap_or_else(|e| panic!("{context}: {e}"));
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(client.query_one(encrypted, &[]).await.unwrap().get::<_, bool>(0), "{context}");
    let (mut stream, _) = Stream::open(connection.replication("s", "p", "tls test"), Lsn::ZERO)
        .await
        .unwrap_or_else(|e| panic!("{context}: {e}"));
    let admin = server.admin().await;
    let encrypted = "SELECT bool_and(s.ssl) FROM pg_stat_replication r JOIN pg_stat_ssl s USING (pid)";
    let encrypted: Option<bool> = admin.query_one(encrypted, &[]).await.unwrap().get(0);
    assert_eq!(encrypted, Some(true), "{context}");
    stream.end().await;
    // The slot is let go a moment later.
    wait_until("the slot is free", Duration::from_secs(10), async || {
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 's'";
        !admin.query_one(active, &[]).await.unwrap().get::<_, bool>(0)
    })
    .await;
}

fn root(path: &Path) -> String {
    format!("sslrootcert={}", path.display())
}

#[tokio::test]
async fn each_mode_and_each_mistake() {
    let server = Server::start().await;
    let ca = root(&server.ca());

    for mode in ["prefer", "require"] {
        accepted(&server, &server.connection("other.example", mode, ""), mode).await;
    }
    // As libpq does: with a root certificate require checks the chain.
    accepted(&server, &server.connection("localhost", "require", &ca), "require with a root").await;
    accepted(&server, &server.connection("localhost", "verify-ca", &ca), "verify-ca").await;
    // The name is no matter of verify-ca; the replication transport insists on it all the same, and says so.
    let misnamed = server.connection("other.example", "verify-ca", &ca);
    misnamed.connect("tls test").await.unwrap();
    let said = Stream::open(misnamed.replication("s", "p", "tls test"), Lsn::ZERO).await.err().unwrap().to_string();
    assert!(said.contains("not valid for name \"other.example\"") && said.contains("hostaddr"), "{said}");
    accepted(&server, &server.connection("localhost", "verify-full", &ca), "verify-full").await;

    let cases = |connection: Connection, words: &'static [&'static str]| (connection, words);
    let other = server.dir.path().join("other.pem");
    std::fs::write(&other, authority("Another CA").pem()).unwrap();
    let nowhere = server.dir.path().join("nowhere.pem");
    let other = root(&other);
    for (connection, words) in [
        cases(server.connection("localhost", "disable", ""), &["pg_hba.conf", "no encryption"]),
        cases(server.connection("localhost", "verify-ca", &other), &["not signed by", "sslrootcert"]),
        cases(server.connection("localhost", "verify-full", &other), &["not signed by", "sslrootcert"]),
        cases(server.connection("other.example", "verify-full", &ca), &["not valid for", "other.example"]),
        cases(server.connection("localhost", "verify-full", &root(&nowhere)), &["nowhere.pem"]),
        cases(
            server.connection("localhost", "verify-full", &format!("{ca} password=wrong")),
            &["password authentication failed"],
        ),
    ] {
        for said in refused(&connection).await {
            assert!(words.iter().all(|word| said.contains(word)), "{words:?} is not in: {said}");
            assert!(!said.contains(PASSWORD) && !said.contains('\n'), "{said}");
        }
    }

    // A role that has to show a certificate.
    let (cert, key) = server.client_certificate("card");
    let (wrong_cert, wrong_key) = server.client_certificate("till");
    let mine = |cert: &Path, key: &Path| format!("{ca} user=card sslcert={} sslkey={}", cert.display(), key.display());
    accepted(&server, &server.connection("localhost", "verify-full", &mine(&cert, &key)), "client certificate").await;
    for (more, word) in [
        (format!("{ca} user=card"), "certificate"),
        (mine(&wrong_cert, &wrong_key), "certificate authentication failed"),
    ] {
        for said in refused(&server.connection("localhost", "verify-full", &more)).await {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }

    // Where the client library can, the password's proof is bound to this very channel.
    let bound = server.connection("localhost", "verify-full", &format!("{ca} channel_binding=require"));
    bound.connect("tls test").await.unwrap();

    server.certify(&["localhost"], true);
    server.admin().await.execute("SELECT pg_reload_conf()", &[]).await.unwrap();
    let expired = server.connection("localhost", "verify-full", &ca);
    wait_until("the server shows its new certificate", Duration::from_secs(10), async || {
        expired.connect("tls test").await.is_err()
    })
    .await;
    for said in refused(&expired).await {
        assert!(said.contains("expired"), "{said}");
    }
    accepted(&server, &server.connection("localhost", "require", ""), "require does not look at the certificate").await;
}

#[tokio::test]
async fn a_server_without_tls() {
    let postgres = Postgres::start(StartOptions { tcp: true, ..StartOptions::default() }).unwrap();
    let connection = |mode: &str| {
        let url = format!("{}?sslmode={mode}", postgres.tcp_url("postgres"));
        parse_connection(&url, None, &|_| None).unwrap()
    };
    let admin = connect(&postgres.url("postgres")).await;
    admin.batch_execute("CREATE PUBLICATION p").await.unwrap();
    admin.batch_execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')").await.unwrap();
    connection("prefer").connect("tls test").await.unwrap();
    let (mut stream, _) =
        Stream::open(connection("prefer").replication("s", "p", "tls test"), Lsn::ZERO).await.unwrap();
    stream.end().await;
    for said in refused(&connection("require")).await {
        assert!(said.contains("server does not support TLS"), "{said}");
    }
}

/// The whole daemon, its place from a service file, its password from .pgpass, everything encrypted and verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_follows_over_tls_and_tells_what_is_wrong() {
    let server = Server::start().await;
    server.admin().await.batch_execute("ALTER ROLE till SUPERUSER").await.unwrap();
    let db = TestDb::on(&server.postgres).await;
    db.create_store("tenant_a").await;
    let file = |name: &str, text: String, mode: u32| {
        let path = server.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let (port, name) = (server.postgres.port(), &db.name);
    let service = |host: &str, ca: &Path| {
        format!(
            "[pos]\nhost={host}\nhostaddr=127.0.0.1\nport={port}\nuser=till\nsslmode=verify-full\nsslrootcert={}\n",
            ca.display()
        )
    };
    let services = file("services", service("localhost", &server.ca()), 0o644);
    let passwords = file("pgpass", format!("localhost:{port}:{name}:till:{PASSWORD}\n"), 0o600);
    let config = db.daemon_toml(&format!("[source]\nurl = 'service=pos dbname={name}'\n"));
    let env = [("PGSERVICEFILE", services.as_str()), ("PGPASSFILE", passwords.as_str())];
    let mut once = Daemon::run_with(&config, &["--once"], &env);
    assert!(once.ended(Duration::from_secs(60)).await.success(), "{}", once.log());

    let other = server.dir.path().join("other.pem");
    std::fs::write(&other, authority("Another CA").pem()).unwrap();
    for (services, passwords, why) in [
        (service("localhost", &other), format!("*:*:*:till:{PASSWORD}\n"), "not signed by any of those in sslrootcert"),
        (service("other.example", &server.ca()), format!("*:*:*:till:{PASSWORD}\n"), "not valid for name"),
        (service("localhost", &server.ca()), "*:*:*:till:sesame\n".to_string(), "password authentication failed"),
        (service("localhost", &server.ca()), "*:*:other:till:sesame\n".to_string(), "the server asks for a password"),
    ] {
        let env =
            [("PGSERVICEFILE", file("services", services, 0o644)), ("PGPASSFILE", file("pgpass", passwords, 0o600))];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut refused = Daemon::run_with(&config, &[], &env);
        assert_eq!(refused.ended(Duration::from_secs(60)).await.code(), Some(2), "{}", refused.log());
        let log = refused.log();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.starts_with("tillstream: cannot connect to") && last.contains(why), "{why} is not in: {last}");
        assert!(!log.contains(PASSWORD) && !log.contains("sesame"), "{log}");
    }
    drop(db);
}
