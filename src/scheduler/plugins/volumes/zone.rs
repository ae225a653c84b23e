//! VolumeZone: a pod goes to the zone and region that the labels of its volumes name.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::listers::Volumes;
use super::{claim_not_found, named_claims};
use crate::object::volume::{WAIT_FOR_CONSUMER, class_of_claim, volume_name};
use crate::reconcile::Key;
use crate::scheduler::framework::{
    Actions, ClusterEvent, CycleState, EventPattern, Filter, Hint, NodeInfo, Plugin, PodInfo,
    PreFilter, PreFiltered, Resource, Snapshot, Status,
};

const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const LABELS: [&str; 4] = [OLD_ZONE, OLD_REGION, ZONE, REGION];

/// Filters by the zones and regions of volumes.
#[derive(Clone, Debug)]
pub struct VolumeZone {
    volumes: Arc<dyn Volumes>,
}

/// What a volume says of a label of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Topology {
    label: &'static str,
    values: BTreeSet<String>,
}

reads_volumes!(VolumeZone);

impl VolumeZone {
    fn topologies(&self, pod: &PodInfo) -> Result<Vec<Topology>, String> {
        let mut all = Vec::new();
        for name in named_claims(pod) {
            if name.is_empty() {
                return Err("PersistentVolumeClaim had no name".into());
            }
            let key = Key::new(pod.key.namespace.clone(), name);
            let Some(claim) = self.volumes.claim(&key) else {
                return Err(claim_not_found(name));
            };
            let volume = volume_name(&claim);
            if volume.is_empty() {
                self.unbound(&claim)?;
                continue;
            }
            let Some(volume) = self.volumes.volume(volume) else {
                return Err(format!("persistentvolume {volume:?} not found"));
            };
            all.extend(topologies(&volume));
        }
        Ok(all)
    }

    /// A claim without a volume is fine if it waits for the pod.
    fn unbound(&self, claim: &PersistentVolumeClaim) -> Result<(), String> {
        let class = class_of_claim(claim);
        if class.is_empty() {
            return Err("PersistentVolumeClaim had no pv name and storageClass name".into());
        }
        let Some(found) = self.volumes.class(class) else {
            return Err(format!("storageclass.storage.k8s.io {class:?} not found"));
        };
        match found.volume_binding_mode.as_deref() {
            None => Err(format!(
                "VolumeBindingMode not set for StorageClass {class:?}"
            )),
            Some(WAIT_FOR_CONSUMER) => Ok(()),
            Some(_) => Err("PersistentVolume had no name".into()),
        }
    }
}

fn topologies(volume: &PersistentVolume) -> Vec<Topology> {
    let labels = volume.metadata.labels.as_ref();
    let said = LABELS.into_iter().filter_map(|label| {
        // Several zones are joined by two underscores. What names an empty one says nothing.
        let text = labels?.get(label)?;
        let values: BTreeSet<String> = text
            .split("__")
            .map(|zone| zone.trim().to_owned())
            .collect();
        (!values.contains("")).then_some(Topology { label, values })
    });
    said.collect()
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn events(&self) -> Vec<EventPattern> {
        let of = |kind: &'static str, actions| EventPattern::new(Resource::kind(kind), actions);
        vec![
            of("StorageClass", Actions::ADD),
            EventPattern::new(Resource::Node, Actions::ADD | Actions::UPDATE_NODE_LABEL),
            of("PersistentVolumeClaim", Actions::ADD | Actions::UPDATE),
            of("PersistentVolume", Actions::ADD | Actions::UPDATE),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let helps = if let Some(claim) = event.new_object::<PersistentVolumeClaim>() {
            let name = claim.metadata.name.as_deref();
            claim.metadata.namespace.as_deref() == Some(&*pod.key.namespace)
                && named_claims(pod).any(|used| Some(used) == name)
        } else if let Some(class) = event.new_object::<StorageClass>() {
            class.volume_binding_mode.as_deref() == Some(WAIT_FOR_CONSUMER)
        } else if let Some(volume) = event.new_object::<PersistentVolume>() {
            let old = event.old::<PersistentVolume>();
            old.is_none_or(|old| topologies(old) != topologies(volume))
        } else {
            true
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

impl PreFilter for VolumeZone {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _snapshot: &Snapshot,
    ) -> PreFiltered {
        let status = match self.topologies(pod) {
            Err(why) => Status::unresolvable(why),
            Ok(topologies) if topologies.is_empty() => Status::skip(),
            Ok(topologies) => {
                state.write(Arc::new(topologies));
                Status::success()
            }
        };
        status.into()
    }
}

impl Filter for VolumeZone {
    fn filter(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Status {
        let Some(topologies) = state.read::<Arc<Vec<Topology>>>() else {
            return Status::success();
        };
        // A cluster of one zone need not name it.
        if LABELS.iter().all(|label| node.label(label).is_none()) {
            return Status::success();
        }
        let current = |label: &'static str| match label {
            OLD_ZONE => ZONE,
            OLD_REGION => REGION,
            other => other,
        };
        let holds = |wanted: &Topology| {
            let label = wanted.label;
            let value = node.label(label).or_else(|| node.label(current(label)));
            value.is_some_and(|value| wanted.values.contains(value))
        };
        if topologies.iter().all(holds) {
            Status::success()
        } else {
            Status::unresolvable("node(s) had no available volume zone")
        }
    }
}
