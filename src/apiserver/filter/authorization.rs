//! Whether whoever asks may.
use crate::apiserver::auth::{Attributes, Decision};
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::object::Status;
use std::sync::Arc;

/// Lets a request pass or not, and says why.
///
/// # Errors
/// 403 when it is not allowed.
pub(crate) async fn authorize(
    shared: &Arc<Shared>,
    user: &User,
    asked: &(dyn Fn() -> Attributes + Sync),
) -> Result<String, Status> {
    if user.is_master() {
        return Ok(String::new());
    }
    let asked = asked();
    match shared.authorizer.authorize(shared, user, &asked).await? {
        Decision::Allow(reason) => Ok(reason),
        Decision::NoOpinion(reason) => Err(asked.forbidden(&user.name, &reason)),
    }
}
