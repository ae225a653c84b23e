//! VolumeBinding: a pod goes where its volumes can be used; claims that wait for it get theirs with the node.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use serde_json::Value;

use super::assume::Assumed;
use super::bind::Reserved;
use super::listers::CachedVolumes;
use super::matching::{PodClaims, Sorted, Spot, limit};
use super::migrated::MIGRATED;
use super::{claim_not_found, claims_of, volumes_of};
use crate::object::volume::{annotation, foreign, volume_name};
use crate::reconcile::{Error, Key};
use crate::scheduler::framework::{
    Actions, ArgsError, ClusterEvent, CycleState, EventPattern, Filter, Handle, Hint, Hooks,
    NodeInfo, Plugin, PodInfo, PreBind, PreFilter, PreFiltered, Reserve, Resource, Snapshot,
    Status,
};
use crate::scheduler::plugins::args::Args;

/// Filters by volumes; reserves and binds those that wait for a pod.
#[derive(Clone, Debug)]
pub struct VolumeBinding {
    volumes: Assumed,
    handle: Handle,
    patience: Duration,
}

impl VolumeBinding {
    /// Reads caches of `handle`. `patience` is how long volumes may take until the pod is scheduled anew.
    #[must_use]
    pub fn new(handle: &Handle, patience: Duration) -> Self {
        Self {
            volumes: Assumed::new(Arc::new(CachedVolumes::new(handle))),
            handle: handle.clone(),
            patience,
        }
    }

    pub(in crate::scheduler::plugins) fn make(
        args: &Value,
        handle: &Handle,
    ) -> Result<Hooks, ArgsError> {
        let args = Args::of(args, "VolumeBindingArgs", &["bindTimeoutSeconds", "shape"])?;
        let seconds = args.integer("bindTimeoutSeconds")?.unwrap_or(600);
        let Ok(seconds) = u64::try_from(seconds) else {
            return Err(args.invalid(
                "bindTimeoutSeconds",
                format_args!("Invalid value: {seconds}: invalid BindTimeoutSeconds, should not be a negative value"),
            ));
        };
        if args.get("shape").is_some() {
            return Err(args.invalid(
                "shape",
                "Invalid value: unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring",
            ));
        }
        let plugin = Arc::new(Self::new(handle, Duration::from_secs(seconds)));
        Ok(Hooks::new(&plugin)
            .pre_filter(&plugin)
            .filter(&plugin)
            .reserve(&plugin)
            .pre_bind(&plugin))
    }
}

/// The claims of a pod; `Err`: why it cannot be scheduled as long as they are as they are.
pub(super) fn claims(
    pod: &PodInfo,
    volumes: &Assumed,
) -> Result<Vec<Arc<PersistentVolumeClaim>>, String> {
    let found = claims_of(pod).map(|used| {
        let key = Key::new(pod.key.namespace.clone(), &*used.name);
        let Some(claim) = volumes.claim(&key) else {
            let name = &used.name;
            return Err(if used.ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
            } else {
                claim_not_found(name)
            });
        };
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            let volume = volume_name(&claim);
            return Err(format!(
                "persistentvolumeclaim {:?} bound to non-existent persistentvolume {volume:?}",
                used.name
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {:?} is being deleted", used.name));
        }
        match foreign(&pod.pod, &claim).filter(|_| used.ephemeral) {
            Some(why) => Err(why),
            None => Ok(claim),
        }
    });
    found.collect()
}

/// What is noted about a pod with claims.
pub(super) fn pre_filter(
    state: &mut CycleState,
    pod: &PodInfo,
    volumes: &Assumed,
    snapshot: &Snapshot,
) -> Status {
    let claims = match claims(pod, volumes) {
        Ok(claims) if claims.is_empty() => return Status::skip(),
        Ok(claims) => claims,
        Err(why) => return Status::unresolvable(why),
    };
    match PodClaims::sort(claims, volumes, snapshot) {
        Err(error) => Status::error(error),
        // Woken when they are bound.
        Ok(Sorted::Immediate) => {
            Status::unresolvable("pod has unbound immediate PersistentVolumeClaims")
        }
        Ok(Sorted::Ready(claims)) => {
            state.write(Arc::new(claims));
            Status::success()
        }
    }
}

pub(super) fn filter(state: &CycleState, node: &NodeInfo) -> Status {
    let Some(claims) = state.read::<Arc<PodClaims>>() else {
        return Status::success();
    };
    match claims.plan(node.into()) {
        Ok(_) => Status::success(),
        Err(reasons) => {
            let mut status = Status::unresolvable(String::new());
            status.reasons = reasons.into_iter().map(Into::into).collect();
            status
        }
    }
}

pub(super) fn reserve(state: &mut CycleState, node: &str, volumes: &Assumed) -> Status {
    let Some(claims) = state.read::<Arc<PodClaims>>() else {
        return Status::success();
    };
    let listed = volumes.listed().node(node);
    let labels = listed
        .as_ref()
        .and_then(|node| node.metadata.labels.as_ref());
    let spot = Spot {
        name: node,
        labels,
        position: None,
    };
    match claims.plan(spot) {
        Ok(plan) => {
            let reserved = Reserved::new(&plan, node, volumes);
            state.write(reserved);
            Status::success()
        }
        // The node changed since it was filtered.
        Err(reasons) => Status::unschedulable(reasons.join(", ")),
    }
}

pub(super) fn unreserve(state: &CycleState, volumes: &Assumed) {
    if let Some(reserved) = state.read::<Reserved>() {
        reserved.release(volumes);
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn events(&self) -> Vec<EventPattern> {
        events()
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        hint(event, pod)
    }
}

pub(super) fn events() -> Vec<EventPattern> {
    let changed = Actions::ADD | Actions::UPDATE;
    let of = |kind: &'static str, actions| EventPattern::new(Resource::kind(kind), actions);
    vec![
        of("StorageClass", changed),
        of("PersistentVolumeClaim", changed),
        of("PersistentVolume", changed),
        EventPattern::new(Resource::Node, Actions::ADD | Actions::UPDATE_NODE_LABEL),
        of("CSINode", changed),
        of("CSIDriver", Actions::UPDATE),
        of("CSIStorageCapacity", changed),
    ]
}

pub(super) fn hint(event: &ClusterEvent<'_>, pod: &PodInfo) -> Hint {
    let helps = if let Some(claim) = event.new_object::<PersistentVolumeClaim>() {
        uses(pod, claim)
    } else if let Some(class) = event.new_object::<StorageClass>() {
        let old = event.old::<StorageClass>();
        old.is_none_or(|old| old.allowed_topologies != class.allowed_topologies)
    } else if let Some(capacity) = event.new_object::<CSIStorageCapacity>() {
        let old = event.old::<CSIStorageCapacity>();
        old.is_none_or(|old| {
            limit(capacity).is_some_and(|new| limit(old).is_none_or(|old| new > old))
        })
    } else if let Some(node) = event.new_object::<CSINode>() {
        let migrated = |node: &CSINode| annotation(&node.metadata, MIGRATED).map(str::to_owned);
        let old = event.old::<CSINode>();
        old.is_none_or(|old| migrated(old) != migrated(node))
    } else if let Some(driver) = event.new_object::<CSIDriver>() {
        let counted = |driver: &CSIDriver| driver.spec.storage_capacity == Some(true);
        let name = driver.metadata.name.as_deref();
        let mut inline = volumes_of(pod)
            .iter()
            .filter_map(|volume| volume.csi.as_ref());
        let stopped = event.old::<CSIDriver>().is_some_and(counted) && !counted(driver);
        stopped && inline.any(|volume| Some(volume.driver.as_str()) == name)
    } else {
        true
    };
    if helps { Hint::Queue } else { Hint::Skip }
}

/// Whether a pod uses a claim.
pub(super) fn uses(pod: &PodInfo, claim: &PersistentVolumeClaim) -> bool {
    claim.metadata.namespace.as_deref() == Some(&*pod.key.namespace)
        && claims_of(pod).any(|used| claim.metadata.name.as_deref() == Some(&*used.name))
}

impl PreFilter for VolumeBinding {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        snapshot: &Snapshot,
    ) -> PreFiltered {
        pre_filter(state, pod, &self.volumes, snapshot).into()
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Status {
        filter(state, node)
    }

    fn fits(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Option<bool> {
        let claims = state.read::<Arc<PodClaims>>()?;
        Some(claims.fits(node))
    }
}

impl Reserve for VolumeBinding {
    fn reserve(&self, state: &mut CycleState, _pod: &PodInfo, node: &str) -> Status {
        reserve(state, node, &self.volumes)
    }

    fn unreserve(&self, state: &mut CycleState, _pod: &PodInfo, _node: &str) {
        unreserve(state, &self.volumes);
    }
}

#[async_trait]
impl PreBind for VolumeBinding {
    async fn pre_bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Result<(), Error> {
        match state.read::<Reserved>() {
            Some(reserved) if !reserved.is_empty() => {
                let client = self.handle.client();
                reserved
                    .bind(client, &self.volumes, pod, node, self.patience)
                    .await
            }
            _ => Ok(()),
        }
    }
}
