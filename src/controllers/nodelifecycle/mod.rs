//! Watches over nodes (`kube-controller-manager`'s `node-lifecycle` controller): a node that falls silent becomes Unknown,
//! its pods not ready; conditions become taints; `NoExecute` taints are put on at a limited rate per zone, and not at all when
//! every node seems lost. What `NoExecute` taints do to pods is the taint eviction controller's matter.

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use self::plan::{Grace, Health, Limiter, Zone};
use super::podutil;
use crate::client;
use crate::clock::Clock;
use crate::object::zone::zone_key;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{
    Action, Cache, Controller, Error, Index, Key, Manager, Reconciler, Recorder, Source,
};

/// The name under which the controller runs, writes and records.
const NAME: &str = "node-controller";

/// Where the agents of nodes keep their leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// How long nodes may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLifecycleConfig {
    grace: Grace,
}

impl Default for NodeLifecycleConfig {
    fn default() -> Self {
        Self {
            grace: Grace {
                running: Duration::from_secs(50),
                starting: Duration::from_secs(60),
            },
        }
    }
}

impl NodeLifecycleConfig {
    /// How long after its last sign of life a node becomes Unknown. Default = 50 s, as in Kubernetes since 1.32 (40 s before).
    #[must_use]
    pub fn monitor_grace(mut self, grace: Duration) -> Self {
        self.grace.running = grace;
        self
    }

    /// How long after its registration a node becomes Unknown if it never gave a sign of life. Default = 60 s.
    #[must_use]
    pub fn startup_grace(mut self, grace: Duration) -> Self {
        self.grace.starting = grace;
        self
    }
}

/// Adds the controller to `manager`.
pub fn install(manager: &Manager, config: NodeLifecycleConfig) {
    let (nodes, leases, pods) = (
        manager.cache::<Node>(),
        manager.cache::<Lease>(),
        manager.cache::<Pod>(),
    );
    let by_node = pods.index(|pod: &Pod| {
        let node = podutil::node_name(pod);
        if node.is_empty() {
            Vec::new()
        } else {
            vec![node.to_owned()]
        }
    });
    let reconciler = Nodes {
        client: manager.client_for(NAME),
        recorder: manager.recorder(NAME),
        clock: manager.clock().clone(),
        grace: config.grace,
        nodes: nodes.clone(),
        leases: leases.clone(),
        by_node,
        limiters: Mutex::default(),
    };
    // A renewed lease matters only to a node that is taken for lost: the others are looked at when their grace ends.
    let revived = {
        let nodes = nodes.clone();
        move |_: Option<&Arc<Lease>>, new: Option<&Arc<Lease>>| {
            let key = new
                .filter(|lease| lease.metadata.namespace.as_deref() == Some(LEASE_NAMESPACE))
                .map(|lease| Key::cluster(lease.metadata.name.as_deref().unwrap_or_default()));
            let lost = |key: &Key| {
                nodes
                    .get(key)
                    .is_some_and(|node| plan::readiness(&node) == "Unknown")
            };
            key.filter(lost).into_iter().collect()
        }
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&nodes))
            .source(Source::mapped(&leases, revived)),
    );
}

struct Nodes {
    client: kube::Client,
    recorder: Recorder,
    clock: Clock,
    grace: Grace,
    nodes: Cache<Node>,
    leases: Cache<Lease>,
    by_node: Index<Pod>,
    /// By zone: when the next node may be evicted.
    limiters: Mutex<BTreeMap<String, Limiter>>,
}

impl Reconciler for Nodes {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(node) = self.nodes.get(&key) else {
            return Ok(Action::Done);
        };
        let now = self.clock.now();
        let health = plan::health(&node, self.lease_renewed(&key), self.grace, now);
        let next = match health {
            Health::Alive(left) => left,
            Health::Silent(conditions) => {
                let present = node
                    .status
                    .as_ref()
                    .and_then(|status| status.conditions.as_ref());
                if present != Some(&conditions) {
                    let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "status": {"conditions": conditions}});
                    let params = PatchParams::default();
                    let patched = self
                        .api()
                        .patch_status(&key.name, &params, &Patch::Strategic(patch))
                        .await;
                    // The change wakes this key again, with the new conditions in view.
                    return settle(patched.map(drop)).map(|()| Action::Done);
                }
                self.grace.running
            }
        };
        if plan::readiness(&node) != "True" && plan::condition(&node, "Ready").is_some() {
            self.mark_pods_not_ready(&node).await?;
        }
        let wait = self.taint(&node, now).await?;
        Ok(wait.map_or(Action::Background(next), Action::After))
    }
}

impl Nodes {
    fn api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    fn lease_renewed(&self, node: &Key) -> Option<Timestamp> {
        let lease = self
            .leases
            .get(&Key::new(LEASE_NAMESPACE, node.name.clone()))?;
        lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
    }

    /// Brings the node's taints in line; `Some`: how long until its zone allows the `NoExecute` taint.
    async fn taint(&self, node: &Node, now: Timestamp) -> Result<Option<Duration>, Error> {
        let cautious = plan::taints(node, false, now);
        let full = plan::taints(node, true, now);
        if cautious == full {
            return self.put_taints(node, full).await.map(|()| None);
        }
        let turn = self.turn(node, now);
        match turn {
            Ok(()) => self.put_taints(node, full).await.map(|()| None),
            Err(wait) => self.put_taints(node, cautious).await.map(|()| wait),
        }
    }

    /// Whether the node's zone allows one more eviction now; otherwise when, if at all.
    fn turn(&self, node: &Node, now: Timestamp) -> Result<(), Option<Duration>> {
        let mut zones: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for node in self.nodes.list() {
            let (ready, not_ready) = zones
                .entry(zone_key(node.metadata.labels.as_ref()))
                .or_default();
            let count = if plan::readiness(&node) == "True" {
                ready
            } else {
                not_ready
            };
            *count += 1;
        }
        let all_full = zones.values().all(|(ready, _)| *ready == 0);
        let zone = zone_key(node.metadata.labels.as_ref());
        let (ready, not_ready) = zones.get(&zone).copied().unwrap_or_default();
        let pause = Zone::of(ready, not_ready)
            .pause(ready + not_ready, all_full)
            .ok_or(None)?;
        self.limiters
            .lock()
            .entry(zone)
            .or_default()
            .take(pause, now)
            .map_err(Some)
    }

    async fn put_taints(&self, node: &Node, taints: Option<Vec<Taint>>) -> Result<(), Error> {
        let Some(taints) = taints else { return Ok(()) };
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints}});
        let name = node.metadata.name.as_deref().unwrap_or_default();
        // A merge patch replaces the list as a whole.
        settle(
            self.api()
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map(drop),
        )
    }

    /// Pods on a node nobody hears of serve nobody: endpoints must not name them.
    async fn mark_pods_not_ready(&self, node: &Node) -> Result<(), Error> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        for pod in self.by_node.get(name) {
            if !podutil::is_ready(&pod) {
                continue;
            }
            let pods: Api<Pod> = Api::namespaced(
                self.client.clone(),
                pod.metadata.namespace.as_deref().unwrap_or_default(),
            );
            let condition = json!({"type": "Ready", "status": "False", "lastTransitionTime": podutil::rfc3339(self.clock.now())});
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            let patched = pods
                .patch_status(pod_name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            settle(patched.map(drop))?;
            self.recorder.event(
                reference(&*pod),
                EventType::Warning,
                "NodeNotReady",
                "Node is not ready",
            );
        }
        Ok(())
    }
}

/// An object that is gone or was replaced meanwhile needs nothing more.
fn settle(result: Result<(), kube::Error>) -> Result<(), Error> {
    match result {
        Err(error) if client::is_not_found(&error) => Ok(()),
        other => other.map_err(Into::into),
    }
}
