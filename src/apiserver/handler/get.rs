//! `GET` of one object.
use crate::apiserver::crd::convert::Caller;
use crate::apiserver::registry::cacher::Cached;
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::transform::{self, Form, Shape};
use crate::object::Status;
use http::StatusCode;
use std::sync::Arc;

/// Answers the object, as of the `resourceVersion` asked for.
///
/// # Errors
/// 404 when it does not exist, and what [`Cacher::get`](crate::apiserver::registry::cacher::Cacher::get) says.
pub(crate) async fn handle(shared: &Shared, request: &ResourceRequest) -> Result<Response, Status> {
    let form = Form::negotiate(
        &request.accept,
        &request.query,
        Shape::Object,
        &request.resource,
    )?;
    let object = read(shared, request).await?;
    let body = transform::object(form, &request.resource, &object.bytes, shared.clock.now())?;
    Ok(response::json(StatusCode::OK, body))
}

/// The object of the request.
///
/// # Errors
/// As [`handle`].
pub(crate) async fn read(
    shared: &Shared,
    request: &ResourceRequest,
) -> Result<Arc<Cached>, Status> {
    let revision = request.query.get("resourceVersion").unwrap_or_default();
    let found = shared
        .cacher
        .get(
            &request.resource,
            &request.namespace,
            &request.name,
            revision,
        )
        .await?;
    let missing = || Status::not_found(&request.resource.group_resource(), &request.name);
    let found = found.ok_or_else(missing)?;
    Caller::of(shared).one(&request.resource, found).await
}
