//! Kinds of the core group that are neither workloads nor networking nor storage, and what other files share.
use super::cells::cells;
use super::format::{age, human_duration, is_true, number, or, since, time};
use crate::object::{Document, condition};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

/// Name and age.
pub(super) fn named_with_age(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![object.name(), age(object, now)]
}

/// Name and time of creation.
pub(super) fn created(object: &Value, _: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        object.str_at(&["metadata", "creationTimestamp"])
    ]
}

/// How many entries the map or list at `path` has.
pub(super) fn count(object: &Value, path: &[&str]) -> usize {
    match object.at(path) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(list)) => list.len(),
        _ => 0,
    }
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        count(object, &["data"]) + count(object, &["binaryData"]),
        age(object, now)
    ]
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        object.str_at(&["type"]),
        count(object, &["data"]),
        age(object, now)
    ]
}

pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        object.str_at(&["status", "phase"]),
        age(object, now)
    ]
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        object.str_at(&["spec", "holderIdentity"]),
        age(object, now)
    ]
}

pub(super) fn component_status(object: &Value, _: Timestamp) -> Vec<Value> {
    let healthy = condition::find(object.list_at(&["conditions"]), "Healthy");
    let text = |field: &str| {
        healthy
            .map(|condition| condition.str_at(&[field]))
            .unwrap_or_default()
    };
    let status = match text("status") {
        "True" => "Healthy",
        "False" => "Unhealthy",
        _ => "Unknown",
    };
    cells![object.name(), status, text("message"), text("error")]
}

pub(super) fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = condition::find(object.list_at(&["status", "conditions"]), "Ready");
    let mut status = match ready {
        None => "Unknown",
        Some(_) if is_true(object, &["status", "conditions"], "Ready") => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if object.bool_at(&["spec", "unschedulable"]) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = object
        .at(&["metadata", "labels"])
        .and_then(Value::as_object);
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                None if key == "kubernetes.io/role" => value.as_str(),
                role => role,
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    let address = |type_: &str| {
        let addresses = object.list_at(&["status", "addresses"]);
        let found = addresses
            .iter()
            .find(|address| address.str_at(&["type"]) == type_);
        or(
            found
                .map(|address| address.str_at(&["address"]))
                .unwrap_or_default(),
            "<none>",
        )
    };
    let info = |field: &str| object.str_at(&["status", "nodeInfo", field]);
    cells![
        object.name(),
        status,
        or(&roles.into_iter().collect::<Vec<_>>().join(","), "<none>"),
        age(object, now),
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        or(info("osImage"), "<unknown>"),
        or(info("kernelVersion"), "<unknown>"),
        or(info("containerRuntimeVersion"), "<unknown>"),
    ]
}

/// Events of both groups: they name the same fields differently.
pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let text = |paths: [&[&str]; 2]| {
        paths
            .into_iter()
            .map(|path| object.str_at(path))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    };
    let ago = |then: Timestamp| human_duration(now.as_second() - then.as_second());
    let at = |paths: [&[&str]; 2]| paths.into_iter().find_map(|path| time(object, path));
    let first = at([&["firstTimestamp"], &["deprecatedFirstTimestamp"]])
        .or_else(|| time(object, &["eventTime"]));
    let first = first.map_or_else(|| "<unknown>".to_owned(), ago);
    let mut last =
        at([&["lastTimestamp"], &["deprecatedLastTimestamp"]]).map_or_else(|| first.clone(), ago);
    let mut count = number(object, &["count"])
        .max(number(object, &["deprecatedCount"]))
        .max(1);
    if object
        .at(&["series"])
        .is_some_and(|series| !series.is_null())
    {
        last = since(object, &["series", "lastObservedTime"], now);
        count = number(object, &["series", "count"]);
    }
    let kind = text([&["involvedObject", "kind"], &["regarding", "kind"]]).to_lowercase();
    let name = text([&["involvedObject", "name"], &["regarding", "name"]]);
    let target = if name.is_empty() {
        kind
    } else {
        format!("{kind}/{name}")
    };
    let component = or(
        text([&["source", "component"], &["deprecatedSource", "component"]]),
        text([&["reportingComponent"], &["reportingController"]]),
    );
    let instance = or(
        text([&["source", "host"], &["deprecatedSource", "host"]]),
        object.str_at(&["reportingInstance"]),
    );
    let source = if instance.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {instance}")
    };
    cells![
        last,
        object.str_at(&["type"]),
        object.str_at(&["reason"]),
        target,
        text([
            &["involvedObject", "fieldPath"],
            &["regarding", "fieldPath"]
        ]),
        source,
        text([&["message"], &["note"]]).trim(),
        first,
        count,
        object.name(),
    ]
}

pub(super) fn resource_quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let hard = object.at(&["status", "hard"]).and_then(Value::as_object);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in hard.into_iter().flatten() {
        let used = or(object.str_at(&["status", "used", resource]), "0");
        let column = if resource.starts_with("limits.") {
            &mut limits
        } else {
            &mut requests
        };
        column.push(format!(
            "{resource}: {used}/{}",
            hard.as_str().unwrap_or_default()
        ));
    }
    cells![
        object.name(),
        requests.join(", "),
        limits.join(", "),
        age(object, now)
    ]
}
