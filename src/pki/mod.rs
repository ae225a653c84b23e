//! Keys, certificates and requests for them: PEM and DER, and an authority that signs. Pure, but for the chance that keys need.

mod authority;
pub(crate) mod certificate;
pub(crate) mod der;
pub(crate) mod key;
pub(crate) mod pem;
pub(crate) mod request;

pub(crate) use self::authority::Terms;
pub use self::authority::{Authority, AuthorityError};
pub use self::key::KeyError;
