//! `MutatingAdmissionWebhook` and `ValidatingAdmissionWebhook`: services outside that are asked about requests, and how they are
//! reached.
//!
//! A webhook is called over HTTPS (feature `serve`), or, in tests and in one process, it is a function that is registered under
//! the webhook's URL: no socket is opened, and time may be virtual.
mod call;
mod hook;
#[cfg(feature = "serve")]
mod https;
mod mutating;
mod review;
mod transport;
mod validating;

pub(crate) use self::call::post;
#[cfg(feature = "serve")]
pub use self::https::Https;
pub(super) use self::mutating::MutatingAdmissionWebhook;
pub(crate) use self::transport::Transports;
pub use self::transport::{Reply, ServiceResolver, Target, Transport};
pub(super) use self::validating::ValidatingAdmissionWebhook;

#[cfg(test)]
mod tests;
