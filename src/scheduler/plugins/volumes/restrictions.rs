//! VolumeRestrictions: what may be used by one pod alone, or on one node once.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Volume};

use super::listers::Volumes;
use super::{claim_not_found, named_claims, volumes_of};
use crate::reconcile::Key;
use crate::scheduler::framework::{
    Actions, ClusterEvent, CycleState, EventPattern, Filter, Hint, NodeInfo, Plugin, PodInfo,
    PreFilter, PreFiltered, Resource, Snapshot, Status,
};

/// Filters by disks that only one pod can mount, and by claims of mode `ReadWriteOncePod`.
#[derive(Clone, Debug)]
pub struct VolumeRestrictions {
    volumes: Arc<dyn Volumes>,
}

/// The claims that the pod must have for itself, and how many uses of them by others there are.
#[derive(Clone, Debug)]
struct Exclusive {
    claims: Arc<BTreeSet<String>>,
    uses: i64,
}

impl Exclusive {
    fn uses_by(&self, pod: &PodInfo, other: &PodInfo) -> i64 {
        if pod.key.namespace != other.key.namespace {
            return 0;
        }
        let uses = named_claims(other).filter(|name| self.claims.contains(*name));
        i64::try_from(uses.count()).unwrap_or(i64::MAX)
    }
}

reads_volumes!(VolumeRestrictions);

impl VolumeRestrictions {
    /// The claims of mode `ReadWriteOncePod` that a pod uses.
    fn exclusive(&self, pod: &PodInfo) -> Result<BTreeSet<String>, String> {
        let mut exclusive = BTreeSet::new();
        for name in named_claims(pod) {
            let key = Key::new(pod.key.namespace.clone(), name);
            let claim = self.volumes.claim(&key);
            let claim = claim.ok_or_else(|| claim_not_found(name))?;
            let modes = claim
                .spec
                .as_ref()
                .and_then(|spec| spec.access_modes.as_ref());
            if modes
                .into_iter()
                .flatten()
                .any(|mode| mode == "ReadWriteOncePod")
            {
                exclusive.insert(name.to_owned());
            }
        }
        Ok(exclusive)
    }
}

/// Whether a volume is of a kind that is shared only if all read.
fn is_restricted(volume: &Volume) -> bool {
    volume.gce_persistent_disk.is_some()
        || volume.aws_elastic_block_store.is_some()
        || volume.rbd.is_some()
        || volume.iscsi.is_some()
}

/// Whether two volumes cannot be on one node.
fn conflict(a: &Volume, b: &Volume) -> bool {
    let all_read = |a: Option<bool>, b: Option<bool>| a == Some(true) && b == Some(true);
    if let (Some(a), Some(b)) = (&a.gce_persistent_disk, &b.gce_persistent_disk)
        && a.pd_name == b.pd_name
        && !all_read(a.read_only, b.read_only)
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&a.aws_elastic_block_store, &b.aws_elastic_block_store)
        && a.volume_id == b.volume_id
    {
        return true;
    }
    if let (Some(a), Some(b)) = (&a.iscsi, &b.iscsi)
        && a.iqn == b.iqn
        && !all_read(a.read_only, b.read_only)
    {
        return true;
    }
    let (Some(a), Some(b)) = (&a.rbd, &b.rbd) else {
        return false;
    };
    let pool = |pool: &Option<String>| pool.clone().unwrap_or_else(|| "rbd".into());
    a.monitors
        .iter()
        .any(|monitor| b.monitors.contains(monitor))
        && pool(&a.pool) == pool(&b.pool)
        && a.image == b.image
        && !all_read(a.read_only, b.read_only)
}

/// Whether a pod and another cannot be on one node.
fn conflicts(pod: &PodInfo, other: &PodInfo) -> bool {
    let mut restricted = volumes_of(pod)
        .iter()
        .filter(|volume| is_restricted(volume));
    restricted.any(|volume| {
        volumes_of(other)
            .iter()
            .any(|other| conflict(volume, other))
    })
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::AssignedPod, Actions::DELETE),
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::kind("PersistentVolumeClaim"), Actions::ADD),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let helps = if let Some(claim) = event.new_object::<PersistentVolumeClaim>() {
            let name = claim.metadata.name.as_deref();
            claim.metadata.namespace.as_deref() == Some(&*pod.key.namespace)
                && named_claims(pod).any(|used| Some(used) == name)
        } else if let Some(gone) = event.old::<PodInfo>() {
            // The access mode is not looked at: the claim may be gone with its last pod.
            // Disks are the same in all namespaces, which upstream does not heed here.
            conflicts(pod, gone)
                || (pod.key.namespace == gone.key.namespace
                    && named_claims(pod).any(|used| named_claims(gone).any(|other| used == other)))
        } else {
            true
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

impl PreFilter for VolumeRestrictions {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> PreFiltered {
        let claims = match self.exclusive(pod) {
            Ok(claims) => claims,
            Err(why) => return Status::unresolvable(why).into(),
        };
        let mut exclusive = Exclusive {
            claims: Arc::new(claims),
            uses: 0,
        };
        if !exclusive.claims.is_empty() {
            let nodes = snapshot.nodes().iter();
            let others = nodes.flat_map(|node| node.pods.values());
            exclusive.uses = others.map(|other| exclusive.uses_by(pod, other)).sum();
        }
        if exclusive.uses == 0 && !volumes_of(pod).iter().any(is_restricted) {
            return Status::skip().into();
        }
        state.write(exclusive);
        Status::success().into()
    }

    fn add_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        added: &PodInfo,
        _node: &NodeInfo,
        _snapshot: &Snapshot,
    ) {
        if let Some(exclusive) = state.read_mut::<Exclusive>() {
            exclusive.uses += exclusive.uses_by(pod, added);
        }
    }

    fn remove_pod(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        removed: &PodInfo,
        _node: &NodeInfo,
        _snapshot: &Snapshot,
    ) {
        if let Some(exclusive) = state.read_mut::<Exclusive>() {
            exclusive.uses -= exclusive.uses_by(pod, removed);
        }
    }
}

impl Filter for VolumeRestrictions {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        if node.pods.values().any(|other| conflicts(pod, other)) {
            return Status::unschedulable("node(s) had no available disk");
        }
        if state
            .read::<Exclusive>()
            .is_some_and(|exclusive| exclusive.uses > 0)
        {
            return Status::unschedulable(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            );
        }
        Status::success()
    }
}
