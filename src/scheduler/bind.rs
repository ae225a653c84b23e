//! The tail of a decision: permit, pre-bind, bind, post-bind. Async, one future for each pod.

use std::sync::Arc;

use super::framework::{CycleState, Permission, PodInfo, Profile};
use crate::reconcile::Error;

/// A pod on its way to a node.
#[derive(Debug)]
pub(super) struct Binding {
    pub pod: Arc<PodInfo>,
    pub profile: Arc<Profile>,
    pub node: String,
    /// What the plugins noted when they decided and reserved.
    pub state: CycleState,
}

/// Takes the pod to its node.
pub(super) async fn bind(client: kube::Client, binding: Binding) -> (Binding, Result<(), Error>) {
    let result = attempt(&client, &binding).await;
    (binding, result)
}

async fn attempt(client: &kube::Client, binding: &Binding) -> Result<(), Error> {
    let Binding {
        pod, profile, node, ..
    } = binding;
    for plugin in &profile.permit {
        let mut permission = plugin.permit(pod, node);
        if let Permission::Wait(patience) = permission {
            tokio::time::sleep(patience).await;
            permission = plugin.permit(pod, node);
        }
        if permission != Permission::Allow {
            return Err(format!("rejected by {} at permit", plugin.name()).into());
        }
    }
    for plugin in &profile.pre_bind {
        plugin.pre_bind(pod, node).await?;
    }
    for plugin in &profile.bind {
        if plugin.bind(client, pod, node).await? {
            profile
                .post_bind
                .iter()
                .for_each(|plugin| plugin.post_bind(pod, node));
            return Ok(());
        }
    }
    Err("no plugin binds pods".into())
}
