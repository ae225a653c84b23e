//! Makes the claims of pods' ephemeral volumes (`ephemeral-volume-controller` of `kube-controller-manager`). They are owned
//! by the pod, so that the garbage collector removes them with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use super::podutil;
use crate::client;
use crate::object::volume::{claim_of, foreign, volumes_of};
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::ownership::controller_reference;
use crate::reconcile::{
    Action, Cache, Controller, Error, Key, Manager, Reconciler, Recorder, Source,
};

/// The name under which the controller runs and writes.
const NAME: &str = "ephemeral-volume-controller";
/// The name in its events.
const EVENTS: &str = "ephemeral_volume";

/// Adds the controller to `manager`.
pub fn install(manager: &Manager, workers: usize) {
    let (pods, claims) = (
        manager.cache::<Pod>(),
        manager.cache::<PersistentVolumeClaim>(),
    );
    let by_claim = pods.index(|pod: &Pod| {
        let mut keys = podutil::claim_keys(pod);
        if volumes(pod).next().is_none() {
            keys.clear();
        }
        keys.iter().map(Key::to_string).collect()
    });
    let reconciler = Maker {
        client: manager.client_for(NAME),
        events: manager.recorder(EVENTS),
        pods: pods.clone(),
        claims: claims.clone(),
    };
    // What a pod asks for does not change.
    let new = |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
        let pod = new.filter(|pod| old.is_none() && volumes(pod).next().is_some());
        pod.map(|pod| Key::of(&**pod)).into_iter().collect()
    };
    let lost = move |old: Option<&Arc<PersistentVolumeClaim>>, new: Option<&Arc<_>>| {
        let lost = old.filter(|_| new.is_none());
        let users = lost.map(|claim| by_claim.get(&Key::of(&**claim).to_string()));
        let users = users.unwrap_or_default();
        users.iter().map(|pod| Key::of(&**pod)).collect()
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::mapped(&pods, new))
            .source(Source::mapped(&claims, lost))
            .workers(workers),
    );
}

/// The ephemeral volumes of a pod.
fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = volumes_of(pod).iter();
    volumes.filter(|volume| volume.ephemeral.is_some())
}

/// The claim of an ephemeral volume.
fn claim(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
    let meta = template.metadata.unwrap_or_default();
    let some = |map: Option<BTreeMap<String, String>>| map.filter(|map| !map.is_empty());
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(claim_of(pod, volume)?.name.into_owned()),
            namespace: pod.metadata.namespace.clone(),
            annotations: some(meta.annotations),
            labels: some(meta.labels),
            owner_references: Some(vec![controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec),
        status: None,
    })
}

struct Maker {
    client: kube::Client,
    events: Recorder,
    pods: Cache<Pod>,
    claims: Cache<PersistentVolumeClaim>,
}

impl Reconciler for Maker {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let pod = self.pods.get(&key);
        let Some(pod) = pod.filter(|pod| !podutil::is_terminating(pod)) else {
            return Ok(Action::Done);
        };
        for volume in volumes(&pod) {
            if let Err(why) = self.make(&pod, volume).await {
                let message = format!("ephemeral volume {}: {why}", volume.name);
                let about = reference(&*pod);
                self.events
                    .event(about, EventType::Warning, "FailedBinding", &*message);
                return Err(format!("pod {key}, {message}").into());
            }
        }
        Ok(Action::Done)
    }
}

impl Maker {
    async fn make(&self, pod: &Pod, volume: &Volume) -> Result<(), String> {
        let Some(wanted) = claim(pod, volume) else {
            return Ok(());
        };
        if let Some(known) = self.claims.get(&Key::of(&wanted)) {
            return foreign(pod, &known).map_or(Ok(()), Err);
        }
        let Key { namespace, name } = Key::of(&wanted);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        match claims.create(&PostParams::default(), &wanted).await {
            Ok(made) => {
                self.claims.caught_up(&made).await;
                Ok(())
            }
            Err(error) if client::is_namespace_terminating(&error) => Ok(()),
            Err(error) => Err(format!("create PVC {name}: {}", client::message(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_is_made_from_the_template_and_owned_by_the_pod() {
        let template = json!({
            "metadata": {"labels": {"a": "b"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "c"},
        });
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [], "volumes": [
                {"name": "v", "ephemeral": {"volumeClaimTemplate": template}}, {"name": "w", "emptyDir": {}},
            ]},
        }))
        .unwrap();
        let made: Vec<_> = volumes(&pod)
            .filter_map(|volume| claim(&pod, volume))
            .collect();
        let expected = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": "p-v", "namespace": "ns", "labels": {"a": "b"},
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "c"},
        });
        assert_eq!(json!(made), json!([expected]));
        assert_eq!(foreign(&pod, &made[0]), None);
    }
}
