//! What governs the cluster: admission, priorities, flow control, aggregated APIs, runtime classes.
use super::cells::cells;
use super::core::count;
use super::format::{age, number, or, selector};
use crate::object::{Document, condition};
use jiff::Timestamp;
use serde_json::Value;

pub(super) fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        count(object, &["webhooks"]),
        age(object, now)
    ]
}

pub(super) fn validating_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        count(object, &["spec", "validations"]),
        parameter_kind(object),
        age(object, now)
    ]
}

pub(super) fn mutating_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        count(object, &["spec", "mutations"]),
        parameter_kind(object),
        age(object, now)
    ]
}

fn parameter_kind(object: &Value) -> String {
    object.at(&["spec", "paramKind"]).map_or_else(
        || "<unset>".to_owned(),
        |kind| format!("{}/{}", kind.api_version(), kind.kind()),
    )
}

pub(super) fn policy_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameter = |field: &str| object.str_at(&["spec", "paramRef", field]);
    let reference = match (parameter("name"), parameter("namespace")) {
        ("", _) if object.at(&["spec", "paramRef", "selector"]).is_some() => {
            selector(object, &["spec", "paramRef", "selector"])
        }
        ("", _) => "<unset>".to_owned(),
        (name, "") => name.to_owned(),
        (name, namespace) => format!("{namespace}/{name}"),
    };
    cells![
        object.name(),
        object.str_at(&["spec", "policyName"]),
        reference,
        age(object, now)
    ]
}

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        number(object, &["value"]),
        object.bool_at(&["globalDefault"]).unwrap_or(false),
        age(object, now),
        object.str_at(&["preemptionPolicy"]),
    ]
}

pub(super) fn runtime_class(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![object.name(), object.str_at(&["handler"]), age(object, now)]
}

pub(super) fn flow_schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let dangling = condition::find(object.list_at(&["status", "conditions"]), "Dangling");
    cells![
        object.name(),
        object.str_at(&["spec", "priorityLevelConfiguration", "name"]),
        number(object, &["spec", "matchingPrecedence"]),
        or(
            object.str_at(&["spec", "distinguisherMethod", "type"]),
            "<none>"
        ),
        age(object, now),
        dangling.map_or("?", |dangling| dangling.str_at(&["status"])),
    ]
}

pub(super) fn priority_level(object: &Value, now: Timestamp) -> Vec<Value> {
    let none = || Value::from("<none>");
    let shares = |kind: &str| {
        object
            .at(&["spec", kind, "nominalConcurrencyShares"])
            .cloned()
    };
    let queuing = |field: &str| {
        object
            .at(&["spec", "limited", "limitResponse", "queuing", field])
            .cloned()
            .unwrap_or_else(none)
    };
    cells![
        object.name(),
        object.str_at(&["spec", "type"]),
        shares("limited")
            .or_else(|| shares("exempt"))
            .unwrap_or_else(none),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        age(object, now),
    ]
}

pub(super) fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = object
        .at(&["spec", "service"])
        .filter(|service| !service.is_null());
    let service = service.map_or_else(
        || "Local".to_owned(),
        |service| {
            format!(
                "{}/{}",
                service.str_at(&["namespace"]),
                service.str_at(&["name"])
            )
        },
    );
    let available = condition::find(object.list_at(&["status", "conditions"]), "Available");
    let available = available.map_or_else(
        || "Unknown".to_owned(),
        |available| match (available.str_at(&["status"]), available.str_at(&["reason"])) {
            ("True", _) | (_, "") => available.str_at(&["status"]).to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    );
    cells![object.name(), service, available, age(object, now)]
}
