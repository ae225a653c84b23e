//! Which pods belong to a set: adopts matching pods without a controller, releases its own that no longer match
//! (`PodControllerRefManager` of Kubernetes).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::client;
use crate::controllers::podutil;
use crate::object::LabelSelector;
use crate::reconcile::{Error, ownership};

/// The claim of one set.
pub(super) struct Claim<'a> {
    pub client: &'a kube::Client,
    pub set: &'a ReplicaSet,
    pub selector: &'a LabelSelector,
}

impl Claim<'_> {
    /// The pods of the set among those it `owned` so far and the `orphans` of its namespace.
    pub(super) async fn resolve(
        &self,
        owned: Vec<Arc<Pod>>,
        orphans: Vec<Arc<Pod>>,
    ) -> Result<Vec<Arc<Pod>>, Error> {
        let matches = |pod: &Arc<Pod>| self.selector.matches_optional(pod.metadata.labels.as_ref());
        let deleting = self.set.metadata.deletion_timestamp.is_some();
        let (mut claimed, released): (Vec<_>, Vec<_>) = owned.into_iter().partition(matches);
        if deleting {
            return Ok(claimed);
        }
        for pod in released {
            self.release(&pod).await?;
        }
        let adoptable = |pod: &Arc<Pod>| matches(pod) && podutil::is_active(pod);
        let orphans: Vec<_> = orphans.into_iter().filter(adoptable).collect();
        if orphans.is_empty() || !self.is_alive().await? {
            return Ok(claimed);
        }
        for pod in orphans {
            if self.adopt(&pod).await? {
                claimed.push(pod);
            }
        }
        Ok(claimed)
    }

    /// Whether the set still exists, asked of the API itself: the cache may be behind, and a pod adopted by a set that is
    /// gone would be collected as garbage.
    async fn is_alive(&self) -> Result<bool, Error> {
        let namespace = self.set.metadata.namespace.as_deref().unwrap_or_default();
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace);
        let live = sets
            .get_opt(self.set.metadata.name.as_deref().unwrap_or_default())
            .await?;
        let same = |live: &ReplicaSet| {
            live.metadata.uid == self.set.metadata.uid && live.metadata.deletion_timestamp.is_none()
        };
        Ok(live.as_ref().is_some_and(same))
    }

    async fn adopt(&self, pod: &Pod) -> Result<bool, Error> {
        let owner = ownership::controller_reference(self.set);
        self.patch(
            pod,
            json!({"metadata": {"ownerReferences": [owner], "uid": pod.metadata.uid}}),
        )
        .await
    }

    async fn release(&self, pod: &Pod) -> Result<bool, Error> {
        let owner = json!({"$patch": "delete", "uid": self.set.metadata.uid});
        self.patch(
            pod,
            json!({"metadata": {"ownerReferences": [owner], "uid": pod.metadata.uid}}),
        )
        .await
    }

    /// Whether the patch took effect. A pod that is gone, or another pod of its name, is nobody's loss.
    async fn patch(&self, pod: &Pod, patch: Value) -> Result<bool, Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match pods
            .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(_) => Ok(true),
            Err(error)
                if client::is_not_found(&error)
                    || client::is_invalid(&error)
                    || client::is_conflict(&error) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
