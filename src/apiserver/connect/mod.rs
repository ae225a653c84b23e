//! Connections to what is outside the store: logs, commands and ports of pods, and proxies, through the servers of the nodes.
//!
//! The node's server speaks all the protocols; this one finds the node, checks what is asked, and carries bytes.
pub(crate) mod components;
mod dial;
pub(crate) mod forward;
mod options;
mod proxy;
pub(crate) mod usage;

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

pub use self::dial::{Connection, Dialer, Target};
pub(crate) use self::forward::{ClientBody, Verbatim, body, wants_upgrade};
use self::forward::{Forward, forward};
use super::auth::{Attributes, Decision};
use super::handler::admit;
use super::handler::call::{Current, store_failure};
use super::registry::Resource;
use super::request::ResourceRequest;
use super::response::{self, Response};
use super::server::Shared;
use crate::object::{Document, Reason, Status};
use crate::store::Range;

/// What a node's agent says of itself at most, when it fails.
const LONGEST_FAILURE: usize = 50_000;
/// Where agents listen when their nodes do not say.
const AGENT_PORT: u16 = 10_250;
/// Which address of a node is taken: the first of these that it has.
const ADDRESSES: [&str; 5] = [
    "InternalIP",
    "ExternalIP",
    "InternalDNS",
    "ExternalDNS",
    "Hostname",
];

/// Answers a request for a connection.
///
/// # Errors
/// Whatever is wrong with it, or with what it leads to.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
    parts: &Parts,
    body: ClientBody,
) -> Result<Response, Status> {
    let sub = request.subresource.as_deref().unwrap_or_default();
    if (request.resource.plural.as_str(), sub) == ("pods", "log") {
        return log(shared, request, body).await;
    }
    let options = asked(shared, request, parts).await?;
    match (request.resource.plural.as_str(), sub) {
        ("pods", "exec" | "attach" | "portforward") => {
            may_create(shared, request, parts).await?;
            stream(shared, request, &options, parts, body).await
        }
        ("pods" | "services" | "nodes", "proxy") => {
            let target = proxy::target(shared, request).await?;
            if let Some(redirect) = proxy::redirect(parts) {
                return Ok(redirect);
            }
            let mut headers = parts.headers.clone();
            proxy::forwarded(&mut headers, parts);
            let upgrade = wants_upgrade(&parts.headers)
                .then(|| upgrade(parts).ok())
                .flatten();
            let call = Forward {
                method: parts.method.clone(),
                path: proxy::path(parts, options.str_at(&["path"])),
                headers,
                body,
                upgrade,
            };
            let answer = forward(shared, dialer(shared, request)?, &target, call).await;
            answer
                .map_err(|why| Status::unavailable(format!("error trying to reach service: {why}")))
        }
        _ => Err(Status::method_not_allowed()),
    }
}

/// What is asked of the connection, as admission lets it be.
async fn asked(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
    parts: &Parts,
) -> Result<Value, Status> {
    if request.query.get("dryRun").is_some() {
        return Err(Status::bad_request("dryRun is not supported"));
    }
    let sub = request.subresource.as_deref().unwrap_or_default();
    let kind = request.resource.subresource(sub);
    let kind = &kind.ok_or_else(Status::method_not_allowed)?.gvk;
    let mut options = options::of(kind, &request.query, &proxy::asked_path(parts))?;
    admit::connect(shared, request, kind, &mut options).await?;
    Ok(options)
}

/// Who opens connections.
fn dialer<'a>(shared: &'a Shared, request: &ResourceRequest) -> Result<&'a dyn Dialer, Status> {
    shared.dialer.as_deref().ok_or_else(|| {
        Status::new(
            501,
            Reason::Unknown,
            format!(
                "{}/{} is not served: this server has no connection to what it leads to",
                request.resource.plural,
                request.subresource.as_deref().unwrap_or_default()
            ),
        )
    })
}

/// WebSocket clients ask with GET for what others ask with POST: they must be allowed the same.
async fn may_create(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
    parts: &Parts,
) -> Result<(), Status> {
    if parts.method == Method::POST {
        return Ok(());
    }
    let mut asked = Attributes::of(&parts.method, parts.uri.path(), &request.query);
    "create".clone_into(&mut asked.verb);
    match shared
        .authorizer
        .authorize(shared, &request.user, &asked)
        .await?
    {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(reason) => Err(Status::forbidden(
            &request.resource.group_resource(),
            &request.name,
            &reason,
        )),
    }
}

/// The connection of a request, for another protocol.
///
/// # Errors
/// 400 when it cannot be had: HTTP/2 has no upgrades, nor has a service that is called without a connection.
pub(crate) fn upgrade(parts: &Parts) -> Result<OnUpgrade, Status> {
    let upgrade = parts.extensions.get::<OnUpgrade>().cloned();
    upgrade.ok_or_else(|| {
        Status::bad_request("Upgrade request required: this connection cannot be upgraded")
    })
}

/// Logs are passed on as they come.
async fn log(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
    body: ClientBody,
) -> Result<Response, Status> {
    let query = options::log_query(&request.query, &request.name)?;
    let read = Reading(shared);
    let pod = read.get("pods", &request.namespace, &request.name).await?;
    let container = options::container(&pod, request.query.text("container"))?;
    let Some(target) = node(&read, &pod).await? else {
        // Of a pod that is nowhere there is nothing to tell.
        let mut answer = response::text(StatusCode::NO_CONTENT, "");
        answer.extensions_mut().insert(Verbatim);
        return Ok(answer);
    };
    let path = format!(
        "/containerLogs/{}/{}/{container}?{query}",
        pod.namespace(),
        pod.name()
    );
    let call = Forward {
        method: Method::GET,
        path: path.clone(),
        headers: http::HeaderMap::new(),
        body,
        upgrade: None,
    };
    let answer = forward(shared, dialer(shared, request)?, &target, call).await;
    let mut answer = answer.map_err(|why| {
        let why = format!("Get \"{target}{path}\": {why}");
        Status::new(500, Reason::Unknown, why)
    })?;
    if answer.status().as_u16() > 206 {
        return Err(failed(answer, &request.name).await);
    }
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(answer)
}

/// What a node's agent said when it did not give a log.
async fn failed(answer: Response, name: &str) -> Status {
    let code = answer.status().as_u16();
    let body = http_body_util::Limited::new(answer.into_body(), LONGEST_FAILURE);
    let text = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match code {
        400 => Status::bad_request(text),
        404 => Status::new(
            404,
            Reason::NotFound,
            format!("the server could not find the requested resource ( pods/log {name})"),
        ),
        500 => Status::internal(&text),
        _ => Status::new(code, Reason::Unknown, text),
    }
}

/// Commands, attachments and ports.
async fn stream(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
    options: &Value,
    parts: &Parts,
    body: ClientBody,
) -> Result<Response, Status> {
    let read = Reading(shared);
    let sub = request.subresource.as_deref().unwrap_or_default();
    let query = options::node_query(options);
    let pod = read.get("pods", &request.namespace, &request.name).await?;
    let place = if sub == "portforward" {
        format!("/portForward/{}/{}", pod.namespace(), pod.name())
    } else {
        let container = options::container(&pod, options.str_at(&["container"]))?;
        format!("/{sub}/{}/{}/{container}", pod.namespace(), pod.name())
    };
    let target = node(&read, &pod).await?.ok_or_else(|| {
        let name = &request.name;
        Status::bad_request(format!("pod {name} does not have a host assigned"))
    })?;
    if !wants_upgrade(&parts.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let upgrade = upgrade(parts)?;
    let call = Forward {
        method: parts.method.clone(),
        path: format!("{place}?{query}"),
        headers: parts.headers.clone(),
        body,
        upgrade: Some(upgrade),
    };
    let answer = forward(shared, dialer(shared, request)?, &target, call).await;
    answer.map_err(|why| {
        Status::new(
            500,
            Reason::Unknown,
            format!("error dialing backend: {why}"),
        )
    })
}

/// The agent of the node that a pod is on; `None` when it is on none.
async fn node(read: &Reading<'_>, pod: &Value) -> Result<Option<Target>, Status> {
    let name = pod.str_at(&["spec", "nodeName"]);
    if name.is_empty() {
        return Ok(None);
    }
    let node = read.get("nodes", "", name).await?;
    let (host, port) = node_address(&node)?;
    Ok(Some(Target::Node {
        name: name.to_owned(),
        host,
        port,
    }))
}

/// Where a node's agent listens.
fn node_address(node: &Value) -> Result<(String, u16), Status> {
    let addresses = node.list_at(&["status", "addresses"]);
    let of = |type_: &str| {
        let mut of = addresses
            .iter()
            .filter(|address| address.str_at(&["type"]) == type_);
        of.next()
            .map(|address| address.str_at(&["address"]).to_owned())
    };
    let host = ADDRESSES.iter().find_map(|type_| of(type_));
    let host = host.ok_or_else(|| {
        let why = "no preferred addresses found; known addresses: []";
        Status::new(500, Reason::Unknown, why)
    })?;
    let port = node.i64_at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    let port = port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    Ok((host, port.unwrap_or(AGENT_PORT)))
}

/// Reads objects of built-in kinds.
struct Reading<'a>(&'a Arc<Shared>);

impl Reading<'_> {
    fn resource(&self, group: &str, plural: &str) -> Result<Arc<Resource>, Status> {
        let resource = self.0.registry.get(group, "v1", plural);
        resource.ok_or_else(Status::no_such_path)
    }

    async fn get(&self, plural: &str, namespace: &str, name: &str) -> Result<Value, Status> {
        let resource = self.resource("", plural)?;
        let found = self.find(plural, namespace, name).await?;
        found.ok_or_else(|| Status::not_found(&resource.group_resource(), name))
    }

    async fn find(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        let resource = self.resource("", plural)?;
        let entry = self.0.store.get(&resource.key(namespace, name)).await;
        let entry = entry.map_err(|error| store_failure(&error))?;
        entry
            .map(|entry| Ok(Current::decode(entry)?.object))
            .transpose()
    }

    async fn list(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Value>, Status> {
        let resource = self.resource(group, plural)?;
        let range = Range::prefix(resource.key(namespace, ""));
        let page = self.0.store.range(range).await;
        let page = page.map_err(|error| store_failure(&error))?;
        let objects = page.entries.into_iter();
        objects
            .map(|entry| Ok(Current::decode(entry)?.object))
            .collect()
    }
}
