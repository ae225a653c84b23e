//! Connections to nodes, pods and services over the network.
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{TlsError, certificates};
use crate::apiserver::{Connection, Dialer, Target};

/// How long a connection may take to be opened.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens connections over TCP, and TLS where it is spoken. To the agents of nodes it shows a client certificate. As the real
/// server it does not ask who signed the certificates of nodes and pods, unless it is told to.
#[derive(Clone)]
pub struct TcpDialer {
    nodes: Arc<ClientConfig>,
    others: Arc<ClientConfig>,
    /// Whether the names of nodes are checked.
    verifies: bool,
}

impl std::fmt::Debug for TcpDialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpDialer")
            .field("verifies", &self.verifies)
            .finish_non_exhaustive()
    }
}

impl TcpDialer {
    /// Shows nodes this client certificate and its key, both in PEM. Certificates of nodes must be signed by one of
    /// `node_authorities` (PEM); with `None` any is taken.
    ///
    /// # Errors
    /// When a text is not what it should be; see [`TlsError`].
    pub fn new(
        certificate: &[u8],
        key: &[u8],
        node_authorities: Option<&[u8]>,
    ) -> Result<Self, TlsError> {
        let pem = |what| move |source| TlsError::Pem { what, source };
        let chain = certificates(certificate).map_err(pem("client certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem("private key"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Certificate)
        };
        let any = || {
            let any = AnyCertificate(provider.clone());
            let builder = builder()?;
            Ok::<_, TlsError>(
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(any)),
            )
        };
        let nodes = match node_authorities {
            None => any()?,
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(authorities).map_err(pem("node authority"))? {
                    roots.add(authority).map_err(TlsError::Certificate)?;
                }
                builder()?.with_root_certificates(roots)
            }
        };
        let nodes = nodes
            .with_client_auth_cert(chain, key)
            .map_err(TlsError::Certificate)?;
        Ok(Self {
            nodes: Arc::new(nodes),
            others: Arc::new(any()?.with_no_client_auth()),
            verifies: node_authorities.is_some(),
        })
    }

    async fn open(&self, target: &Target) -> io::Result<Box<dyn Connection>> {
        let (host, port, tls) = match target {
            Target::Node { host, port, .. } => (host, *port, Some(&self.nodes)),
            Target::Address { host, port, tls } => (host, *port, tls.then_some(&self.others)),
        };
        let shown = match host.parse() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{host}:{port}"),
        };
        let words = |error: &io::Error| {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                _ => error.to_string(),
            };
            io::Error::new(error.kind(), format!("dial tcp {shown}: {why}"))
        };
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|error| words(&error))?;
        // What is sent is small and awaited.
        let _unimportant = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
        let stream =
            stream.map_err(|error| io::Error::new(error.kind(), format!("tls: {error}")))?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Dialer for TcpDialer {
    async fn dial(&self, target: &Target) -> io::Result<Box<dyn Connection>> {
        let opened = tokio::time::timeout(PATIENCE, self.open(target)).await;
        opened.unwrap_or_else(|_| {
            let why = format!("dial tcp {}: i/o timeout", target.authority());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }
}

/// Takes every certificate. The key in it must still be the peer's.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
