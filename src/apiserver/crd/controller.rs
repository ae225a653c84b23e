//! Follows the definitions: gives them names and conditions, serves what they define, and clears it away when they go.
//!
//! What is done is decided anew from all definitions at every change; nothing is remembered but what is served.
use super::definition::{Definition, is_true, set_condition};
use super::kind::FINALIZER;
use super::registration::Registration;
use super::{naming, serving};
use crate::apiserver::DeleteOptions;
use crate::apiserver::handler::call::{Call, Current, store_failure};
use crate::apiserver::handler::{delete, write};
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::{Selection, Stop, Subscription, prefix};
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::request::{ResourceRequest, Verb};
use crate::apiserver::server::Shared;
use crate::object::{Document, FieldSelector, Reason, Status};
use crate::store::Range;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
/// Between attempts when the store fails, and between looks at whether a definition's objects are gone.
const PAUSE: Duration = Duration::from_millis(500);

/// The definitions, and what of them is served.
#[derive(Debug, Default)]
pub(crate) struct Controller {
    definitions: BTreeMap<String, Value>,
    served: BTreeMap<String, Served>,
    registration: Registration,
}

#[derive(Debug)]
struct Served {
    definition: Definition,
    /// The versions that are served.
    resources: Vec<Arc<Resource>>,
    /// The version that objects are stored in, served or not.
    stored: Option<Arc<Resource>>,
}

/// Serves what the store holds and follows it from there. The task ends with the server.
///
/// # Errors
/// When the store fails.
pub(crate) async fn start(shared: &Arc<Shared>) -> Result<(), Status> {
    let mut controller = Controller::default();
    let Some((resource, subscription)) = controller.load(shared).await? else {
        return Ok(());
    };
    tokio::spawn(follow(
        Arc::downgrade(shared),
        resource,
        controller,
        subscription,
    ));
    Ok(())
}

async fn follow(
    shared: Weak<Shared>,
    resource: Arc<Resource>,
    mut controller: Controller,
    mut subscription: Subscription,
) {
    loop {
        let Some(server) = shared.upgrade().filter(|shared| !shared.is_stopping()) else {
            return;
        };
        let again = match controller.work(&server, &resource).await {
            Ok(again) => again,
            Err(status) => {
                tracing::warn!(%status, "custom resource definitions could not be brought up to date");
                true
            }
        };
        drop(server);
        if again {
            tokio::select! {
                biased;
                () = subscription.reader.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        } else {
            subscription.reader.changed().await;
        }
        let mut events = VecDeque::new();
        loop {
            let before = events.len();
            match subscription.reader.take(128, &mut events) {
                Ok(()) if events.len() == before => break,
                Ok(()) => {}
                Err(Stop::Ended) => return,
                Err(Stop::Gap | Stop::Slow) => {
                    match reload(&shared, &mut controller).await {
                        Some(fresh) => subscription = fresh,
                        None => return,
                    }
                    events.clear();
                    break;
                }
            }
        }
        for event in events {
            let name = event.object.name().to_owned();
            if event.is_deletion() {
                controller.definitions.remove(&name);
            } else if let Ok(document) = event.object.document() {
                controller.definitions.insert(name, document);
            }
        }
    }
}

/// Starts again after changes were missed; `None`: the server is gone.
async fn reload(shared: &Weak<Shared>, controller: &mut Controller) -> Option<Subscription> {
    loop {
        let server = shared.upgrade().filter(|shared| !shared.is_stopping())?;
        match controller.load(&server).await {
            Ok(loaded) => return loaded.map(|(_, subscription)| subscription),
            Err(status) => tracing::warn!(%status, "custom resource definitions could not be read"),
        }
        drop(server);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Controller {
    /// Reads all definitions and serves them.
    async fn load(
        &mut self,
        shared: &Arc<Shared>,
    ) -> Result<Option<(Arc<Resource>, Subscription)>, Status> {
        let Some(resource) = shared.registry.get(GROUP, "v1", PLURAL) else {
            return Ok(None);
        };
        let kind = shared.cacher.kind(&resource).await?;
        shared.cacher.fresh().await?;
        let within = prefix(&resource);
        let all = Selection::all(&within);
        let (selected, subscription) = kind.watch_all("", &FieldSelector::default(), &all);
        self.definitions = selected
            .items
            .iter()
            .filter_map(|item| Some((item.name().to_owned(), item.document().ok()?)))
            .collect();
        self.serve(shared);
        Ok(Some((resource, subscription)))
    }

    /// Brings registry, names, conditions and deletions up to date; whether to look again without a change.
    async fn work(
        &mut self,
        shared: &Arc<Shared>,
        resource: &Arc<Resource>,
    ) -> Result<bool, Status> {
        self.serve(shared);
        let names: Vec<String> = self.definitions.keys().cloned().collect();
        for name in &names {
            self.accept(shared, resource, name).await?;
        }
        self.serve(shared);
        for name in &names {
            self.establish(shared, resource, name).await?;
        }
        self.serve(shared);
        let definitions = self.served.values().map(|served| &served.definition);
        self.registration.sync(shared, definitions).await?;
        let mut waiting = false;
        for name in &names {
            waiting |= self.finalize(shared, resource, name).await?;
        }
        Ok(waiting)
    }

    /// Brings the registry up to date.
    fn serve(&mut self, shared: &Shared) {
        let definitions = &self.definitions;
        self.served.retain(|name, served| {
            let kept = definitions.contains_key(name);
            if !kept {
                served.remove(shared);
            }
            kept
        });
        for (name, object) in definitions {
            let definition = Definition::of(object);
            if let Some(served) = self.served.get(name) {
                if served.definition == definition {
                    continue;
                }
                let mut before = served.definition.clone();
                before.terminating = definition.terminating;
                before.established = definition.established;
                before.names_accepted = definition.names_accepted;
                if before == definition && served.definition.is_served() == definition.is_served() {
                    // Nothing that watches depend on.
                    let resources = served.resources.iter().chain(&served.stored);
                    for custom in resources.filter_map(|resource| resource.custom.as_ref()) {
                        custom
                            .terminating
                            .store(definition.terminating, Ordering::Relaxed);
                    }
                    if let Some(served) = self.served.get_mut(name) {
                        served.definition = definition;
                    }
                    continue;
                }
                served.remove(shared);
            }
            self.served
                .insert(name.clone(), Served::insert(shared, definition));
        }
    }

    async fn accept(
        &mut self,
        shared: &Arc<Shared>,
        resource: &Arc<Resource>,
        name: &str,
    ) -> Result<(), Status> {
        let now = crate::apiserver::handler::metadata::timestamp(shared.clock.now());
        let all: Vec<Value> = self.definitions.values().cloned().collect();
        let plan = |object: &Value| naming::plan(object, all.iter(), &now);
        self.write(shared, resource, name, &plan).await
    }

    async fn establish(
        &mut self,
        shared: &Arc<Shared>,
        resource: &Arc<Resource>,
        name: &str,
    ) -> Result<(), Status> {
        let now = crate::apiserver::handler::metadata::timestamp(shared.clock.now());
        let plan = |object: &Value| naming::establish(object, &now);
        self.write(shared, resource, name, &plan).await
    }

    /// Deletes the objects of a definition that is going, and lets it go when they are gone; whether that is still to come.
    async fn finalize(
        &mut self,
        shared: &Arc<Shared>,
        resource: &Arc<Resource>,
        name: &str,
    ) -> Result<bool, Status> {
        let Some(definition) = self.definitions.get(name) else {
            return Ok(false);
        };
        if definition.deletion_timestamp().is_none()
            || !definition.finalizers().contains(&FINALIZER)
        {
            return Ok(false);
        }
        let now = crate::apiserver::handler::metadata::timestamp(shared.clock.now());
        let stored = self
            .served
            .get(name)
            .and_then(|served| served.stored.clone());
        let established = is_true(definition, "Established");
        let condition = |status: &'static str, reason: &'static str, message: &'static str| {
            let now = now.clone();
            move |object: &Value| {
                let mut object = object.clone();
                set_condition(&mut object, "Terminating", status, reason, message, &now);
                Some(object)
            }
        };
        let (reason, message) = match stored.filter(|_| established) {
            Some(stored) => {
                let begun = condition(
                    "True",
                    "InstanceDeletionInProgress",
                    "CustomResource deletion is in progress",
                );
                self.write(shared, resource, name, &begun).await?;
                if !clear(shared, &stored).await? {
                    return Ok(true);
                }
                ("InstanceDeletionCompleted", "removed all instances")
            }
            None => ("NeverEstablished", "resource was never established"),
        };
        let done = condition("False", reason, message);
        let release = |object: &Value| {
            let mut object = done(object)?;
            let finalizers: Vec<Value> = object
                .list_at(&["metadata", "finalizers"])
                .iter()
                .filter(|finalizer| *finalizer != FINALIZER)
                .cloned()
                .collect();
            object.set_at(&["metadata", "finalizers"], finalizers);
            Some(object)
        };
        self.write(shared, resource, name, &release).await?;
        Ok(false)
    }

    /// Writes what `plan` makes of a definition, if it makes anything of it.
    async fn write(
        &mut self,
        shared: &Arc<Shared>,
        resource: &Arc<Resource>,
        name: &str,
        plan: &(dyn Fn(&Value) -> Option<Value> + Sync),
    ) -> Result<(), Status> {
        let known = self.definitions.get(name);
        if known.is_none_or(|known| plan(known).is_none()) {
            return Ok(());
        }
        let request = ResourceRequest::own(resource.clone(), Verb::Update, "", name);
        let mut call = Call::on(
            shared,
            &request,
            resource,
            Some("status"),
            WriteOptions::default(),
        );
        let mut latest = None;
        let mut change = |_: &mut Call<'_>, current: Option<&Current>| {
            let current = current
                .map(|current| &current.object)
                .cloned()
                .unwrap_or_default();
            let planned = plan(&current).unwrap_or(current);
            latest = Some(planned.clone());
            Ok(planned)
        };
        match write::update(&mut call, name, write::Missing::NotFound, &mut change).await {
            // What is written is what the next look starts from, before the watch tells of it.
            Ok(_) => {
                if let Some(latest) = latest {
                    self.definitions.insert(name.to_owned(), latest);
                }
                Ok(())
            }
            Err(status) if status.reason == Reason::NotFound => Ok(()),
            Err(status) => Err(status),
        }
    }
}

impl Served {
    fn insert(shared: &Shared, definition: Definition) -> Self {
        let (mut resources, mut stored) = (Vec::new(), None);
        for (served, resource) in serving::resources(&definition) {
            let is_stored = resource.gvk.version == definition.storage_version();
            let resource = if served {
                let resource = shared.registry.insert(resource);
                resources.push(resource.clone());
                resource
            } else {
                Arc::new(resource)
            };
            if is_stored {
                stored = Some(resource);
            }
        }
        Self {
            definition,
            resources,
            stored,
        }
    }

    fn remove(&self, shared: &Shared) {
        for resource in &self.resources {
            let gvk = &resource.gvk;
            shared
                .registry
                .remove(&gvk.group, &gvk.version, &resource.plural);
            shared.cacher.forget(resource);
        }
    }
}

/// Deletes all objects of a resource; whether none are left.
async fn clear(shared: &Arc<Shared>, resource: &Arc<Resource>) -> Result<bool, Status> {
    let keys = Range::prefix(prefix(resource));
    let page = shared
        .store
        .range(keys)
        .await
        .map_err(|error| store_failure(&error))?;
    let mut left = false;
    for entry in page.entries {
        let current = Current::decode(entry)?;
        let (namespace, name) = (current.object.namespace(), current.object.name());
        let request = ResourceRequest::own(resource.clone(), Verb::Delete, namespace, name);
        if current.object.deletion_timestamp().is_some() {
            left = true;
            continue;
        }
        let mut call = Call::on(shared, &request, resource, None, WriteOptions::default());
        match delete::remove(&mut call, name, &DeleteOptions::default()).await {
            Ok(removed) => left |= !removed.gone,
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    Ok(!left)
}
