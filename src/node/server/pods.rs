//! Pods and containers of the node, found by name.
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};
use std::sync::Arc;

use super::Inner;
use crate::cri::{ContainerFilter, ContainerPhase, ContainerState, Result, SandboxFilter};
use crate::node::mirror::runtime_uid;
use crate::reconcile::Key;

impl Inner {
    /// The pods of this node, as the API has them.
    pub(super) fn own_pods(&self) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.list();
        pods.retain(|pod| self.is_own(pod));
        pods
    }

    fn is_own(&self, pod: &Pod) -> bool {
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&self.node)
    }

    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pod = self.pods.get(&Key::new(namespace, name));
        pod.filter(|pod| self.is_own(pod))
    }

    pub(super) fn pod_list(&self) -> Value {
        let pods = self.own_pods();
        let pods: Vec<&Pod> = pods.iter().map(|pod| &**pod).collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods})
    }

    /// The pods that the runtime has, whatever the API says.
    pub(super) async fn running_pods(&self) -> Result<Value> {
        let sandboxes = self
            .runtime
            .list_sandboxes(&SandboxFilter::default())
            .await?;
        let containers = self
            .runtime
            .list_containers(&ContainerFilter::default())
            .await?;
        // What has ended is kept for its logs.
        let ready = sandboxes.iter().filter(|sandbox| sandbox.ready);
        let items = ready.map(|sandbox| {
            let own = containers.iter().filter(|container| {
                container.sandbox == sandbox.id && container.phase == ContainerPhase::Running
            });
            let own: Vec<Value> = own
                .map(|container| json!({"name": container.name, "image": container.image, "resources": {}}))
                .collect();
            let of = &sandbox.metadata;
            json!({
                "metadata": {"name": of.name, "namespace": of.namespace, "uid": of.uid},
                "spec": {"containers": own}, "status": {},
            })
        });
        let items: Vec<Value> = items.collect();
        Ok(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    /// The id of the container whose log is meant.
    ///
    /// # Errors
    /// In the kubelet's words, when it has none yet or no more.
    pub(super) async fn log_id(
        &self,
        pod: &Pod,
        container: &str,
        previous: bool,
    ) -> Result<String, String> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let about = format!("container {container:?} in pod {name:?}");
        let status = status_of(pod, container);
        let last = status.and_then(|status| status.last_state.as_ref()?.terminated.as_ref());
        let last = last.and_then(|last| last.container_id.clone());
        let last = last.filter(|id| !id.is_empty());
        if previous {
            return last.ok_or_else(|| format!("previous terminated {about} not found"));
        }
        let state = status
            .and_then(|status| status.state.clone())
            .unwrap_or_default();
        let id = status.and_then(|status| status.container_id.clone());
        let id = id.filter(|id| !id.is_empty());
        if state.running.is_some()
            && let Some(id) = id
        {
            return Ok(id);
        }
        if let Some(ended) = state.terminated {
            let own = ended.container_id.filter(|id| !id.is_empty());
            return own.or(last).ok_or_else(|| format!("{about} is terminated"));
        }
        // The status may lag behind what runs.
        if let Some(id) = self.running_id(pod, container).await {
            return Ok(id);
        }
        if let Some(last) = last {
            return Ok(last);
        }
        let why = match state.waiting.and_then(|waiting| waiting.reason).as_deref() {
            Some("ErrImagePull") => ": image can't be pulled".to_owned(),
            Some("ImagePullBackOff") => ": trying and failing to pull image".to_owned(),
            Some(reason) => format!(": {reason}"),
            None if status.is_none() => {
                return Err(format!("{about} is not available"));
            }
            None => " - no logs yet".to_owned(),
        };
        Err(format!("{about} is waiting to start{why}"))
    }

    /// The id of the container of this name that runs.
    pub(super) async fn running_id(&self, pod: &Pod, container: &str) -> Option<String> {
        let filter = ContainerFilter {
            uid: runtime_uid(pod).map(str::to_owned),
            phase: Some(ContainerPhase::Running),
            ..ContainerFilter::default()
        };
        let found = self.runtime.list_containers(&filter).await.ok()?;
        let mut own = found.into_iter().filter(|found| found.name == container);
        own.next_back().map(|found| found.id)
    }

    /// The sandbox of a pod.
    pub(super) async fn sandbox_id(&self, pod: &Pod) -> Option<String> {
        let filter = SandboxFilter {
            uid: runtime_uid(pod).map(str::to_owned),
            ready: Some(true),
            ..SandboxFilter::default()
        };
        let found = self.runtime.list_sandboxes(&filter).await.ok()?;
        found.into_iter().next_back().map(|found| found.id)
    }

    pub(super) async fn is_running(&self, id: &str) -> bool {
        let found = self.runtime.container_status(id).await;
        found.is_ok_and(|found| matches!(found.state, ContainerState::Running { .. }))
    }
}

/// Whether the pod has such a container.
pub(super) fn has_container(pod: &Pod, name: &str) -> bool {
    let Some(spec) = &pod.spec else {
        return false;
    };
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let mut names = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| &container.name)
        .chain(ephemeral.map(|container| &container.name));
    names.any(|found| found == name)
}

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let mut all = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ]
    .into_iter()
    .flat_map(|list| list.iter().flatten());
    all.find(|status| status.name == name)
}
