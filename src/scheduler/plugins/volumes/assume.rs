//! What the scheduler has decided about volumes and the API does not show yet.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;

use super::first::{First, FirstAt};
use super::listers::Volumes;
use crate::object::volume::{class_of_volume, owner};
use crate::reconcile::Key;
use crate::scheduler::framework::Snapshot;

/// The volumes and claims of a cluster, with what was decided about them. Clones share the decisions.
#[derive(Clone, Debug)]
pub(super) struct Assumed {
    listed: Arc<dyn Volumes>,
    decided: Arc<Mutex<Decided>>,
    first: Arc<First>,
}

#[derive(Debug, Default)]
struct Decided {
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    claims: BTreeMap<Key, Arc<PersistentVolumeClaim>>,
}

fn revision(meta: &ObjectMeta) -> u64 {
    let text = meta.resource_version.as_deref().unwrap_or_default();
    text.parse().unwrap_or(0)
}

impl Assumed {
    pub(super) fn new(listed: Arc<dyn Volumes>) -> Self {
        Self {
            listed,
            decided: Arc::default(),
            first: Arc::default(),
        }
    }

    /// As the API shows it.
    pub(super) fn listed(&self) -> &dyn Volumes {
        &*self.listed
    }

    /// The claim as it will be. What the API shows later than the decision was made counts more than it.
    pub(super) fn claim(&self, key: &Key) -> Option<Arc<PersistentVolumeClaim>> {
        let listed = self.listed.claim(key);
        let mut decided = self.decided.lock();
        let Some(assumed) = decided.claims.get(key) else {
            return listed;
        };
        let listed = listed?;
        if revision(&listed.metadata) > revision(&assumed.metadata) {
            decided.claims.remove(key);
            return Some(listed);
        }
        Some(assumed.clone())
    }

    /// The volume as it will be.
    pub(super) fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        let listed = self.listed.volume(name)?;
        Some(self.current(name, listed))
    }

    fn current(&self, name: &str, listed: Arc<PersistentVolume>) -> Arc<PersistentVolume> {
        let mut decided = self.decided.lock();
        let Some(assumed) = decided.volumes.get(name) else {
            return listed;
        };
        if revision(&listed.metadata) > revision(&assumed.metadata) {
            decided.volumes.remove(name);
            return listed;
        }
        assumed.clone()
    }

    /// The volumes of a class that will be meant for this claim, in the order of their names.
    pub(super) fn meant_for(&self, class: &str, claim: &Key) -> Vec<Arc<PersistentVolume>> {
        let is_ours = |volume: &PersistentVolume| {
            let ours = owner(volume).is_some_and(|owner| {
                owner.name.as_deref() == Some(&*claim.name)
                    && owner.namespace.as_deref() == Some(&*claim.namespace)
            });
            ours && class_of_volume(volume) == class
        };
        let mut known = self.listed.meant_for(class, claim);
        let decided = self.decided.lock();
        let decided_ours = decided.volumes.values().filter(|volume| is_ours(volume));
        known.extend(decided_ours.cloned());
        drop(decided);
        let mut all = BTreeMap::new();
        for volume in known {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let Some(current) = self.volume(name) else {
                continue;
            };
            if is_ours(&current) {
                all.insert(name.to_owned(), current);
            }
        }
        all.into_values().collect()
    }

    /// The first volume at each value of a label, for claims like this one, as far as it was looked for lately.
    pub(super) fn first_at(
        &self,
        claim: &PersistentVolumeClaim,
        label: &str,
        snapshot: &Snapshot,
    ) -> FirstAt {
        for volume in self.listed.changed() {
            self.first.forget(&volume);
        }
        self.first.at(claim, label, snapshot)
    }

    /// As [`Volumes::free`], without those that will be somebody's.
    pub(super) fn free(
        &self,
        class: &str,
        pin: Option<(&str, &str)>,
        size: i64,
        visit: &mut dyn FnMut(&Arc<PersistentVolume>) -> ControlFlow<()>,
    ) {
        self.listed.free(class, pin, size, &mut |volume| {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let current = self.current(name, volume.clone());
            if owner(&current).is_some() {
                return ControlFlow::Continue(());
            }
            visit(&current)
        });
    }

    /// Decides about a volume.
    pub(super) fn assume_volume(&self, volume: &Arc<PersistentVolume>) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        self.decided.lock().volumes.insert(name, volume.clone());
        self.first.forget(volume);
    }

    /// Decides about a claim.
    pub(super) fn assume_claim(&self, claim: &Arc<PersistentVolumeClaim>) {
        let key = Key::of(&**claim);
        self.decided.lock().claims.insert(key, claim.clone());
    }

    /// Takes a decision about a volume back.
    pub(super) fn forget_volume(&self, volume: &PersistentVolume) {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        self.decided.lock().volumes.remove(name);
        self.first.forget(volume);
    }

    /// Takes a decision about a claim back.
    pub(super) fn forget_claim(&self, claim: &PersistentVolumeClaim) {
        self.decided.lock().claims.remove(&Key::of(claim));
    }
}
