//! `ComponentStatus`: how the parts of the control plane are, asked of them when somebody asks
//! (`pkg/registry/core/componentstatus`).
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use serde_json::{Map, Value, json};

use super::dial::Target;
use super::forward::send;
use crate::apiserver::registry::encoding;
use crate::apiserver::request::{ListOptions, ResourceRequest, Verb};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::transform::{self, Form, Shape};
use crate::object::{Reason, Status};

/// The resource that is answered here.
pub(crate) const RESOURCE: &str = "componentstatuses";
/// The parts, by name, and the ports at which those beside this server tell how they are.
const COMPONENTS: [(&str, Option<u16>); 3] = [
    ("controller-manager", Some(10_257)),
    ("etcd-0", None),
    ("scheduler", Some(10_259)),
];
/// Where they listen.
const HOST: &str = "127.0.0.1";
/// How long a part may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the store may take.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// More of an answer is not read.
const LONGEST: usize = 10 << 10;

/// Answers a request for one part, or for all.
///
/// # Errors
/// 500 for a part that there is not, as the real server.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    let now = shared.clock.now();
    if request.verb == Verb::Get {
        let form = Form::negotiate(
            &request.accept,
            &request.query,
            Shape::Object,
            &request.resource,
        )?;
        let found = COMPONENTS.iter().find(|(name, _)| *name == request.name);
        let (name, port) = found.ok_or_else(|| {
            let why = format!("Component not found: {}", request.name);
            Status::new(500, Reason::Unknown, why)
        })?;
        let status = encoding::encode(&status(shared, name, *port).await);
        let body = transform::object(form, &request.resource, &status, now)?;
        return Ok(response::json(StatusCode::OK, body));
    }
    let form = Form::negotiate(
        &request.accept,
        &request.query,
        Shape::List,
        &request.resource,
    )?;
    let options = ListOptions::parse(request)?;
    let selected = COMPONENTS.iter().filter(|(name, _)| {
        let field = |field: &str| (field == "metadata.name").then_some(*name);
        options.labels.matches_with(|_| None) && options.fields.matches_with(field)
    });
    let statuses = selected.map(|(name, port)| status(shared, name, *port));
    let statuses = join_all(statuses).await;
    if form == Form::Object {
        let list = json!({
            "kind": request.resource.list_kind, "apiVersion": "v1", "metadata": {}, "items": statuses,
        });
        return Ok(response::document(StatusCode::OK, &list));
    }
    let items: Vec<Bytes> = statuses.iter().map(encoding::encode).collect();
    let body = transform::list(form, &request.resource, &json!({}), items.iter(), now)?;
    Ok(response::json(StatusCode::OK, body))
}

/// How a part is: `Ok` with what it says when it is well.
async fn status(shared: &Arc<Shared>, name: &str, port: Option<u16>) -> Value {
    let mut condition = Map::new();
    condition.insert("type".into(), "Healthy".into());
    let found = match port {
        Some(port) => healthz(shared, port).await.map_err(|why| ("message", why)),
        None => store(shared).await.map_err(|why| ("error", why)),
    };
    let (status, field, text) = match found {
        Ok(text) => ("True", "message", text),
        Err((field, why)) => ("False", field, why),
    };
    condition.insert("status".into(), status.into());
    if !text.is_empty() {
        condition.insert(field.into(), text.into());
    }
    json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]})
}

async fn store(shared: &Shared) -> Result<String, String> {
    match tokio::time::timeout(STORE_PATIENCE, shared.store.health()).await {
        Ok(Ok(())) => Ok("ok".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}

/// Asks a part beside this server.
async fn healthz(shared: &Arc<Shared>, port: u16) -> Result<String, String> {
    let target = Target::Address {
        host: HOST.to_owned(),
        port,
        tls: true,
    };
    let failed = |why: String| format!("Get \"{target}/healthz\": {why}");
    let Some(dialer) = shared.dialer.as_deref() else {
        let why = format!("dial tcp {HOST}:{port}: connect: connection refused");
        return Err(failed(why));
    };
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut headers = HeaderMap::new();
    let host = target.authority().parse();
    headers.insert(
        http::header::HOST,
        host.map_err(|_| failed(HOST.to_owned()))?,
    );
    let asked = async {
        let answer = send(dialer, &target, Method::GET, "/healthz", headers, body).await;
        let answer = answer.map_err(failed)?;
        let code = answer.status().as_u16();
        if code >= 400 {
            return Err(format!("HTTP probe failed with statuscode: {code}"));
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    };
    let late = |_| Err(failed("context deadline exceeded".to_owned()));
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(late)
}
