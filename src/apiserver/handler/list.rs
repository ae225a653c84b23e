//! `GET` of a collection.
use crate::apiserver::crd::convert::Caller;
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::{Cached, ListQuery, Listing};
use crate::apiserver::request::{ListOptions, ResourceRequest};
use crate::apiserver::response::{self, Body, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::transform::{self, Form, Shape};
use crate::object::Status;
use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A list's body is put together in pieces of about this size, so that a long list is never in memory as a whole.
const PIECE: usize = 128 * 1024;

/// What a list ends with.
const END: &[u8] = b"]}\n";

/// Answers the objects that the request selects.
///
/// # Errors
/// 400 for a field that the kind cannot be selected by, and what
/// [`Cacher::list`](crate::apiserver::registry::cacher::Cacher::list) says.
pub(crate) async fn handle(shared: &Shared, request: &ResourceRequest) -> Result<Response, Status> {
    let form = Form::negotiate(
        &request.accept,
        &request.query,
        Shape::List,
        &request.resource,
    )?;
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
    let meta = metadata(resource, &listing);
    match form {
        Form::Object => Ok(response::content(
            StatusCode::OK,
            response::JSON,
            assemble(resource, &meta, listing.items),
        )),
        form => {
            let mut meta = meta;
            if meta.get("continue").and_then(Value::as_str) == Some("") {
                meta.as_object_mut().map(|meta| meta.remove("continue"));
            }
            let items = listing.items.iter().map(|item| &item.bytes);
            transform::list(form, resource, &meta, items, shared.clock.now())
                .map(|body| response::json(StatusCode::OK, body))
        }
    }
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
pub(crate) fn metadata(resource: &Resource, listing: &Listing) -> Value {
    let mut meta = Map::new();
    meta.insert(
        "resourceVersion".into(),
        listing.revision.to_string().into(),
    );
    match &listing.next {
        Some(token) => {
            meta.insert("continue".into(), token.as_str().into());
        }
        None if resource.strategy.custom() => {
            meta.insert("continue".into(), "".into());
        }
        None => {}
    }
    if let Some(remaining) = listing.remaining {
        meta.insert("remainingItemCount".into(), remaining.into());
    }
    meta.into()
}

/// The body of a list, from the bytes of its items.
pub(crate) fn assemble(resource: &Resource, meta: &Value, items: Vec<Arc<Cached>>) -> Body {
    let head = format!(
        "{{\"kind\":{:?},\"apiVersion\":{:?},\"metadata\":{meta},\"items\":[",
        resource.list_kind,
        resource.gvk.api_version()
    );
    Body::new(ListBody::new(
        head.into(),
        items,
        resource.strategy.custom(),
    ))
}

/// Copies items into pieces as they are asked for.
#[derive(Debug)]
struct ListBody {
    head: Bytes,
    items: std::vec::IntoIter<Arc<Cached>>,
    /// Whether items keep their `apiVersion` and `kind`.
    whole: bool,
    first: bool,
    /// Bytes still to come.
    left: u64,
}

impl ListBody {
    fn new(head: Bytes, items: Vec<Arc<Cached>>, whole: bool) -> Self {
        let size = |item: &Arc<Cached>| {
            if whole {
                item.bytes.len()
            } else {
                item.item_len()
            }
        };
        let commas = items.len().saturating_sub(1);
        let left = head.len() + items.iter().map(size).sum::<usize>() + commas + END.len();
        Self {
            head,
            items: items.into_iter(),
            whole,
            first: true,
            left: left as u64,
        }
    }
}

impl http_body::Body for ListBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = BytesMut::with_capacity(wanted);
        piece.put(std::mem::take(&mut self.head));
        while piece.len() < PIECE {
            let Some(item) = self.items.next() else {
                piece.put_slice(END);
                break;
            };
            if !std::mem::take(&mut self.first) {
                piece.put_u8(b',');
            }
            if self.whole {
                piece.put_slice(&item.bytes);
            } else {
                let (open, rest) = item.item();
                piece.put_slice(open);
                piece.put_slice(rest);
            }
        }
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests;
