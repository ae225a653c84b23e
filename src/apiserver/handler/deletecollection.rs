//! DELETE of a collection: a list, and the deletion of each of its objects.
use super::call::Call;
use super::delete::{options, remove};
use super::list;
use crate::apiserver::request::options::Deletion;
use crate::apiserver::request::{ListOptions, ResourceRequest};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::object::{Reason, Status};
use http::StatusCode;
use std::sync::Arc;

/// Deletes the selected objects; answers them as they were listed.
pub(crate) async fn deletecollection(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    let selection = ListOptions::parse(request)?;
    let deletion = Deletion::parse(request)?;
    let listing = list::select(shared, request, &selection).await?;
    let mut call = Call::new(shared, request, options(&deletion));
    for item in &listing.items {
        match remove(&mut call, item.name(), &deletion.options).await {
            // Gone meanwhile is what was wanted.
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
            Ok(_) => {}
        }
    }
    let meta = list::metadata(&request.resource, &listing);
    let body = list::assemble(&request.resource, &meta, listing.items);
    Ok(response::content(StatusCode::OK, response::JSON, body))
}
