//! Other objects, for decisions.
use crate::apiserver::registry::cacher::{Cached, Cacher, ListQuery};
use crate::apiserver::registry::{Registry, Resource};
use crate::apiserver::server::Shared;
use crate::object::{GroupVersion, LabelSelector, Status};
use serde_json::Value;
use std::sync::Arc;

/// Reads other objects of the cluster. Cheap: it reads the server's cache, which shows what this server has written, and perhaps a
/// moment late what others have.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    registry: &'a Registry,
    cacher: &'a Cacher,
    shared: Option<&'a Arc<Shared>>,
}

impl<'a> View<'a> {
    /// Of a server.
    pub(crate) fn of(shared: &'a Arc<Shared>) -> Self {
        Self {
            registry: &shared.registry,
            cacher: &shared.cacher,
            shared: Some(shared),
        }
    }

    /// Of objects without a server around them.
    #[cfg(test)]
    pub(crate) fn new(registry: &'a Registry, cacher: &'a Cacher) -> Self {
        Self {
            registry,
            cacher,
            shared: None,
        }
    }

    /// The server.
    pub(crate) fn shared(&self) -> Option<&'a Arc<Shared>> {
        self.shared
    }

    /// The served resources.
    pub(crate) fn registry(&self) -> &'a Registry {
        self.registry
    }

    /// The resource of a kind.
    pub(crate) fn resource_of(&self, version: &GroupVersion, kind: &str) -> Option<Arc<Resource>> {
        let all = self.registry.all();
        let is = |resource: &Arc<Resource>| {
            let gvk = &resource.gvk;
            gvk.group == version.group && gvk.version == version.version && gvk.kind == kind
        };
        all.into_iter().find(is)
    }

    /// The object, or `None` when it or its resource does not exist. One that is known already is given as it is known; whether
    /// one is missing is found out for certain. `namespace` is `""` for cluster-scoped objects.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        let found = self.find(group, version, plural, namespace, name).await?;
        found.map(|(_, object)| decode(&object)).transpose()
    }

    /// The objects of a namespace (`""`: of all) that `labels` select, as they are known, in the order of their names.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        labels: &LabelSelector,
    ) -> Result<Vec<Value>, Status> {
        let query = ListQuery {
            namespace,
            labels: Some(labels),
            resource_version: "0",
            ..ListQuery::default()
        };
        self.query(group, version, plural, &query).await
    }

    /// All objects of a namespace, with everything written so far, in the order of their names.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn newest(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
    ) -> Result<Vec<Value>, Status> {
        let query = ListQuery {
            namespace,
            ..ListQuery::default()
        };
        self.query(group, version, plural, &query).await
    }

    async fn query(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        query: &ListQuery<'_>,
    ) -> Result<Vec<Value>, Status> {
        let Some(resource) = self.registry.get(group, version, plural) else {
            return Ok(Vec::new());
        };
        self.cacher.caught_up(&resource).await;
        let listing = self
            .cacher
            .list(&resource, query)
            .await
            .map_err(|failure| failure.status)?;
        listing.items.iter().map(|object| decode(object)).collect()
    }

    /// All objects of a resource as they are known, without decoding them.
    pub(crate) async fn all(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Result<Vec<Arc<Cached>>, Status> {
        let Some(resource) = self.registry.get(group, version, plural) else {
            return Ok(Vec::new());
        };
        self.cacher.caught_up(&resource).await;
        self.cacher.all(&resource).await
    }

    /// As [`View::get`], without decoding the object.
    pub(crate) async fn find(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<(Arc<Resource>, Arc<Cached>)>, Status> {
        let Some(resource) = self.registry.get(group, version, plural) else {
            return Ok(None);
        };
        self.cacher.caught_up(&resource).await;
        let known = self.cacher.peek(&resource, namespace, name).await?;
        let found = match known {
            Some(known) => Some(known),
            None => self.cacher.get(&resource, namespace, name, "").await?,
        };
        Ok(found.map(|object| (resource, object)))
    }
}

fn decode(object: &Cached) -> Result<Value, Status> {
    object
        .document()
        .map_err(|error| Status::internal(&error.to_string()))
}
