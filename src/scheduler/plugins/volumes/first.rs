//! The first volume that suits a claim at each place, remembered from one decision to the next: a claim that waits for its first
//! pod is like many others, and between two decisions the volumes of few places change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
};
use parking_lot::Mutex;

use super::listers::pin;
use crate::object::volume::class_of_claim;

/// It is remembered for so many kinds of claims and labels …
const MOST_KINDS: usize = 16;
/// … and for so many values of each, which is more than clusters have nodes.
const MOST_VALUES: usize = 200_000;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct First {
    /// Those asked for last are at the end.
    kinds: Mutex<Vec<Kind>>,
    /// Grows with each change of a volume.
    changes: Arc<AtomicU64>,
}

/// Claims that can have the same volumes, and a label that pins volumes.
#[derive(Debug)]
struct Kind {
    class: String,
    spec: PersistentVolumeClaimSpec,
    label: String,
    found: Found,
}

/// By the label's value; `None`: nothing there suits.
type Found = Arc<Mutex<HashMap<Box<str>, Option<Arc<PersistentVolume>>>>>;

/// What is remembered of a label for claims of one kind.
#[derive(Clone, Debug)]
pub(super) struct FirstAt {
    found: Found,
    changes: Arc<AtomicU64>,
    /// The changes when it was asked for: who looks at volumes after that does not see earlier ones.
    since: u64,
}

impl First {
    /// What is known for claims like this one.
    pub(super) fn at(&self, claim: &PersistentVolumeClaim, label: &str) -> FirstAt {
        let since = self.changes.load(Ordering::Acquire);
        let class = class_of_claim(claim);
        let spec = claim.spec.as_ref();
        let mut kinds = self.kinds.lock();
        let known = kinds.iter().position(|kind| {
            kind.label == label && kind.class == class && Some(&kind.spec) == spec
        });
        let kind = known.map_or_else(
            || Kind {
                class: class.to_owned(),
                spec: spec.cloned().unwrap_or_default(),
                label: label.to_owned(),
                found: Arc::default(),
            },
            |at| kinds.remove(at),
        );
        let found = kind.found.clone();
        if kinds.len() >= MOST_KINDS {
            kinds.remove(0);
        }
        kinds.push(kind);
        FirstAt {
            found,
            changes: self.changes.clone(),
            since,
        }
    }

    /// Forgets the places of a volume, which has changed.
    pub(super) fn forget(&self, volume: &PersistentVolume) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        let Some((pin, values)) = pin(volume) else {
            return;
        };
        for kind in self
            .kinds
            .lock()
            .iter()
            .filter(|kind| kind.label == pin.key)
        {
            let mut found = kind.found.lock();
            for value in values {
                found.remove(value.as_str());
            }
        }
    }
}

impl FirstAt {
    /// The first volume at a value, or that there is none; `None`: it is not known.
    pub(super) fn get(&self, value: &str) -> Option<Option<Arc<PersistentVolume>>> {
        self.found.lock().get(value).cloned()
    }

    /// Remembers it, unless volumes have changed meanwhile or too much is remembered.
    pub(super) fn insert(&self, value: &str, volume: Option<Arc<PersistentVolume>>) {
        let mut found = self.found.lock();
        if self.changes.load(Ordering::Acquire) == self.since && found.len() < MOST_VALUES {
            found.insert(value.into(), volume);
        }
    }
}
