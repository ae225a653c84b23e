//! The contract of a kind: what is filled in, refused, kept and reset. Implementations: `kinds/`.
//!
//! Every method is pure and sync over JSON documents of the storage version: no clock, no I/O, no other objects. What needs
//! other objects is admission or an allocator.
use crate::apiserver::admission::UserInfo;
use crate::object::field::Errors;
use serde_json::Value;
use std::fmt::Debug;

/// What a strategy may know about the request.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the request, RFC 3339 with seconds.
    pub now: &'a str,
    /// The subresource that is written, e.g. `status`; `None` for the object itself.
    pub subresource: Option<&'a str>,
    /// The user who asks.
    pub user: &'a str,
}

/// What becomes of dependents when an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are left.
    Orphan,
    /// They are deleted later by the garbage collector.
    Background,
    /// The object stays until they are gone.
    Foreground,
}

/// What a kind checks of the metadata of an update. The server checks the metadata of every update once for all kinds; most
/// kinds check it again with the rest of the object, and what is wrong is then reported as often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataCheck {
    /// Nothing: the kind leaves it to the check for all kinds.
    None,
    /// What has changed (`ValidateObjectMetaUpdate` of Kubernetes).
    Change,
    /// What has changed, and the whole as if it were new (`ValidateObjectMeta` as well).
    Whole,
}

/// `metav1.DeleteOptions`, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds the object may take to go; `None`: the kind's default.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents; `None`: the kind's default.
    pub propagation: Option<Propagation>,
    /// The uid the object must have.
    pub uid: Option<String>,
    /// The resource version the object must have.
    pub resource_version: Option<String>,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
}

/// The metadata that a client sets, as paths: what most kinds that guard their metadata from writes of the status keep
/// (`ResetObjectMetaForStatus` of Kubernetes).
pub(crate) const CLIENT_METADATA: &[&[&str]] = &[
    &["metadata", "labels"],
    &["metadata", "annotations"],
    &["metadata", "finalizers"],
    &["metadata", "ownerReferences"],
];

/// Where the scale subresource of a kind finds its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Path of the wanted replicas: `["spec", "replicas"]`.
    pub spec_replicas: Vec<String>,
    /// Path of the actual replicas: `["status", "replicas"]`.
    pub status_replicas: Vec<String>,
    /// Path of the label selector (a `LabelSelector`, a plain map, or a string): `["spec", "selector"]`.
    pub selector: Option<Vec<String>>,
}

/// Per-kind behaviour of the API server (`k8s.io/apiserver/pkg/registry/rest` strategies).
///
/// Metadata common to all kinds (names, labels, generation, managed fields, owner references …) is handled by the server;
/// a strategy deals with what is particular to its kind. The defaults of every method suit a plain kind without status.
pub trait Strategy: Debug + Send + Sync + 'static {
    /// Fills in what the client left out. Runs on every decoded object, before anything else.
    fn default(&self, _object: &mut Value) {}
    /// Writes into a new object who asks for it, for kinds that keep that.
    fn set_requester(&self, _object: &mut Value, _user: &UserInfo) {}
    /// Resets what a client may not set at creation: the status, fields of disabled features.
    fn prepare_create(&self, _context: &Context<'_>, _object: &mut Value) {}
    /// Carries over what an update may not change. For subresource `status` the server has already replaced everything
    /// but the status and its metadata by `old`'s; for the object itself this is where the old status is kept
    /// (the default does so).
    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            match old.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => {
                    if let Some(map) = object.as_object_mut() {
                        map.remove("status");
                    }
                }
            }
        }
    }
    /// Whether a write of this subresource is one of the status, which leaves everything else as it is. Default: `status` alone.
    fn writes_status(&self, subresource: &str) -> bool {
        subresource == "status"
    }
    /// Fields that a write of this subresource (`None`: of the object itself) leaves as they are, besides those that it leaves
    /// for all kinds: nobody comes to own them by it.
    fn resets(&self, _subresource: Option<&str>) -> &[&[&str]] {
        &[]
    }
    /// Metadata that a write of the status leaves as it is stored, as paths: `[["metadata", "labels"]]`.
    fn status_keeps(&self) -> &[&[&str]] {
        &[]
    }
    /// Whether nobody comes to own what a write leaves as it is. Upstream has a list of such fields for each kind; where that
    /// list misses the kind, a manager owns what it sent and what nobody stored.
    fn disowns_resets(&self) -> bool {
        true
    }
    /// Checks a new object.
    fn validate(&self, _context: &Context<'_>, _object: &Value, _errors: &mut Errors) {}
    /// Checks a change.
    fn validate_update(
        &self,
        _context: &Context<'_>,
        _object: &Value,
        _old: &Value,
        _errors: &mut Errors,
    ) {
    }
    /// What the kind checks of the metadata of an update. Default: the change of a status, the whole of anything else.
    fn metadata_check(&self, context: &Context<'_>) -> MetadataCheck {
        match context.subresource {
            Some("status") => MetadataCheck::Change,
            _ => MetadataCheck::Whole,
        }
    }
    /// Whether a finalizer without a domain must be a standard one. Default: for all but custom resources.
    fn has_known_finalizers(&self) -> bool {
        !self.custom()
    }
    /// How the object's name is checked: the problems of `name`, as text. `prefix`: it is a `generateName`.
    /// Default: a DNS subdomain.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        crate::apiserver::kinds::names::dns_subdomain(name, prefix)
    }
    /// Annotations that stand for fields of the server's own: metadata that is shown alone is without them.
    fn field_annotations(&self) -> &[&str] {
        &[]
    }
    /// Warnings for the client.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    /// Warnings for the client that writes the status.
    fn status_warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }
    /// What every client of a kind that is on its way out is warned of.
    fn deprecation(&self) -> Option<&str> {
        None
    }
    /// The field labels by which lists select, besides `metadata.name` and `metadata.namespace`.
    fn selectable_fields(&self) -> &[&str] {
        &[]
    }
    /// The value of one of [`Strategy::selectable_fields`].
    fn field(&self, _object: &Value, _field: &str) -> String {
        String::new()
    }
    /// Whether a PUT of an object that does not exist makes it.
    fn allow_create_on_update(&self) -> bool {
        false
    }
    /// Whether an update may leave out the resource version.
    fn allow_unconditional_update(&self) -> bool {
        true
    }
    /// Whether `metadata.generation` counts the changes of everything but metadata and status.
    fn has_generation(&self) -> bool {
        true
    }
    /// The grace in seconds with which `object` is deleted; `None` or 0: at once. May change the object's last state.
    fn grace(&self, _object: &Value, _options: &DeleteOptions) -> Option<i64> {
        None
    }
    /// What becomes of dependents when the client does not say.
    fn default_propagation(&self) -> Propagation {
        Propagation::Background
    }
    /// What a client is warned of when it deletes an object and leaves to the kind what becomes of dependents.
    fn default_propagation_warning(&self) -> Option<&'static str> {
        None
    }
    /// Why an object of this name is never deleted by its name.
    fn keeps(&self, _name: &str) -> Option<&'static str> {
        None
    }
    /// Marks an object whose deletion is asked for the first time, for kinds that go in phases of their own (a namespace
    /// becomes `Terminating`); whether the kind does so. `now`: as [`Context::now`]. Such an object stays until [`Strategy::is_finalized`].
    fn begin_deletion(&self, _object: &mut Value, _now: &str) -> bool {
        false
    }
    /// Whether the kind's own finalizers, besides those in the metadata, let a deleted object go.
    fn is_finalized(&self, _object: &Value) -> bool {
        true
    }
    /// Whether a deletion is answered with the object that is gone rather than with a `Status`.
    fn returns_deleted_object(&self) -> bool {
        false
    }
    /// How long an object is kept after its last write; `None`: forever.
    fn ttl(&self) -> Option<std::time::Duration> {
        None
    }
    /// Where the scale subresource finds its fields; `None`: there is none.
    fn scale(&self) -> Option<Scale> {
        None
    }
    /// Whether it is a custom resource. The real server shows those a little differently: items of a list carry their
    /// `apiVersion` and `kind`, a list always has a `continue`, and discovery names the response kind in full.
    fn custom(&self) -> bool {
        false
    }
    /// Changes `object` from one served version of the kind to another.
    fn convert(&self, _object: &mut Value, _from: &str, _to: &str) {}
}
