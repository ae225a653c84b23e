//! `pods/binding` and `bindings`: a scheduler assigns a pod to a node.
use crate::apiserver::handler::call::{Call, Current};
use crate::apiserver::handler::{admit, answer, body, metadata, write};
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupResource, GroupVersionKind, Reason, Status};
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// Binds the pod that the path, or for the legacy resource the body, names.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let options = WriteOptions::parse(&request.query, "CreateOptions", false)?;
    let pods = shared
        .registry
        .get("", "v1", "pods")
        .ok_or_else(Status::no_such_path)?;
    let mut call = Call::on(shared, request, &pods, Some("binding"), options);
    let mut binding = body::of_kind(&mut call, &GroupVersionKind::new("", "v1", "Binding"))?;
    metadata::place(call.resource, call.namespace, &mut binding)?;
    let name = if request.name.is_empty() {
        binding.name().to_owned()
    } else {
        request.name.clone()
    };
    if name != binding.name() {
        return Err(Status::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    admit::act(&call, &name, &mut binding).await?;
    check(&binding)?;
    write::direct(&mut call, &name, &mut |call, current| {
        bind(call, current, &binding)
    })
    .await?;
    Ok(response::document(StatusCode::CREATED, &answer::created()))
}

/// The real server answers these as bare errors.
fn check(binding: &Value) -> Result<(), Status> {
    let mut errors = Errors::new();
    let target = Path::new("target");
    let kind = binding.str_at(&["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        errors.not_supported(target.child("kind"), kind, &["Node", "<empty>"]);
    }
    if binding.str_at(&["target", "name"]).is_empty() {
        errors.required(target.child("name"), "");
    }
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match &texts[..] {
        [] => Ok(()),
        [one] => Err(Status::new(500, Reason::Unknown, one.as_str())),
        many => Err(Status::new(
            500,
            Reason::Unknown,
            format!("[{}]", many.join(", ")),
        )),
    }
}

fn bind(call: &Call<'_>, current: &Current, binding: &Value) -> Result<Value, Status> {
    let name = current.object.name();
    write::check_uid(call, name, binding.uid(), current)?;
    let version = binding.resource_version();
    if !version.is_empty() && version != current.object.resource_version() {
        let actual = current.object.resource_version();
        return Err(call.conflict(
            name,
            &write::precondition(call, name, "ResourceVersion", version, actual),
        ));
    }
    let conflict = |why: &str| {
        Err(Status::conflict(
            &GroupResource::new("", "pods/binding"),
            name,
            why,
        ))
    };
    if current.object.deletion_timestamp().is_some() {
        return conflict(&format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let node = current.object.str_at(&["spec", "nodeName"]);
    if !node.is_empty() {
        return conflict(&format!("pod {name} is already assigned to node {node:?}"));
    }
    if !current
        .object
        .list_at(&["spec", "schedulingGates"])
        .is_empty()
    {
        return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = current.object.clone();
    pod.set_at(&["spec", "nodeName"], binding.str_at(&["target", "name"]));
    merge(&mut pod, binding, "annotations");
    merge(&mut pod, binding, "labels");
    // Where the pod might have gone no longer matters.
    pod.remove_at(&["status", "nominatedNodeName"]);
    let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": call.now });
    set_condition(&mut pod, scheduled);
    Ok(pod)
}

fn merge(pod: &mut Value, binding: &Value, field: &str) {
    let Some(added) = binding.at(&["metadata", field]).and_then(Value::as_object) else {
        return;
    };
    for (key, value) in added {
        pod.set_at(&["metadata", field, key], value.clone());
    }
}

/// Sets a condition of a pod; when its status stays the same, so does its transition time.
pub(crate) fn set_condition(pod: &mut Value, mut condition: Value) {
    if !pod
        .at(&["status", "conditions"])
        .is_some_and(Value::is_array)
    {
        pod.set_at(&["status", "conditions"], Vec::<Value>::new());
    }
    let Some(Value::Array(conditions)) = pod.at_mut(&["status", "conditions"]) else {
        return;
    };
    let present = conditions
        .iter_mut()
        .find(|present| present.get("type") == condition.get("type"));
    match present {
        Some(present) => {
            if present.get("status") == condition.get("status")
                && let Some(since) = present.get("lastTransitionTime")
            {
                condition.set_at(&["lastTransitionTime"], since.clone());
            }
            *present = condition;
        }
        None => conditions.push(condition),
    }
}
