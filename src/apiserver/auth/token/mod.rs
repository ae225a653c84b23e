//! Tokens, most of all those of service accounts: signed statements of this server about an account, good for a time, an audience, and as long as
//! what they are bound to exists.
mod authenticate;
mod bootstrap;
mod claims;
mod config;
mod key;
mod legacy;

pub(crate) use self::authenticate::groups;
pub(crate) use self::claims::{Bound, Claims, Named};
pub use self::config::ServiceAccountTokens;
pub use self::key::KeyError;
pub(crate) use self::legacy::claims as legacy_claims;

use std::sync::Arc;

use super::super::request::User;
use super::super::server::Shared;
use super::secret::Shown;

/// Whom the token stands for, and which of the wanted audiences it is for. `None`: it is no token of ours.
///
/// # Errors
/// Why a token of ours is not believed.
pub(crate) async fn authenticate(
    shared: &Arc<Shared>,
    token: Shown<'_>,
    audiences: &[String],
) -> Result<Option<(User, Vec<String>)>, String> {
    if let Some(found) = authenticate::authenticate(shared, token, audiences).await? {
        return Ok(Some(found));
    }
    if !shared.bootstrap_tokens {
        return Ok(None);
    }
    // They say nothing of audiences: they are for this server.
    let own = shared.service_account_tokens.own_audiences().into_iter();
    let audiences: Vec<String> = own.filter(|own| audiences.contains(own)).collect();
    if audiences.is_empty() {
        return Ok(None);
    }
    let user = bootstrap::authenticate(shared, token).await?;
    Ok(user.map(|user| (user, audiences)))
}
