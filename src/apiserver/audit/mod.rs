//! What is told of requests: committed writes to an observer, and events of the kind `audit.k8s.io/v1` to a sink, as a policy
//! says.
mod log;
mod observer;
mod policy;
mod trail;

pub use self::log::AuditLog;
pub use self::observer::{Write, WriteObserver};
pub use self::policy::{AuditPolicy, AuditPolicyError};
pub(crate) use self::trail::Trail;
use serde_json::Value;
use std::fmt::Debug;
use std::sync::Arc;

/// Takes audit events. It is called on the path of the request: it must not block.
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// An event: a document of kind `Event` of `audit.k8s.io/v1`.
    fn record(&self, event: &Value);
}

const _: () = {
    const fn is_object<T: ?Sized + Send + Sync>() {}
    is_object::<dyn AuditSink>();
};

/// Where events go, and which.
#[derive(Debug)]
pub(crate) struct Auditor {
    pub sink: Arc<dyn AuditSink>,
    pub policy: AuditPolicy,
}
