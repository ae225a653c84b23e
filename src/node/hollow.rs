//! Many nodes in one task, without runtimes: every pod runs at once and ends when it is told to.
//!
//! A pod costs one status write when it comes and one deletion when it goes; leases are renewed in a steady trickle.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::sleep;

use super::NodeAgent;
use super::driver::{self, NodeSpec, RENEW, rfc3339};
use crate::client;
use crate::clock::Clock;
use crate::reconcile::{
    Action, Activity, Cache, Controller, Error, Key, Manager, Reconciler, Source,
};

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
    pods: Cache<Pod>,
    specs: Vec<NodeSpec>,
    /// The nodes by name, and how many addresses each has given out.
    nodes: Mutex<BTreeMap<String, (Arc<Node>, u32)>>,
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
        let inner = Inner {
            client: manager.client_for("kubelet"),
            clock: manager.clock().clone(),
            pods: manager.cache::<Pod>(),
            specs,
            nodes: Mutex::default(),
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
            async move { spec.register(&inner.client, &inner.clock).await }
        });
        let nodes: Vec<Node> = registered.buffered(AT_ONCE).try_collect().await?;
        for node in nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            inner.nodes.lock().insert(name, (Arc::new(node), 0));
        }
        let manager = Manager::with_activity(
            inner.client.clone(),
            inner.clock.clone(),
            self.activity.clone(),
        );
        let own = {
            let inner = inner.clone();
            move |_: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
                new.filter(|pod| inner.has(pod) && needs_work(pod))
                    .map(|pod| Key::of(&**pod))
                    .into_iter()
                    .collect()
            }
        };
        let pods = Pods(inner.clone());
        manager.add(
            Controller::new("hollow", pods)
                .source(Source::mapped(&inner.pods, own))
                .workers(AT_ONCE),
        );
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

fn node_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Whether something is to be done about a pod: most changes are this agent's own.
fn needs_work(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || !matches!(phase(pod), "Running" | "Succeeded" | "Failed")
}

impl Inner {
    fn has(&self, pod: &Pod) -> bool {
        self.nodes.lock().contains_key(node_name(pod))
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
                turn.map(|(_, (node, _))| node.clone()).collect()
            };
            for node in nodes {
                if let Err(error) = driver::renew(&self.client, &self.clock, &node).await {
                    tracing::warn!(%error, "a lease could not be renewed");
                }
            }
        }
    }

    /// An address for a pod of a node.
    fn address(&self, node: &str) -> String {
        let mut nodes = self.nodes.lock();
        let index = nodes.keys().position(|name| name == node).unwrap_or(0);
        let given = nodes.get_mut(node).map_or(0, |(_, given)| {
            *given = *given % 250 + 1;
            *given
        });
        format!("10.{}.{}.{given}", 64 + index / 256, index % 256)
    }
}

struct Pods(Arc<Inner>);

impl Reconciler for Pods {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(pod) = self
            .0
            .pods
            .get(&key)
            .filter(|pod| self.0.has(pod) && needs_work(pod))
        else {
            return Ok(Action::Done);
        };
        let result = if pod.metadata.deletion_timestamp.is_some() {
            self.end(&pod).await
        } else {
            self.begin(&pod).await
        };
        match result {
            Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => {
                Err(error.into())
            }
            _ => Ok(Action::Done),
        }
    }
}

impl Pods {
    async fn begin(&self, pod: &Pod) -> Result<(), kube::Error> {
        let now = rfc3339(self.0.clock.now());
        let address = self.0.address(node_name(pod));
        let spec = pod.spec.clone().unwrap_or_default();
        let condition = |type_: &str| json!({"type": type_, "status": "True", "lastProbeTime": null, "lastTransitionTime": now, "observedGeneration": pod.metadata.generation});
        let containers: Vec<_> = (spec.containers.iter())
            .map(|container| {
                json!({
                    "name": container.name, "image": container.image, "imageID": container.image, "ready": true, "started": true,
                    "restartCount": 0, "containerID": format!("hollow://{}", container.name), "state": {"running": {"startedAt": now}},
                })
            })
            .collect();
        let types = [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
        ];
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {
                "phase": "Running", "startTime": now, "hostIP": "192.168.0.1", "hostIPs": [{"ip": "192.168.0.1"}],
                "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": containers,
                "conditions": types.map(condition), "observedGeneration": pod.metadata.generation,
            },
        });
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}/status",
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.name.as_deref().unwrap_or_default()
        );
        let body = serde_json::to_vec(&patch).map_err(kube::Error::SerdeError)?;
        let request = http::Request::patch(path)
            .header(
                http::header::CONTENT_TYPE,
                "application/strategic-merge-patch+json",
            )
            .body(body)
            .map_err(kube::Error::HttpError)?;
        // The answer is not needed: the watch brings it.
        self.0.client.request_text(request).await.map(drop)
    }

    async fn end(&self, pod: &Pod) -> Result<(), kube::Error> {
        let pods: Api<Pod> = Api::namespaced(
            self.0.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let preconditions = Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        pods.delete(pod.metadata.name.as_deref().unwrap_or_default(), &params)
            .await
            .map(drop)
    }
}
