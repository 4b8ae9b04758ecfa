#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn read(text: &str) -> Result<Connection, String> {
    connection(text, None, &|_| None)
}

#[test]
fn urls_and_key_values_mean_the_same() {
    let url = read("postgresql://tillstream@db.example:5433/pos?sslmode=disable&connect_timeout=3").unwrap();
    let pairs =
        read("host=db.example port = 5433 user='tillstream' dbname=pos sslmode=disable connect_timeout=3").unwrap();
    assert_eq!(url, pairs);
    assert_eq!(url.pg.get_ports(), [5433]);
    assert_eq!(url.tls.mode, SslMode::Disable);
}

#[test]
fn socket_directories_never_use_tls() {
    for text in [
        "postgresql://till@/pos?host=/run/pg&port=5433&sslmode=verify-full",
        "postgresql://till@%2Frun%2Fpg:5433/pos",
        "host=/run/pg port=5433 user=till dbname=pos",
    ] {
        let c = read(text).unwrap();
        assert_eq!(c.pg.get_hosts(), [Host::Unix("/run/pg".into())], "{text}");
        assert_eq!(c.pg.get_ports(), [5433], "{text}");
        assert_eq!(c.tls.mode, SslMode::Disable, "{text}");
    }
}

#[test]
fn defaults_come_from_the_environment() {
    let env = |name: &str| match name {
        "PGHOST" => Some("db".to_string()),
        "PGPORT" => Some("6000".to_string()),
        "PGUSER" => Some("me".to_string()),
        "PGPASSWORD" => Some("secret word".to_string()),
        _ => None,
    };
    let c = connection("postgresql://", None, &env).unwrap();
    assert_eq!(c.pg.get_hosts(), [Host::Tcp("db".to_string())]);
    assert_eq!((c.pg.get_ports(), c.pg.get_user(), c.pg.get_dbname()), (&[6000][..], Some("me"), Some("me")));
    assert_eq!(c.pg.get_password(), Some("secret word".as_bytes()));
    assert!(!format!("{c:?}").contains("secret"), "{c:?}");
    // The configured file is more particular than the environment, the URL more than both.
    let from_file = connection("postgresql://db", Some("file".to_string()), &env).unwrap();
    assert_eq!(from_file.pg.get_password(), Some("file".as_bytes()));
    let in_url = connection("postgresql://me:url@db", Some("file".to_string()), &env).unwrap();
    assert_eq!(in_url.pg.get_password(), Some("url".as_bytes()));
}

#[test]
fn passfile_entries() {
    let text = "# comment\nother:*:*:*:no\ndb:5432:pos:t\\:ill:a\\:b:c\n*:*:*:*:any";
    assert_eq!(passfile_entry(text, ["db", "5432", "pos", "t:ill"]), Some("a:b:c".to_string()));
    assert_eq!(passfile_entry(text, ["db", "5433", "pos", "till"]), Some("any".to_string()));
    assert_eq!(passfile_entry("db:5432:pos", ["db", "5432", "pos", "till"]), None);
}

#[test]
fn a_passfile_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pgpass");
    std::fs::write(&file, "*:*:*:*:pw\n").unwrap();
    let env = |name: &str| (name == "PGPASSFILE").then(|| file.display().to_string());
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(connection("host=db", None, &env).unwrap().pg.get_password(), Some("pw".as_bytes()));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(connection("host=db", None, &env).unwrap_err().contains("chmod 600"));
}

#[test]
fn tls_settings() {
    assert_eq!(read("host=db").unwrap().tls.mode, SslMode::Prefer);
    assert_eq!(read("host=db sslmode=require").unwrap().tls.mode, SslMode::Require);
    // A root certificate is there to be checked against.
    let c = read("postgresql://db/x?sslmode=require&sslrootcert=/a%20b/root.crt").unwrap();
    assert_eq!((c.tls.mode, c.tls.root_cert), (SslMode::VerifyCa, Some("/a b/root.crt".into())));
    assert!(read("host=db sslmode=verify-full").unwrap_err().contains("sslrootcert"));
    assert!(read("host=db sslcert=/c.pem").unwrap_err().contains("sslkey"));
    assert!(read("host=db sslmode=sometimes").unwrap_err().contains("sometimes"));
}

#[test]
fn wrong_strings_are_refused_without_showing_secrets() {
    for text in
        ["pos", "host=a,b", "host=db slmode=disable", "host='db", "postgresql://db:port/x", "postgresql://db/x?a"]
    {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read("host=db slmode=disable").unwrap_err().contains("did you mean \"sslmode\""));
    assert!(!read("password=my secret").unwrap_err().contains("secret"));
    assert!(!read("postgresql://me:sec%ret@db").map_or_else(|e| e, |_| String::new()).contains("sec"));
}

#[test]
fn a_service_stands_between_the_string_and_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("services");
    std::fs::write(&file, "[pos]\nhost=db.example\nport=5433\nuser=till\npassword=secret word\nsslmode=require\n")
        .unwrap();
    let env = |name: &str| match name {
        "PGSERVICEFILE" => Some(file.display().to_string()),
        "PGPORT" => Some("7000".to_string()),
        "PGDATABASE" => Some("shop".to_string()),
        _ => None,
    };
    for text in ["service=pos user=other", "postgresql://other@/?service=pos"] {
        let c = connection(text, None, &env).unwrap();
        assert_eq!(c.pg.get_hosts(), [Host::Tcp("db.example".to_string())], "{text}");
        assert_eq!((c.pg.get_ports(), c.pg.get_user(), c.pg.get_dbname()), (&[5433][..], Some("other"), Some("shop")));
        assert_eq!((c.tls.mode, c.pg.get_password()), (SslMode::Require, Some("secret word".as_bytes())));
    }
    let by_variable = |name: &str| if name == "PGSERVICE" { Some("pos".to_string()) } else { env(name) };
    assert_eq!(connection("dbname=x", None, &by_variable).unwrap().pg.get_user(), Some("till"));
    let unknown = connection("service=elsewhere", None, &env).unwrap_err();
    assert!(unknown.contains("no definition of service \"elsewhere\"") && unknown.contains("services"), "{unknown}");
    // A file named in the string is looked into first; one that cannot be read is told.
    let gone = connection("service=pos servicefile=/nowhere/services", None, &env).unwrap_err();
    assert!(gone.contains("/nowhere/services"), "{gone}");
    std::fs::write(dir.path().join("pg_service.conf"), "[pos]\nhost=of.the.system\n").unwrap();
    let system = |name: &str| (name == "PGSYSCONFDIR").then(|| dir.path().display().to_string());
    let c = connection("service=pos user=till", None, &system).unwrap();
    assert_eq!(c.pg.get_hosts(), [Host::Tcp("of.the.system".to_string())]);
}

#[test]
fn other_variables_of_libpq() {
    let env = |name: &str| match name {
        "PGHOSTADDR" => Some("10.0.0.7".to_string()),
        "PGOPTIONS" => Some("-c work_mem=8MB".to_string()),
        "PGCONNECT_TIMEOUT" => Some("3".to_string()),
        "PGCHANNELBINDING" => Some("require".to_string()),
        _ => None,
    };
    let c = connection("user=till", None, &env).unwrap();
    assert_eq!(c.pg.get_hostaddrs(), ["10.0.0.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(
        (c.pg.get_options(), c.pg.get_connect_timeout()),
        (Some("-c work_mem=8MB"), Some(&Duration::from_secs(3)))
    );
    assert_eq!(c.pg.get_channel_binding(), ChannelBinding::Require);
    assert!(read("host=db channel_binding=maybe").unwrap_err().contains("maybe"));
}

#[test]
fn a_password_with_a_question_mark_is_not_shown_in_part() {
    assert!(!read("postgresql://me:sec?ret@db/pos").unwrap_err().contains("ret@"));
}
