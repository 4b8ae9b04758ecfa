//! What the daemon answers over HTTP: it does so also while the databases are away, or its main work is stuck.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(2);
/// Far more than it ever says.
const LONGEST: u64 = 1 << 20;

/// Both are a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// `None`: alive; else why it is not.
    pub stuck: Option<String>,
    /// "ready", or what is missing.
    pub ready: String,
}

/// `None` where nobody answers, for whatever reason.
pub(super) async fn ask(listen: Option<SocketAddr>) -> Option<Answer> {
    let address = reachable(listen)?;
    let (status, alive) = get(address, "/healthz").await?;
    let (_, ready) = get(address, "/readyz").await?;
    let line = |text: String| text.lines().next().unwrap_or_default().to_string();
    Some(Answer { stuck: (status != 200).then(|| line(alive)), ready: line(ready) })
}

/// All its figures; `None` where nobody answers.
pub(in crate::commands) async fn metrics(listen: Option<SocketAddr>) -> Option<String> {
    let (status, text) = get(reachable(listen)?, "/metrics").await?;
    (status == 200).then_some(text)
}

fn reachable(listen: Option<SocketAddr>) -> Option<SocketAddr> {
    let mut address = listen.filter(|address| address.port() != 0)?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Some(address)
}

async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = Vec::new();
        stream.take(LONGEST).read_to_end(&mut text).await.ok()?;
        let text = String::from_utf8(text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((status, body.to_string()))
    };
    tokio::time::timeout(LIMIT, talk).await.ok()?
}
