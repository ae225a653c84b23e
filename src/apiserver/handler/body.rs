//! Request bodies as objects: decoded by the schema, with what field validation says, in the storage version with defaults.
use super::call::Call;
use crate::apiserver::request::negotiate::{self, Format};
use crate::apiserver::request::options::FieldValidation;
use crate::apiserver::schema::decode::{self, ContentType, Decoded};
use crate::apiserver::schema::yaml;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupKind, GroupVersionKind, Status};
use serde_json::Value;

/// The object in the body of the request, of the kind of its resource, in the storage version.
///
/// # Errors
/// 400 when it cannot be decoded or strictly decoded, 415.
pub(crate) fn object(call: &mut Call<'_>) -> Result<Value, Status> {
    let resource = call.resource;
    if resource.custom.is_some() {
        check_type(call)?;
    }
    let decoded = decoded(call, resource.schema.as_deref(), &resource.gvk)?;
    let mut object = accept(call, decoded, &resource.gvk)?;
    call.to_storage(&mut object);
    Ok(object)
}

/// The object in the body of the request, of kind `expected`.
///
/// # Errors
/// As [`object`].
pub(crate) fn of_kind(call: &mut Call<'_>, expected: &GroupVersionKind) -> Result<Value, Status> {
    let schema = crate::apiserver::schema::builtin(expected);
    let decoded = decoded(call, schema.as_deref(), expected)?;
    accept(call, decoded, expected)
}

/// An object of the server itself, as a request with it would bring it.
///
/// # Errors
/// 500 when it cannot be decoded.
pub(crate) fn own(call: &Call<'_>, object: Value) -> Result<Value, Status> {
    let resource = call.resource;
    let decoded = decode::check_text(object, resource.schema.as_deref(), &resource.gvk);
    let mut object = decoded.map_err(|why| Status::internal(&why))?.object;
    call.to_storage(&mut object);
    Ok(object)
}

fn decoded(
    call: &Call<'_>,
    schema: Option<&crate::apiserver::schema::Schema>,
    expected: &GroupVersionKind,
) -> Result<Decoded, Status> {
    let content_type = match negotiate::input(&call.request.content_type)? {
        Format::Json | Format::Protobuf => ContentType::Json,
        Format::Yaml => ContentType::Yaml,
    };
    decode::decode(&call.request.body, content_type, schema, expected)
}

fn accept(
    call: &mut Call<'_>,
    decoded: Decoded,
    expected: &GroupVersionKind,
) -> Result<Value, Status> {
    match call.options.field_validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => call.warnings.extend(decoded.strict_errors),
        FieldValidation::Strict => {
            if let Some(failure) = decoded.strict_failure(expected) {
                return Err(failure);
            }
        }
    }
    call.emptied = decoded.emptied;
    Ok(decoded.object)
}

/// Custom resources are nothing unless they say so: no kind and no version is taken for granted.
///
/// # Errors
/// 400, and 422 for another kind.
fn check_type(call: &Call<'_>) -> Result<(), Status> {
    let (body, gvk) = (&call.request.body, &call.resource.gvk);
    let document: Option<Value> = match negotiate::input(&call.request.content_type)? {
        Format::Yaml => yaml::parse(body).ok().map(|parsed| parsed.value),
        _ => serde_json::from_slice(body).ok(),
    };
    // What cannot be read at all the decoder complains of.
    let Some(document) = document.filter(Value::is_object) else {
        return Ok(());
    };
    let is_text = |field| {
        document
            .get(field)
            .is_none_or(|value| value.is_null() || value.is_string())
    };
    if !is_text("kind") || !is_text("apiVersion") {
        return Ok(());
    }
    let (kind, version) = (document.kind(), document.api_version());
    if kind.is_empty() {
        let body = String::from_utf8_lossy(body);
        let why = format!("Object 'Kind' is missing in '{body}'");
        return Err(match call.options.field_validation {
            FieldValidation::Ignore => decode::cannot_be_handled(gvk, gvk, &why),
            _ => decode::unrecognized(&gvk.kind, &why, body.as_bytes()),
        });
    }
    if version.is_empty() {
        return Err(Status::bad_request(format!(
            "the API version in the data () does not match the expected API version ({})",
            gvk.api_version()
        )));
    }
    if version == gvk.api_version() && kind != gvk.kind {
        let mut errors = Errors::new();
        errors.invalid(Path::new("kind"), kind, &format!("must be {}", gvk.kind));
        let other = GroupKind::new(&*gvk.group, kind);
        return Err(Status::invalid(&other, document.name(), &errors));
    }
    Ok(())
}
