//! One connection: handshake, requests, and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use super::ServeConfig;
use super::compress::{self, Compressed};
use super::pace::Paced;
use super::stall::Stall;
use super::tls;
use crate::apiserver::connect::Verbatim;
use crate::apiserver::{ApiServer, Body, Remote};

/// Serves one connection until it ends, is idle for too long, or the server closes.
pub(super) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    room: OwnedSemaphorePermit,
    config: &ServeConfig,
    server: ApiServer,
    closed: watch::Receiver<bool>,
) {
    // Answers are written whole; waiting for more to send would only delay them.
    let _unimportant = stream.set_nodelay(true);
    let stream = Stall::new(stream, config.stall, room);
    let Some(tls) = &config.tls else {
        let remote = Remote {
            address,
            certificate: None,
        };
        return speak(stream, remote, config, server, closed).await;
    };
    let handshake = TlsAcceptor::from(tls.0.clone()).accept(stream);
    match tokio::time::timeout(config.first_request, handshake).await {
        Ok(Ok(stream)) => {
            let certificate = stream.get_ref().1.peer_certificates();
            let certificate = certificate.and_then(|chain| tls::subject(chain.first()?));
            let remote = Remote {
                address,
                certificate,
            };
            speak(stream, remote, config, server, closed).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
    }
}

async fn speak<S>(
    stream: S,
    remote: Remote,
    config: &ServeConfig,
    server: ApiServer,
    mut closed: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = remote.address;
    let requests = Arc::new(Requests::default());
    let service = {
        let requests = requests.clone();
        service_fn(move |request: Request<Incoming>| {
            answer(
                request,
                server.clone(),
                remote.clone(),
                requests.clone().begin(),
            )
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let header_bytes = usize::try_from(config.header_bytes).unwrap_or(usize::MAX);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.first_request)
        .max_buf_size(header_bytes.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams)
        .max_header_list_size(config.header_bytes)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(15));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => Some(ended),
        _ = closed.wait_for(|closed| *closed) => None,
        () = requests.idle(config.first_request, config.idle) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        // What is in flight is answered first.
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        tracing::debug!(%address, error, "connection ended");
    }
}

async fn answer(
    mut request: Request<Incoming>,
    mut server: ApiServer,
    remote: Remote,
    running: Running,
) -> Result<Response<Counted>, Infallible> {
    let gzip = compress::is_wanted(request.headers());
    request.extensions_mut().insert(remote);
    let response = server.call(request).await?;
    let response: Response<Body> = response;
    let response = if gzip && response.extensions().get::<Verbatim>().is_none() {
        compress::compress(response)
    } else {
        response.map(Compressed::Plain)
    };
    Ok(response.map(|body| Counted {
        body: Paced::new(body),
        _running: running,
    }))
}

/// The requests of a connection.
#[derive(Debug, Default)]
struct Requests {
    running: AtomicUsize,
    changed: Notify,
}

/// A request that is being answered.
#[derive(Debug)]
struct Running(Arc<Requests>);

impl Requests {
    fn begin(self: Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_one();
        Running(self)
    }

    /// Returns when no request has run for `idle`; the first must come within `first`.
    async fn idle(&self, first: Duration, idle: Duration) {
        let mut limit = first;
        loop {
            let changed = self.changed.notified();
            if self.running.load(Ordering::Acquire) > 0 {
                limit = idle;
                changed.await;
            } else if tokio::time::timeout(limit, changed).await.is_err() {
                return;
            } else {
                limit = idle;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_one();
    }
}

/// A body whose request runs until it is sent.
#[derive(Debug)]
struct Counted {
    body: Paced<Compressed>,
    _running: Running,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_is_when_no_request_runs() {
        let requests = Arc::new(Requests::default());
        let (first, idle) = (Duration::from_secs(32), Duration::from_secs(90));
        let start = tokio::time::Instant::now();
        requests.idle(first, idle).await;
        assert_eq!(start.elapsed(), first);

        let start = tokio::time::Instant::now();
        let running = requests.clone().begin();
        let ends = async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            drop(running);
        };
        futures::join!(requests.idle(first, idle), ends);
        assert_eq!(start.elapsed(), Duration::from_secs(1090));
    }
}
