//! Pods that wait: to be scheduled now, after a backoff, or until something happens that may let them fit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::framework::{ClusterEvent, PodInfo, Profile};
use crate::reconcile::Key;
use crate::reconcile::activity::{Activity, Guard};

/// A pod that failed is not tried again before this …
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// … doubling up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod for which nothing happened is tried again after this, in case an event was overlooked.
const LEFTOVER: Duration = Duration::from_secs(300);

/// A pod in the queue.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub info: Arc<PodInfo>,
    pub profile: Arc<Profile>,
    /// How often it failed.
    pub attempts: u32,
    sequence: u64,
}

#[derive(Debug)]
enum Place {
    Active,
    Backoff(Instant),
    /// Until an event that one of these plugins waits for.
    Parked {
        rejectors: BTreeSet<String>,
        since: Instant,
    },
    /// Taken by the scheduler.
    Taken,
}

#[derive(Debug)]
struct Slot {
    queued: Queued,
    place: Place,
    /// While the pod is about to be scheduled.
    guard: Option<Guard>,
}

/// The queue; it holds each pod once.
#[derive(Debug)]
pub(super) struct Queue {
    slots: BTreeMap<Key, Slot>,
    active: BTreeSet<Ordered>,
    backoff: BTreeSet<(Instant, Key)>,
    /// The pods that wait for an event.
    parked: BTreeSet<Key>,
    sequence: u64,
    activity: Activity,
}

/// An active pod in its profile's order, then the order of arrival.
#[derive(Debug)]
struct Ordered {
    info: Arc<PodInfo>,
    profile: Arc<Profile>,
    sequence: u64,
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.profile
            .queue_sort
            .compare(&self.info, &other.info)
            .then(self.sequence.cmp(&other.sequence))
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ordered {}

impl Queue {
    pub(super) fn new(activity: Activity) -> Self {
        Self {
            slots: BTreeMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            parked: BTreeSet::new(),
            sequence: 0,
            activity,
        }
    }

    fn guard(&self, key: &Key, cause: &str, due: Option<Instant>) -> Guard {
        self.activity
            .begin("scheduler", key.to_string(), cause, due)
    }

    /// Takes in a new pod, or the new state of one that waits. `Err`: a plugin keeps it out for now; why.
    pub(super) fn put(
        &mut self,
        info: Arc<PodInfo>,
        profile: &Arc<Profile>,
    ) -> Result<(), super::framework::Status> {
        let key = info.key.clone();
        let known = self.slots.get_mut(&key).map(|slot| {
            let changed = changes_scheduling(&slot.queued.info, &info);
            slot.queued.info = info.clone();
            (changed, matches!(slot.place, Place::Parked { .. }))
        });
        match known {
            // It is on its way; the new state counts when it comes back.
            Some((_, false) | (false, true)) => return Ok(()),
            Some((true, true)) => {
                let rejection = gated(&info, profile);
                if let Some(rejection) = rejection {
                    return Err(rejection);
                }
                self.wake(&key, "the pod changed");
                return Ok(());
            }
            None => {}
        }
        self.sequence += 1;
        let queued = Queued {
            info: info.clone(),
            profile: profile.clone(),
            attempts: 0,
            sequence: self.sequence,
        };
        if let Some(rejection) = gated(&info, profile) {
            let place = Place::Parked {
                rejectors: [rejection.plugin.clone()].into(),
                since: Instant::now(),
            };
            self.parked.insert(key.clone());
            self.slots.insert(
                key,
                Slot {
                    queued,
                    place,
                    guard: None,
                },
            );
            return Err(rejection);
        }
        let guard = Some(self.guard(&key, "a new pod", None));
        self.slots.insert(
            key.clone(),
            Slot {
                queued,
                place: Place::Active,
                guard,
            },
        );
        self.activate(&key);
        Ok(())
    }

    /// Puts a slot that is marked so into the active order.
    fn activate(&mut self, key: &Key) {
        if let Some(slot) = self.slots.get(key) {
            self.active.insert(Ordered {
                info: slot.queued.info.clone(),
                profile: slot.queued.profile.clone(),
                sequence: slot.queued.sequence,
            });
        }
    }

    /// Forgets a pod that is gone or bound.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(slot) = self.slots.remove(key) else {
            return;
        };
        match slot.place {
            Place::Backoff(at) => {
                self.backoff.remove(&(at, key.clone()));
            }
            Place::Active => self.active.retain(|ordered| ordered.info.key != *key),
            Place::Parked { .. } => {
                self.parked.remove(key);
            }
            Place::Taken => {}
        }
    }

    /// Takes the next pod to schedule.
    pub(super) fn take(&mut self) -> Option<Queued> {
        self.release_due();
        let next = self.active.pop_first()?;
        let slot = self.slots.get_mut(&next.info.key)?;
        slot.place = Place::Taken;
        Some(slot.queued.clone())
    }

    /// Whether a pod can be taken now.
    pub(super) fn has_active(&mut self) -> bool {
        self.release_due();
        !self.active.is_empty()
    }

    /// Parks a pod that fits nowhere until an event that one of `rejectors` waits for.
    pub(super) fn park(&mut self, key: &Key, rejectors: BTreeSet<String>) {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.queued.attempts += 1;
            slot.place = Place::Parked {
                rejectors,
                since: Instant::now(),
            };
            slot.guard = None;
            self.parked.insert(key.clone());
        }
    }

    /// Tries a pod again after its backoff: something failed that may go well next time.
    pub(super) fn retry(&mut self, key: &Key, cause: &str) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.queued.attempts += 1;
        self.back_off(key, cause);
    }

    fn back_off(&mut self, key: &Key, cause: &str) {
        let Some(attempts) = self.slots.get(key).map(|slot| slot.queued.attempts) else {
            return;
        };
        let doubled = 1_u32
            .checked_shl(attempts.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let at = Instant::now() + FIRST_BACKOFF.saturating_mul(doubled).min(LONGEST_BACKOFF);
        let guard = Some(self.guard(key, cause, Some(at)));
        if let Some(slot) = self.slots.get_mut(key) {
            slot.place = Place::Backoff(at);
            slot.guard = guard;
        }
        self.backoff.insert((at, key.clone()));
    }

    /// Something happened: pods whose rejectors wait for it are tried again after their backoff.
    pub(super) fn event(&mut self, event: ClusterEvent) {
        let waits = |slot: &Slot| match &slot.place {
            Place::Parked { rejectors, .. } => rejectors.iter().any(|name| {
                let plugin = slot.queued.profile.rejector(name);
                plugin.is_some_and(|plugin| plugin.wakes(event, &slot.queued.info))
            }),
            _ => false,
        };
        let parked = self.parked.iter();
        let woken: Vec<Key> = parked
            .filter(|key| self.slots.get(key).is_some_and(waits))
            .cloned()
            .collect();
        for key in woken {
            self.wake(&key, "the cluster changed");
        }
    }

    /// A parked pod goes to its backoff, or at once to the active pods when that has passed.
    fn wake(&mut self, key: &Key, cause: &str) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let Place::Parked { since, .. } = slot.place else {
            return;
        };
        let doubled = 1_u32
            .checked_shl(slot.queued.attempts.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let due = since + FIRST_BACKOFF.saturating_mul(doubled).min(LONGEST_BACKOFF);
        let backs_off = slot.queued.attempts > 0 && due > Instant::now();
        let guard = Some(self.guard(key, cause, backs_off.then_some(due)));
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.guard = guard;
        self.parked.remove(key);
        if backs_off {
            slot.place = Place::Backoff(due);
            self.backoff.insert((due, key.clone()));
        } else {
            slot.place = Place::Active;
            self.activate(key);
        }
    }

    fn release_due(&mut self) {
        let now = Instant::now();
        while let Some((at, _)) = self.backoff.first() {
            if *at > now {
                break;
            }
            let Some((_, key)) = self.backoff.pop_first() else {
                break;
            };
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.place = Place::Active;
            }
            self.activate(&key);
        }
    }

    /// Tries pods again for which nothing happened in five minutes.
    pub(super) fn flush_leftovers(&mut self) {
        let now = Instant::now();
        let old = |slot: &Slot| matches!(slot.place, Place::Parked { since, .. } if since + LEFTOVER <= now);
        let parked = self.parked.iter().filter_map(|key| self.slots.get(key));
        let old: Vec<Key> = parked
            .filter(|slot| old(slot) && gated(&slot.queued.info, &slot.queued.profile).is_none())
            .map(|slot| slot.queued.info.key.clone())
            .collect();
        for key in old {
            self.wake(&key, "it has waited for long");
        }
    }

    /// When the next backoff ends.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.backoff.first().map(|(at, _)| *at)
    }
}

/// What keeps a pod out of the queue.
fn gated(info: &PodInfo, profile: &Profile) -> Option<super::framework::Status> {
    profile.pre_enqueue.iter().find_map(|plugin| {
        let status = plugin.pre_enqueue(info);
        (!status.is_success()).then(|| status.by(plugin.name()))
    })
}

/// Whether a change of a waiting pod may matter to its scheduling: not its status, which the scheduler itself writes.
fn changes_scheduling(old: &PodInfo, new: &PodInfo) -> bool {
    old.pod.spec != new.pod.spec || old.pod.metadata.labels != new.pod.metadata.labels
}

#[cfg(test)]
mod tests;
