//! certificates.k8s.io: requests for certificates.

mod signer;
mod signing_request;

pub(super) use self::signing_request::SigningRequest;
