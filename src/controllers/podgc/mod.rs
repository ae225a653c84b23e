//! Removes pods that nobody else will: of nodes that are gone, never bound, on nodes out of service, and finished ones
//! beyond a threshold (`kube-controller-manager`'s `pod-garbage-collector`).

mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use self::plan::Garbage;
use super::podutil;
use crate::client;
use crate::clock::Clock;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "pod-garbage-collector";

/// How long a node must be gone before its pods go: it may come back under its name.
const QUARANTINE: Duration = Duration::from_secs(40);

/// The work that concerns no single pod. Not a name that a pod can have.
const THRESHOLD: &str = "*finished*";

/// Adds the controller to `manager`. More than `threshold` finished pods are not kept (upstream's default is 12,500).
pub fn install(manager: &Manager, threshold: usize) {
    let (nodes, pods) = (manager.cache::<Node>(), manager.cache::<Pod>());
    let reconciler = Collector {
        client: manager.client_for(NAME),
        clock: manager.clock().clone(),
        nodes: nodes.clone(),
        pods: pods.clone(),
        threshold,
        missing: Mutex::default(),
    };
    let suspects = {
        let nodes = nodes.clone();
        move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
            let Some(pod) = new else { return Vec::new() };
            let node = nodes.get(&Key::cluster(podutil::node_name(pod)));
            let suspect = plan::judge(pod, node.as_deref()).map(|_| Key::of(&**pod));
            let finished =
                podutil::is_finished(pod) && !old.is_some_and(|old| podutil::is_finished(old));
            suspect
                .into_iter()
                .chain(finished.then(|| Key::cluster(THRESHOLD)))
                .collect()
        }
    };
    let by_node = pods.index(|pod: &Pod| vec![podutil::node_name(pod).to_owned()]);
    let lost = move |old: Option<&Arc<Node>>, new: Option<&Arc<Node>>| {
        let taints =
            |node: Option<&Arc<Node>>| node.and_then(|node| node.spec.as_ref()?.taints.clone());
        if new.is_some() && taints(old) == taints(new) {
            return Vec::new();
        }
        let name = old
            .or(new)
            .and_then(|node| node.metadata.name.as_deref())
            .unwrap_or_default();
        by_node
            .get(name)
            .iter()
            .map(|pod| Key::of(&**pod))
            .collect()
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::mapped(&pods, suspects))
            .source(Source::mapped(&nodes, lost)),
    );
}

struct Collector {
    client: kube::Client,
    clock: Clock,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    threshold: usize,
    /// Nodes that pods name and the cache does not show, and when their quarantine ends.
    missing: Mutex<BTreeMap<String, Instant>>,
}

impl Reconciler for Collector {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        if &*key.name == THRESHOLD {
            for pod in plan::surplus(self.pods.list(), self.threshold) {
                self.remove(&pod, None).await?;
            }
            return Ok(Action::Done);
        }
        let Some(pod) = self.pods.get(&key) else {
            return Ok(Action::Done);
        };
        let node = self.nodes.get(&Key::cluster(podutil::node_name(&pod)));
        if node.is_some() {
            self.missing.lock().remove(podutil::node_name(&pod));
        }
        match plan::judge(&pod, node.as_deref()) {
            None => Ok(Action::Done),
            Some(Garbage::Orphaned) => self.orphaned(&pod).await,
            Some(Garbage::Unscheduled | Garbage::OutOfService) => {
                self.remove(&pod, None).await?;
                Ok(Action::Done)
            }
        }
    }
}

impl Collector {
    /// The pod of a node that the cache does not show: waits, asks the API itself, then removes the pod.
    async fn orphaned(&self, pod: &Pod) -> Result<Action, Error> {
        let name = podutil::node_name(pod);
        let now = Instant::now();
        let due = *self
            .missing
            .lock()
            .entry(name.to_owned())
            .or_insert(now + QUARANTINE);
        if due > now {
            return Ok(Action::After(due - now));
        }
        let nodes: Api<Node> = Api::all(self.client.clone());
        if nodes.get_opt(name).await?.is_some() {
            self.missing.lock().remove(name);
            return Ok(Action::Done);
        }
        self.remove(pod, Some("PodGC: node no longer exists"))
            .await?;
        Ok(Action::Done)
    }

    /// Removes a pod at once. One that has not finished is marked as failed first, so that its owner learns why.
    async fn remove(&self, pod: &Pod, why: Option<&str>) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(
            self.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if !podutil::is_finished(pod) && !podutil::node_name(pod).is_empty() {
            let mut status = json!({"phase": "Failed"});
            if let Some(why) = why {
                status["conditions"] = json!([podutil::disruption_target(
                    "DeletionByPodGC",
                    why,
                    self.clock.now()
                )]);
            }
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
            let patched = pods
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            gone_is_fine(patched.map(drop))?;
        }
        let params = client::only(&pod.metadata).grace_period(0);
        gone_is_fine(pods.delete(name, &params).await.map(drop))
    }
}

fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), Error> {
    match result {
        Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
        other => other.map_err(Into::into),
    }
}
