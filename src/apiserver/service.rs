//! The server as a tower service: a request in, an answer out, never an error and never not ready.
use super::audit::Trail;
use super::auth::Attributes;
use super::discovery;
use super::filter::{authorization, bearer, identity, impersonation, panic, timeout};
use super::metrics::Counted;
use super::request::negotiate::{self, Endpoint};
use super::request::query;
use super::request::route::{self, Route, Routed};
use super::request::{Query, ResourceRequest, User, Verb};
use super::response::{self, Body, Response, Warnings};
use super::schema::decode;
use super::server::{ApiServer, Shared};
use super::{connect, handler, health, openapi, openid, protobuf, render, zpages};
use crate::object::{Reason, Status};
use crate::websocket;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{BoxError, Service};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Marks the stream that answers a watch: it is in the format that was asked for.
#[derive(Clone, Copy, Debug)]
struct Streaming;

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
    let (mut parts, body) = request.into_parts();
    bearer::take_from_protocols(&mut parts);
    let mut body = Some(Box::pin(body));
    let id = parts.headers.get(AUDIT_ID).cloned();
    let id = id.unwrap_or_else(|| shared.audit_id());
    let mut trail = Trail::default();
    let answer = panic::catch(async {
        match admitted(&shared, &parts, &mut body, &id, &mut trail).await {
            Ok(answer) => answer,
            Err(status) => response::failure(&status),
        }
    });
    let answer = answer.await;
    let streams = answer.extensions().get::<Streaming>().is_some();
    let mut answer = trail.answered(answer, streams).await;
    if parts.method != Method::GET {
        drain(body).await;
    }
    if answer
        .extensions_mut()
        .remove::<connect::Verbatim>()
        .is_some()
    {
        // It stays in the form in which it came from elsewhere, and is marked so for those who would compress it.
        answer.extensions_mut().insert(connect::Verbatim);
    } else if parts.method == Method::HEAD {
        *answer.body_mut() = response::full(Bytes::new());
    } else {
        let watch = answer.extensions_mut().remove::<Streaming>();
        if watch.is_none() || !answer.status().is_success() {
            let accept = accept(&parts.headers);
            answer = render::render(&accept, answer).await;
            answer = render::pretty(&parts, &accept, answer).await;
        }
    }
    answer.headers_mut().insert(AUDIT_ID, id);
    answer
}

/// Reads what nobody has read, as long as it is little: the connection can then be used again.
async fn drain<B>(body: Option<Pin<Box<B>>>)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    const MOST: usize = 256 << 10;
    const LONGEST: Duration = Duration::from_millis(500);
    if let Some(body) = body.filter(|body| !body.is_end_stream()) {
        // What fails here is noticed by the next request.
        let _ = tokio::time::timeout(LONGEST, read(body, MOST)).await;
    }
}

async fn admitted<B>(
    shared: &Arc<Shared>,
    parts: &Parts,
    body: &mut Option<Pin<Box<B>>>,
    id: &HeaderValue,
    trail: &mut Trail,
) -> Result<Response, Status>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let path = query::decode(parts.uri.path(), false)
        .ok_or_else(|| Status::bad_request("invalid URL escape in the path"))?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let asked = || Attributes::of(&parts.method, &path, &query);
    let user = match identity::authenticate(shared, parts).await {
        Ok(user) => user,
        Err(status) => {
            trail.unknown(shared, parts, id, &asked);
            return Err(status);
        }
    };
    trail.begin(shared, parts, id, &user, &asked);
    let himself = user.clone();
    let user = impersonation::impersonate(shared, user, &parts.headers, &asked).await?;
    if !Arc::ptr_eq(&himself, &user) {
        trail.impersonates(&user);
    }
    match authorization::authorize(shared, &user, &asked).await {
        Ok(reason) => trail.decided(true, &reason),
        Err(status) => {
            trail.decided(false, "");
            return Err(status);
        }
    }
    let routed = route::route(&shared.registry, &parts.method, &path, &query);
    if shared.is_stopping() && !health::is_health(&path) {
        return Err(stopping());
    }
    let routed = match routed? {
        Route::Resource(routed) => routed,
        Route::Path => return plain(shared, parts, &path, &query).await,
        Route::Unknown => return Ok(not_found()),
    };
    let connects = routed.verb == Verb::Connect;
    let watch = routed.verb == Verb::Watch;
    let began = tokio::time::Instant::now();
    let counted = Counted::new(
        &routed.resource,
        routed.verb,
        &routed.namespace,
        &routed.name,
        routed.subresource.as_deref(),
    );
    let permit = if watch || connects {
        None
    } else {
        Some(shared.in_flight.enter(routed.verb.is_write())?)
    };
    let limits = query.clone();
    let mut request = resource_request(routed, query, user, parts);
    request.logged = trail.keeps_answer();
    request
        .warnings
        .extend(request.resource.strategy.deprecation().map(str::to_owned));
    let answer = if connects {
        let body = match body.take() {
            Some(body) => body.map_err(Into::into).boxed_unsync(),
            None => http_body_util::Empty::new()
                .map_err(|never| match never {})
                .boxed_unsync(),
        };
        connect::handle(shared, &request, parts, body).await
    } else if watch {
        let events = handler::handle(shared, &request).await;
        let events = events.map(|events| watched(shared, events));
        match events {
            Ok(events) if websocket::is_asked(&parts.headers) => {
                handler::watch::websocket::switch(parts, events)
            }
            events => events,
        }
    } else {
        let answer = timeout::limit(&limits, async {
            if let Some(body) = body.take_if(|_| request.verb.is_write()) {
                request.body = read(body, shared.body_limit).await?;
                from_protobuf(&mut request)?;
                trail.sent(&request.body);
            }
            handler::handle(shared, &request).await
        });
        answer.await
    };
    drop(permit);
    let mut answer = answer.unwrap_or_else(|status| response::failure(&status));
    shared
        .metrics
        .answered(counted, answer.status().as_u16(), began.elapsed());
    request.warnings.write(answer.headers_mut());
    trail.annotate_all(&request.warnings.annotations());
    let endpoint = Endpoint::of(&request.resource, true);
    answer.extensions_mut().insert(endpoint);
    if watch {
        answer.extensions_mut().insert(Streaming);
    }
    Ok(answer)
}

/// The stream of a watch, which is under way for as long as it lives.
fn watched(shared: &Shared, events: Response) -> Response {
    let watching = shared.metrics.watching();
    events.map(|body| {
        let counted = body.map_frame(move |frame| {
            let _ = &watching;
            frame
        });
        counted.boxed_unsync()
    })
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
        logged: false,
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
async fn plain(
    shared: &Arc<Shared>,
    parts: &Parts,
    path: &str,
    query: &Query,
) -> Result<Response, Status> {
    let known = health::answer(shared, path, query).await.map(Ok);
    let known = known.or_else(|| zpages::answer(shared, path, &accept(&parts.headers)));
    let known = known.or_else(|| openid::answer(shared, path).map(Ok));
    let known =
        known.or_else(|| openapi::answer(&shared.registry, path, query, &parts.headers).map(Ok));
    let known = known.or_else(|| discovery::answer(&shared.registry, path, &parts.headers));
    match known {
        Some(_) if parts.method != Method::GET && !takes_any_method(path) => {
            Err(Status::method_not_allowed())
        }
        Some(answer) => answer,
        None => Ok(not_found()),
    }
}

/// Whether the real server's handler of the path does not look at the method.
fn takes_any_method(path: &str) -> bool {
    let mut parts = path.trim_matches('/').split('/');
    let first = parts.next().unwrap_or_default();
    match first {
        "apis" => parts.count() < 2,
        "openapi" => true,
        _ => health::is_health(path) || zpages::is_page(path),
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

/// A body in protobuf becomes one in JSON. Custom resources have no protobuf form: their decoder refuses the content type.
fn from_protobuf(request: &mut ResourceRequest) -> Result<(), Status> {
    let is_protobuf = negotiate::media_type(&request.content_type) == protobuf::MEDIA;
    let deletes = matches!(request.verb, Verb::Delete | Verb::DeleteCollection);
    let custom = request.resource.strategy.custom() && !deletes;
    if !is_protobuf || custom || request.body.is_empty() {
        return Ok(());
    }
    let subresource = request.subresource.as_deref();
    let kind = match subresource.and_then(|name| request.resource.subresource(name)) {
        _ if deletes => "DeleteOptions",
        Some(sub) => &sub.gvk.kind,
        None => &request.resource.gvk.kind,
    };
    let document = protobuf::decode(&request.body)
        .map_err(|why| decode::unrecognized(kind, &why, &request.body))?;
    request.body = document.to_string().into();
    request.content_type = "application/json".into();
    Ok(())
}
