//! One verb a file; no code that knows a kind.
pub(crate) mod admit;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod deletecollection;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod ownership;
pub(crate) mod patch;
pub(crate) mod update;
pub(crate) mod watch;
pub(crate) mod write;

use super::auth::review;
use super::connect::{components, usage};
use super::request::{ResourceRequest, Verb};
use super::response::Response;
use super::server::Shared;
use super::subresource;
use crate::object::Status;
use std::sync::Arc;

/// Answers a request for a resource.
///
/// # Errors
/// Whatever is wrong with it.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    if let Some(subresource) = request
        .subresource
        .as_deref()
        .filter(|subresource| *subresource != "status")
    {
        return subresource::handle(shared, request, subresource).await;
    }
    if request.resource.gvk.group == usage::GROUP {
        return usage::handle(shared, request).await;
    }
    if request.resource.gvk.group.is_empty() && request.resource.plural == components::RESOURCE {
        return components::handle(shared, request).await;
    }
    match request.verb {
        Verb::Get => get::handle(shared, request).await,
        Verb::List => list::handle(shared, request).await,
        Verb::Watch => watch::handle(shared, request).await,
        Verb::Create
            if request.resource.plural == "bindings" && request.resource.gvk.group.is_empty() =>
        {
            subresource::binding::create(shared, request).await
        }
        // Kinds that can only be created are questions (reviews): nothing of them is stored.
        Verb::Create if request.resource.verbs == ["create"] => {
            review::create(shared, request).await
        }
        Verb::Create => create::create(shared, request).await,
        Verb::Update => update::update(shared, request).await,
        Verb::Patch => patch::patch(shared, request).await,
        Verb::Delete => delete::delete(shared, request).await,
        Verb::DeleteCollection => deletecollection::deletecollection(shared, request).await,
        Verb::Connect => Err(Status::method_not_allowed()),
    }
}
