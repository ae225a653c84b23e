//! A `kube::Client` of a server in the same process, with the retries that kube gives a client of a served one.
//!
//! The retries are kube's own (`kube::client::retry::RetryPolicy::server_retry`): 429, 503 and 504, up to 15 times, waits of
//! 5 ms doubling up to 1000 s, lengthened by chance, `Retry-After` heeded. They are written anew because kube draws that
//! chance from a source without a seed, so no run could be repeated.
use super::connect::{self, wants_upgrade};
use super::filter::identity::Identity;
use super::request::User;
use super::response::{self, Body};
use super::server::ApiServer;
use crate::clock::Clock;
use crate::object::Status;
use http::header::{HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body as KubeBody;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

const ATTEMPTS: u32 = 15;
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1000);

/// A client that asks as `user` and says it is `user_agent`.
pub(crate) fn client(server: ApiServer, user_agent: &str, user: Arc<User>) -> kube::Client {
    let clock = server.shared().clock.fork(&format!("client/{user_agent}"));
    let user_agent =
        HeaderValue::from_str(user_agent).unwrap_or_else(|_| HeaderValue::from_static("homeostat"));
    let caller = Caller {
        server,
        identity: Identity(user),
        user_agent,
        clock,
    };
    kube::Client::new(caller, "default")
}

/// Adds who asks to every request, and tries again.
#[derive(Clone, Debug)]
struct Caller {
    server: ApiServer,
    identity: Identity,
    user_agent: HeaderValue,
    clock: Clock,
}

impl Service<Request<KubeBody>> for Caller {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<KubeBody>) -> Self::Future {
        request.extensions_mut().insert(self.identity.clone());
        request
            .headers_mut()
            .entry(USER_AGENT)
            .or_insert_with(|| self.user_agent.clone());
        let (mut server, clock) = (self.server.clone(), self.clock.clone());
        if wants_upgrade(request.headers()) {
            return Box::pin(upgraded(server, self.identity.clone(), request));
        }
        Box::pin(async move {
            let mut request = request;
            for attempt in 0..ATTEMPTS {
                let again = copy(&request);
                let answer = server.call(request).await?;
                let Some(next) = again.filter(|_| is_retried(answer.status())) else {
                    return Ok(answer);
                };
                tokio::time::sleep(wait(attempt, &answer, &clock)).await;
                request = next;
            }
            server.call(request).await
        })
    }
}

/// Asks over a connection, though one without a socket: an upgrade needs one, and only hyper can make its halves.
async fn upgraded(
    server: ApiServer,
    identity: Identity,
    request: Request<KubeBody>,
) -> Result<Response<Body>, Infallible> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(identity.clone());
        server.clone().call(request)
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(far), service)
        .with_upgrades();
    // Both end with the exchange, or with the upgrade.
    tokio::spawn(async move { drop(serving.await) });
    let failed = |error: hyper::Error| response::failure(&Status::internal(&error.to_string()));
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(near)).await;
    let (mut sender, connection) = match connected {
        Ok(connected) => connected,
        Err(error) => return Ok(failed(error)),
    };
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    Ok(match sender.send_request(request).await {
        Ok(answer) => answer.map(connect::body),
        Err(error) => failed(error),
    })
}

/// The same request once more; `None` when its body can be read only once.
fn copy(request: &Request<KubeBody>) -> Option<Request<KubeBody>> {
    let mut again = Request::new(request.body().try_clone()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    *again.extensions_mut() = request.extensions().clone();
    Some(again)
}

fn is_retried(code: StatusCode) -> bool {
    matches!(
        code,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The longer of our own wait and the server's.
fn wait(attempt: u32, answer: &Response<Body>, clock: &Clock) -> Duration {
    let own = clock
        .jitter(FIRST.saturating_mul(1 << attempt.min(20)), 2.0)
        .min(LONGEST);
    let server = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    server.map_or(own, |seconds| own.max(Duration::from_secs(seconds)))
}
