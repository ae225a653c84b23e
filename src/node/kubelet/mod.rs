//! The kubelet: runs the pods of one node on a container runtime and reports what became of them.
//!
//! One keyed queue holds the node's pods; each look at a pod compares its spec with what the runtime has (`plan`), takes
//! the steps, and writes the status if it changed.

mod admit;
mod conditions;
mod config;
mod containers;
mod environment;
mod eviction;
mod garbage;
mod hook;
mod host;
mod hosts;
mod housekeeping;
mod keyring;
mod limits;
#[cfg(feature = "containerd")]
mod machine;
mod message;
mod mounts;
mod node;
mod plan;
mod preempt;
mod probe;
mod pull;
mod report;
mod reset;
mod resize;
mod restart;
mod rights;
mod sandbox;
mod shutdown;
mod start;
mod statics;
mod status;
mod stop;
mod sync;
mod sysctls;
#[cfg(test)]
#[cfg(feature = "containerd")]
mod tests;
#[cfg(feature = "containerd")]
mod this_machine;
mod token;
mod vitals;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::config::KubeletConfig;
use self::eviction::Ousting;
use self::eviction::threshold::Pressure;
pub use self::eviction::threshold::{Eviction, ThresholdError};
pub use self::garbage::ImageCollection;
use self::plan::Memory;
use self::probe::Probes;
pub use self::shutdown::Shutdown;
use self::statics::OwnPods;
pub use self::vitals::{DiskUse, Facts, Monitor, Room, Vitals};
use super::NodeAgent;
use super::driver::NodeSpec;
use super::mirror::is_mirror;
use crate::clock::Clock;
use crate::cri::{ContainerRuntime, EventKind};
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{
    Action, Activity, Cache, Controller, Error, Key, Manager, Reconciler, Recorder, Source, Wake,
    Watcher,
};

/// How many pods are looked at at once: a pod whose image is pulled or whose hook runs must not hold up another.
const AT_ONCE: usize = 110;

/// The agent of one node over a container runtime.
pub struct Kubelet {
    inner: Arc<Inner>,
    activity: Activity,
    running: tokio::sync::Mutex<Option<Manager>>,
}

struct Inner {
    spec: NodeSpec,
    config: KubeletConfig,
    client: kube::Client,
    clock: Clock,
    recorder: Recorder,
    pods: OwnPods,
    nodes: Cache<Node>,
    services: Cache<Service>,
    runtime: Arc<dyn ContainerRuntime>,
    state: Mutex<BTreeMap<Key, PodState>>,
    /// Containers whose preStop hook has run or runs.
    hooked: Mutex<BTreeSet<String>>,
    /// Tokens in volumes, by pod, audience and life, and when each is to be renewed.
    tokens: Mutex<token::Tokens>,
    /// What the machine is short of.
    pressure: Mutex<BTreeSet<Pressure>>,
    /// The node as this agent would register it.
    own_node: Mutex<Option<Arc<Node>>>,
    /// What was told of the node.
    told: Mutex<node::Told>,
    /// Told when something of the node has changed.
    node_changed: Notify,
    /// Pods that are to be looked at.
    nudged: Mutex<BTreeSet<Key>>,
    /// Told when there are some.
    nudge: Notify,
    /// Set while the node shuts down.
    shutdown: Mutex<bool>,
}

/// What is remembered of a pod.
#[derive(Debug, Default)]
struct PodState {
    uid: String,
    /// Whether it may run here.
    admitted: bool,
    /// Whether its last status was written: nothing of it is to run any more, whatever the cache still shows.
    finished: bool,
    /// What its containers were given.
    resize: resize::Resize,
    /// Whether all its containers are being restarted.
    restarting: bool,
    /// Why the node itself ends it.
    ousting: Option<Ousting>,
    /// Told when the pod is to end, or to end sooner.
    ending: Arc<Notify>,
    containers: BTreeMap<String, Memory>,
    probes: BTreeMap<String, Probes>,
}

impl std::fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubelet")
            .field("node", &self.inner.spec.name)
            .finish_non_exhaustive()
    }
}

impl Kubelet {
    /// The agent of the node `spec`, which runs its pods on `runtime` and sees the API through the caches of `manager`.
    #[must_use]
    pub fn new(manager: &Manager, spec: NodeSpec, runtime: Arc<dyn ContainerRuntime>) -> Self {
        Self::with_config(manager, spec, runtime, KubeletConfig::default())
    }

    /// The same with options.
    #[must_use]
    pub fn with_config(
        manager: &Manager,
        spec: NodeSpec,
        runtime: Arc<dyn ContainerRuntime>,
        config: KubeletConfig,
    ) -> Self {
        let inner = Inner {
            config,
            client: manager.client_for("kubelet"),
            clock: manager.clock().clone(),
            recorder: manager.recorder("kubelet"),
            pods: OwnPods::new(manager.cache::<Pod>(), spec.name()),
            nodes: manager.cache::<Node>(),
            services: manager.cache::<Service>(),
            runtime,
            state: Mutex::default(),
            hooked: Mutex::default(),
            tokens: Mutex::default(),
            pressure: Mutex::default(),
            own_node: Mutex::default(),
            told: Mutex::default(),
            node_changed: Notify::new(),
            nudged: Mutex::default(),
            nudge: Notify::new(),
            shutdown: Mutex::default(),
            spec,
        };
        Self {
            inner: Arc::new(inner),
            activity: manager.activity().clone(),
            running: tokio::sync::Mutex::default(),
        }
    }
}

#[async_trait]
impl NodeAgent for Kubelet {
    async fn start(&self) -> Result<(), Error> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Ok(());
        }
        let inner = self.inner.clone();
        let status = inner.first_status().await;
        let own = serde_json::from_value::<Node>(inner.spec.node(&status))?;
        *inner.own_node.lock() = Some(Arc::new(own));
        let registered = match &inner.config.static_pods {
            // They may be what makes an API server.
            Some(_) => None,
            None => Some(inner.register(&status).await?),
        };
        let manager = Manager::with_activity(
            inner.client.clone(),
            inner.clock.clone(),
            self.activity.clone(),
        );
        // What an agent remembers dies with it; what it started does not.
        inner.state.lock().clear();
        *inner.shutdown.lock() = false;
        let own = {
            let inner = inner.clone();
            move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
                inner.changed(old, new).into_iter().collect()
            }
        };
        let name = format!("kubelet {}", inner.spec.name);
        manager.add(
            Controller::new(name, Pods(inner.clone()))
                .source(Source::mapped(inner.pods.api(), own).not_awaited())
                .source(Source::watcher(RuntimeEvents(inner.runtime.clone())))
                .source(Source::watcher(Nudges(inner.clone())))
                .workers(AT_ONCE),
        );
        if inner.config.host.keeps_files() {
            let own = inner.clone();
            manager.add_task("housekeeping", move || housekeeping::run(own.clone()));
        }
        if let Some(monitor) = inner.config.monitor.clone() {
            look_after(&manager, &inner, &monitor);
        }
        if let Some(path) = &inner.config.static_pods {
            // Before anything else: what is named there must not be taken for a leftover.
            let manifests = statics::Manifests::new(path, &inner.spec.name);
            inner.take_manifests(manifests).await?;
            let (own, path) = (inner.clone(), path.clone());
            manager.add_task("manifests", move || {
                statics::follow(own.clone(), path.clone())
            });
            let own = inner.clone();
            manager.add_task("mirrors", move || statics::show(own.clone()));
        }
        manager.add_task("heartbeat", move || {
            node::heartbeat(inner.clone(), registered.clone())
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

/// Looks after a machine that is measured: what becomes scarce, what nobody needs.
fn look_after(manager: &Manager, inner: &Arc<Inner>, monitor: &Arc<dyn Monitor>) {
    let images = Arc::new(garbage::Images::default());
    let of = || (inner.clone(), monitor.clone(), images.clone());
    let (own, watched, used) = of();
    manager.add_task("eviction", move || {
        eviction::run(own.clone(), watched.clone(), used.clone())
    });
    let (own, watched, used) = of();
    manager.add_task("images", move || {
        garbage::collect_images(own.clone(), watched.clone(), used.clone())
    });
    let own = inner.clone();
    manager.add_task("dead containers", move || {
        garbage::collect_containers(own.clone())
    });
}

/// Wakes pods that the agent itself wants looked at.
struct Nudges(Arc<Inner>);

impl std::fmt::Debug for Nudges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nudges")
    }
}

#[async_trait]
impl Watcher for Nudges {
    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error> {
        loop {
            let keys = std::mem::take(&mut *self.0.nudged.lock());
            for key in keys {
                wake.now(key, "the node wants it looked at");
            }
            self.0.nudge.notified().await;
        }
    }
}

/// Wakes pods whose containers changed.
#[derive(Debug)]
struct RuntimeEvents(Arc<dyn ContainerRuntime>);

#[async_trait]
impl Watcher for RuntimeEvents {
    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error> {
        let mut events = self.0.events();
        while let Some(event) = events.next().await {
            // What this agent did itself needs no look.
            if !matches!(event.kind, EventKind::Stopped | EventKind::Changed) {
                continue;
            }
            wake.now(Key::new(event.namespace, event.name), "a container ended");
        }
        Ok(())
    }
}

struct Pods(Arc<Inner>);

impl Reconciler for Pods {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        self.0.sync(&key).await
    }
}

impl Inner {
    /// The node as the API has it, or as it would be registered.
    fn node(&self) -> Option<Arc<Node>> {
        let known = self.nodes.get(&Key::cluster(self.spec.name.as_str()));
        known.or_else(|| self.own_node.lock().clone())
    }

    /// The pod to look at after a change of one; ends what is under way for it when it is to end.
    fn changed(&self, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> Option<Key> {
        let pod = new.or(old).filter(|pod| self.pods.owns(pod))?;
        let key = Key::of(&**pod);
        let deletion = |pod: Option<&Arc<Pod>>| {
            let meta = &pod?.metadata;
            Some((
                meta.deletion_timestamp.clone()?,
                meta.deletion_grace_period_seconds,
            ))
        };
        let ends = new.is_none() || deletion(old) != deletion(new);
        if is_mirror(pod) || self.pods.is_static(&key) {
            // Whatever becomes of what shows a pod of a manifest, the pod goes on.
            return (ends || old.is_none()).then_some(key);
        }
        if ends && let Some(state) = self.state.lock().get(&key) {
            state.ending.notify_one();
        }
        // Gates are conditions that others set; what this agent itself wrote needs no look.
        let gated = |pod: &Pod| {
            pod.spec
                .as_ref()
                .is_some_and(|spec| spec.readiness_gates.is_some())
        };
        let conditions = |pod: &Pod| {
            pod.status
                .as_ref()
                .and_then(|status| status.conditions.clone())
        };
        let needs_look = ends
            || old.zip(new).is_none_or(|(old, new)| {
                let ended = is_terminal(new) && !is_terminal(old);
                let opened = gated(new) && conditions(old) != conditions(new);
                old.spec != new.spec || ended || opened
            });
        needs_look.then_some(key)
    }

    fn event(&self, pod: &Pod, type_: EventType, reason: &str, message: String) {
        self.recorder.event(reference(pod), type_, reason, message);
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// A pod as the kubelet's messages name it.
fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        name(pod),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

/// Whether the pod has come to its end, whatever happens.
fn is_terminal(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
