//! Drives pods off nodes with `NoExecute` taints that they do not tolerate, or tolerate only for a while
//! (`kube-controller-manager`'s `taint-eviction` controller).

mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use self::plan::Verdict;
use super::podutil;
use crate::client;
use crate::clock::Clock;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{
    Action, Cache, Controller, Error, Index, Key, Manager, Reconciler, Recorder, Source,
};

/// The name under which the controller runs, writes and records.
const NAME: &str = "taint-eviction-controller";

/// Adds the controller to `manager`; `workers` pods are handled at once.
pub fn install(manager: &Manager, workers: usize) {
    let (nodes, pods) = (manager.cache::<Node>(), manager.cache::<Pod>());
    let by_node = pods.index(|pod: &Pod| {
        let node = podutil::node_name(pod);
        if node.is_empty() {
            Vec::new()
        } else {
            vec![node.to_owned()]
        }
    });
    let reconciler = Evictions {
        client: manager.client_for(NAME),
        recorder: manager.recorder(NAME),
        clock: manager.clock().clone(),
        nodes: nodes.clone(),
        pods: pods.clone(),
        waiting: Mutex::default(),
    };
    // Most changes of pods and nodes have nothing to do with taints; they must cost next to nothing.
    let assigned = {
        let nodes = nodes.clone();
        move |_: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
            let on_tainted = |pod: &&Arc<Pod>| {
                let node = nodes.get(&Key::cluster(podutil::node_name(pod)));
                node.is_some_and(|node| !evicting(&node).is_empty())
            };
            new.filter(on_tainted)
                .map(|pod| Key::of(&**pod))
                .into_iter()
                .collect()
        }
    };
    let tainted = move |old: Option<&Arc<Node>>, new: Option<&Arc<Node>>| {
        let taints = |node: Option<&Arc<Node>>| node.map(|node| evicting(node)).unwrap_or_default();
        if taints(old) == taints(new) {
            return Vec::new();
        }
        affected(&by_node, old.or(new))
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::mapped(&pods, assigned))
            .source(Source::mapped(&nodes, tainted))
            .workers(workers),
    );
}

fn affected(by_node: &Index<Pod>, node: Option<&Arc<Node>>) -> Vec<Key> {
    let name = node
        .and_then(|node| node.metadata.name.as_deref())
        .unwrap_or_default();
    by_node
        .get(name)
        .iter()
        .map(|pod| Key::of(&**pod))
        .collect()
}

/// The taints of a node that drive pods away.
fn evicting(node: &Node) -> Vec<Taint> {
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .cloned()
        .collect()
}

struct Evictions {
    client: kube::Client,
    recorder: Recorder,
    clock: Clock,
    nodes: Cache<Node>,
    pods: Cache<Pod>,
    /// Pods whose end is set, so that its cancellation can be told.
    waiting: Mutex<std::collections::BTreeSet<Key>>,
}

impl Reconciler for Evictions {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(pod) = self
            .pods
            .get(&key)
            .filter(|pod| !podutil::is_terminating(pod))
        else {
            self.waiting.lock().remove(&key);
            return Ok(Action::Done);
        };
        let node = self.nodes.get(&Key::cluster(podutil::node_name(&pod)));
        let taints = node.map(|node| evicting(&node)).unwrap_or_default();
        match plan::verdict(&pod, &taints, self.clock.now()) {
            Verdict::Stays => {
                if self.waiting.lock().remove(&key) {
                    self.event(&pod, format!("Cancelling deletion of Pod {key}"));
                }
                Ok(Action::Done)
            }
            Verdict::GoesIn(left) => {
                self.waiting.lock().insert(key);
                Ok(Action::After(left))
            }
            Verdict::Goes => {
                self.event(&pod, format!("Marking for deletion Pod {key}"));
                self.evict(&pod).await?;
                self.waiting.lock().remove(&key);
                Ok(Action::Done)
            }
        }
    }
}

impl Evictions {
    async fn evict(&self, pod: &Pod) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(
            self.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let message = "Taint manager: deleting due to NoExecute taint";
        let condition =
            podutil::disruption_target("DeletionByTaintManager", message, self.clock.now());
        let patch =
            json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        let patched = pods
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        let params = client::only(&pod.metadata);
        let deleted = match patched {
            Ok(_) => pods.delete(name, &params).await.map(drop),
            Err(error) => Err(error),
        };
        match deleted {
            Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
            other => other.map_err(Into::into),
        }
    }

    fn event(&self, pod: &Pod, message: String) {
        self.recorder.event(
            reference(pod),
            EventType::Normal,
            "TaintManagerEviction",
            message,
        );
    }
}
