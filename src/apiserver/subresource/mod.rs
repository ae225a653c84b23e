//! Subresources: parts and actions of objects with rules of their own. `status` is an ordinary write, see `handler/write.rs`.
pub(crate) mod binding;
pub(crate) mod eviction;
pub(crate) mod scale;
pub(crate) mod token;

use super::handler::{get, patch, update};
use super::request::{ResourceRequest, Verb};
use super::response::Response;
use super::server::Shared;
use crate::object::Status;
use std::sync::Arc;

/// Answers a request for a subresource other than `status`.
///
/// # Errors
/// 405 for what is not served.
pub(crate) async fn handle(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
    subresource: &str,
) -> Result<Response, Status> {
    let pods = request.resource.plural == "pods" && request.resource.gvk.group.is_empty();
    let namespaces =
        request.resource.plural == "namespaces" && request.resource.gvk.group.is_empty();
    match (subresource, request.verb) {
        ("scale", Verb::Get) => scale::get(shared, request).await,
        ("scale", Verb::Update) => scale::update(shared, request).await,
        ("scale", Verb::Patch) => scale::patch(shared, request).await,
        ("binding", Verb::Create) if pods => binding::create(shared, request).await,
        ("eviction", Verb::Create) if pods => eviction::create(shared, request).await,
        ("ephemeralcontainers" | "resize", Verb::Get) if pods => get::handle(shared, request).await,
        ("ephemeralcontainers" | "resize", Verb::Update) if pods => {
            update::update(shared, request).await
        }
        ("ephemeralcontainers" | "resize", Verb::Patch) if pods => {
            patch::patch(shared, request).await
        }
        ("finalize", Verb::Update) if namespaces => update::update(shared, request).await,
        ("token", Verb::Create) => token::create(shared, request).await,
        ("approval", Verb::Get) => get::handle(shared, request).await,
        ("approval", Verb::Update) => update::update(shared, request).await,
        ("approval", Verb::Patch) => patch::patch(shared, request).await,
        _ => Err(Status::method_not_allowed()),
    }
}
