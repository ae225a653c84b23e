//! Makes the room that a preempting pod needs: the victims are told why and asked to end, in their own time.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::json;

use super::framework::PodInfo;
use crate::client;
use crate::clock::Clock;

/// Evicts pods for `scheduler`; whether none of the requests failed.
pub(super) async fn evict(
    client: kube::Client,
    clock: Clock,
    scheduler: String,
    victims: Vec<Arc<PodInfo>>,
) -> bool {
    let (client, clock, scheduler) = (&client, &clock, &*scheduler);
    let all = victims.iter().filter(|victim| !victim.is_terminating());
    let evictions = all.map(|victim| async move {
        let evicted = one(client, clock, scheduler, victim).await;
        if let Err(error) = &evicted {
            tracing::warn!(%error, pod = %victim.key, "a pod could not be preempted");
        }
        evicted.is_ok()
    });
    join_all(evictions).await.into_iter().all(|is_ok| is_ok)
}

/// Evicts one pod.
async fn one(
    client: &kube::Client,
    clock: &Clock,
    scheduler: &str,
    victim: &PodInfo,
) -> Result<(), kube::Error> {
    match leave(client, clock, scheduler, victim).await {
        // It is gone already, or another one has its name.
        Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
        result => result,
    }
}

async fn leave(
    client: &kube::Client,
    clock: &Clock,
    scheduler: &str,
    victim: &PodInfo,
) -> Result<(), kube::Error> {
    let (pods, name) = (pods(&victim.key.namespace), &victim.key.name);
    let now = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let uid = &victim.pod.metadata.uid;
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "lastTransitionTime": now, "observedGeneration": victim.pod.metadata.generation,
    });
    let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [condition]}});
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let told = pods.patch_subresource("status", name, &params, &patch);
    client::send(client, told).await?;
    let params = client::only(&victim.pod.metadata);
    client::send(client, pods.delete(name, &params)).await
}

fn pods(namespace: &str) -> Request {
    Request::new(Pod::url_path(&(), Some(namespace)))
}

/// Takes back the nomination of a pod, whose room another one takes.
pub(super) async fn withdraw(client: kube::Client, pod: Arc<PodInfo>) {
    let patch =
        json!({"metadata": {"uid": pod.pod.metadata.uid}, "status": {"nominatedNodeName": null}});
    let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
    let request = pods(&pod.key.namespace);
    let request = request.patch_subresource("status", &pod.key.name, &params, &patch);
    if let Err(error) = client::send(&client, request).await {
        tracing::debug!(%error, pod = %pod.key, "a nomination was not taken back");
    }
}
