//! One HTTP request passed on over a connection of its own, and back; upgrades become a pipe.
use std::error::Error as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tower::BoxError;

use super::dial::{Dialer, Target};
use crate::apiserver::response::{self, Body, Response};
use crate::apiserver::server::Shared;

/// The body of a request, as it comes.
pub(crate) type ClientBody = UnsyncBoxBody<Bytes, BoxError>;

/// An answer that is passed on as it is, in the form in which it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verbatim;

/// Headers that are about one connection.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// A request to be passed on.
pub(super) struct Forward {
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The client's.
    pub headers: HeaderMap,
    pub body: ClientBody,
    /// The client's end of an upgrade.
    pub upgrade: Option<OnUpgrade>,
}

/// Whether a client asks to speak something else than HTTP.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.to_ascii_lowercase().contains("upgrade")
    })
}

/// Passes a request on. What goes on after an upgrade, goes on without this future.
///
/// # Errors
/// In words, when nothing answers.
pub(super) async fn forward(
    shared: &Arc<Shared>,
    dialer: &dyn Dialer,
    target: &Target,
    forward: Forward,
) -> Result<Response, String> {
    let response = send(
        dialer,
        target,
        forward.method,
        &forward.path,
        {
            let upgrades = forward.upgrade.is_some();
            outgoing(forward.headers, upgrades, target)
        },
        forward.body,
    );
    let mut response = response.await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = forward.upgrade
    {
        let backend = hyper::upgrade::on(&mut response);
        tokio::spawn(pipe(shared.clone(), client, backend));
        let (parts, _) = response.into_parts();
        let mut switched = Response::new(response::full(Bytes::new()));
        *switched.status_mut() = parts.status;
        *switched.headers_mut() = parts.headers;
        switched.extensions_mut().insert(Verbatim);
        return Ok(switched);
    }
    let mut answer = response.map(body);
    for name in HOP_BY_HOP {
        answer.headers_mut().remove(name);
    }
    answer.extensions_mut().insert(Verbatim);
    Ok(answer)
}

/// Sends a request on a connection of its own.
///
/// # Errors
/// In words, when nothing answers.
pub(super) async fn send(
    dialer: &dyn Dialer,
    target: &Target,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: ClientBody,
) -> Result<http::Response<Incoming>, String> {
    let connection = dialer.dial(target).await;
    let connection = connection.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .map_err(|error| words(&error))?;
    // It ends with the exchange, or with the upgrade.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection out of the API server ended");
        }
    });
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path
        .parse()
        .map_err(|error| format!("invalid URL {path:?}: {error}"))?;
    *request.headers_mut() = headers;
    sender
        .send_request(request)
        .await
        .map_err(|error| words(&error))
}

/// The body of an answer. One that breaks off, ends: the client sees it by its length.
pub(crate) fn body(incoming: Incoming) -> Body {
    let frames = futures::stream::unfold(Some(incoming), |incoming| async move {
        let mut incoming = incoming?;
        match incoming.frame().await? {
            Ok(frame) => Some((Ok(frame), Some(incoming))),
            Err(_) => None,
        }
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

/// The client's headers for the one behind: without what is about this connection, and without who the client is.
fn outgoing(mut headers: HeaderMap, upgrades: bool, target: &Target) -> HeaderMap {
    for name in HOP_BY_HOP {
        if !(upgrades && name == CONNECTION) {
            headers.remove(name);
        }
    }
    if !upgrades {
        headers.remove(UPGRADE);
    }
    headers.remove(AUTHORIZATION);
    let impersonating: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-"))
        .cloned()
        .collect();
    for name in impersonating {
        headers.remove(name);
    }
    if let Ok(host) = HeaderValue::from_str(&target.authority()) {
        headers.insert(HOST, host);
    }
    headers
}

/// Carries bytes both ways until both sides have ended, or the server stops.
async fn pipe(shared: Arc<Shared>, client: OnUpgrade, backend: OnUpgrade) {
    let carry = async {
        let (client, backend) = futures::try_join!(client, backend)?;
        let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
        let size = 64 << 10;
        // A side that is cut off, ends.
        let _ =
            tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, size, size).await;
        Ok::<(), hyper::Error>(())
    };
    tokio::select! {
        biased;
        _ = shared.stopping.reached(|stopping| *stopping) => {}
        carried = carry => {
            if let Err(error) = carried {
                tracing::debug!(%error, "an upgrade failed");
            }
        }
    }
}

/// What went wrong, down to its cause.
fn words(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
