//! The node's server on the network, over TLS.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::NodeServer;
use super::auth::{Caller, User};

/// How long a caller may take for the handshake.
const PATIENCE: Duration = Duration::from_secs(30);
/// More connections at a time are closed as they come.
const MOST: usize = 1000;

/// Why a node's server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeServingError {
    /// A PEM text does not hold what it should.
    #[error("no {what} in PEM form: {source}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not fit, or an authority cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(String),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Generate(#[from] rcgen::Error),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What the server shows to its callers.
#[derive(Clone, Debug)]
pub struct ServingCertificate {
    certificate: String,
    key: Secret,
}

#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl ServingCertificate {
    /// This certificate chain and private key, both in PEM.
    pub fn from_pem(certificate: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            certificate: certificate.into(),
            key: Secret(key.into()),
        }
    }

    /// A new certificate that is signed by nobody else, as the kubelet makes one when it has none. API servers take it
    /// unless they were told to check.
    ///
    /// # Errors
    /// When a name is neither a DNS name nor an address.
    pub fn self_signed(node: &str, names: &[String]) -> Result<Self, NodeServingError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, format!("system:node:{node}"));
        subject.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name = subject;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self::from_pem(certificate, key.serialize_pem()))
    }
}

/// How a node's server is served.
#[derive(Clone, Debug)]
#[must_use]
pub struct NodeServerConfig {
    listen: SocketAddr,
    certificate: ServingCertificate,
    client_authorities: Option<Vec<u8>>,
}

impl NodeServerConfig {
    /// Serves at this address, on a node usually port 10250; port 0 picks a free one.
    pub fn new(listen: SocketAddr, certificate: ServingCertificate) -> Self {
        Self {
            listen,
            certificate,
            client_authorities: None,
        }
    }

    /// Knows callers by certificates that one of these authorities (PEM) has signed. Default = only by tokens.
    pub fn client_authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.client_authorities = Some(pem.into());
        self
    }

    /// Listens, and serves until [`NodeServing::stop`] or until the returned value is dropped.
    ///
    /// # Errors
    /// See [`NodeServingError`].
    pub async fn start(self, server: NodeServer) -> Result<NodeServing, NodeServingError> {
        let tls = Arc::new(self.tls()?);
        let address = self.listen;
        let failed = |source| NodeServingError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(tls), server));
        Ok(NodeServing {
            address,
            accepting: Mutex::new(Some(accepting)),
        })
    }

    fn tls(&self) -> Result<ServerConfig, NodeServingError> {
        let pem = |what| move |source| NodeServingError::Pem { what, source };
        let tls = |error: &dyn std::fmt::Display| NodeServingError::Tls(error.to_string());
        let chain = certificates(self.certificate.certificate.as_bytes());
        let chain = chain.map_err(pem("serving certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.certificate.key.0.as_bytes());
        let key = key.map_err(pem("private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| tls(&error))?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                let authorities = certificates(authorities).map_err(pem("client authority"))?;
                for authority in authorities {
                    roots.add(authority).map_err(|error| tls(&error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|error| tls(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| tls(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// A node's server on the network. Dropped, it is cut off at once.
#[derive(Debug)]
pub struct NodeServing {
    address: SocketAddr,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl NodeServing {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts off what is under way, and ends.
    pub async fn stop(&self) {
        let accepting = self.accepting.lock().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // Its end is awaited, so that the address is free afterwards.
            let _cancelled = accepting.await;
        }
    }
}

impl Drop for NodeServing {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.lock().take() {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, server: NodeServer) {
    /// After a failed accept, which is mostly a lack of file descriptors.
    const PAUSE: Duration = Duration::from_millis(50);
    let room = Arc::new(Semaphore::new(MOST));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!(%address, "too many connections, so this one is closed");
            continue;
        };
        let (tls, server) = (tls.clone(), server.clone());
        connections.spawn(async move {
            serve(stream, tls, server).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, server: NodeServer) {
    // What is sent is small and awaited.
    let _unimportant = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else {
        return;
    };
    let chain = stream.get_ref().1.peer_certificates();
    let user = chain.and_then(|chain| subject(chain.first()?));
    server.speak(stream, Caller::Outside(user)).await;
}

/// Whom a verified certificate is for.
fn subject(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok().map(str::to_owned))
        .collect();
    groups.push("system:authenticated".to_owned());
    Some(User {
        name,
        uid: String::new(),
        groups,
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Err(pem::Error::NoItemsFound);
    }
    Ok(found)
}
