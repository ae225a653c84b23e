//! What a client gets back for a write.
use super::call::{Call, Written, is_converted, to_request};
use crate::apiserver::registry::encoding;
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::response::{self, Response};
use crate::apiserver::transform::{self, Form, Shape};
use crate::object::{GroupResource, Status};
use crate::store::Revision;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

/// Whether the client takes what it will get; before anything is written.
///
/// # Errors
/// 406.
pub(crate) fn negotiate(request: &ResourceRequest) -> Result<Form, Status> {
    Form::negotiate(
        &request.accept,
        &request.query,
        Shape::Object,
        &request.resource,
    )
}

/// The object that was written.
pub(crate) fn written(call: &Call<'_>, written: &Written) -> Result<Response, Status> {
    let code = if written.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    match &written.answer {
        Some(answer) => transformed(call, code, answer),
        None => object(call, code, &written.bytes, written.revision),
    }
}

/// An object as it is stored.
///
/// # Errors
/// When it cannot be given in the form asked for.
pub(crate) fn object(
    call: &Call<'_>,
    code: StatusCode,
    stored: &Bytes,
    revision: Option<Revision>,
) -> Result<Response, Status> {
    let broken = |error: serde_json::Error| Status::internal(&error.to_string());
    let bytes = if is_converted(call.resource) {
        let mut object: Value = serde_json::from_slice(stored).map_err(broken)?;
        to_request(call.resource, &mut object);
        encoding::encode(&object)
    } else {
        stored.clone()
    };
    let bytes = match revision {
        Some(revision) => encoding::with_revision(&bytes, revision),
        None => bytes,
    };
    transformed(call, code, &bytes)
}

fn transformed(call: &Call<'_>, code: StatusCode, bytes: &Bytes) -> Result<Response, Status> {
    let form = negotiate(call.request)?;
    let body = transform::object(form, call.resource, bytes, call.shared.clock.now())?;
    Ok(response::json(code, body))
}

/// `Status` that something was done to an object.
pub(crate) fn success(resource: &GroupResource, name: &str, uid: &str) -> Value {
    let mut details = json!({ "name": name, "kind": resource.resource, "uid": uid });
    if !resource.group.is_empty() {
        details["group"] = resource.group.as_str().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// `Status` that something was made that is no object.
pub(crate) fn created() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}
