//! Keys and certificates as texts and bytes: PEM and DER.
pub(crate) mod der;
pub(crate) mod pem;
