//! A request as webhooks and expressions are told of it: an `AdmissionRequest` of `admission.k8s.io` without the objects.
use super::matching::{self, Match};
use super::{AdmissionRequest, Operation};
use crate::object::GroupVersionKind;
use serde_json::{Map, Value, json};

/// What is asked, of what, by whom.
pub(super) fn of(request: &AdmissionRequest<'_>, found: &Match) -> Value {
    let kind = |kind: &GroupVersionKind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let resource = &request.resource.resource;
    let mut attributes = json!({
        "kind": kind(&found.kind),
        "resource": {"group": found.group, "version": found.version, "resource": resource},
        "requestKind": kind(&request.kind),
        "requestResource": {"group": request.resource.group, "version": request.version, "resource": resource},
        "operation": matching::operation(request.operation),
        "userInfo": user(request),
        "dryRun": request.dry_run,
        "options": request.options,
    });
    // A namespace that is made is its own, as upstream.
    let namespace = if request.operation == Operation::Create && request.is_for("", "namespaces") {
        request.name
    } else {
        request.namespace
    };
    for (field, text) in [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", namespace),
    ] {
        if !text.is_empty() {
            attributes[field] = text.into();
        }
    }
    attributes
}

fn user(request: &AdmissionRequest<'_>) -> Value {
    let user = request.user;
    let mut fields = Map::new();
    for (field, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            fields.insert(field.into(), text.as_str().into());
        }
    }
    if !user.groups.is_empty() {
        fields.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        fields.insert("extra".into(), json!(user.extra));
    }
    fields.into()
}
