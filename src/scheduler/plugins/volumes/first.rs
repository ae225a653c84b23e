//! The first volume that suits a claim at each place, remembered from one decision to the next: a claim that waits for its first
//! pod is like many others, and between two decisions the volumes of few places change. What is known of a node is found by its
//! position, without a look at the node.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
};
use parking_lot::Mutex;

use super::listers::pin;
use crate::object::volume::class_of_claim;
use crate::scheduler::framework::Snapshot;
use crate::scheduler::plugins::seen::Seen;

/// It is remembered for so many kinds of claims and labels.
const MOST_KINDS: usize = 16;
/// So many values that no node has any more are kept beside one for each node.
const SPARE: usize = 1024;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct First {
    known: Mutex<Known>,
    /// Grows with each change of a volume.
    changes: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those asked for last are at the end.
    kinds: Vec<Kind>,
    labels: BTreeMap<String, Values>,
}

/// Claims that can have the same volumes, and a label that pins volumes.
#[derive(Debug)]
struct Kind {
    class: String,
    spec: PersistentVolumeClaimSpec,
    label: String,
    found: Found,
}

/// By the number of the label's value; beyond the end nothing is known.
type Found = Arc<Mutex<Vec<Slot>>>;

/// What is known of a place.
#[derive(Clone, Debug, Default)]
pub(super) enum Slot {
    #[default]
    Unknown,
    /// No volume there suits.
    Nothing,
    /// The first that does.
    First(Arc<PersistentVolume>),
}

/// The values of a label that nodes have, numbered from 1.
#[derive(Debug, Default)]
struct Values {
    seen: Seen,
    numbers: HashMap<Box<str>, usize>,
    /// By the node's position; 0: it has none.
    of_nodes: Arc<Vec<usize>>,
}

/// What is remembered of a label for claims of one kind.
#[derive(Clone, Debug)]
pub(super) struct FirstAt {
    of_nodes: Arc<Vec<usize>>,
    found: Found,
    changes: Arc<AtomicU64>,
    /// The changes when it was asked for: who looks at volumes after that does not see earlier ones.
    since: u64,
}

impl First {
    /// What is known for claims like this one, on the nodes of `snapshot`.
    pub(super) fn at(
        &self,
        claim: &PersistentVolumeClaim,
        label: &str,
        snapshot: &Snapshot,
    ) -> FirstAt {
        let since = self.changes.load(Ordering::Acquire);
        let mut known = self.known.lock();
        let of_nodes = known.follow(label, snapshot);
        FirstAt {
            of_nodes,
            found: known.found(claim, label),
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
        let Known { kinds, labels } = &mut *self.known.lock();
        let Some(known) = labels.get(&pin.key) else {
            return;
        };
        for number in values.iter().filter_map(|it| known.numbers.get(&**it)) {
            for kind in kinds.iter().filter(|kind| kind.label == pin.key) {
                if let Some(slot) = kind.found.lock().get_mut(*number) {
                    *slot = Slot::Unknown;
                }
            }
        }
    }
}

impl Known {
    /// The values of a label on the nodes of `snapshot`.
    fn follow(&mut self, label: &str, snapshot: &Snapshot) -> Arc<Vec<usize>> {
        let crowded = |values: &Values| values.numbers.len() > snapshot.nodes().len() + SPARE;
        if self.labels.get(label).is_some_and(crowded) {
            // They get other numbers.
            self.labels.remove(label);
            self.kinds.retain(|kind| kind.label != label);
        }
        if !self.labels.contains_key(label) {
            self.labels.insert(label.to_owned(), Values::default());
        }
        let Some(values) = self.labels.get_mut(label) else {
            return Arc::default();
        };
        values.follow(label, snapshot);
        values.of_nodes.clone()
    }

    fn found(&mut self, claim: &PersistentVolumeClaim, label: &str) -> Found {
        let (class, spec) = (class_of_claim(claim), claim.spec.as_ref());
        let known = self.kinds.iter().position(|kind| {
            kind.label == label && kind.class == class && Some(&kind.spec) == spec
        });
        let kind = match known {
            Some(at) => self.kinds.remove(at),
            None => Kind {
                class: class.to_owned(),
                spec: spec.cloned().unwrap_or_default(),
                label: label.to_owned(),
                found: Found::default(),
            },
        };
        let found = kind.found.clone();
        self.kinds.push(kind);
        if self.kinds.len() > MOST_KINDS {
            self.kinds.remove(0);
            let Self { kinds, labels } = self;
            labels.retain(|label, _| kinds.iter().any(|kind| kind.label == *label));
        }
        found
    }
}

impl Values {
    fn follow(&mut self, label: &str, snapshot: &Snapshot) {
        for position in self.seen.changed(snapshot) {
            let node = snapshot.nodes().get(position);
            let value = node.and_then(|node| node.labels()?.get(label));
            let number = value.map_or(0, |value| {
                let next = self.numbers.len() + 1;
                let number = self.numbers.get(value.as_str()).copied();
                number.unwrap_or_else(|| *self.numbers.entry(value.as_str().into()).or_insert(next))
            });
            if self.of_nodes.get(position) != Some(&number) {
                // Decisions that are being carried out keep the old ones.
                let of_nodes = Arc::make_mut(&mut self.of_nodes);
                if of_nodes.len() <= position {
                    of_nodes.resize(position + 1, 0);
                }
                if let Some(of_node) = of_nodes.get_mut(position) {
                    *of_node = number;
                }
            }
        }
    }
}

impl FirstAt {
    /// Whether there is a volume for the node at a position; `None`: it is not known.
    pub(super) fn any(&self, position: usize) -> Option<bool> {
        self.look(position, |slot| match slot {
            Slot::Unknown => None,
            Slot::Nothing => Some(false),
            Slot::First(_) => Some(true),
        })
    }

    /// What is known of the node at a position.
    pub(super) fn get(&self, position: usize) -> Slot {
        self.look(position, Slot::clone)
    }

    fn look<T>(&self, position: usize, told: impl FnOnce(&Slot) -> T) -> T {
        match self.of_nodes.get(position) {
            None => told(&Slot::Unknown),
            // Nothing is pinned to nodes that do not have the label.
            Some(0) => told(&Slot::Nothing),
            Some(number) => told(self.found.lock().get(*number).unwrap_or(&Slot::Unknown)),
        }
    }

    /// Remembers it, unless volumes have changed meanwhile.
    pub(super) fn insert(&self, position: usize, volume: Option<Arc<PersistentVolume>>) {
        let number = self.of_nodes.get(position).copied().unwrap_or(0);
        let mut found = self.found.lock();
        if number == 0 || self.changes.load(Ordering::Acquire) != self.since {
            return;
        }
        if found.len() <= number {
            found.resize(number + 1, Slot::Unknown);
        }
        if let Some(slot) = found.get_mut(number) {
            *slot = volume.map_or(Slot::Nothing, Slot::First);
        }
    }
}
