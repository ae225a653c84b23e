//! Kubernetes API semantics over any [`Store`](crate::store::Store).
//!
//! A request flows `service` -> `filter` -> `handler/<verb>` -> `patch` / `admission` / `kinds` -> `registry` -> the store.

pub(crate) mod filter;
pub(crate) mod handler;
pub(crate) mod kinds;
pub(crate) mod patch;
pub(crate) mod registry;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod subresource;

pub use self::registry::strategy::{Context, DeleteOptions, Propagation, Scale, Strategy};
