//! Tokens of service accounts: signed statements of this server about an account, good for a time, an audience, and as long as
//! what they are bound to exists.
mod authenticate;
mod claims;
mod config;
mod key;
mod legacy;

pub(crate) use self::authenticate::{authenticate, groups};
pub(crate) use self::claims::{Bound, Claims, Named};
pub use self::config::ServiceAccountTokens;
pub use self::key::KeyError;
pub(crate) use self::legacy::claims as legacy_claims;
