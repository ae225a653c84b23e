//! The server as a tower service: a request in, an answer out, never an error and never not ready.
use super::discovery;
use super::filter::{authorization, identity, panic, timeout};
use super::request::negotiate::{self, Format};
use super::request::query;
use super::request::route::{self, Route, Routed};
use super::request::{Query, ResourceRequest, User, Verb};
use super::response::{self, Body, Response, Warnings};
use super::server::{ApiServer, Shared};
use super::{handler, health, openapi};
use crate::object::{Reason, Status};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::{BoxError, Service};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The future of an answer.
pub type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// Takes requests with any body: kube's, or a connection's.
impl<B> Service<Request<B>> for ApiServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Always ready: kube's client gives up for good on one error here. Overload is answered with 429.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let shared = self.shared().clone();
        Box::pin(async move { Ok(serve(shared, request).await) })
    }
}

/// Passes a request through the filters.
async fn serve<B>(shared: Arc<Shared>, request: Request<B>) -> Response
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let audit = parts.headers.get(AUDIT_ID).cloned();
    let answer = panic::catch(async {
        match admitted(&shared, &parts, body).await {
            Ok(answer) => answer,
            Err(status) => response::failure(&status),
        }
    });
    let mut answer = answer.await;
    if parts.method == Method::HEAD {
        *answer.body_mut() = response::full(Bytes::new());
    } else if wants_yaml(&parts.headers)
        && answer.headers().get(CONTENT_TYPE) == Some(&response::JSON)
    {
        answer = to_yaml(answer).await;
    }
    answer
        .headers_mut()
        .insert(AUDIT_ID, audit.unwrap_or_else(|| shared.audit_id()));
    answer
}

async fn admitted<B>(shared: &Arc<Shared>, parts: &Parts, body: B) -> Result<Response, Status>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let path = query::decode(parts.uri.path(), false)
        .ok_or_else(|| Status::bad_request("invalid URL escape in the path"))?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let user = identity::authenticate(shared, parts).await?;
    authorization::authorize(shared, &user, &parts.method, &path, &query).await?;
    let routed = route::route(&shared.registry, &parts.method, &path, &query);
    if shared.is_stopping() && !health::is_health(&path) {
        return Err(stopping());
    }
    let routed = match routed? {
        Route::Resource(routed) => routed,
        Route::Path => return plain(shared, parts, &path, &query),
        Route::Unknown => return Ok(not_found()),
    };
    let watch = routed.verb == Verb::Watch;
    let permit = if watch {
        None
    } else {
        Some(shared.in_flight.enter(routed.verb.is_write())?)
    };
    let limits = query.clone();
    let mut request = resource_request(routed, query, user, parts);
    request
        .warnings
        .extend(request.resource.strategy.deprecation().map(str::to_owned));
    let answer = if watch {
        handler::handle(shared, &request).await
    } else {
        let answer = timeout::limit(&limits, async {
            if request.verb.is_write() {
                request.body = read(body, shared.body_limit).await?;
            }
            handler::handle(shared, &request).await
        });
        answer.await
    };
    drop(permit);
    let mut answer = answer.unwrap_or_else(|status| response::failure(&status));
    request.warnings.write(answer.headers_mut());
    Ok(answer)
}

fn resource_request(
    routed: Routed,
    query: Query,
    user: Arc<User>,
    parts: &Parts,
) -> ResourceRequest {
    let header = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    ResourceRequest {
        verb: routed.verb,
        resource: routed.resource,
        namespace: routed.namespace,
        name: routed.name,
        subresource: routed.subresource,
        query,
        user,
        user_agent: header(USER_AGENT),
        accept: accept(&parts.headers),
        content_type: header(CONTENT_TYPE),
        body: Bytes::new(),
        warnings: Warnings::default(),
    }
}

/// Several `Accept` headers are one list.
fn accept(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    values.join(",")
}

async fn read<B>(body: B, limit: usize) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::new(
            413,
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {limit}"),
        )),
        Err(error) => Err(Status::bad_request(format!(
            "the body of the request could not be read: {error}"
        ))),
    }
}

/// Paths that are no resources.
fn plain(
    shared: &Arc<Shared>,
    parts: &Parts,
    path: &str,
    query: &Query,
) -> Result<Response, Status> {
    let known = health::answer(shared, path, query).map(Ok);
    let known =
        known.or_else(|| openapi::answer(&shared.registry, path, query, &parts.headers).map(Ok));
    let known = known.or_else(|| discovery::answer(&shared.registry, path, &parts.headers));
    match known {
        Some(_) if parts.method != Method::GET => Err(Status::method_not_allowed()),
        Some(answer) => answer,
        None => Ok(not_found()),
    }
}

/// What the outermost router of the real server says.
fn not_found() -> Response {
    response::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn stopping() -> Status {
    let mut status = Status::unavailable("apiserver is shutting down.");
    status.details = Some(Box::new(crate::object::status::Details {
        retry_after_seconds: 1,
        ..Default::default()
    }));
    status
}

fn wants_yaml(headers: &HeaderMap) -> bool {
    let accept = accept(headers);
    accept.contains("yaml")
        && negotiate::output(&accept, true).is_ok_and(|output| output.format == Format::Yaml)
}

/// Answers are made as JSON; the few who want YAML get it from that.
async fn to_yaml(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    let yaml = serde_json::from_slice::<serde_json::Value>(&bytes)
        .ok()
        .and_then(|value| serde_saphyr::to_string(&value).ok());
    match yaml {
        Some(yaml) => {
            parts
                .headers
                .insert(CONTENT_TYPE, HeaderValue::clone(&response::YAML));
            Response::from_parts(parts, response::full(yaml))
        }
        None => Response::from_parts(parts, response::full(bytes)),
    }
}
