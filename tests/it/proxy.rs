//! A network that can be cut: a TCP proxy between the daemon and its server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    Up,
    /// Open ones are cut, new ones are cut at once.
    Cut,
    /// Nothing gets through any more, and nobody is told. Ends for a connection with its being cut.
    Silent,
}

pub struct Proxy {
    pub address: SocketAddr,
    server: Arc<AtomicU16>,
    network: watch::Sender<Network>,
}

impl Proxy {
    pub async fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let address = listener.local_addr().expect("address");
        let (network, state) = watch::channel(Network::Up);
        let server = Arc::new(AtomicU16::new(server));
        let leads_to = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, leads_to.load(Ordering::Relaxed), state.clone()));
            }
        });
        Proxy { address, server, network }
    }

    /// New connections go to another server.
    pub fn lead_to(&self, server: u16) {
        self.server.store(server, Ordering::Relaxed);
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn pass(mut near: TcpStream, server: u16, mut state: watch::Receiver<Network>) {
    if *state.borrow_and_update() == Network::Up {
        let Ok(mut far) = TcpStream::connect(("127.0.0.1", server)).await else { return };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
            _ = state.changed() => {}
        }
        if *state.borrow() == Network::Silent {
            let _ = state.changed().await;
        }
    } else if *state.borrow() == Network::Silent {
        let _ = state.changed().await;
    }
}
