//! The server on the wire: HTTP/1.1 and HTTP/2 over TCP and TLS. The only place that sees hyper's server and rustls.
//!
//! ```no_run
//! use homeostat::apiserver::ApiServer;
//! use homeostat::apiserver::serve::{Certificates, ServeConfig};
//! use homeostat::clock::Clock;
//! use homeostat::store::MemoryStore;
//! use std::sync::Arc;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ApiServer::builder(Arc::new(MemoryStore::default())).start().await?;
//! let certificates = Certificates::generate(&Clock::system(), &["localhost", "127.0.0.1"])?;
//! let serving = ServeConfig::new("127.0.0.1:0".parse()?)
//!     .tls(certificates.server_tls())
//!     .start(server)
//!     .await?;
//! std::fs::write("kubeconfig", certificates.kubeconfig(&serving.url()))?;
//! serving.stop().await;
//! # Ok(()) }
//! ```

mod certificates;
mod compress;
mod connection;
mod dial;
mod pace;
mod stall;
mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use self::certificates::{CertificateError, Certificates};
pub use self::dial::TcpDialer;
pub use self::tls::{TlsConfig, TlsError};
use super::ApiServer;

/// How a server is served: where, and with which limits. The limits keep slow, stuck and greedy clients from hurting others.
#[derive(Clone, Debug)]
#[must_use]
pub struct ServeConfig {
    listen: SocketAddr,
    tls: Option<TlsConfig>,
    connections: usize,
    streams: u32,
    header_bytes: u32,
    first_request: Duration,
    idle: Duration,
    stall: Duration,
    grace: Duration,
    advertised: Option<IpAddr>,
}

impl ServeConfig {
    /// Serves at this address; port 0 picks a free one.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            connections: 10_000,
            streams: 250,
            header_bytes: 64 << 10,
            first_request: Duration::from_secs(32),
            idle: Duration::from_secs(90),
            stall: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            advertised: None,
        }
    }
    /// Serves over TLS. Default = in plain text, which is for loopback and for proxies that end TLS.
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }
    /// The most connections at a time; more are closed as they come. Default = 10,000.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }
    /// The most requests at a time on one HTTP/2 connection. Default = 250.
    pub fn max_streams(mut self, streams: u32) -> Self {
        self.streams = streams;
        self
    }
    /// The most bytes in the head of a request; a longer one is answered with 431. Default = 64 KiB.
    pub fn max_header_bytes(mut self, bytes: u32) -> Self {
        self.header_bytes = bytes;
        self
    }
    /// How long a client may take for the TLS handshake and for the head of a request. Default = 32 s.
    pub fn header_timeout(mut self, limit: Duration) -> Self {
        self.first_request = limit;
        self
    }
    /// How long a connection without a request is kept. Default = 90 s.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }
    /// How long a client may leave what was sent to it unread before it is cut off. Default = 60 s.
    pub fn stall_timeout(mut self, limit: Duration) -> Self {
        self.stall = limit;
        self
    }
    /// How long connections may take to end when the server stops. Default = 10 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// The address at which pods and others reach the server: the service `kubernetes` leads there, at the port that is listened
    /// on. Default = it leads nowhere.
    pub fn advertise(mut self, address: IpAddr) -> Self {
        self.advertised = Some(address);
        self
    }

    /// Listens, and serves `server` until [`Serving::stop`] or until the returned value is dropped. Must be called within a
    /// tokio runtime with I/O; not one whose clock is paused, which would jump whenever it waits for a socket.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(self, server: ApiServer) -> io::Result<Serving> {
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        if let Some(advertised) = self.advertised {
            let advertised = SocketAddr::new(advertised, address.port());
            if let Err(status) = server.advertise(advertised).await {
                tracing::warn!(%advertised, %status, "the service kubernetes leads nowhere");
            }
        }
        let (closing, closed) = watch::channel(false);
        let (scheme, grace) = (
            if self.tls.is_some() { "https" } else { "http" },
            self.grace,
        );
        let accepting = tokio::spawn(accept(listener, Arc::new(self), server.clone(), closed));
        Ok(Serving {
            server,
            address,
            scheme,
            grace,
            closing,
            accepting: Mutex::new(Some(accepting)),
        })
    }
}

/// A server on the wire. Dropped, it is cut off at once.
#[derive(Debug)]
pub struct Serving {
    server: ApiServer,
    address: SocketAddr,
    scheme: &'static str,
    grace: Duration,
    closing: watch::Sender<bool>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for clients: `https://127.0.0.1:6443`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Stops the server: takes no more connections, answers what is in flight, ends watches, closes. Connections that do not
    /// end within the grace are cut off. A second call returns at once.
    pub async fn stop(&self) {
        let Some(mut accepting) = self.accepting.lock().take() else {
            return;
        };
        self.closing.send_replace(true);
        self.server.stop().await;
        if tokio::time::timeout(self.grace, &mut accepting)
            .await
            .is_err()
        {
            tracing::warn!("connections were cut off when the server stopped");
            accepting.abort();
            // Its end is awaited, so that every connection is gone afterwards.
            let _cancelled = accepting.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().take() {
            accepting.abort();
        }
    }
}

/// Takes connections until the server closes; ends when all of them have ended.
async fn accept(
    listener: TcpListener,
    config: Arc<ServeConfig>,
    server: ApiServer,
    mut closed: watch::Receiver<bool>,
) {
    /// After a failed accept, which is mostly a lack of file descriptors.
    const PAUSE: Duration = Duration::from_millis(50);
    let room = Arc::new(Semaphore::new(config.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            tracing::warn!(%address, limit = config.connections, "too many connections, so this one is closed");
            continue;
        };
        let (config, server, closed) = (config.clone(), server.clone(), closed.clone());
        connections.spawn(async move {
            connection::serve(stream, address, place, &config, server, closed).await;
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    // On some of them another protocol than HTTP is spoken.
    let all = u32::try_from(config.connections).unwrap_or(u32::MAX);
    drop(room.acquire_many(all).await);
}
