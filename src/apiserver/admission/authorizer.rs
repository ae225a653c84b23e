//! Questions of plugins to the authorizer.
use super::{AdmissionRequest, UserInfo};
use crate::apiserver::auth::Attributes;
use crate::apiserver::request::User;
use crate::object::Status;

/// The user of a request, as the authorizer knows users.
pub(super) fn user(info: &UserInfo) -> User {
    User {
        name: info.name.clone(),
        uid: info.uid.clone(),
        groups: info.groups.clone(),
        extra: info.extra.clone(),
    }
}

/// Whether the user of the request may do what is asked. Where there is no authorizer, everybody may.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn allows(
    request: &AdmissionRequest<'_>,
    asked: &Attributes,
) -> Result<bool, Status> {
    let Some(shared) = request.view.shared() else {
        return Ok(true);
    };
    let decision = shared
        .authorizer
        .authorize(shared, &user(request.user), asked)
        .await?;
    Ok(decision.is_allowed())
}

/// A question about a resource.
pub(super) fn about(verb: &str, group: &str, resource: &str) -> Attributes {
    Attributes {
        verb: verb.to_owned(),
        resource_request: true,
        group: group.to_owned(),
        version: "*".to_owned(),
        resource: resource.to_owned(),
        ..Attributes::default()
    }
}
