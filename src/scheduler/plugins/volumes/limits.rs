//! NodeVolumeLimits: a node can attach only so many volumes of a driver.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::{CSINode, VolumeAttachment};

use super::binding::uses;
use super::listers::Volumes;
use super::migrated::{self, is_migrated};
use super::{claim_not_found, volumes_of};
use crate::object::volume::{claim_of, class_of_claim, foreign, successor, volume_name};
use crate::reconcile::Key;
use crate::scheduler::framework::{
    Actions, ClusterEvent, CycleState, EventPattern, Filter, Hint, NodeInfo, Plugin, PodInfo,
    PreFilter, PreFiltered, Resource, Snapshot, Status,
};

/// Filters by the limits that [`CSINode`]s state.
#[derive(Clone, Debug)]
pub struct NodeVolumeLimits {
    volumes: Arc<dyn Volumes>,
}

/// Volumes by driver and handle.
type Attached = BTreeSet<migrated::Handle>;

/// Why the volumes of a pod cannot be told.
enum Unknown {
    /// A claim is not there, and nothing will help until it is.
    Missing(String),
    Error(String),
}

reads_volumes!(NodeVolumeLimits);

impl NodeVolumeLimits {
    /// Adds the volumes of a pod that have to be attached. `is_new`: it is the pod that is to be scheduled.
    fn collect(
        &self,
        pod: &PodInfo,
        node: Option<&CSINode>,
        is_new: bool,
        attached: &mut Attached,
    ) -> Result<(), Unknown> {
        for volume in volumes_of(pod) {
            let Some(used) = claim_of(&pod.pod, volume) else {
                attached.extend(migrated::of_inline(volume, node));
                continue;
            };
            if used.name.is_empty() {
                return Err(Unknown::Error("PersistentVolumeClaim had no name".into()));
            }
            let key = Key::new(pod.key.namespace.clone(), &*used.name);
            let Some(claim) = self.volumes.claim(&key) else {
                if is_new {
                    let why = claim_not_found(&used.name);
                    return Err(Unknown::Missing(format!("looking up PVC {key}: {why}")));
                }
                continue;
            };
            if let Some(why) = foreign(&pod.pod, &claim).filter(|_| used.ephemeral) {
                return Err(Unknown::Error(why));
            }
            attached.extend(self.handle_of(&claim, node));
        }
        Ok(())
    }

    fn handle_of(
        &self,
        claim: &PersistentVolumeClaim,
        node: Option<&CSINode>,
    ) -> Option<migrated::Handle> {
        let name = volume_name(claim);
        let volume = (!name.is_empty()).then(|| self.volumes.volume(name));
        if let Some(volume) = volume.flatten() {
            return migrated::of_volume(volume.spec.as_ref()?, node);
        }
        // Not bound yet: the driver will be that of its class. A claim without one is bound before its pod is scheduled.
        let class = class_of_claim(claim);
        let class = (!class.is_empty()).then(|| self.volumes.class(class));
        let provisioner = class.flatten()?.provisioner.clone();
        let driver = match successor(&provisioner) {
            Some(_) if !is_migrated(&provisioner, node) => return None,
            Some(driver) => driver.to_owned(),
            None => provisioner,
        };
        // No driver gives such a handle to a volume that exists.
        Some((driver, format!("\0{}", Key::of(claim))))
    }

    /// What the pod needs of a node, told once for all of them: which drivers its volumes have does not depend on the node, as
    /// long as the node says what drivers it has; on one that does not, nothing is limited.
    fn needs(&self, pod: &PodInfo) -> Result<Needs, Unknown> {
        let mut new = Attached::new();
        self.collect(pod, Some(&CSINode::default()), true, &mut new)?;
        let mut by_driver: BTreeMap<String, Attached> = BTreeMap::new();
        for handle in new {
            let of_driver = by_driver.entry(handle.0.clone()).or_default();
            of_driver.insert(handle);
        }
        Ok(Needs(by_driver))
    }

    fn judge(&self, needs: &Needs, node: &NodeInfo) -> Result<bool, Unknown> {
        if needs.0.is_empty() {
            return Ok(true);
        }
        let csi_node = self.volumes.csi_node(&node.name);
        let limits = limits(csi_node.as_deref());
        let limited = needs.0.iter().filter_map(|(driver, new)| {
            let most = limits.get(driver.as_str())?;
            Some((driver, new, *most))
        });
        let limited: Vec<_> = limited.collect();
        if limited.is_empty() {
            return Ok(true);
        }
        let attachments = self.volumes.attachments(&node.name);
        if let Some(volumes) = at_most(node) {
            let there = volumes + attachments.len();
            let mut all = limited.iter();
            if all.all(|(_, new, most)| count(there + new.len()) <= *most) {
                return Ok(true);
            }
        }
        let attached = self.attached(node, csi_node.as_deref(), &attachments)?;
        Ok(limited.into_iter().all(|(driver, new, most)| {
            let more = new.iter().filter(|handle| !attached.contains(*handle));
            let (more, of_driver) = (more.count(), |(name, _): &&migrated::Handle| name == driver);
            more == 0 || count(attached.iter().filter(of_driver).count() + more) <= most
        }))
    }

    /// The volumes that a node has, or will have. One is attached once, whoever uses it.
    fn attached(
        &self,
        node: &NodeInfo,
        csi_node: Option<&CSINode>,
        attachments: &[Arc<VolumeAttachment>],
    ) -> Result<Attached, Unknown> {
        let mut attached = Attached::new();
        for pod in node.pods.values() {
            self.collect(pod, csi_node, false, &mut attached)?;
        }
        for attachment in attachments {
            let source = &attachment.spec.source;
            let name = source.persistent_volume_name.as_deref();
            let volume = name.and_then(|name| self.volumes.volume(name));
            let handle = match (&volume, &source.inline_volume_spec) {
                (Some(volume), _) => volume.spec.as_ref(),
                (None, inline) => inline.as_ref(),
            };
            let handle = handle.and_then(|spec| migrated::of_volume(spec, csi_node));
            attached.extend(handle);
        }
        Ok(attached)
    }
}

/// The volumes of a pod that have to be attached, by driver.
#[derive(Debug)]
struct Needs(BTreeMap<String, Attached>);

fn count(volumes: usize) -> i64 {
    i64::try_from(volumes).unwrap_or(i64::MAX)
}

/// How many volumes the pods of a node can have at most, without looking them up; `None`: some of them need a look, for what
/// they say may be wrong.
fn at_most(node: &NodeInfo) -> Option<usize> {
    let mut most = 0;
    for pod in node.pods.values() {
        for volume in volumes_of(pod) {
            match claim_of(&pod.pod, volume) {
                Some(used) if used.ephemeral || used.name.is_empty() => return None,
                _ => most += 1,
            }
        }
    }
    Some(most)
}

fn limits(node: Option<&CSINode>) -> BTreeMap<&str, i64> {
    let drivers = node.into_iter().flat_map(|node| &node.spec.drivers);
    let limited = drivers.filter_map(|driver| {
        let most = driver.allocatable.as_ref()?.count?;
        Some((driver.name.as_str(), i64::from(most)))
    });
    limited.collect()
}

/// Whether a pod has volumes that may have to be attached.
fn has_attachable(pod: &PodInfo) -> bool {
    volumes_of(pod)
        .iter()
        .any(|volume| claim_of(&pod.pod, volume).is_some() || migrated::inline(volume).is_some())
}

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn events(&self) -> Vec<EventPattern> {
        let of = |kind: &'static str, actions| EventPattern::new(Resource::kind(kind), actions);
        vec![
            of("CSINode", Actions::ADD | Actions::UPDATE),
            EventPattern::new(Resource::AssignedPod, Actions::DELETE),
            of("PersistentVolumeClaim", Actions::ADD),
            of("VolumeAttachment", Actions::DELETE),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let helps = if let Some(claim) = event.new_object::<PersistentVolumeClaim>() {
            uses(pod, claim)
        } else if let Some(node) = event.new_object::<CSINode>() {
            event.old::<CSINode>().is_none_or(|old| {
                let (before, now) = (limits(Some(old)), limits(Some(node)));
                let grew =
                    |(driver, most): (&&str, &i64)| before.get(driver).is_none_or(|old| most > old);
                now.iter().any(grew)
            })
        } else if let Some(gone) = event.old::<PodInfo>() {
            has_attachable(gone)
        } else if let Some(gone) = event.old::<VolumeAttachment>() {
            self.frees(gone, pod)
        } else {
            true
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

impl NodeVolumeLimits {
    /// Whether a volume that is attached no longer makes room for one of the pod: of the same driver, as far as can be told.
    fn frees(&self, gone: &VolumeAttachment, pod: &PodInfo) -> bool {
        volumes_of(pod).iter().any(|volume| {
            let Some(used) = claim_of(&pod.pod, volume) else {
                let driver = migrated::inline(volume).and_then(|(in_tree, _)| successor(in_tree));
                return driver == Some(gone.spec.attacher.as_str());
            };
            let key = Key::new(pod.key.namespace.clone(), &*used.name);
            let claim = self.volumes.claim(&key);
            let handle = claim.and_then(|claim| self.handle_of(&claim, None));
            handle.is_none_or(|(driver, _)| driver == gone.spec.attacher)
        })
    }
}

impl PreFilter for NodeVolumeLimits {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        _snapshot: &Snapshot,
    ) -> PreFiltered {
        if !has_attachable(pod) {
            return Status::skip().into();
        }
        let needs: Prepared = self.needs(pod).map_err(Into::into);
        state.write(Arc::new(needs));
        Status::success().into()
    }
}

/// What the pod needs; `Err`: what each node is told.
type Prepared = Result<Needs, Status>;

impl Filter for NodeVolumeLimits {
    fn filter(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Status {
        let Some(prepared) = state.read::<Arc<Prepared>>() else {
            return Status::success();
        };
        let needs = match &**prepared {
            Ok(needs) => needs,
            Err(status) => return status.clone(),
        };
        match self.judge(needs, node) {
            Ok(true) => Status::success(),
            Ok(false) => Status::unschedulable("node(s) exceed max volume count"),
            Err(unknown) => unknown.into(),
        }
    }

    fn fits(&self, state: &CycleState, _pod: &PodInfo, node: &NodeInfo) -> Option<bool> {
        let prepared = state.read::<Arc<Prepared>>()?;
        self.judge(prepared.as_ref().as_ref().ok()?, node).ok()
    }
}

impl From<Unknown> for Status {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Missing(why) => Self::unresolvable(why),
            Unknown::Error(why) => Self::error(why),
        }
    }
}
