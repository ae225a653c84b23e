//! One served resource.
use super::strategy::Strategy;
use crate::apiserver::crd::Custom;
use crate::apiserver::schema::Schema;
use crate::object::{GroupResource, GroupVersionKind};
use serde_json::Value;
use std::sync::Arc;

/// A resource in one group and version, as discovery shows it, with what the server needs to handle it.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub gvk: GroupVersionKind,
    /// `PodList`
    pub list_kind: String,
    /// `pods`
    pub plural: String,
    /// `pod`
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    /// As in discovery, sorted: `create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`.
    pub verbs: Vec<String>,
    pub subresources: Vec<Subresource>,
    /// Versions of one kind share their storage: the version that objects are stored in.
    pub storage_version: String,
    /// The group that objects are stored under (`events.k8s.io` events are stored as core events).
    pub storage_group: String,
    /// Keys begin with this, without the trailing slash: `/registry/pods`, `/registry/deployments`, or
    /// `/registry/<group>/<plural>` for custom resources. Then `/<namespace>/<name>` or `/<name>`.
    pub key_prefix: String,
    /// What the object looks like; `None` accepts any document.
    pub schema: Option<Arc<Schema>>,
    /// Of custom resources: the OpenAPI v3 schema as their definition gives it.
    pub open_api: Option<Arc<Value>>,
    pub strategy: Arc<dyn Strategy>,
    /// What only resources of CustomResourceDefinitions have.
    pub custom: Option<Arc<Custom>>,
}

/// A subresource, as discovery shows it.
#[derive(Clone, Debug)]
pub(crate) struct Subresource {
    /// `status`, `scale`, …
    pub name: String,
    /// The kind it takes and gives.
    pub gvk: GroupVersionKind,
    pub verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.gvk.group, &*self.plural)
    }
    /// The store key of an object (`name` empty: the prefix of a namespace; both empty: of all).
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        let mut key = self.key_prefix.clone();
        if !namespace.is_empty() {
            key.push('/');
            key.push_str(namespace);
        }
        key.push('/');
        key.push_str(name);
        key
    }
    /// The field labels by which lists select, besides name and namespace.
    pub(crate) fn selectable_fields(&self) -> impl Iterator<Item = &str> {
        let own = self.custom.iter().flat_map(|custom| &custom.selectable);
        let built_in = self.strategy.selectable_fields().iter().copied();
        built_in.chain(own.map(String::as_str))
    }
    /// Whether its objects may be stored in a form that only a webhook brings into the one that is shown.
    pub(crate) fn is_converted_by_webhook(&self) -> bool {
        let custom = self.custom.as_ref();
        custom.is_some_and(|custom| custom.webhook.is_some())
    }
    /// Whether it goes, with all its objects: its definition is being deleted.
    pub(crate) fn is_terminating(&self) -> bool {
        let custom = self.custom.as_ref();
        custom.is_some_and(|custom| custom.is_terminating())
    }
    /// The verbs that discovery shows.
    pub(crate) fn discovered_verbs(&self) -> Vec<&str> {
        let goes = self.is_terminating();
        let kept = |verb: &&str| !goes || !matches!(*verb, "create" | "patch" | "update");
        self.verbs.iter().map(String::as_str).filter(kept).collect()
    }
    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}
