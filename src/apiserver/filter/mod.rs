//! What every request passes, in this order: a guard against panics, the audit id, who asks, as whom, whether they may, the limit of requests in flight,
//! the time limit. Each is a plain function over the next; `service.rs` puts them in a row.
pub(crate) mod authorization;
pub(crate) mod bearer;
pub(crate) mod identity;
pub(crate) mod impersonation;
pub(crate) mod limit;
pub(crate) mod panic;
pub(crate) mod static_token;
pub(crate) mod timeout;
