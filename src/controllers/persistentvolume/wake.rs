//! What wakes the controller, and the indexes by which it finds whom a change concerns.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use super::plan;
use crate::controllers::podutil;
use crate::object::volume::{
    BIND_COMPLETED, annotation, class_of_claim, class_of_volume, owner, phase, volume_name,
};
use crate::reconcile::{Cache, Index, Key, Source};

/// Claims, volumes and pods by what they say of each other.
pub(super) struct Indexes {
    /// Claims by the volume they name (`volume/…`), and those that look for one by their class (`class/…`).
    claims: Index<PersistentVolumeClaim>,
    /// Volumes by the claim they name (`for/…`), free ones by their class (`free/…`).
    volumes: Index<PersistentVolume>,
    /// Pods by the claims they use.
    pods: Index<Pod>,
}

impl Indexes {
    pub(super) fn new(
        claims: &Cache<PersistentVolumeClaim>,
        volumes: &Cache<PersistentVolume>,
        pods: &Cache<Pod>,
    ) -> Self {
        Self {
            claims: claims.index(|claim| vec![wish(claim)]),
            volumes: volumes.index(|volume| {
                vec![match claim_of(volume) {
                    Some(claim) => format!("for/{claim}"),
                    None => format!("free/{}", class_of_volume(volume)),
                }]
            }),
            pods: pods.index(|pod| {
                podutil::claim_keys(pod)
                    .iter()
                    .map(Key::to_string)
                    .collect()
            }),
        }
    }

    /// The volumes that name a claim.
    pub(super) fn meant_for(&self, claim: &Key) -> Vec<Arc<PersistentVolume>> {
        self.volumes.get(&format!("for/{claim}"))
    }

    /// The volumes of a class that name no claim.
    pub(super) fn free(&self, class: &str) -> Vec<Arc<PersistentVolume>> {
        self.volumes.get(&format!("free/{class}"))
    }

    /// The pods that use a claim.
    pub(super) fn pods_of(&self, claim: &Key) -> Vec<Arc<Pod>> {
        self.pods.get(&claim.to_string())
    }

    /// The claims that name a volume.
    fn naming(&self, volume: &str) -> Vec<Key> {
        keys(&self.claims.get(&format!("volume/{volume}")))
    }

    /// The claims that look for a volume of a class.
    fn looking(&self, class: &str) -> Vec<Key> {
        keys(&self.claims.get(&format!("class/{class}")))
    }
}

fn keys(claims: &[Arc<PersistentVolumeClaim>]) -> Vec<Key> {
    claims.iter().map(|claim| Key::of(&**claim)).collect()
}

fn wish(claim: &PersistentVolumeClaim) -> String {
    match volume_name(claim) {
        "" => format!("class/{}", class_of_claim(claim)),
        volume => format!("volume/{volume}"),
    }
}

/// The claim that a volume names.
fn claim_of(volume: &PersistentVolume) -> Option<Key> {
    let owner = owner(volume)?;
    let namespace = owner.namespace.as_deref().unwrap_or_default();
    Some(Key::new(
        namespace,
        owner.name.as_deref().unwrap_or_default(),
    ))
}

/// A claim wakes itself, the volume that it names, and those that name it.
pub(super) fn by_claims(cache: &Cache<PersistentVolumeClaim>, indexes: Arc<Indexes>) -> Source {
    Source::mapped(cache, move |old, new| {
        let Some(claim) = new.or(old) else {
            return Vec::new();
        };
        let key = Key::of(&**claim);
        let mut woken: Vec<Key> = indexes
            .meant_for(&key)
            .iter()
            .map(|volume| Key::of(&**volume))
            .collect();
        let named = [old, new].into_iter().flatten();
        woken.extend(
            named
                .map(|claim| volume_name(claim))
                .filter(|name| !name.is_empty())
                .map(Key::cluster),
        );
        woken.push(key);
        woken.sort();
        woken.dedup();
        woken
    })
}

/// A volume wakes itself, the claim that it names, those that name it, and, when it has become free, those that look for one.
pub(super) fn by_volumes(
    cache: &Cache<PersistentVolume>,
    classes: &Cache<StorageClass>,
    indexes: Arc<Indexes>,
) -> Source {
    let classes = classes.clone();
    let is_free =
        |volume: &PersistentVolume| owner(volume).is_none() && phase(volume) == "Available";
    Source::mapped(cache, move |old, new| {
        let Some(volume) = new.or(old) else {
            return Vec::new();
        };
        let key = Key::of(&**volume);
        let mut woken = indexes.naming(&key.name);
        let both = [old, new].into_iter().flatten();
        woken.extend(both.filter_map(|volume| claim_of(volume)));
        if let Some(volume) = new.filter(|volume| is_free(volume)) {
            let class = class_of_volume(volume);
            let found = classes.get(&Key::cluster(class));
            if plan::waits(found.as_deref()) != Ok(true) {
                woken.extend(indexes.looking(class));
            }
        }
        woken.push(key);
        woken.sort();
        woken.dedup();
        woken
    })
}

/// A class wakes the claims that look for a volume of it; one that is the default, those that name none.
pub(super) fn by_classes(cache: &Cache<StorageClass>, indexes: Arc<Indexes>) -> Source {
    Source::mapped(cache, move |old, new| {
        let Some(class) = new.or(old) else {
            return Vec::new();
        };
        let mut woken = indexes.looking(class.metadata.name.as_deref().unwrap_or_default());
        if new.is_some_and(|class| plan::is_default(class)) {
            woken.extend(indexes.looking(""));
        }
        woken
    })
}

/// A pod without a node wakes the claims that it uses and that are not bound.
pub(super) fn by_pods(cache: &Cache<Pod>, claims: &Cache<PersistentVolumeClaim>) -> Source {
    let claims = claims.clone();
    Source::mapped(cache, move |old, new| {
        let is_new = old.is_none();
        let waits = |pod: &&Arc<Pod>| is_new && podutil::node_name(pod).is_empty();
        let Some(pod) = new.filter(waits) else {
            return Vec::new();
        };
        let mut woken = podutil::claim_keys(pod);
        woken.retain(|key| {
            let claim = claims.get(key);
            claim.is_some_and(|claim| annotation(&claim.metadata, BIND_COMPLETED).is_none())
        });
        woken
    })
}
