//! The served resources, changeable at run time, and how they are stored.
pub(crate) mod cacher;
pub(crate) mod encoding;
pub(crate) mod resource;
pub(crate) mod strategy;

pub(crate) use self::resource::{Resource, Subresource};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Plural name -> resource.
type Version = BTreeMap<String, Arc<Resource>>;
/// Version -> its resources.
type Group = BTreeMap<String, Version>;

/// Which resources are served, by group, version and plural name. Resources come and go at run time (CRDs).
#[derive(Debug, Default)]
pub(crate) struct Registry {
    // Maps in maps, so that a lookup by three strings makes no new ones.
    groups: RwLock<BTreeMap<String, Group>>,
    /// The encoded discovery documents.
    pub discovery: crate::apiserver::discovery::Cache,
    /// The encoded OpenAPI documents.
    pub openapi: crate::apiserver::openapi::Cache,
}

impl Registry {
    /// Serves `resource`, replacing one of the same group, version and name.
    pub(crate) fn insert(&self, resource: Resource) -> Arc<Resource> {
        let resource = Arc::new(resource);
        self.groups
            .write()
            .entry(resource.gvk.group.clone())
            .or_default()
            .entry(resource.gvk.version.clone())
            .or_default()
            .insert(resource.plural.clone(), resource.clone());
        resource
    }
    /// Stops serving a resource.
    pub(crate) fn remove(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let mut groups = self.groups.write();
        let versions = groups.get_mut(group)?;
        let resources = versions.get_mut(version)?;
        let removed = resources.remove(plural);
        if resources.is_empty() {
            versions.remove(version);
        }
        if versions.is_empty() {
            groups.remove(group);
        }
        removed
    }
    /// The resource of this name.
    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.groups
            .read()
            .get(group)?
            .get(version)?
            .get(plural)
            .cloned()
    }
    /// Whether anything is served in the group.
    pub(crate) fn serves_group(&self, group: &str) -> bool {
        self.groups.read().contains_key(group)
    }
    /// Whether anything is served in this version of the group.
    pub(crate) fn serves_version(&self, group: &str, version: &str) -> bool {
        self.groups
            .read()
            .get(group)
            .is_some_and(|versions| versions.contains_key(version))
    }
    /// Whether everything in this version of the group is custom; in the group, when the version is not served. What is not
    /// there the real server then answers in another way.
    pub(crate) fn is_custom(&self, group: &str, version: &str) -> bool {
        let groups = self.groups.read();
        let Some(versions) = groups.get(group) else {
            return true;
        };
        let is_custom = |resource: &Arc<Resource>| resource.custom.is_some();
        match versions.get(version) {
            Some(resources) => resources.values().all(is_custom),
            None => versions.values().flat_map(Version::values).all(is_custom),
        }
    }
    /// All resources, ordered by group, version and name.
    pub(crate) fn all(&self) -> Vec<Arc<Resource>> {
        let groups = self.groups.read();
        let resources = groups
            .values()
            .flat_map(Group::values)
            .flat_map(Version::values);
        resources.cloned().collect()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A registry for unit tests.
    use super::*;
    use crate::apiserver::Strategy;
    use crate::object::GroupVersionKind;

    #[derive(Debug)]
    struct Plain;
    impl Strategy for Plain {}

    /// Pods (with status and binding), namespaces (with status and finalize) and config maps.
    pub(crate) fn registry() -> Registry {
        let registry = Registry::default();
        for (kind, plural, namespaced, subs) in [
            (
                "Pod",
                "pods",
                true,
                &[
                    ("status", &["get", "patch", "update"][..]),
                    ("binding", &["create"]),
                ][..],
            ),
            (
                "Namespace",
                "namespaces",
                false,
                &[
                    ("status", &["get", "patch", "update"]),
                    ("finalize", &["update"]),
                ],
            ),
            ("ConfigMap", "configmaps", true, &[]),
        ] {
            let gvk = GroupVersionKind::new("", "v1", kind);
            let verbs = [
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ];
            registry.insert(Resource {
                list_kind: format!("{kind}List"),
                plural: plural.into(),
                singular: kind.to_lowercase(),
                namespaced,
                short_names: Vec::new(),
                categories: Vec::new(),
                verbs: verbs.map(str::to_owned).to_vec(),
                subresources: subs
                    .iter()
                    .map(|(name, verbs)| Subresource {
                        name: (*name).into(),
                        gvk: gvk.clone(),
                        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
                    })
                    .collect(),
                storage_version: "v1".into(),
                storage_group: String::new(),
                key_prefix: format!("/registry/{plural}"),
                custom: None,
                schema: None,
                open_api: None,
                strategy: Arc::new(Plain),
                gvk,
            });
        }
        registry
    }
}
