//! Pods that wait: to be scheduled now, after a backoff, or until something happens that may let them fit.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::changes;
use super::framework::{Actions, ClusterEvent, Framework, PodInfo, Resource, Snapshot, Status};
use super::metrics::{Metrics, QueuePart};
use crate::reconcile::Key;
use crate::reconcile::activity::{Activity, Guard};

/// A pod that failed is not tried again before this …
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// … doubling up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A pod for which nothing happened is tried again after this, in case an event was overlooked.
const LEFTOVER: Duration = Duration::from_secs(300);

/// What brings a pod into the queue, as metrics name it.
const NEW: &str = "UnscheduledPodAdd";
/// In the place of a plugin, where none said no: no plugin has this name, and what nobody waits for anything lifts.
const NOBODY: &str = "";
/// What brings it back there.
const FAILED: &str = "ScheduleAttemptFailure";

/// A pod in the queue.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub info: Arc<PodInfo>,
    pub framework: Arc<Framework>,
    /// How often it failed.
    pub attempts: u32,
    /// When it came into the queue.
    pub since: Instant,
    /// Nothing had woken it for long, and so it is tried.
    pub flushed: bool,
    sequence: u64,
}

impl Queued {
    /// Whether it is one of a tenth of the pods, whose plugins are timed one by one. That of all would cost too much.
    pub(super) fn is_sampled(&self) -> bool {
        self.sequence.is_multiple_of(10)
    }
}

#[derive(Debug)]
enum Place {
    Active,
    /// Rejected before, and tried again at this time, or earlier when no other pod is to be scheduled.
    Backoff(Instant),
    /// Something failed; not tried again before this time.
    Failed(Instant),
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
    /// The number of the last event before it was taken.
    taken: u64,
}

impl Slot {
    /// What keeps the pod out of the queue.
    fn gate(&self) -> Option<Status> {
        self.queued.framework.gate(&self.queued.info)
    }
}

/// The queue; it holds each pod once.
#[derive(Debug)]
pub(super) struct Queue {
    slots: BTreeMap<Key, Slot>,
    active: BTreeSet<Ordered>,
    backoff: BTreeSet<(Instant, Key)>,
    failed: BTreeSet<(Instant, Key)>,
    /// The pods that wait for an event, by the plugins that wait for it.
    parked: BTreeMap<Rejector, BTreeSet<Key>>,
    sequence: u64,
    activity: Activity,
    /// How long pods that failed are left alone: at first, and at most.
    pause: (Duration, Duration),
    /// How many wait for an event, after an attempt or before the first one.
    waiting: (usize, usize),
    /// How many events there were.
    events: u64,
    /// The number of the last event of each kind.
    happened: BTreeMap<(Resource, Actions), u64>,
    metrics: Metrics,
}

/// A profile's name and a plugin of it.
type Rejector = (Arc<str>, Arc<str>);

/// An active pod in its profile's order, then the order of arrival.
#[derive(Debug)]
struct Ordered {
    info: Arc<PodInfo>,
    framework: Arc<Framework>,
    sequence: u64,
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.framework.queue_sort();
        order
            .map_or(Ordering::Equal, |order| {
                order.compare(&self.info, &other.info)
            })
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
            failed: BTreeSet::new(),
            parked: BTreeMap::new(),
            sequence: 0,
            activity,
            pause: (FIRST_BACKOFF, LONGEST_BACKOFF),
            waiting: (0, 0),
            events: 0,
            happened: BTreeMap::new(),
            metrics: Metrics::default(),
        }
    }

    /// With these limits of the backoff.
    pub(super) fn pausing(mut self, pause: Option<(Duration, Duration)>) -> Self {
        self.pause = pause.unwrap_or(self.pause);
        self
    }

    /// Counts here.
    pub(super) fn counting(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Shows how many pods wait for what.
    pub(super) fn show(&self) {
        let (unschedulable, gated) = self.waiting;
        self.metrics.pending(QueuePart::Active, self.active.len());
        let backoff = self.backoff.len() + self.failed.len();
        self.metrics.pending(QueuePart::Backoff, backoff);
        self.metrics
            .pending(QueuePart::Unschedulable, unschedulable);
        self.metrics.pending(QueuePart::Gated, gated);
    }

    fn guard(&self, key: &Key, cause: &str, due: Option<Instant>) -> Guard {
        self.activity
            .begin("scheduler", key.to_string(), cause, due)
    }

    /// Takes in a new pod, or the new state of one that waits. `Err`: a plugin keeps it out for now; why.
    pub(super) fn put(
        &mut self,
        info: Arc<PodInfo>,
        framework: &Arc<Framework>,
        snapshot: &Snapshot,
    ) -> Result<(), Status> {
        let key = info.key.clone();
        if self.slots.contains_key(&key) {
            return self.renew(info, snapshot);
        }
        self.sequence += 1;
        let queued = Queued {
            info: info.clone(),
            framework: framework.clone(),
            attempts: 0,
            since: Instant::now(),
            flushed: false,
            sequence: self.sequence,
        };
        let rejection = framework.gate(&info);
        let guard = match rejection {
            Some(_) => None,
            None => Some(self.guard(&key, "a new pod", None)),
        };
        let slot = Slot {
            queued,
            place: Place::Active,
            guard,
            taken: 0,
        };
        self.slots.insert(key.clone(), slot);
        if let Some(rejection) = rejection {
            self.metrics.incoming(QueuePart::Gated, NEW);
            self.lay_aside(&key, BTreeSet::from([rejection.plugin.clone()]));
            return Err(rejection);
        }
        self.metrics.incoming(QueuePart::Active, NEW);
        self.activate(&key);
        Ok(())
    }

    /// The new state of a pod that waits.
    fn renew(&mut self, info: Arc<PodInfo>, snapshot: &Snapshot) -> Result<(), Status> {
        let key = info.key.clone();
        let is_active = matches!(
            self.slots.get(&key).map(|slot| &slot.place),
            Some(Place::Active)
        );
        if is_active {
            // Its place in the order may be another one.
            self.deactivate(&key);
        }
        let Some(slot) = self.slots.get_mut(&key) else {
            return Ok(());
        };
        let old = std::mem::replace(&mut slot.queued.info, info.clone());
        let framework = slot.queued.framework.clone();
        let rejectors = match &slot.place {
            Place::Parked { rejectors, .. } => rejectors.clone(),
            Place::Active => {
                self.activate(&key);
                return Ok(());
            }
            // It is on its way; the new state counts when it comes back.
            Place::Backoff(_) | Place::Failed(_) | Place::Taken => return Ok(()),
        };
        let actions = changes::of_pod(&old, &info);
        if actions.is_empty() {
            return Ok(());
        }
        if let Some(rejection) = framework.gate(&info) {
            // It may be another plugin now that keeps it out.
            if !rejectors.contains(&rejection.plugin) {
                self.take_up(&key);
                self.lay_aside(&key, BTreeSet::from([rejection.plugin.clone()]));
            }
            return Err(rejection);
        }
        let event = ClusterEvent::new(Resource::TargetPod, actions);
        let event = event.with(Some(&*old), Some(&*info));
        let mut rejectors = rejectors.iter();
        if rejectors.any(|name| framework.wakes(name, &event, &info, snapshot)) {
            self.wake(&key, "the pod changed", "UnscheduledPodUpdate");
        }
        Ok(())
    }

    /// The pod of this key, as it waits.
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<PodInfo>> {
        self.slots.get(key).map(|slot| &slot.queued.info)
    }

    fn ordered(&self, key: &Key) -> Option<Ordered> {
        let Queued {
            info,
            framework,
            sequence,
            ..
        } = &self.slots.get(key)?.queued;
        Some(Ordered {
            info: info.clone(),
            framework: framework.clone(),
            sequence: *sequence,
        })
    }

    /// Puts a slot that is marked so into the active order.
    fn activate(&mut self, key: &Key) {
        self.active.extend(self.ordered(key));
    }

    fn deactivate(&mut self, key: &Key) {
        if let Some(ordered) = self.ordered(key) {
            self.active.remove(&ordered);
        }
    }

    /// Forgets a pod that is gone or bound; the pod, if it was there.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        match self.slots.get(key)?.place {
            Place::Backoff(at) => drop(self.backoff.remove(&(at, key.clone()))),
            Place::Failed(at) => drop(self.failed.remove(&(at, key.clone()))),
            Place::Active => self.deactivate(key),
            Place::Parked { .. } => self.take_up(key),
            Place::Taken => {}
        }
        Some(self.slots.remove(key)?.queued.info)
    }

    /// Takes the next pod to schedule.
    pub(super) fn take(&mut self) -> Option<Queued> {
        self.release_due();
        let next = match self.active.pop_first() {
            Some(next) => next.info.key.clone(),
            // Nothing is gained by waiting while there is nothing else to do.
            None => self.backoff.pop_first()?.1,
        };
        let slot = self.slots.get_mut(&next)?;
        (slot.place, slot.taken) = (Place::Taken, self.events);
        Some(slot.queued.clone())
    }

    /// Takes those of these pods that may be scheduled, whatever they wait for, in their order.
    pub(super) fn take_these(&mut self, keys: &[Key]) -> Vec<Queued> {
        let mut taken: Vec<Ordered> = Vec::new();
        for key in keys {
            let Some(slot) = self.slots.get(key) else {
                continue;
            };
            match slot.place {
                Place::Active => self.deactivate(key),
                Place::Backoff(at) => drop(self.backoff.remove(&(at, key.clone()))),
                Place::Parked { .. } if slot.gate().is_none() => self.take_up(key),
                Place::Parked { .. } | Place::Failed(_) | Place::Taken => continue,
            }
            let guard = self.guard(key, "its gang is tried", None);
            if let Some(slot) = self.slots.get_mut(key) {
                (slot.place, slot.taken) = (Place::Taken, self.events);
                slot.guard = Some(guard);
            }
            taken.extend(self.ordered(key));
        }
        taken.sort();
        let slots = taken.iter();
        let slots = slots.filter_map(|pod| self.slots.get(&pod.info.key));
        slots.map(|slot| slot.queued.clone()).collect()
    }

    /// Whether a pod can be taken now.
    pub(super) fn has_active(&mut self) -> bool {
        self.release_due();
        !self.active.is_empty() || !self.backoff.is_empty()
    }

    /// Parks a pod that fits nowhere until an event that one of `rejectors` waits for; without any, until any event.
    pub(super) fn park(&mut self, key: &Key, mut rejectors: BTreeSet<String>) {
        if let Some(slot) = self.slots.get_mut(key) {
            if rejectors.is_empty() {
                rejectors.insert(NOBODY.to_owned());
            }
            slot.queued.attempts += 1;
            self.metrics.incoming(QueuePart::Unschedulable, FAILED);
            self.lay_aside(key, rejectors);
        }
    }

    /// Puts a pod aside that is to be activated when something is done.
    pub(super) fn hold(&mut self, key: &Key) {
        self.lay_aside(key, BTreeSet::new());
    }

    fn lay_aside(&mut self, key: &Key, rejectors: BTreeSet<String>) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let profile = slot.queued.framework.shared_name();
        match slot.queued.attempts {
            0 => self.waiting.1 += 1,
            _ => self.waiting.0 += 1,
        }
        for name in &rejectors {
            self.metrics.rejected(name, &profile);
            let rejector = (profile.clone(), name.as_str().into());
            self.parked.entry(rejector).or_default().insert(key.clone());
        }
        slot.place = Place::Parked {
            rejectors,
            since: Instant::now(),
        };
        slot.queued.flushed = false;
        slot.guard = None;
    }

    /// Takes a pod out of those that wait for an event.
    fn take_up(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let Place::Parked { rejectors, .. } = &slot.place else {
            return;
        };
        let profile = slot.queued.framework.shared_name();
        match slot.queued.attempts {
            0 => self.waiting.1 = self.waiting.1.saturating_sub(1),
            _ => self.waiting.0 = self.waiting.0.saturating_sub(1),
        }
        for name in rejectors {
            self.metrics.released(name, &profile);
            let rejector = (profile.clone(), name.as_str().into());
            if let Some(pods) = self.parked.get_mut(&rejector) {
                pods.remove(key);
                if pods.is_empty() {
                    self.parked.remove(&rejector);
                }
            }
        }
    }

    /// Tries a pod again after its backoff: something failed that may go well next time.
    pub(super) fn retry(&mut self, key: &Key, cause: &str) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.queued.attempts += 1;
        self.metrics.incoming(QueuePart::Backoff, FAILED);
        let at = Instant::now() + backoff(slot.queued.attempts, self.pause);
        let guard = Some(self.guard(key, cause, Some(at)));
        if let Some(slot) = self.slots.get_mut(key) {
            slot.place = Place::Failed(at);
            slot.guard = guard;
        }
        self.failed.insert((at, key.clone()));
    }

    /// Tries a pod again at once, whatever it waits for, unless it is gated.
    pub(super) fn activate_now(&mut self, key: &Key) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        match slot.place {
            Place::Backoff(at) => drop(self.backoff.remove(&(at, key.clone()))),
            Place::Failed(at) => drop(self.failed.remove(&(at, key.clone()))),
            Place::Parked { .. } if slot.gate().is_none() => self.take_up(key),
            _ => return,
        }
        self.metrics.incoming(QueuePart::Active, "ForceActivate");
        let guard = Some(self.guard(key, "a plugin asked for it", None));
        if let Some(slot) = self.slots.get_mut(key) {
            slot.place = Place::Active;
            slot.guard = guard;
        }
        self.activate(key);
    }

    /// Something happened: pods whose rejectors wait for it are tried again after their backoff.
    pub(super) fn event(&mut self, event: &ClusterEvent<'_>, snapshot: &Snapshot) {
        self.event_for(event, snapshot, |_| true);
    }

    /// As [`Queue::event`], for some pods only.
    pub(super) fn event_for(
        &mut self,
        event: &ClusterEvent<'_>,
        snapshot: &Snapshot,
        concerns: impl Fn(&PodInfo) -> bool,
    ) {
        self.events += 1;
        let kind = (event.resource.clone(), event.actions);
        self.happened.insert(kind, self.events);
        let began = Instant::now();
        let label = event.label();
        let mut woken = BTreeSet::new();
        for ((_, plugin), pods) in &self.parked {
            // All pods here have a profile of the same name, which is the same profile.
            let mut slots = pods.iter().filter_map(|key| self.slots.get(key)).peekable();
            let framework = slots.peek().map(|slot| slot.queued.framework.clone());
            let Some(framework) = framework.filter(|framework| framework.awaits(plugin, event))
            else {
                continue;
            };
            let began = Instant::now();
            let (mut queued, mut skipped) = (0, 0);
            let infos = slots.map(|slot| &slot.queued.info);
            for info in infos.filter(|info| concerns(info)) {
                if framework.wakes(plugin, event, info, snapshot) {
                    queued += 1;
                    woken.insert(info.key.clone());
                } else {
                    skipped += 1;
                }
            }
            let took = began.elapsed();
            self.metrics.hinted(plugin, &label, (queued, skipped), took);
        }
        for key in woken {
            self.wake(&key, "the cluster changed", &label);
        }
        self.metrics.handled(label, began.elapsed());
    }

    /// Whether something has happened since a pod was taken that may let it fit, which `plugin` rejected. What it was exactly is
    /// not known any more.
    pub(super) fn has_missed(&self, key: &Key, plugin: &str) -> bool {
        let Some(slot) = self.slots.get(key) else {
            return false;
        };
        let framework = &slot.queued.framework;
        let mut since = self.happened.iter();
        since.any(|((resource, actions), at)| {
            let event = ClusterEvent::new(resource.clone(), *actions);
            *at > slot.taken && framework.awaits(plugin, &event)
        })
    }

    /// Wakes a pod that was parked too late for what it waits for.
    pub(super) fn wake_late(&mut self, key: &Key) {
        self.wake(key, "the cluster changed", "MissedEvent");
    }

    /// A parked pod goes to its backoff, or at once to the active pods when that has passed.
    fn wake(&mut self, key: &Key, cause: &str, label: &str) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        let Place::Parked { since, .. } = slot.place else {
            return;
        };
        if let Some(rejection) = slot.gate() {
            // What it waited for came, and something else is missing.
            self.take_up(key);
            self.lay_aside(key, BTreeSet::from([rejection.plugin]));
            return;
        }
        let due = since + backoff(slot.queued.attempts, self.pause);
        let backs_off = slot.queued.attempts > 0 && due > Instant::now();
        let guard = Some(self.guard(key, cause, backs_off.then_some(due)));
        self.take_up(key);
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        slot.guard = guard;
        let part = if backs_off {
            QueuePart::Backoff
        } else {
            QueuePart::Active
        };
        self.metrics.incoming(part, label);
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
        while let Some(key) = due(&mut self.backoff, now).or_else(|| due(&mut self.failed, now)) {
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.place = Place::Active;
            }
            self.metrics.incoming(QueuePart::Active, "BackoffComplete");
            self.activate(&key);
        }
    }

    /// Tries pods again for which nothing happened in five minutes.
    pub(super) fn flush_leftovers(&mut self) {
        let now = Instant::now();
        let old = |slot: &Slot| matches!(slot.place, Place::Parked { since, .. } if since + LEFTOVER <= now);
        let parked: BTreeSet<&Key> = self.parked.values().flatten().collect();
        let parked = parked.into_iter().filter_map(|key| self.slots.get(key));
        let old: Vec<Key> = parked
            .filter(|slot| old(slot) && slot.gate().is_none())
            .map(|slot| slot.queued.info.key.clone())
            .collect();
        for key in old {
            self.wake(&key, "it has waited for long", "UnschedulableTimeout");
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.queued.flushed = true;
            }
        }
    }

    /// When the next backoff ends that is to be waited for.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.failed.first().map(|(at, _)| *at)
    }
}

/// Takes out the first pod whose time has come.
fn due(pods: &mut BTreeSet<(Instant, Key)>, now: Instant) -> Option<Key> {
    pods.first().filter(|(at, _)| *at <= now)?;
    pods.pop_first().map(|(_, key)| key)
}

/// How long a pod that failed so often waits.
fn backoff(attempts: u32, (first, longest): (Duration, Duration)) -> Duration {
    let doubled = 1_u32
        .checked_shl(attempts.saturating_sub(1))
        .unwrap_or(u32::MAX);
    first.saturating_mul(doubled).min(longest)
}

#[cfg(test)]
mod tests;
