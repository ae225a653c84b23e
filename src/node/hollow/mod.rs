//! Many nodes in one task, without runtimes: every pod runs at once and ends when it is told to, or lives as stages say.
//!
//! A pod costs one status write when it comes and one deletion when it goes; leases are renewed in a steady trickle.

mod addresses;
mod pods;
mod staged;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::sleep;

use self::addresses::Addresses;
use self::pods::{Pods, needs_work};
use self::staged::Staged;
use super::NodeAgent;
use super::driver::{self, NodeSpec, RENEW, RESTARTS_ALL};
use super::stage::{Kind, Stage};
use crate::clock::Clock;
use crate::reconcile::{Activity, Cache, Controller, Error, Key, Manager, Recorder, Source};

/// How many nodes are registered, and pods handled, at once.
const AT_ONCE: usize = 64;
/// A tick of the lease wheel.
const TICKS: u32 = 20;

/// Many pretended nodes.
pub struct Hollow {
    inner: Arc<Inner>,
    activity: Activity,
    running: tokio::sync::Mutex<Option<Manager>>,
}

struct Inner {
    client: kube::Client,
    clock: Clock,
    recorder: Recorder,
    pods: Cache<Pod>,
    /// The cache of nodes, where they have stages.
    node_cache: Option<Cache<Node>>,
    specs: Vec<NodeSpec>,
    stages: Vec<Stage>,
    nodes: Mutex<BTreeMap<String, HollowNode>>,
    addresses: Mutex<Addresses>,
}

/// A node that is pretended.
struct HollowNode {
    node: Arc<Node>,
    /// Which of all it is.
    index: usize,
}

impl std::fmt::Debug for Hollow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hollow")
            .field("nodes", &self.inner.specs.len())
            .finish_non_exhaustive()
    }
}

impl Hollow {
    /// Pretends to be `specs`, seeing pods through the cache of `manager`.
    #[must_use]
    pub fn new(manager: &Manager, specs: Vec<NodeSpec>) -> Self {
        Self::with_stages(manager, specs, Vec::new())
    }

    /// The same; pods live as those of `stages` say that are for pods, and the nodes' status is what those for nodes make of
    /// it. Where there are none for pods (or nodes), they do as without. Leases are kept in any case.
    #[must_use]
    pub fn with_stages(manager: &Manager, specs: Vec<NodeSpec>, stages: Vec<Stage>) -> Self {
        let has_own = stages.iter().any(|stage| stage.kind == Kind::Node);
        let inner = Inner {
            recorder: manager.recorder("kwok"),
            node_cache: has_own.then(|| manager.cache::<Node>()),
            stages,
            client: manager.client_for("kubelet"),
            clock: manager.clock().clone(),
            pods: manager.cache::<Pod>(),
            specs,
            nodes: Mutex::default(),
            addresses: Mutex::default(),
        };
        let activity = manager.activity().clone();
        Self {
            inner: Arc::new(inner),
            activity,
            running: tokio::sync::Mutex::default(),
        }
    }
}

#[async_trait]
impl NodeAgent for Hollow {
    async fn start(&self) -> Result<(), Error> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Ok(());
        }
        let inner = self.inner.clone();
        let registered = futures::stream::iter(inner.specs.iter().cloned()).map(|spec| {
            let inner = inner.clone();
            async move {
                let mut status = spec.status(inner.clock.now());
                status["declaredFeatures"] = json!([RESTARTS_ALL]);
                if inner.node_cache.is_some()
                    && let Some(fields) = status.as_object_mut()
                {
                    // What it is like is said by its stages.
                    fields.remove("conditions");
                }
                driver::register(&inner.client, &inner.clock, &spec, &status).await
            }
        });
        let nodes: Vec<Node> = registered.buffered(AT_ONCE).try_collect().await?;
        for (index, node) in nodes.into_iter().enumerate() {
            let name = node.metadata.name.clone().unwrap_or_default();
            let node = HollowNode {
                node: Arc::new(node),
                index,
            };
            inner.nodes.lock().insert(name, node);
        }
        let manager = Manager::with_activity(
            inner.client.clone(),
            inner.clock.clone(),
            self.activity.clone(),
        );
        manager.add(pod_controller(&inner));
        if let Some(cache) = &inner.node_cache {
            manager.add(node_controller(&inner, cache));
        }
        manager.add_task("leases", move || {
            let inner = inner.clone();
            async move { inner.renew_all().await }
        });
        manager.start().await?;
        *running = Some(manager);
        Ok(())
    }

    async fn stop(&self) {
        if let Some(manager) = self.running.lock().await.take() {
            manager.stop().await;
        }
    }
}

/// What looks after pods.
fn pod_controller(inner: &Arc<Inner>) -> Controller {
    let own = inner.clone();
    let staged = inner.stages_of(Kind::Pod);
    if staged.is_empty() {
        let source = move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
            own.follow_address(old, new);
            new.filter(|pod| own.has(pod) && needs_work(pod))
                .map(|pod| Key::of(&**pod))
                .into_iter()
                .collect()
        };
        return Controller::new("hollow", Pods(inner.clone()))
            .source(Source::mapped(&inner.pods, source))
            .workers(AT_ONCE);
    }
    let source = move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
        own.follow_address(old, new);
        let pod = new.or(old).filter(|pod| own.has(pod));
        pod.map(|pod| Key::of(&**pod)).into_iter().collect()
    };
    let staged = Staged::new(inner.clone(), inner.pods.clone(), staged);
    Controller::new("hollow", staged)
        .source(Source::mapped(&inner.pods, source))
        .workers(AT_ONCE)
}

/// What looks after nodes that have stages.
fn node_controller(inner: &Arc<Inner>, cache: &Cache<Node>) -> Controller {
    let own = inner.clone();
    let source = move |old: Option<&Arc<Node>>, new: Option<&Arc<Node>>| {
        let node = new.or(old);
        let key = node.map(|node| Key::of(&**node));
        key.filter(|key| own.nodes.lock().contains_key(&*key.name))
            .into_iter()
            .collect()
    };
    let staged = Staged::new(inner.clone(), cache.clone(), inner.stages_of(Kind::Node));
    Controller::new("hollow nodes", staged)
        .source(Source::mapped(cache, source))
        .workers(AT_ONCE)
}

fn node_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

impl Inner {
    fn has(&self, pod: &Pod) -> bool {
        self.nodes.lock().contains_key(node_name(pod))
    }

    fn stages_of(&self, kind: Kind) -> Vec<Stage> {
        let own = self.stages.iter().filter(|stage| stage.kind == kind);
        own.cloned().collect()
    }

    /// Renews all leases again and again, evenly spread over the period.
    async fn renew_all(&self) -> Result<(), Error> {
        let mut tick = 0;
        loop {
            sleep(RENEW / TICKS).await;
            tick = (tick + 1) % TICKS as usize;
            let nodes: Vec<Arc<Node>> = {
                let nodes = self.nodes.lock();
                let turn = nodes
                    .values()
                    .enumerate()
                    .filter(|(index, _)| index % TICKS as usize == tick);
                turn.map(|(_, own)| own.node.clone()).collect()
            };
            for node in nodes {
                if let Err(error) = driver::renew(&self.client, &self.clock, &node).await {
                    tracing::warn!(%error, "a lease could not be renewed");
                }
            }
        }
    }

    /// Knows which addresses pods have when they are seen first, and lets go of those of pods that are gone.
    fn follow_address(&self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) {
        match (old, new) {
            (None, Some(pod)) => {
                let status = pod.status.as_ref();
                if let Some(known) = status.and_then(|status| status.pod_ip.as_deref()) {
                    self.addresses.lock().note(Key::of(&**pod), known);
                }
            }
            (Some(pod), None) => self.addresses.lock().release(&Key::of(&**pod)),
            _ => {}
        }
    }

    /// Something of the node of this name.
    fn spec<T: Default>(&self, name: &str, of: impl Fn(&NodeSpec) -> T) -> T {
        let index = self.nodes.lock().get(name).map(|node| node.index);
        let spec = index.and_then(|index| self.specs.get(index));
        spec.map(of).unwrap_or_default()
    }

    /// The address of a pod.
    fn address(&self, pod: &Key) -> String {
        let address = self.addresses.lock().of(pod);
        address.map_or_else(String::new, |address| address.to_string())
    }
}
