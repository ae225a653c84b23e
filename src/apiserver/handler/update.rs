//! PUT of an object, or of its status.
use super::call::{Call, Current};
use super::write::{self, Missing};
use super::{answer, body, metadata};
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::response::Response;
use crate::apiserver::server::Shared;
use crate::object::{Document, Status};
use std::sync::Arc;

/// Replaces the object by the one in the body.
pub(crate) async fn update(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let options = WriteOptions::parse(&request.query, "UpdateOptions", false)?;
    let mut call = Call::new(shared, request, options);
    let mut object = body::object(&mut call)?;
    metadata::place(call.resource, call.namespace, &mut object)?;
    metadata::check_name(&object, &request.name)?;
    let missing = if request.subresource.is_none() {
        Missing::AsKind
    } else {
        Missing::NotFound
    };
    let uid = object.uid().to_owned();
    let mut sent = Some(object);
    let mut change = |call: &mut Call<'_>, current: Option<&Current>| {
        if let Some(current) = current {
            write::check_uid(call, &call.request.name, &uid, current)?;
        }
        // When another write came between, the body is read again rather than kept twice.
        sent.take().map_or_else(|| body::object(call), Ok)
    };
    let written = write::update(&mut call, &request.name, missing, &mut change).await?;
    answer::written(&call, &written)
}
