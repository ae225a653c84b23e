//! rbac.authorization.k8s.io and certificates.k8s.io.
use super::cells::cells;
use super::format::{age, human_duration, or};
use crate::object::{Document, condition};
use jiff::Timestamp;
use serde_json::Value;

pub(super) fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = |field: &str| object.str_at(&["roleRef", field]);
    let subjects = |kind: &str| {
        let named = object
            .list_at(&["subjects"])
            .iter()
            .filter(|subject| subject.kind() == kind);
        let names = named.map(|subject| {
            let name = subject.str_at(&["name"]);
            if kind == "ServiceAccount" {
                format!("{}/{name}", subject.str_at(&["namespace"]))
            } else {
                name.to_owned()
            }
        });
        names.collect::<Vec<_>>().join(", ")
    };
    cells![
        object.name(),
        format!("{}/{}", role("kind"), role("name")),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let conditions = object.list_at(&["status", "conditions"]);
    let has = |type_: &str| condition::find(conditions, type_).is_some();
    let mut status = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !object.str_at(&["status", "certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    let wanted = object
        .i64_at(&["spec", "expirationSeconds"])
        .map(human_duration);
    cells![
        object.name(),
        age(object, now),
        or(object.str_at(&["spec", "signerName"]), "<none>"),
        object.str_at(&["spec", "username"]),
        wanted.unwrap_or_else(|| "<none>".to_owned()),
        status,
    ]
}
