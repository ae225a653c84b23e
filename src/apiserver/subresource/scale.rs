//! `/scale`: the wanted and actual replicas of any kind that has them, as an `autoscaling/v1` `Scale`.
use crate::apiserver::handler::call::{Call, Current};
use crate::apiserver::handler::patch::{self, Kind};
use crate::apiserver::handler::write::{self, Missing};
use crate::apiserver::handler::{answer, body, metadata, ownership};
use crate::apiserver::registry::encoding;
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::{Scale, schema, transform};
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupKind, GroupVersion, GroupVersionKind, LabelSelector, Status};
use http::StatusCode;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Answers the scale.
pub(crate) async fn get(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let call = Call::new(shared, request, WriteOptions::default());
    let Some(current) = call.read(&request.name).await? else {
        return Err(call.not_found(&request.name));
    };
    respond(&call, StatusCode::OK, &current.object)
}

/// Replaces the wanted replicas.
pub(crate) async fn update(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let options = WriteOptions::parse(&request.query, "UpdateOptions", false)?;
    let mut call = Call::new(shared, request, options);
    let mut sent = body::of_kind(&mut call, &gvk())?;
    metadata::place(call.resource, call.namespace, &mut sent)?;
    metadata::check_name(&sent, &request.name)?;
    let mut change = |call: &mut Call<'_>, current: Option<&Current>| {
        let current = current.ok_or_else(|| call.not_found(&call.request.name))?;
        write::check_uid(call, &call.request.name, sent.uid(), current)?;
        with(call, &current.object, &sent)
    };
    run(&mut call, &mut change).await
}

/// Patches the scale, and with it the wanted replicas.
pub(crate) async fn patch(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let kind = Kind::of(&request.content_type, &request.resource)?;
    let options = WriteOptions::parse(&request.query, "PatchOptions", kind == Kind::Apply)?;
    let mut call = Call::new(shared, request, options);
    let gvk = gvk();
    let schema = schema::builtin(&gvk);
    let mut change = |call: &mut Call<'_>, current: Option<&Current>| {
        let current = current.ok_or_else(|| call.not_found(&call.request.name))?;
        if kind == Kind::Apply {
            return applied(call, &current.object);
        }
        let base = of(&current.object, &paths(call)?);
        let patched = patch::patched(call, kind, base, schema.as_deref(), &gvk)?;
        metadata::check_name(&patched, &call.request.name)?;
        with(call, &current.object, &patched)
    };
    run(&mut call, &mut change).await
}

/// Applies a `Scale`: to own the scale's replicas is to own the object's.
fn applied(call: &mut Call<'_>, object: &Value) -> Result<Value, Status> {
    let scale = ownership::configuration(call)?;
    if (scale.api_version(), scale.kind()) != ("autoscaling/v1", "Scale") {
        let version = GroupVersion::parse(scale.api_version()).unwrap_or_default();
        return Err(Status::bad_request(format!(
            "invalid object type: {}/{}, Kind={}",
            version.group,
            version.version,
            scale.kind()
        )));
    }
    metadata::check_name(&scale, &call.request.name)?;
    let mut configuration = json!({
        "apiVersion": call.resource.gvk.api_version(), "kind": call.resource.gvk.kind, "metadata": { "name": scale.name() },
    });
    if let Some(replicas) = scale.at(&["spec", "replicas"]) {
        let path = paths(call)?.spec_replicas;
        configuration.set_at(
            &path.iter().map(String::as_str).collect::<Vec<_>>(),
            replicas.clone(),
        );
    }
    ownership::apply_to(call, Some(object), &configuration)
}

async fn run(call: &mut Call<'_>, change: &mut write::Change<'_>) -> Result<Response, Status> {
    let name = &call.request.name;
    let written = write::update(call, name, Missing::NotFound, change).await?;
    let revision = written.revision.unwrap_or_default();
    let object = encoding::decode(&written.bytes, revision)
        .map_err(|error| Status::internal(&error.to_string()))?;
    respond(call, StatusCode::OK, &object)
}

fn gvk() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

fn paths(call: &Call<'_>) -> Result<Scale, Status> {
    call.resource
        .strategy
        .scale()
        .ok_or_else(Status::method_not_allowed)
}

fn respond(call: &Call<'_>, code: StatusCode, object: &Value) -> Result<Response, Status> {
    let paths = paths(call)?;
    let wanted: Vec<&str> = paths.spec_replicas.iter().map(String::as_str).collect();
    if call.resource.custom.is_some() && object.at(&wanted).is_none() {
        let why = format!(
            "the spec replicas field \".{}\" does not exist",
            wanted.join(".")
        );
        return Err(Status::internal(&why));
    }
    let scale = of(object, &paths);
    let form = answer::negotiate(call.request)?;
    let bytes = scale.to_string().into();
    let body = transform::object(form, call.resource, &bytes, call.shared.clock.now())?;
    Ok(response::json(code, body))
}

/// The object with the replicas that `scale` wants, on condition of its resource version.
fn with(call: &Call<'_>, object: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = scale.i64_at(&["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let mut errors = Errors::new();
        let path = Path::new("spec").child("replicas");
        errors.invalid(path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(
            &GroupKind::new("autoscaling", "Scale"),
            scale.name(),
            &errors,
        ));
    }
    let mut object = object.clone();
    let version = scale.resource_version();
    let custom = call.resource.custom.is_some();
    if version.is_empty() && !custom && !call.resource.strategy.allow_unconditional_update() {
        metadata::of(&mut object).remove("resourceVersion");
    } else if !version.is_empty() {
        metadata::of(&mut object).insert("resourceVersion".into(), version.into());
    }
    let path = paths(call)?.spec_replicas;
    object.set_at(
        &path.iter().map(String::as_str).collect::<Vec<_>>(),
        replicas,
    );
    Ok(object)
}

/// Gives the object the replicas that a scale wants.
pub(crate) fn set_replicas(object: &mut Value, paths: &Scale, scale: &Value) {
    let path: Vec<&str> = paths.spec_replicas.iter().map(String::as_str).collect();
    let replicas = scale.i64_at(&["spec", "replicas"]).unwrap_or(0);
    if object.i64_at(&path).unwrap_or(0) != replicas {
        object.set_at(&path, replicas);
    }
}

/// The scale of an object.
pub(crate) fn of(object: &Value, paths: &Scale) -> Value {
    fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
        object.at(&path.iter().map(String::as_str).collect::<Vec<_>>())
    }
    let mut meta = Map::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object.at(&["metadata", field]) {
            meta.insert(field.into(), value.clone());
        }
    }
    let number = |path: &[String]| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": {},
        "status": { "replicas": number(&paths.status_replicas) },
    });
    let wanted = number(&paths.spec_replicas);
    if wanted != 0 {
        scale.set_at(&["spec", "replicas"], wanted);
    }
    let selector = paths
        .selector
        .as_ref()
        .and_then(|path| at(object, path))
        .map(selector_text);
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        scale.set_at(&["status", "selector"], selector);
    }
    scale
}

/// A selector as text, from text, from a plain map or from a `LabelSelector`.
fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let structured = selector.get("matchLabels").is_some_and(Value::is_object)
        || selector.get("matchExpressions").is_some();
    if structured {
        return LabelSelector::from_value(selector)
            .map(|selector| selector.to_string())
            .unwrap_or_default();
    }
    let pairs = selector.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_show_replicas_and_selector() {
        let paths = Scale {
            spec_replicas: vec!["spec".into(), "replicas".into()],
            status_replicas: vec!["status".into(), "replicas".into()],
            selector: Some(vec!["spec".into(), "selector".into()]),
        };
        for (object, spec, status) in [
            (
                json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 1}}),
                json!({"replicas": 2}),
                json!({"replicas": 1, "selector": "a=b"}),
            ),
            (
                json!({"spec": {"replicas": 0, "selector": {"a": "b", "c": "d"}}}),
                json!({}),
                json!({"replicas": 0, "selector": "a=b,c=d"}),
            ),
            (
                json!({"spec": {"selector": "x in (y)"}}),
                json!({}),
                json!({"replicas": 0, "selector": "x in (y)"}),
            ),
        ] {
            let scale = of(&object, &paths);
            assert_eq!((&scale["spec"], &scale["status"]), (&spec, &status));
        }
    }
}
