//! `/healthz`, `/readyz` and `/metrics`, on a thread and a runtime of their own: they answer when the main runtime is stuck.
//!
//! What a peer can make it spend is bounded: connections, bytes of headers, and the time of each connection.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

use super::health::Health;
use super::metrics::Metrics;

const MAX_CONNECTIONS: usize = 32;
const MAX_HEADER_BYTES: usize = 8192;
const MAX_HEADERS: usize = 64;
/// For the headers of one request, which is also how long an unused connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole connection, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Before accepting again when that failed, e.g. with all file descriptors in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server. It stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds and answers from now on.
    ///
    /// # Errors
    /// The address cannot be bound, or no thread can be made.
    pub fn start(address: SocketAddr, health: Health, metrics: Metrics) -> io::Result<Server> {
        Self::start_with(address, health, metrics, HEADER_TIMEOUT)
    }

    fn start_with(address: SocketAddr, health: Health, metrics: Metrics, patience: Duration) -> io::Result<Server> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new((health, metrics));
        let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(listener, shared, patience) => {}
                    _ = stopped => {}
                }
            });
            // Connections still open are dropped with the runtime.
        })?;
        Ok(Server { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; tells the port that was chosen for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Shared = Arc<(Health, Metrics)>;

async fn accept(listener: TcpListener, shared: Shared, patience: Duration) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Taken before the connection: the rest waits in the kernel's queue, which is bounded too.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, serve(stream, shared, patience)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept an http connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Shared, patience: Duration) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = answer(request.method(), request.uri().path(), &shared.0, &shared.1);
        async move { Ok::<_, Infallible>(response) }
    });
    // A broken request is the peer's matter: hyper answers 400 or 431 where it can and closes.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(MAX_HEADER_BYTES * 2)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

fn answer(method: &Method, path: &str, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    let verdict = |well: &str, result: Result<(), super::health::Trouble>| match result {
        Ok(()) => plain(StatusCode::OK, format!("{well}\n")),
        Err(trouble) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("not {well}: {trouble}\n")),
    };
    if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return plain(StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned());
    }
    if method != Method::GET && method != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" => verdict("alive", health.alive()),
        "/readyz" => verdict("ready", health.ready()),
        _ => {
            if let Some(lag) = health.lag() {
                metrics.lag_seconds.set(lag.as_secs_f64());
            }
            match metrics.render() {
                Ok(text) => response(StatusCode::OK, PROMETHEUS, text),
                Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("cannot render the metrics: {error}\n")),
            }
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    response(status, TEXT, text)
}

fn response(status: StatusCode, content_type: HeaderValue, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
