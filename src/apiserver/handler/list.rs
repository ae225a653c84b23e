//! `GET` of a collection.
use crate::apiserver::crd::convert::Caller;
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::{Cached, ListError, ListQuery, Listing};
use crate::apiserver::request::list::select_as_shown;
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
    let listing = match shown(shared, request, &options).await {
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
    let listing = shown(shared, request, options).await;
    listing.map_err(|failure| failure.status)
}

/// What the request lists, in its version. Where a webhook makes that of the objects, they are selected by what it made: pages of all
/// are read until enough of them are.
async fn shown(
    shared: &Shared,
    request: &ResourceRequest,
    options: &ListOptions,
) -> Result<Listing, ListError> {
    let resource = &request.resource;
    let caller = Caller::of(shared);
    let as_shown = select_as_shown(resource, &options.labels, &options.fields);
    let limit = options.limit.filter(|limit| *limit > 0);
    let mut query = query(request, options);
    if !as_shown {
        let mut listing = shared.cacher.list(resource, &query).await?;
        listing.items = caller.cached(resource, listing.items).await?;
        return Ok(listing);
    }
    (query.labels, query.fields) = (None, None);
    let (mut found, mut token) = (Vec::new(), options.continue_.clone());
    loop {
        let page = ListQuery {
            continue_: token.as_deref(),
            ..query.clone()
        };
        let mut listing = shared.cacher.list(resource, &page).await?;
        listing.items = caller.cached(resource, listing.items).await?;
        let selected =
            |item: &Arc<Cached>| item.matches(resource, &options.labels, &options.fields);
        found.extend(listing.items.into_iter().filter(selected));
        let left = limit.map(|limit| limit.saturating_sub(found.len()));
        if listing.next.is_none() || left == Some(0) {
            return Ok(Listing {
                items: found,
                remaining: None,
                ..listing
            });
        }
        // A token says itself of which revision it is.
        (query.resource_version, query.resource_version_match) = ("", "");
        query.limit = left;
        token = listing.next;
    }
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
