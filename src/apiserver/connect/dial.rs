//! How connections out of the API server are opened: the one seam, so that nodes may be in this process.
use std::fmt::{self, Debug, Display, Formatter};
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// The server of a node's agent, which wants to know who calls: over TLS, with the API server's client certificate.
    Node {
        /// The node's name.
        name: String,
        /// Its address, from its status.
        host: String,
        /// The port of its agent, from its status.
        port: u16,
    },
    /// Something that listens on an address: a pod, an endpoint of a service, a port of a node.
    Address {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// Whether it speaks TLS.
        tls: bool,
    },
}

impl Target {
    /// Host and port, as a URL has them.
    pub(crate) fn authority(&self) -> String {
        let (Self::Node { host, port, .. } | Self::Address { host, port, .. }) = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Node { .. } | Self::Address { tls: true, .. } => "https",
            Self::Address { .. } => "http",
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

/// Opens connections to nodes, pods and services. `serve::TcpDialer` does it over the network; a cluster in one process
/// leads to its own nodes without sockets.
#[async_trait]
pub trait Dialer: Debug + Send + Sync + 'static {
    /// Opens a connection, past any TLS: what is written is HTTP.
    ///
    /// # Errors
    /// When it cannot be opened; the message names what was tried: `dial tcp 10.0.0.1:10250: connect: connection refused`.
    async fn dial(&self, target: &Target) -> io::Result<Box<dyn Connection>>;
}
