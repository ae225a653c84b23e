//! Who owns which field: where writes meet `patch/managed.rs` and `patch/apply.rs`.
use super::call::{Call, is_converted, storage_version};
use crate::apiserver::patch::apply;
use crate::apiserver::patch::fieldset::Set;
use crate::apiserver::patch::managed::{self, Writer};
use crate::apiserver::request::options::FieldValidation;
use crate::apiserver::schema;
use crate::object::{Document, GroupVersion, GroupVersionKind, Status};
use serde_json::Value;

/// Brings the managed fields of `object` up to date with what it changes from `live` (`None`: it is made). An apply has done
/// so itself. Both are in the storage version; who owns what is told in the version of the request.
pub(crate) fn track(call: &Call<'_>, live: Option<&Value>, object: &mut Value) {
    if call.applies {
        return;
    }
    let reset = reset_fields(call, object, live);
    let version = call.resource.gvk.api_version();
    // As upstream: who scales is told without a time.
    let now = match call.subresource {
        Some("scale") => "",
        _ => call.now.as_str(),
    };
    let writer = Writer {
        manager: call.options.manager(&call.request.user_agent),
        api_version: &version,
        subresource: call.subresource.unwrap_or_default(),
        now,
        reset: reset.as_ref(),
    };
    if call.subresource == Some("scale")
        && let (Some(scale), Some(live)) = (call.resource.strategy.scale(), live)
        && !scales(live, object, &scale.spec_replicas)
    {
        return;
    }
    if !is_converted(call.resource) {
        if let Some(schema) = call.stored_schema() {
            let lost = |version: &str| changed_in(call, live?, object, version, &writer);
            let told = as_given(call, object);
            let new = told.as_ref().unwrap_or(object);
            let managed = managed::update(live, new, &schema, &writer, &lost);
            managed::set_entries(object, managed);
        }
        return;
    }
    let Some(schema) = call.resource.schema.as_deref() else {
        return;
    };
    let shown = |document: &Value| {
        let mut document = document.clone();
        call.to_request(&mut document);
        document
    };
    let (old, new) = (live.map(shown), shown(object));
    let new = as_given(call, &new).unwrap_or(new);
    let lost = |version: &str| changed_in(call, live?, object, version, &writer);
    let managed = managed::update(old.as_ref(), &new, schema, &writer, &lost);
    managed::set_entries(object, managed);
}

/// The object with what was given empty; `None`: there is no such thing.
fn as_given(call: &Call<'_>, object: &Value) -> Option<Value> {
    if call.emptied.is_empty() {
        return None;
    }
    let mut given = object.clone();
    for (pointer, empty) in &call.emptied {
        if let Some(field) = given.pointer_mut(pointer).filter(|field| field.is_null()) {
            *field = empty.clone();
        }
    }
    Some(given)
}

/// As [`track`], of a new object of another kind than the resource's.
pub(crate) fn track_as(call: &Call<'_>, kind: &GroupVersionKind, object: &mut Value) {
    let Some(schema) = schema::builtin(kind) else {
        return;
    };
    let writer = Writer {
        manager: call.options.manager(&call.request.user_agent),
        api_version: &kind.api_version(),
        subresource: call.subresource.unwrap_or_default(),
        now: &call.now,
        reset: None,
    };
    let managed = managed::update(None, object, &schema, &writer, &|_| None);
    managed::set_entries(object, managed);
}

/// What a write changes, told in another version of the kind.
fn changed_in(
    call: &Call<'_>,
    live: &Value,
    object: &Value,
    version: &str,
    writer: &Writer<'_>,
) -> Option<Set> {
    let stored = storage_version(call.resource);
    let parsed = GroupVersion::parse(version).ok()?;
    let kind = &*call.resource.gvk.kind;
    let schema = schema::builtin(&GroupVersionKind::new(parsed.group, parsed.version, kind))?;
    let shown = |document: &Value| {
        let mut document = document.clone();
        if version != stored {
            call.resource
                .strategy
                .convert(&mut document, &stored, version);
        }
        document
    };
    Some(managed::changed(
        &shown(live),
        &shown(object),
        &schema,
        writer,
    ))
}

/// A write of the scale: whether it is told as any other. When nobody owns the replicas, nobody comes to own them; and
/// without replicas, which the scale does not show when there are none, nobody owns them any more.
fn scales(live: &Value, object: &mut Value, replicas: &[String]) -> bool {
    let path: Vec<&str> = replicas.iter().map(String::as_str).collect();
    let wanted = |object: &Value| object.at(&path).and_then(Value::as_i64).unwrap_or(0);
    let set = Set::of_paths(&[path.as_slice()]);
    let Some(mut entries) = managed::entries(live) else {
        return true;
    };
    let owns = |entry: &managed::Entry| !entry.fields.intersection(&set).is_empty();
    if entries.iter().any(owns) {
        if wanted(object) != 0 || wanted(live) == 0 {
            return true;
        }
        for entry in &mut entries {
            entry.fields = std::mem::take(&mut entry.fields).difference(&set);
        }
    }
    managed::set_entries(object, entries);
    false
}

/// The live object (`None`: it is made) with the configuration in the body applied.
///
/// # Errors
/// See [`apply::apply`].
pub(crate) fn applied(call: &mut Call<'_>, live: Option<&Value>) -> Result<Value, Status> {
    let configuration = configuration(call)?;
    apply_to(call, live, &configuration)
}

/// The configuration in the body.
///
/// # Errors
/// 400 when it is none.
pub(crate) fn configuration(call: &mut Call<'_>) -> Result<Value, Status> {
    let strict = call.options.field_validation == FieldValidation::Strict;
    let (configuration, complaints) = apply::parse(&call.request.body, strict)?;
    if call.options.field_validation == FieldValidation::Warn {
        call.warnings.extend(complaints);
    }
    Ok(configuration)
}

/// The live object with a configuration applied.
///
/// # Errors
/// See [`apply::apply`].
pub(crate) fn apply_to(
    call: &mut Call<'_>,
    live: Option<&Value>,
    configuration: &Value,
) -> Result<Value, Status> {
    call.applies = true;
    let schema = call
        .resource
        .schema
        .clone()
        .ok_or_else(|| Status::bad_request("the kind has no schema to apply by"))?;
    let reset = reset_fields(call, configuration, live);
    let gvk = &call.resource.gvk;
    let version = gvk.api_version();
    let writer = Writer {
        manager: &call.options.field_manager,
        api_version: &version,
        subresource: call.subresource.unwrap_or_default(),
        now: &call.now,
        reset: reset.as_ref(),
    };
    let force = call.options.force.unwrap_or(false);
    apply::apply(live, configuration, &schema, gvk, &writer, force)
}

/// What a write of this part of the object does not change whatever it says.
fn reset_fields(call: &Call<'_>, object: &Value, live: Option<&Value>) -> Option<Set> {
    let strategy = &call.resource.strategy;
    if !strategy.disowns_resets() {
        return None;
    }
    let resets = strategy.resets(call.subresource);
    match call.subresource {
        None if call.resource.subresource("status").is_some() => {
            Some(Set::of_paths(&[&[&["status"][..]], resets].concat()))
        }
        Some(subresource) if strategy.writes_status(subresource) => {
            let names = [Some(object), live].into_iter().flatten();
            let names = names
                .filter_map(Value::as_object)
                .flat_map(serde_json::Map::keys);
            let desired: Vec<&str> = names
                .map(String::as_str)
                .filter(|name| !matches!(*name, "apiVersion" | "kind" | "metadata" | "status"))
                .collect();
            let desired: Vec<[&str; 1]> = desired.into_iter().map(|name| [name]).collect();
            let mut paths: Vec<&[&str]> = desired.iter().map(<[&str; 1]>::as_slice).collect();
            paths.extend(strategy.status_keeps());
            paths.extend(resets);
            Some(Set::of_paths(&paths))
        }
        _ => None,
    }
}
