//! A small cluster in which plugins are tried out.
use super::{Admission, AdmissionRequest, Chain, Operation, Session, UserInfo, View};
use crate::apiserver::kinds;
use crate::apiserver::registry::Registry;
use crate::apiserver::registry::cacher::fake::FakeStore;
use crate::apiserver::registry::cacher::{Cacher, CacherConfig};
use crate::object::{Document, GroupResource, GroupVersionKind, Status};
use serde_json::{Value, json};
use std::sync::Arc;

/// Objects that plugins see. There are the namespaces `live` and, on its way out, `dying`.
pub(crate) struct World {
    registry: Registry,
    cacher: Cacher,
    pub(crate) session: Session,
}

/// What is asked of a plugin.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) operation: Operation,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) object: Value,
    pub(crate) old: Option<Value>,
    pub(crate) dry_run: bool,
}

impl Ask {
    pub(crate) fn create(group: &str, resource: &str, namespace: &str, object: Value) -> Self {
        Self {
            operation: Operation::Create,
            group: group.into(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: namespace.into(),
            object,
            old: None,
            dry_run: false,
        }
    }

    pub(crate) fn update(
        group: &str,
        resource: &str,
        namespace: &str,
        object: Value,
        old: Value,
    ) -> Self {
        Self {
            operation: Operation::Update,
            old: Some(old),
            ..Self::create(group, resource, namespace, object)
        }
    }
}

impl World {
    /// One with these objects, each with the plural name of its resource.
    pub(crate) fn new(objects: &[(&str, Value)]) -> Self {
        let (store, registry) = (FakeStore::default(), Registry::default());
        let namespace = |name: &str, phase: &str| {
            let object = json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}, "status": {"phase": phase}});
            ("namespaces", object)
        };
        let always = [
            namespace("live", "Active"),
            namespace("dying", "Terminating"),
        ];
        let resources = kinds::builtin();
        let given = |name: &str| {
            objects
                .iter()
                .any(|(plural, object)| *plural == "namespaces" && object.name() == name)
        };
        let always = always.iter().filter(|(_, object)| !given(object.name()));
        for (plural, object) in always.chain(objects) {
            let resource = resources
                .iter()
                .find(|resource| resource.plural == *plural)
                .unwrap();
            store.write(&resource.key(object.namespace(), object.name()), object);
        }
        for resource in resources {
            registry.insert(resource);
        }
        Self {
            registry,
            cacher: Cacher::new(Arc::new(store), CacherConfig::default()),
            session: Session::default(),
        }
    }

    /// Lets `run` see the request.
    async fn with<T>(&self, ask: &Ask, run: impl AsyncFnOnce(&AdmissionRequest<'_>) -> T) -> T {
        let (user, options) = (
            UserInfo {
                name: "alice".into(),
                ..UserInfo::default()
            },
            json!({}),
        );
        let all = self.registry.all();
        let resource = all
            .iter()
            .find(|resource| resource.gvk.group == ask.group && resource.plural == ask.resource);
        let kind = resource.map_or_else(GroupVersionKind::default, |resource| resource.gvk.clone());
        let version = kind.version.clone();
        let name = ask.object.name().to_owned();
        let request = AdmissionRequest {
            operation: ask.operation,
            kind,
            resource: GroupResource::new(&*ask.group, &*ask.resource),
            version: &version,
            subresource: &ask.subresource,
            namespace: &ask.namespace,
            name: &name,
            old: ask.old.as_ref(),
            options: &options,
            dry_run: ask.dry_run,
            user: &user,
            view: View::new(&self.registry, &self.cacher),
            session: &self.session,
        };
        run(&request).await
    }

    /// The object as the plugin changes it.
    pub(crate) async fn mutate(&self, plugin: &dyn Admission, ask: &Ask) -> Result<Value, Status> {
        let mut object = ask.object.clone();
        let outcome = self.with(ask, async |request| {
            plugin.mutate(request, &mut object).await
        });
        outcome.await.map(|()| object)
    }

    /// Whether the plugin lets it be.
    pub(crate) async fn validate(&self, plugin: &dyn Admission, ask: &Ask) -> Result<(), Status> {
        let object = (ask.operation != Operation::Delete).then_some(&ask.object);
        self.with(ask, async |request| plugin.validate(request, object).await)
            .await
    }

    /// What the client is warned of.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.session.warnings()
    }

    /// The object as these plugins change it, all of them again when one of them wants it.
    pub(crate) async fn mutate_all(
        &self,
        plugins: &[Arc<dyn Admission>],
        ask: &Ask,
    ) -> Result<Value, Status> {
        let (chain, mut object) = (Chain::only(plugins), ask.object.clone());
        self.with(ask, async |request| {
            chain.mutate(request, &mut object).await
        })
        .await?;
        Ok(object)
    }

    /// The object as all plugins change it and let it be.
    pub(crate) async fn admit(&self, ask: &Ask) -> Result<Value, Status> {
        let (chain, mut object) = (Chain::default(), ask.object.clone());
        self.with(ask, async |request| {
            if ask.operation == Operation::Delete {
                return chain.validate(request, None).await;
            }
            chain.mutate(request, &mut object).await?;
            chain.validate(request, Some(&object)).await
        })
        .await?;
        Ok(object)
    }
}

/// Puts `change` into a document, field by field.
pub(crate) fn merge(base: &mut Value, change: &Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change.clone(),
    }
}
