//! Request bodies as objects: decoded by the schema, with what field validation says, in the storage version with defaults.
use super::call::Call;
use crate::apiserver::request::negotiate::{self, Format};
use crate::apiserver::request::options::FieldValidation;
use crate::apiserver::schema::decode::{self, ContentType, Decoded};
use crate::object::{GroupVersionKind, Status};
use serde_json::Value;

/// The object in the body of the request, of the kind of its resource, in the storage version.
///
/// # Errors
/// 400 when it cannot be decoded or strictly decoded, 415.
pub(crate) fn object(call: &mut Call<'_>) -> Result<Value, Status> {
    let resource = call.resource;
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
    Ok(decoded.object)
}
