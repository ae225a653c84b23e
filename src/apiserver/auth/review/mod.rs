//! Questions about who somebody is and what he may do, asked as objects that are made and kept nowhere.
mod access;
mod identity;
mod rules;

use super::super::handler::call::Call;
use super::super::handler::{admit, answer, body, metadata, ownership};
use super::super::registry::encoding;
use super::super::request::ResourceRequest;
use super::super::request::options::WriteOptions;
use super::super::response::Response;
use super::super::server::Shared;
use crate::object::Status;
use http::StatusCode;
use std::sync::Arc;

/// Answers a review.
///
/// # Errors
/// What is wrong with the question.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let options = WriteOptions::parse(&request.query, "CreateOptions", false)?;
    let mut call = Call::new(shared, request, options);
    let mut review = body::object(&mut call)?;
    metadata::place(call.resource, call.namespace, &mut review)?;
    ownership::track(&call, None, &mut review);
    admit::act(&call, "", &mut review).await?;
    let (group, plural) = (&*call.resource.gvk.group, &*call.resource.plural);
    let answered = match (group, plural) {
        ("authentication.k8s.io", "tokenreviews") => identity::token(&call, review).await?,
        ("authentication.k8s.io", "selfsubjectreviews") => identity::own(&call, &review).await?,
        ("authorization.k8s.io", "selfsubjectaccessreviews") => {
            access::review(&call, access::Whose::Own, review).await?
        }
        ("authorization.k8s.io", "subjectaccessreviews") => {
            access::review(&call, access::Whose::Anybodys, review).await?
        }
        ("authorization.k8s.io", "localsubjectaccessreviews") => {
            access::review(&call, access::Whose::AnybodysIn, review).await?
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => rules::own(&call, &review).await?,
        _ => return Err(Status::method_not_allowed()),
    };
    let bytes = encoding::encode(&answered);
    answer::object(&call, StatusCode::CREATED, &bytes, None)
}
