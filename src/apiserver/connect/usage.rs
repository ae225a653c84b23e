//! What nodes and pods use (`metrics.k8s.io`): asked of the agents when somebody asks.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::forward::send;
use super::{Reading, node_address};
use crate::apiserver::connect::Target;
use crate::apiserver::request::{ListOptions, ResourceRequest, Verb};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::object::{Document, GroupResource, Status};

/// The group that is answered here.
pub(crate) const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "metrics.k8s.io/v1beta1";
/// How many agents are asked at once.
const AT_ONCE: usize = 64;
/// How long an agent may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer summary is none.
const LONGEST: usize = 32 << 20;

/// Answers a request for what is used.
///
/// # Errors
/// 404 for what is not there or tells nothing.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    let read = Reading(shared);
    let (namespace, name) = (request.namespace.as_str(), request.name.as_str());
    let pods = request.resource.plural == "pods";
    let kind = if pods { "PodMetrics" } else { "NodeMetrics" };
    if request.verb == Verb::Get {
        let plural = if pods { "pods" } else { "nodes" };
        let missing = || Status::not_found(&GroupResource::new(GROUP, plural), name);
        let object = read
            .find(plural, namespace, name)
            .await?
            .ok_or_else(missing)?;
        let found = of(shared, &read, pods, vec![object]).await?;
        let found = found.into_iter().next().ok_or_else(missing)?;
        return Ok(response::document(StatusCode::OK, &found));
    }
    let options = ListOptions::parse(request)?;
    let mut objects = if pods {
        read.list("", "pods", namespace).await?
    } else {
        read.list("", "nodes", "").await?
    };
    objects.retain(|object| {
        let labels = object.at(&["metadata", "labels"]);
        let lookup = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        options.labels.matches_with(lookup)
    });
    let items = of(shared, &read, pods, objects).await?;
    let list = json!({
        "kind": format!("{kind}List"), "apiVersion": VERSION, "metadata": {}, "items": items,
    });
    Ok(response::document(StatusCode::OK, &list))
}

/// What the objects use, of those whose agents tell it.
async fn of(
    shared: &Arc<Shared>,
    read: &Reading<'_>,
    pods: bool,
    objects: Vec<Value>,
) -> Result<Vec<Value>, Status> {
    let node_of = |object: &Value| {
        if pods {
            object.str_at(&["spec", "nodeName"]).to_owned()
        } else {
            object.name().to_owned()
        }
    };
    let names: BTreeSet<String> = objects.iter().map(node_of).collect();
    let mut nodes = Vec::new();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        nodes.extend(read.find("nodes", "", &name).await?);
    }
    let summaries: BTreeMap<String, Value> = futures::stream::iter(nodes)
        .map(|node| async move {
            let summary = tokio::time::timeout(PATIENCE, summary(shared, &node)).await;
            Some((node.name().to_owned(), summary.ok().flatten()?))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(|found| async move { found })
        .collect()
        .await;
    let now = shared.clock.now();
    let shown = objects.iter().filter_map(|object| {
        let summary = summaries.get(&node_of(object))?;
        if pods {
            of_pod(object, summary, now)
        } else {
            of_node(object, summary.get("node")?, now)
        }
    });
    Ok(shown.collect())
}

/// What a node's agent says; `None` when it says nothing.
async fn summary(shared: &Arc<Shared>, node: &Value) -> Option<Value> {
    let dialer = shared.dialer.as_deref()?;
    let (host, port) = node_address(node).ok()?;
    let target = Target::Node {
        name: node.name().to_owned(),
        host,
        port,
    };
    let body = http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut headers = HeaderMap::new();
    headers.insert(http::header::HOST, target.authority().parse().ok()?);
    let path = "/stats/summary";
    let answer = send(dialer, &target, Method::GET, path, headers, body).await;
    let answer = answer
        .ok()
        .filter(|answer| answer.status() == StatusCode::OK)?;
    let body = http_body_util::Limited::new(answer.into_body(), LONGEST);
    let body = body.collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

fn of_node(node: &Value, summary: &Value, now: Timestamp) -> Option<Value> {
    let (usage, at) = usage(summary)?;
    Some(json!({
        "kind": "NodeMetrics", "apiVersion": VERSION, "metadata": metadata(node, now),
        "timestamp": at, "window": "15s", "usage": usage,
    }))
}

fn of_pod(pod: &Value, summary: &Value, now: Timestamp) -> Option<Value> {
    let own = summary
        .list_at(&["pods"])
        .iter()
        .find(|one| one.str_at(&["podRef", "uid"]) == pod.uid())?;
    let mut latest = String::new();
    let mut containers = Vec::new();
    for container in own.list_at(&["containers"]) {
        // While one of them tells nothing, nothing is known of the pod.
        let (usage, at) = usage(container)?;
        latest = latest.max(at);
        containers.push(json!({"name": container.str_at(&["name"]), "usage": usage}));
    }
    if containers.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "PodMetrics", "apiVersion": VERSION, "metadata": metadata(pod, now),
        "timestamp": latest, "window": "15s", "containers": containers,
    }))
}

fn metadata(object: &Value, now: Timestamp) -> Value {
    let mut metadata = json!({"name": object.name(), "creationTimestamp": seconds(now)});
    if !object.namespace().is_empty() {
        metadata["namespace"] = object.namespace().into();
    }
    if let Some(labels) = object.at(&["metadata", "labels"]) {
        metadata["labels"] = labels.clone();
    }
    metadata
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Processor and memory as quantities, and when that was.
fn usage(of: &Value) -> Option<(Value, String)> {
    let number = |path: &[&str]| of.at(path).and_then(Value::as_u64);
    let at: Timestamp = of.str_at(&["cpu", "time"]).parse().ok()?;
    let rate = number(&["cpu", "usageNanoCores"]).or_else(|| {
        // One that was asked for the first time knows only what was used since the start.
        let used = number(&["cpu", "usageCoreNanoSeconds"])?;
        let started: Timestamp = of.str_at(&["startTime"]).parse().ok()?;
        let passed = u128::try_from(at.duration_since(started).as_nanos()).ok()?;
        let rate = (u128::from(used) * 1_000_000_000).checked_div(passed)?;
        u64::try_from(rate).ok()
    })?;
    let memory = number(&["memory", "workingSetBytes"])?;
    let usage = json!({"cpu": format!("{rate}n"), "memory": format!("{}Ki", memory >> 10)});
    Some((usage, seconds(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_lately_or_since_the_start() {
        let at = "2024-01-01T00:00:10Z";
        for (cpu, expected) in [
            (json!({"time": at, "usageNanoCores": 5}), Some("5n")),
            (
                json!({"time": at, "usageCoreNanoSeconds": 2_000_000_000}),
                Some("200000000n"),
            ),
            (json!({"time": at}), None),
        ] {
            let of = json!({"startTime": "2024-01-01T00:00:00Z", "cpu": cpu, "memory": {"workingSetBytes": 4096}});
            let found = usage(&of);
            assert_eq!(
                found
                    .as_ref()
                    .map(|(usage, _)| usage["cpu"].as_str().unwrap()),
                expected
            );
            assert!(found.is_none_or(|(usage, time)| usage["memory"] == "4Ki" && time == at));
        }
    }
}
