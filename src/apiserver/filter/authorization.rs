//! Whether whoever asks may.
use crate::apiserver::auth::{Attributes, Decision};
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::object::Status;
use std::sync::Arc;

/// Lets a request pass or not.
///
/// # Errors
/// 403 when it is not allowed.
pub(crate) async fn authorize(
    shared: &Arc<Shared>,
    user: &User,
    asked: &(dyn Fn() -> Attributes + Sync),
) -> Result<(), Status> {
    if user.is_master() {
        return Ok(());
    }
    let asked = asked();
    match shared.authorizer.authorize(shared, user, &asked).await? {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(reason) => Err(asked.forbidden(&user.name, &reason)),
    }
}
