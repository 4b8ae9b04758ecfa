#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::TcpStream as StdStream;
use std::time::Instant;

use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::ops::health::Limits;

fn server() -> (Server, Health, Metrics) {
    let health = Health::new(Limits::default());
    let metrics = Metrics::new("1.2.3", "abc").unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start_with(any, health.clone(), metrics.clone(), Duration::from_millis(300)).unwrap();
    (server, health, metrics)
}

/// Sends these bytes and reads until the server closes. A reset instead of an answer is an empty answer.
fn talk(server: &Server, bytes: &[u8]) -> String {
    let mut stream = StdStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "neither answered nor closed");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(server: &Server, path: &str) -> String {
    talk(server, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

#[test]
fn tells_health_and_readiness_apart() {
    let (server, health, _) = server();
    let answer = get(&server, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("alive\n"), "{answer}");
    let answer = get(&server, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("not ready: the stream is not live\n"), "{answer}");
    health.set_stream_live(true);
    health.set_lag(Duration::from_secs(2));
    assert!(get(&server, "/readyz?verbose").starts_with("HTTP/1.1 200"));
    health.set_lag(Duration::from_secs(100));
    assert!(get(&server, "/readyz").contains("the reports are 100 s behind, the limit is 60 s"));
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn shows_the_metrics_with_the_lag_of_health() {
    let (server, health, metrics) = server();
    metrics.transactions(true).inc_by(5);
    health.set_lag(Duration::from_millis(1500));
    let answer = get(&server, "/metrics");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\ntillstream_transactions_total{state=\"live\"} 5\n"), "{answer}");
    assert!(answer.contains("\ntillstream_lag_seconds 1.5\n"), "{answer}");
}

#[test]
fn other_paths_and_methods_are_refused() {
    let (server, _, _) = server();
    assert!(get(&server, "/").starts_with("HTTP/1.1 404"));
    let post = talk(&server, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"), "{post}");
    let head = talk(&server, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn answers_while_the_main_runtime_is_stuck() {
    let stuck = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    stuck.block_on(async {
        let (server, _, _) = server();
        // No await from here on: nothing this runtime owns can make progress.
        assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_slow_or_silent_peer_is_cut_off() {
    let (server, _, _) = server();
    let begun = Instant::now();
    let answer = talk(&server, b"GET /metrics HTT");
    assert!(!answer.contains("200 OK"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn silent_peers_do_not_keep_others_out_for_long() {
    let (server, _, _) = server();
    let silent: Vec<_> = (0..MAX_CONNECTIONS * 2).map(|_| StdStream::connect(server.address()).unwrap()).collect();
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200"));
    drop(silent);
}

#[test]
fn large_headers_are_refused() {
    let (server, _, _) = server();
    let big = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(MAX_HEADER_BYTES * 4));
    assert!(!talk(&server, big.as_bytes()).contains("200 OK"));
    let many = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
    assert!(!talk(&server, many.as_bytes()).contains("200 OK"));
    assert!(get(&server, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn survives_any_bytes() {
    let (server, _, _) = server();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..60 {
        let mut bytes = vec![0; random.random_range(0..2000)];
        random.fill_bytes(&mut bytes);
        if random.random_bool(0.5) {
            bytes.splice(0..0, b"GET /metrics HTTP/1.1\r\n".iter().copied());
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        talk(&server, &bytes);
    }
    assert!(get(&server, "/metrics").starts_with("HTTP/1.1 200"));
}

#[test]
fn stops_when_dropped_even_with_open_connections() {
    let (server, _, _) = server();
    let address = server.address();
    let _open = StdStream::connect(address).unwrap();
    drop(server);
    assert!(StdStream::connect(address).is_err());
}

#[test]
fn an_address_in_use_is_an_error() {
    let (first, health, metrics) = server();
    assert!(Server::start(first.address(), health, metrics).is_err());
}
