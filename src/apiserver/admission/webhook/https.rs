//! Webhooks over HTTPS: one connection for each call.
use super::transport::{Reply, ServiceResolver, Target, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longer answers are refused.
const LONGEST: usize = 3 * 1024 * 1024;

/// Calls webhooks over HTTPS. A webhook must bring the authority that signed its certificate (`caBundle`).
#[derive(Clone, Debug, Default)]
pub struct Https {
    services: Option<Arc<dyn ServiceResolver>>,
}

impl Https {
    /// With whoever knows where services are. Default = nobody does: only webhooks with a `url` are reached.
    #[must_use]
    pub fn services(mut self, resolver: Arc<dyn ServiceResolver>) -> Self {
        self.services = Some(resolver);
        self
    }

    async fn connect(&self, target: &Target, host: &str, port: u16) -> Result<TcpStream, String> {
        let Some((namespace, name, port_of)) = &target.service else {
            return TcpStream::connect((host, port))
                .await
                .map_err(|error| format!("dial tcp {host}:{port}: {}", dial(&error)));
        };
        let address = self
            .services
            .as_ref()
            .and_then(|services| services.resolve(namespace, name, *port_of))
            .ok_or_else(|| format!("service {name:?} not found"))?;
        TcpStream::connect(address)
            .await
            .map_err(|error| format!("dial tcp {address}: {}", dial(&error)))
    }

    async fn post(&self, target: &Target, review: Bytes) -> Result<Reply, String> {
        let uri: Uri = target
            .url
            .parse()
            .map_err(|error| format!("invalid URL: {error}"))?;
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(443);
        let stream = self.connect(target, host, port).await?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::new(tls(&target.ca_bundle)?))
            .connect(name, stream)
            .await
            .map_err(|error| format!("tls: {error}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let path = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let request = Request::post(format!("{path}?timeout={}s", target.timeout.as_secs()))
            .header(HOST, format!("{host}:{port}"))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .body(Full::new(review))
            .map_err(|error| error.to_string())?;
        // The connection is driven here, beside the request: nothing is left running when the caller gives up.
        let answer = async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| error.to_string())?;
            let code = response.status().as_u16();
            let body = Limited::new(response.into_body(), LONGEST).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok(Reply::new(code, body))
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

#[async_trait]
impl Transport for Https {
    async fn call(&self, target: &Target, review: Bytes) -> Result<Reply, String> {
        self.post(target, review).await
    }
}

/// Why a connection failed, in Go's words.
fn dial(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

fn tls(bundle: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        let certificate =
            certificate.map_err(|error| format!("unable to load root certificates: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err(
            "tls: failed to verify certificate: x509: certificate signed by unknown authority"
                .to_owned(),
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
