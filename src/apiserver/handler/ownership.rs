//! Who owns which field: where writes meet `patch/managed.rs` and `patch/apply.rs`.
//!
//! Ownership is told on documents of the storage version; the entries name the version of the request.
use super::call::Call;
use crate::apiserver::patch::apply;
use crate::apiserver::patch::fieldset::Set;
use crate::apiserver::patch::managed::{self, Writer};
use crate::apiserver::request::options::FieldValidation;
use crate::object::Status;
use serde_json::Value;

/// Brings the managed fields of `object` up to date with what it changes from `live` (`None`: it is made). An apply has done
/// so itself.
pub(crate) fn track(call: &Call<'_>, live: Option<&Value>, object: &mut Value) {
    if call.applies {
        return;
    }
    let Some(schema) = call.stored_schema() else {
        return;
    };
    let reset = reset_fields(call, object, live);
    let version = call.resource.gvk.api_version();
    let writer = Writer {
        manager: call.options.manager(&call.request.user_agent),
        api_version: &version,
        subresource: call.subresource.unwrap_or_default(),
        now: &call.now,
        reset: reset.as_ref(),
    };
    managed::update(live, object, &schema, &writer);
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
