//! What a custom resource has that built-in ones do not: columns and fields of its own, and versions that pass into one
//! another.
use super::convert::Webhook;
use crate::apiserver::schema::Schema;
use crate::apiserver::table::Columns;
use crate::object::Document;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The particulars of one served version.
#[derive(Debug)]
pub(crate) struct Custom {
    /// The columns of its tables.
    pub columns: Arc<dyn Columns>,
    /// The fields it can be selected by, as selectors write them.
    pub selectable: Vec<String>,
    /// The `apiVersion` it shows.
    pub shown: String,
    /// The `apiVersion` its objects are stored with.
    pub stored: String,
    /// Brings objects from one version into another; without one they differ by name only.
    pub webhook: Option<Arc<Webhook>>,
    /// By which stored objects are pruned and filled in.
    pub schema: Arc<Schema>,
    /// Whether the definition is going, with all objects.
    pub terminating: AtomicBool,
}

impl Custom {
    /// Whether the definition is going.
    pub(crate) fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    /// Whether the webhook alone can bring the object into this version.
    pub(crate) fn is_foreign(&self, object: &Value) -> bool {
        self.webhook.is_some() && object.api_version() != self.shown
    }

    /// Brings a stored object into this version, as the schema wants it. One that is foreign stays as it is.
    pub(crate) fn read(&self, object: &mut Value) {
        if self.is_foreign(object) {
            return;
        }
        object["apiVersion"] = self.shown.as_str().into();
        self.schema.prune(object);
        self.schema.apply_defaults(object);
    }

    /// Brings an object of this version into the one that is stored.
    pub(crate) fn store(&self, object: &mut Value) {
        object["apiVersion"] = self.stored.as_str().into();
    }

    /// Whether an object is stored as it is shown.
    pub(crate) fn is_stored_as_shown(&self) -> bool {
        self.stored == self.shown
    }
}
