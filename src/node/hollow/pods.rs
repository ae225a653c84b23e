//! Pods that run at once and end when they are told to.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _};
use serde_json::json;

use super::{Inner, node_name};
use crate::client;
use crate::node::driver::rfc3339;
use crate::reconcile::{Action, Error, Key, Reconciler};

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Whether something is to be done about a pod: most changes are this agent's own.
pub(super) fn needs_work(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        || !matches!(phase(pod), "Running" | "Succeeded" | "Failed")
}

/// Makes every pod run, and end.
pub(super) struct Pods(pub(super) Arc<Inner>);

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
        let address = self.0.address(&Key::of(pod));
        let host = self.0.spec(node_name(pod), |spec| spec.address.clone());
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
                "phase": "Running", "startTime": now, "hostIP": host, "hostIPs": [{"ip": host}],
                "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": containers,
                "conditions": types.map(condition), "observedGeneration": pod.metadata.generation,
            },
        });
        let pods = Pod::url_path(&(), pod.metadata.namespace.as_deref());
        let pods = kube::core::Request::new(pods);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let patch = Patch::Strategic(patch);
        let told = pods.patch_subresource("status", name, &PatchParams::default(), &patch);
        // The answer is not needed: the watch brings it.
        client::send(&self.0.client, told).await
    }

    async fn end(&self, pod: &Pod) -> Result<(), kube::Error> {
        let pods: Api<Pod> = Api::namespaced(
            self.0.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        );
        let params = client::only(&pod.metadata).grace_period(0);
        pods.delete(pod.metadata.name.as_deref().unwrap_or_default(), &params)
            .await
            .map(drop)
    }
}
