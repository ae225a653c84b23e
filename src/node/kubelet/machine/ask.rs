//! Questions over the network: whether a pod answers over TCP, HTTP, HTTPS or gRPC.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::codegen::http::uri::PathAndQuery;

use super::super::host::Answer;
use crate::cri::Check;

/// Who asks.
const AGENT: &str = "kube-probe/1.36";
/// How often another address may be named in an answer.
const MOST_REDIRECTS: usize = 10;
/// So much of an answer is read.
const MOST_BODY: usize = 10 << 10;
/// The method of the health service.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Asks once, of the pod's address where the check names no host.
///
/// # Errors
/// That nobody answers, in Go's words.
pub(super) async fn ask(address: &str, check: &Check, limit: Duration) -> Result<Answer, String> {
    match check {
        Check::Tcp { host, port } => {
            let target = joined(named(host, address), *port);
            match timeout(limit, connect(named(host, address), *port)).await {
                Ok(connected) => connected.map(|_| Answer::Well),
                Err(_) => Err(format!("dial tcp {target}: i/o timeout")),
            }
        }
        Check::Http {
            scheme,
            host,
            port,
            path,
            headers,
        } => {
            let at = Url {
                scheme: scheme.clone(),
                host: named(host, address).to_owned(),
                port: *port,
                path: if path.starts_with('/') {
                    path.clone()
                } else {
                    format!("/{path}")
                },
            };
            let late = format!(
                "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                at.text()
            );
            timeout(limit, http(at, headers)).await.unwrap_or(Err(late))
        }
        Check::Grpc { port, service } => health(address, *port, service, limit).await,
        Check::Exec(_) => Err("a command is no question of the network".to_owned()),
    }
}

fn named<'a>(named: &'a str, address: &'a str) -> &'a str {
    if named.is_empty() { address } else { named }
}

/// A host and a port, as they are written in addresses.
fn joined(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let why = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp {}: {why}", joined(host, port))
    };
    TcpStream::connect((host, port)).await.map_err(why)
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    fn text(&self) -> String {
        format!(
            "{}://{}{}",
            self.scheme,
            joined(&self.host, self.port),
            self.path
        )
    }

    /// Where a `Location` leads from here.
    fn join(&self, location: &str) -> Option<Self> {
        if let Some((scheme, _)) = location.split_once("://") {
            let uri: http::Uri = location.parse().ok()?;
            let port = uri
                .port_u16()
                .unwrap_or(if scheme == "https" { 443 } else { 80 });
            let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
            return Some(Self {
                scheme: scheme.to_owned(),
                host: uri.host()?.trim_matches(['[', ']']).to_owned(),
                port,
                path: if path.is_empty() { "/" } else { path }.to_owned(),
            });
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let here = self.path.split(['?', '#']).next().unwrap_or_default();
            let folder = here.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}")
        };
        Some(Self {
            path,
            ..self.clone()
        })
    }
}

/// Follows an answer to where it leads, for as long as that is the same host.
async fn http(first: Url, headers: &[(String, String)]) -> Result<Answer, String> {
    let mut at = first.clone();
    for _ in 0..=MOST_REDIRECTS {
        let failed = |error: String| format!("Get {:?}: {error}", at.text());
        let stream = connect(&at.host, at.port).await.map_err(failed)?;
        let answer = if at.scheme == "https" {
            match tls(stream, &at.host).await {
                Ok(stream) => get(stream, &at, headers).await,
                Err(error) => Err(error),
            }
        } else {
            get(stream, &at, headers).await
        };
        let (status, location, body) = answer.map_err(|error| failed(error.to_string()))?;
        let leads = matches!(status, 301 | 302 | 303 | 307 | 308);
        let next = location
            .filter(|_| leads)
            .and_then(|location| at.join(&location));
        match (status, next) {
            (_, Some(next)) if next.host == first.host => at = next,
            (200..=299, _) => return Ok(Answer::Well),
            (300..=399, _) => {
                return Ok(Answer::Warning(format!(
                    "Probe terminated redirects, Response body: {body}"
                )));
            }
            _ => {
                return Ok(Answer::Unwell(format!(
                    "HTTP probe failed with statuscode: {status}"
                )));
            }
        }
    }
    Err(format!("Get {:?}: stopped after 10 redirects", at.text()))
}

/// Sends one request; gives status, where it leads, and the beginning of the body.
async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    at: &Url,
    headers: &[(String, String)],
) -> Result<(u16, Option<String>, String), Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = http::Request::get(&at.path).body(Empty::<Bytes>::new())?;
    let own = request.headers_mut();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse()?;
        if name == http::header::HOST {
            own.insert(name, value.parse()?);
        } else {
            own.append(name, value.parse()?);
        }
    }
    for (name, value) in [
        ("host", joined(&at.host, at.port)),
        ("user-agent", AGENT.to_owned()),
        ("accept", "*/*".to_owned()),
        ("connection", "close".to_owned()),
    ] {
        let name = http::HeaderName::from_static(name);
        if !own.contains_key(&name) {
            own.insert(name, value.parse()?);
        } else if own.get(&name).is_some_and(http::HeaderValue::is_empty) {
            // Given as empty: it is not to be sent.
            own.remove(&name);
        }
    }
    let answer = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let location = answer.headers().get(http::header::LOCATION);
        let location = location
            .and_then(|location| location.to_str().ok())
            .map(str::to_owned);
        // A body that is too long is no failure.
        let body = Limited::new(answer.into_body(), MOST_BODY).collect().await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        Ok((
            status,
            location,
            String::from_utf8_lossy(&body).into_owned(),
        ))
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    // The connection moves only while it is looked after; its end is no failure of the question.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

/// Any certificate is good: who asks whether a pod is well asks nothing else, and tells no secret.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
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
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

async fn tls(
    stream: TcpStream,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Ok(connector.connect(name, stream).await?)
}

/// What the health service is asked.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// What it answers.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthAnswer {
    #[prost(enumeration = "HealthStatus", tag = "1")]
    status: i32,
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum HealthStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl HealthStatus {
    const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

async fn health(
    address: &str,
    port: u16,
    service: &str,
    limit: Duration,
) -> Result<Answer, String> {
    let target = joined(address, port);
    let until = Instant::now() + limit;
    let unreachable =
        |error: String| format!("error: failed to connect service at {target:?}: {error}");
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{target}"))
        .and_then(|endpoint| endpoint.user_agent(AGENT))
        .map_err(|error| unreachable(error.to_string()))?;
    let channel = match timeout_at(until, endpoint.connect()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => {
            let mut why: &dyn std::error::Error = &error;
            while let Some(deeper) = why.source() {
                why = deeper;
            }
            return Err(unreachable(why.to_string()));
        }
        Err(_) => {
            return Err(format!(
                "timeout: failed to connect service {target:?} within {limit:?}: context deadline exceeded"
            ));
        }
    };
    let mut client = tonic::client::Grpc::new(channel);
    let ask = async {
        let ready = client.ready().await;
        ready.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let request = tonic::Request::new(HealthRequest {
            service: service.to_owned(),
        });
        let codec = tonic_prost::ProstCodec::<HealthRequest, HealthAnswer>::default();
        let path = PathAndQuery::from_static(HEALTH);
        client.unary(request, path, codec).await
    };
    let answer = match timeout_at(until, ask).await {
        Ok(answer) => answer,
        Err(_) => Err(tonic::Status::deadline_exceeded("")),
    };
    match answer {
        Ok(answer) => {
            let status = answer.into_inner().status();
            if status == HealthStatus::Serving {
                Ok(Answer::Well)
            } else {
                let name = status.name();
                Ok(Answer::Unwell(format!(
                    "service unhealthy (responded with {name:?})"
                )))
            }
        }
        Err(status) => Err(match status.code() {
            tonic::Code::Unimplemented => format!(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            ),
            tonic::Code::DeadlineExceeded => {
                format!("timeout: health rpc did not complete within {limit:?}")
            }
            code => format!(
                "error: health rpc probe failed: rpc error: code = {code:?} desc = {}",
                status.message()
            ),
        }),
    }
}

#[cfg(test)]
mod tests;
