//! DELETE of a collection: a list, and the deletion of each of its objects.
use super::call::Call;
use super::delete::{options, remove};
use super::list;
use crate::apiserver::request::options::Deletion;
use crate::apiserver::request::{ListOptions, ResourceRequest};
use crate::apiserver::response::Response;
use crate::apiserver::server::Shared;
use crate::apiserver::transform::{Shape, View};
use crate::object::{Reason, Status};
use std::sync::Arc;

/// Deletes the selected objects; answers them as they were listed.
pub(crate) async fn deletecollection(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    let view = View::negotiate(request, Shape::List)?;
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
    let now = shared.clock.now();
    Ok(list::answer(view, &request.resource, listing, now))
}
