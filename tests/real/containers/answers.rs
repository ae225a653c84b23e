//! Servers of health in protocols that no program of the image speaks: HTTPS and gRPC. Pods in the network of the machine
//! stand for them.

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Serves until it is dropped; well as long as there is a file.
pub(super) struct Answers {
    pub(super) https: u16,
    pub(super) grpc: u16,
    _runtime: Runtime,
}

impl Answers {
    pub(super) fn new(file: PathBuf) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listen = |tls: Option<TlsAcceptor>| {
            let listener = TcpListener::bind("0.0.0.0:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let port = listener.local_addr().unwrap().port();
            runtime.spawn(serve(listener, tls, file.clone()));
            port
        };
        Self {
            https: listen(Some(acceptor())),
            grpc: listen(None),
            _runtime: runtime,
        }
    }
}

fn acceptor() -> TlsAcceptor {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["health".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, file: PathBuf) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, file) = (tls.clone(), file.clone());
        tokio::spawn(async move {
            let grpc = tls.is_none();
            let service = service_fn(|_| {
                let answer = answer(grpc, file.exists());
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let server = Builder::new(TokioExecutor::new());
            // Whoever asks may be gone before the answer.
            let _ = match tls {
                None => server.serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn answer(grpc: bool, well: bool) -> Response<Body> {
    let mut frames = Vec::new();
    let mut response = Response::builder();
    if grpc {
        // A message of two bytes: field 1 is 1 (SERVING) or 2 (NOT_SERVING).
        let message = [0, 0, 0, 0, 2, 8, if well { 1 } else { 2 }];
        frames.push(Ok(Frame::data(Bytes::copy_from_slice(&message))));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        frames.push(Ok(Frame::trailers(trailers)));
        response = response.header("content-type", "application/grpc");
    } else if !well {
        response = response.status(StatusCode::NOT_FOUND);
    }
    let body = StreamBody::new(futures::stream::iter(frames));
    response.body(body).unwrap()
}
