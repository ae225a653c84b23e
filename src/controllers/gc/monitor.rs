//! Keeps the graph up to date: one metadata watch for each resource that can be collected, started and stopped as the
//! server's resources change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use parking_lot::{Mutex, RwLock};
use tokio::time::sleep;

use super::graph::{Graph, Identity};
use crate::client::{self, Frame, ServedResource, served_resources};
use crate::clock::Clock;
use crate::reconcile::{Error, Key, Wake, Watcher};

/// How often the server is asked what it serves (upstream's period).
const DISCOVERY: Duration = Duration::from_secs(30);

/// How many objects are listed at once.
const PAGE: usize = 500;

/// Resources that are not worth watching: they own nothing and are owned by nothing, and there are many.
const IGNORED: [(&str, &str); 2] = [("", "events"), ("events.k8s.io", "events")];

/// The resources that are watched. A resource keeps its number for good.
#[derive(Debug, Default)]
pub(super) struct Resources {
    served: RwLock<Vec<ServedResource>>,
    wake: Mutex<Option<Wake>>,
}

impl Resources {
    /// The path of an object.
    pub(super) fn path(&self, identity: &Identity) -> Option<String> {
        let served = self.served.read();
        let resource = served.get(identity.resource)?;
        Some(format!(
            "{}/{}",
            resource.path(&identity.namespace),
            identity.name
        ))
    }

    /// The path of an owner that an object in `namespace` names; `None` when its kind is not served.
    pub(super) fn owner_path(&self, namespace: &str, owner: &OwnerReference) -> Option<String> {
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let served = self.served.read();
        let resource = served
            .iter()
            .find(|resource| resource.group == group && resource.kind == owner.kind)?;
        let namespace = if resource.namespaced { namespace } else { "" };
        Some(format!("{}/{}", resource.path(namespace), owner.name))
    }

    /// Looks at the object with `uid` soon.
    pub(super) fn wake(&self, uid: &str, cause: &str) {
        if let Some(wake) = &*self.wake.lock() {
            wake.now(Key::cluster(uid), cause);
        }
    }

    /// The number of a resource, a new one if it was not known.
    fn number(&self, resource: &ServedResource) -> usize {
        let mut served = self.served.write();
        let same =
            |have: &ServedResource| have.group == resource.group && have.plural == resource.plural;
        if let Some(number) = served.iter().position(same) {
            served[number] = resource.clone();
            return number;
        }
        served.push(resource.clone());
        served.len() - 1
    }
}

/// The source of the collector's keys.
pub(super) struct Monitor {
    client: kube::Client,
    clock: Clock,
    graph: Arc<Mutex<Graph>>,
    resources: Arc<Resources>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    pub(super) fn new(
        client: kube::Client,
        clock: Clock,
        graph: Arc<Mutex<Graph>>,
        resources: Arc<Resources>,
    ) -> Self {
        Self {
            client,
            clock,
            graph,
            resources,
        }
    }
}

#[async_trait]
impl Watcher for Monitor {
    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error> {
        *self.resources.wake.lock() = Some(wake.clone());
        let mut watched: BTreeMap<(String, String), tokio::sync::oneshot::Sender<()>> =
            BTreeMap::new();
        let mut watches = FuturesUnordered::new();
        loop {
            // A server that cannot say what it serves is asked again; the watches go on meanwhile.
            if let Ok(served) = served_resources(&self.client).await {
                let collectable: Vec<_> = served.into_iter().filter(is_collectable).collect();
                let present: BTreeSet<_> = collectable
                    .iter()
                    .map(|resource| (resource.group.clone(), resource.plural.clone()))
                    .collect();
                watched.retain(|name, _| present.contains(name));
                for resource in collectable {
                    let name = (resource.group.clone(), resource.plural.clone());
                    if watched.contains_key(&name) {
                        continue;
                    }
                    let (stop, stopped) = tokio::sync::oneshot::channel();
                    watched.insert(name, stop);
                    let number = self.resources.number(&resource);
                    let feed = Feed {
                        monitor: &self,
                        resource,
                        number,
                        wake: wake.clone(),
                        seen: BTreeMap::new(),
                    };
                    watches.push(feed.run(stopped));
                }
            }
            let pause = sleep(DISCOVERY);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    biased;
                    Some(()) = watches.next(), if !watches.is_empty() => {}
                    () = &mut pause => break,
                }
            }
        }
    }
}

fn is_collectable(resource: &ServedResource) -> bool {
    let ignored = IGNORED.contains(&(resource.group.as_str(), resource.plural.as_str()));
    resource.supports(&["list", "watch", "delete", "get"]) && !ignored
}

/// The watch of one resource.
struct Feed<'a> {
    monitor: &'a Monitor,
    resource: ServedResource,
    number: usize,
    wake: Wake,
    /// The uids that were seen, by namespace and name: a list that no longer has one tells its deletion.
    seen: BTreeMap<(String, String), String>,
}

impl Feed<'_> {
    /// Lists and watches until told to stop; then its objects are forgotten.
    async fn run(mut self, mut stopped: tokio::sync::oneshot::Receiver<()>) {
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                result = self.follow() => {
                    failures = if result.is_ok() { 0 } else { (failures + 1).min(6) };
                }
            }
            if failures > 0 {
                let pause = Duration::from_millis(500) * 2_u32.pow(failures - 1);
                let pause = self.monitor.clock.jitter(pause, 0.5);
                tokio::select! {
                    biased;
                    _ = &mut stopped => break,
                    () = sleep(pause) => {}
                }
            }
        }
        for (_, uid) in std::mem::take(&mut self.seen) {
            let woken = self.monitor.graph.lock().remove(&uid);
            self.wake_all(woken, "its owner is gone");
        }
    }

    /// Lists, then watches until the watch ends for good.
    async fn follow(&mut self) -> Result<(), kube::Error> {
        let path = client::Path {
            path: self.resource.path(""),
            metadata_only: true,
            ..client::Path::default()
        };
        let client = &self.monitor.client;
        let listed = client::list::<PartialObjectMeta>(client, &path, PAGE).await?;
        let mut gone = std::mem::take(&mut self.seen);
        for object in listed.items {
            gone.remove(&name(&object.metadata));
            self.upsert(&object.metadata);
        }
        for (_, uid) in gone {
            self.remove(&uid);
        }
        let mut revision = listed.resource_version;
        loop {
            let mut watch = match client::watch(client, &path, &revision).await {
                Err(error) if client::is_expired(&error) => return Ok(()),
                other => other?,
            };
            loop {
                match watch.next::<PartialObjectMeta>().await {
                    Ok(Some(Frame::Applied(object))) => {
                        revision = object.metadata.resource_version.clone().unwrap_or(revision);
                        self.upsert(&object.metadata);
                    }
                    Ok(Some(Frame::Deleted(object))) => {
                        revision = object.metadata.resource_version.clone().unwrap_or(revision);
                        self.seen.remove(&name(&object.metadata));
                        self.remove(object.metadata.uid.as_deref().unwrap_or_default());
                    }
                    Ok(Some(Frame::Bookmark(at))) => revision = at,
                    Ok(None) => break,
                    Err(error) if client::is_expired(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn upsert(&mut self, meta: &ObjectMeta) {
        let (namespace, name) = name(meta);
        let uid = meta.uid.clone().unwrap_or_default();
        // Another object of the same name: the one before is gone.
        if let Some(old) = self
            .seen
            .insert((namespace.clone(), name.clone()), uid.clone())
            .filter(|old| *old != uid)
        {
            self.remove(&old);
        }
        let identity = Identity {
            resource: self.number,
            namespace,
            name,
        };
        let woken = self.monitor.graph.lock().upsert(identity, meta);
        self.wake_all(woken, "its owners or finalizers changed");
    }

    fn remove(&self, uid: &str) {
        let woken = self.monitor.graph.lock().remove(uid);
        self.wake_all(woken, "its owner or dependent is gone");
    }

    fn wake_all(&self, uids: BTreeSet<String>, cause: &str) {
        for uid in uids {
            self.wake.now(Key::cluster(uid), cause);
        }
    }
}

fn name(meta: &ObjectMeta) -> (String, String) {
    (
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
