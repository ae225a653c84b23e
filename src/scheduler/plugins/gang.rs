//! Pods of a group that are scheduled together or not at all. Not in the default profile.

mod report;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::reconcile::{Cache, Index, Key};
use crate::scheduler::framework::{
    Actions, ArgsError, ClusterEvent, CycleState, EventPattern, Gang, GangVerdict, Handle, Hint,
    Hooks, Permission, Permit, Plugin, PodInfo, PreEnqueue, Resource, Snapshot, Status,
};
use crate::scheduler::pod_group::{GangSchedulingPolicy, PodGroup};

/// What a permitted pod waits for is decided in the run that reserved its node; this is for what must never happen.
const PATIENCE: Duration = Duration::from_secs(300);

/// Gang scheduling: of the pods whose `spec.schedulingGroup` names a pod group with a gang policy, at least `minCount` get their
/// nodes at once, or none does. Needs a cluster that serves `PodGroup`; the scheduler does not start before it does.
#[derive(Debug)]
pub struct GangScheduling {
    groups: Cache<PodGroup>,
    /// Pods by the key of their group.
    pods: Index<Pod>,
    handle: Handle,
}

impl GangScheduling {
    pub(super) const NAME: &str = "GangScheduling";

    pub(super) fn make(args: &Value, handle: &Handle) -> Result<Hooks, ArgsError> {
        let plugin = Self {
            groups: handle.cache(),
            pods: handle.cache::<Pod>().index(|pod| {
                let group = group_of(pod).filter(|_| counts(pod));
                group.map(|group| group.to_string()).into_iter().collect()
            }),
            handle: handle.clone(),
        };
        super::plain(args, plugin, |hooks, plugin| {
            hooks.pre_enqueue(plugin).permit(plugin)
        })
    }

    /// The pod's group and how many must be scheduled at once. `Ok(None)`: it is scheduled by itself.
    fn policy(&self, pod: &PodInfo) -> Result<Option<(Key, GangSchedulingPolicy)>, Status> {
        let Some(key) = group_of(&pod.pod) else {
            return Ok(None);
        };
        let Some(group) = self.groups.get(&key) else {
            return Err(Status::unresolvable(format!(
                "waiting for pod's pod group {:?} to appear in scheduling queue",
                &*key.name
            )));
        };
        Ok(group.spec.scheduling_policy.gang.map(|gang| (key, gang)))
    }
}

/// The key of the group that a pod says it belongs to.
fn group_of(pod: &Pod) -> Option<Key> {
    let group = pod.spec.as_ref()?.scheduling_group.as_ref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(Key::new(namespace, group.pod_group_name.as_deref()?))
}

/// Whether a pod is one of its group still: it did not end, and it has a node or will be given one.
fn counts(pod: &Pod) -> bool {
    let has_node = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.node_name.as_ref().is_some_and(|node| !node.is_empty()));
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
        && (has_node || pod.metadata.deletion_timestamp.is_none())
}

impl Plugin for GangScheduling {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::UnscheduledPod, Actions::ADD),
            EventPattern::new(Resource::AssignedPod, Actions::ADD),
            EventPattern::new(Resource::kind("PodGroup"), Actions::ADD | Actions::UPDATE),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let own = group_of(&pod.pod);
        let min_count = |group: &PodGroup| {
            let gang = group.spec.scheduling_policy.gang;
            gang.map(|gang| gang.min_count)
        };
        let helps = if let Some(group) = event.new_object::<PodGroup>() {
            let is_own = own == Some(Key::of(group));
            let old = event.old::<PodGroup>();
            // One that asks for less than before.
            is_own
                && old.is_none_or(|old| {
                    matches!((min_count(old), min_count(group)), (Some(old), Some(new)) if new < old)
                })
        } else {
            let other = event.new_object::<PodInfo>();
            own.is_some() && own == other.and_then(|other| group_of(&other.pod))
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

impl PreEnqueue for GangScheduling {
    fn pre_enqueue(&self, pod: &PodInfo) -> Status {
        match self.policy(pod) {
            Ok(Some((key, gang))) if !is_quorum(self.pods.count(&key.to_string()), gang) => {
                Status::unresolvable(
                    "waiting for minCount pods from a gang to appear in scheduling queue",
                )
            }
            Ok(_) => Status::success(),
            Err(status) => status,
        }
    }
}

fn is_quorum(pods: usize, gang: GangSchedulingPolicy) -> bool {
    usize::try_from(gang.min_count).is_ok_and(|needed| pods >= needed)
}

impl Permit for GangScheduling {
    fn permit(&self, _state: &mut CycleState, pod: &PodInfo, _node: &str) -> Permission {
        match self.policy(pod) {
            Ok(None) => Permission::Allow,
            // The run lets all go on when enough of them are here.
            Ok(Some(_)) => Permission::Wait(PATIENCE),
            Err(status) => Permission::Deny(status),
        }
    }

    fn gang(&self, pod: &PodInfo) -> Result<Option<Gang>, Status> {
        let policy = self.policy(pod)?;
        Ok(policy.map(|(key, gang)| {
            let pods = self.pods.get(&key.to_string());
            Gang {
                plugin: Arc::from(Self::NAME),
                members: pods.iter().map(|pod| Key::of(&**pod)).collect(),
                quorum: usize::try_from(gang.min_count).unwrap_or(0),
            }
        }))
    }

    fn gang_decided(&self, pod: &PodInfo, verdict: GangVerdict) -> Option<BoxFuture<'static, ()>> {
        let group = self.groups.get(&group_of(&pod.pod)?)?;
        let told = report::tell(self.handle.clone(), group, verdict);
        Some(told.boxed())
    }
}
