//! `GET` of a collection.
use crate::apiserver::crd::convert::Caller;
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::{ListQuery, Listing};
use crate::apiserver::request::{ListOptions, ResourceRequest};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::transform::{self, Form, Shape, View};
use crate::object::Status;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Answers the objects that the request selects.
///
/// # Errors
/// 400 for a field that the kind cannot be selected by, and what
/// [`Cacher::list`](crate::apiserver::registry::cacher::Cacher::list) says.
pub(crate) async fn handle(shared: &Shared, request: &ResourceRequest) -> Result<Response, Status> {
    let view = View::negotiate(request, Shape::List)?;
    let resource = &request.resource;
    let options = ListOptions::parse(request)?;
    let mut listing = match shared
        .cacher
        .list(resource, &query(request, &options))
        .await
    {
        Ok(listing) => listing,
        Err(failure) => {
            let Some(token) = failure.continue_ else {
                return Err(failure.status);
            };
            // The one error that tells how to go on.
            let mut body = failure.status.to_value();
            body["metadata"]["continue"] = token.into();
            let code = StatusCode::from_u16(failure.status.code).unwrap_or(StatusCode::GONE);
            return Ok(response::document(code, &body));
        }
    };
    listing.items = Caller::of(shared).cached(resource, listing.items).await?;
    Ok(answer(view, resource, listing, shared.clock.now()))
}

/// What was listed, as its reader wants it.
pub(crate) fn answer(
    view: View,
    resource: &Arc<Resource>,
    listing: Listing,
    now: Timestamp,
) -> Response {
    let meta = metadata(view, resource, &listing);
    transform::list(view, resource, &meta, listing.items, now)
}

/// The objects that a request over a collection is about.
///
/// # Errors
/// As [`handle`].
pub(crate) async fn select(
    shared: &Shared,
    request: &ResourceRequest,
    options: &ListOptions,
) -> Result<Listing, Status> {
    let listing = shared
        .cacher
        .list(&request.resource, &query(request, options))
        .await;
    let mut listing = listing.map_err(|failure| failure.status)?;
    let caller = Caller::of(shared);
    listing.items = caller.cached(&request.resource, listing.items).await?;
    Ok(listing)
}

fn query<'a>(request: &'a ResourceRequest, options: &'a ListOptions) -> ListQuery<'a> {
    ListQuery {
        namespace: &request.namespace,
        labels: Some(&options.labels),
        fields: Some(&options.fields),
        limit: options.limit,
        continue_: options.continue_.as_deref(),
        resource_version: options.resource_version.as_deref().unwrap_or_default(),
        resource_version_match: options
            .resource_version_match
            .as_deref()
            .unwrap_or_default(),
    }
}

/// The list's own metadata.
fn metadata(view: View, resource: &Resource, listing: &Listing) -> Value {
    let mut meta = Map::new();
    meta.insert(
        "resourceVersion".into(),
        listing.revision.to_string().into(),
    );
    match &listing.next {
        Some(token) => {
            meta.insert("continue".into(), token.as_str().into());
        }
        None if resource.strategy.custom() && view.form == Form::Object => {
            meta.insert("continue".into(), "".into());
        }
        None => {}
    }
    if let Some(remaining) = listing.remaining {
        meta.insert("remainingItemCount".into(), remaining.into());
    }
    meta.into()
}

#[cfg(test)]
mod tests;
