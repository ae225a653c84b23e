//! The served resources, changeable at run time, and how they are stored.
pub(crate) mod cacher;
pub(crate) mod resource;
pub(crate) mod strategy;

pub(crate) use self::resource::{Resource, Subresource};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which resources are served, by group, version and plural name. Resources come and go at run time (CRDs).
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// (group, version, plural) -> resource
    resources: RwLock<BTreeMap<(String, String, String), Arc<Resource>>>,
}

impl Registry {
    /// Serves `resource`, replacing one of the same group, version and name.
    pub fn insert(&self, resource: Resource) -> Arc<Resource> {
        let resource = Arc::new(resource);
        let key = (
            resource.gvk.group.clone(),
            resource.gvk.version.clone(),
            resource.plural.clone(),
        );
        self.resources.write().insert(key, resource.clone());
        resource
    }
    /// Stops serving a resource.
    pub fn remove(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources
            .write()
            .remove(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }
    /// The resource of this name.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.resources
            .read()
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
            .cloned()
    }
    /// All resources, ordered by group, version and name.
    pub fn all(&self) -> Vec<Arc<Resource>> {
        self.resources.read().values().cloned().collect()
    }
}
