//! The scheduler's loop: follows pods and nodes, takes the next pod, decides, assumes, binds.
//!
//! One task owns everything, so a decision sees a state that does not change under it, and no event can be missed while
//! a pod is being decided about. Bindings run beside it, a bounded number at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use tokio::time::{Instant, sleep_until};

use super::bind::{Binding, bind};
use super::cycle::{Decider, Decision, Unfit};
use super::evict;
use super::framework::{ClusterEvent, CycleState, PodInfo, Profile, Snapshot};
use super::queue::{Queue, Queued};
use super::report;
use crate::clock::Clock;
use crate::reconcile::activity::Guard;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{Activity, Cache, Delta, Error, Key, Manager, Recorder};

/// The name under which the scheduler writes and records.
const NAME: &str = "default-scheduler";
/// How often pods are looked for that nothing woke.
const LEFTOVERS: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub profiles: Vec<Arc<Profile>>,
    pub parallelism: usize,
    pub percentage: Option<u32>,
}

pub(super) fn install(manager: &Manager, settings: Settings) {
    let caches = Caches {
        pods: manager.cache(),
        nodes: manager.cache(),
        budgets: manager.cache(),
        namespaces: manager.cache(),
    };
    let (client, recorder) = (manager.client_for(NAME), manager.recorder(NAME));
    let (clock, activity) = (manager.clock().clone(), manager.activity().clone());
    manager.add_task(NAME, move || {
        let scheduler = Scheduler {
            client: client.clone(),
            recorder: recorder.clone(),
            clock: clock.clone(),
            decider: Decider::new(clock.fork(NAME), settings.percentage),
            queue: Queue::new(activity.clone()),
            activity: activity.clone(),
            snapshot: Snapshot::default(),
            places: BTreeMap::new(),
            settings: settings.clone(),
            tails: FuturesUnordered::new(),
            bindings: 0,
        };
        scheduler.run(caches.clone())
    });
}

/// What the scheduler follows.
#[derive(Clone)]
struct Caches {
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    budgets: Cache<PodDisruptionBudget>,
    namespaces: Cache<Namespace>,
}

/// What runs beside the loop.
enum Tail {
    Bound(Binding, Result<(), Error>, Guard),
    Reported,
}

struct Scheduler {
    client: kube::Client,
    recorder: Recorder,
    clock: Clock,
    decider: Decider,
    queue: Queue,
    activity: Activity,
    snapshot: Snapshot,
    /// Where each pod is counted, and whether that is only assumed.
    places: BTreeMap<Key, (String, bool)>,
    settings: Settings,
    tails: FuturesUnordered<BoxFuture<'static, Tail>>,
    bindings: usize,
}

impl Scheduler {
    async fn run(mut self, caches: Caches) -> Result<(), Error> {
        let (mut pods, mut nodes) = (caches.pods.subscribe(), caches.nodes.subscribe());
        let mut budgets = caches.budgets.subscribe();
        let mut namespaces = caches.namespaces.subscribe();
        let mut leftovers = Instant::now() + LEFTOVERS;
        loop {
            let can_schedule = self.bindings < self.settings.parallelism && self.queue.has_active();
            let due = self
                .queue
                .next_due()
                .map_or(leftovers, |due| due.min(leftovers));
            tokio::select! {
                biased;
                deltas = namespaces.next() => match deltas {
                    Some(deltas) => for delta in deltas {
                        self.snapshot.set_namespace(&delta.key.name, delta.new);
                    },
                    None => return Ok(()),
                },
                deltas = budgets.next() => match deltas {
                    Some(deltas) => for delta in deltas {
                        self.snapshot.set_budget(delta.key, delta.new);
                    },
                    None => return Ok(()),
                },
                deltas = nodes.next() => match deltas {
                    Some(deltas) => deltas.into_iter().for_each(|delta| self.node(delta)),
                    None => return Ok(()),
                },
                deltas = pods.next() => match deltas {
                    Some(deltas) => deltas.into_iter().for_each(|delta| self.pod(delta)),
                    None => return Ok(()),
                },
                Some(tail) = self.tails.next(), if !self.tails.is_empty() => self.tail(tail),
                () = std::future::ready(()), if can_schedule => {
                    if let Some(queued) = self.queue.take() {
                        self.schedule(queued);
                    }
                    // Others must get their turn between two decisions.
                    tokio::task::yield_now().await;
                }
                () = sleep_until(due) => {
                    if leftovers <= Instant::now() {
                        self.queue.flush_leftovers();
                        leftovers = Instant::now() + LEFTOVERS;
                    }
                }
            }
        }
    }

    fn node(&mut self, delta: Delta<Node>) {
        let name = &delta.key.name;
        for event in node_events(delta.old.as_deref(), delta.new.as_deref()) {
            self.queue.event(event);
        }
        self.snapshot.entry(name).set_node(delta.new);
        self.snapshot.prune(name);
    }

    fn pod(&mut self, delta: Delta<Pod>) {
        let key = delta.key;
        let Some(pod) = delta.new else {
            self.forget(&key);
            self.vacate(&key);
            return;
        };
        let info = Arc::new(PodInfo::new(pod));
        let finished = matches!(phase(&info.pod), "Succeeded" | "Failed");
        if finished {
            self.forget(&key);
            self.vacate(&key);
        } else if !info.node_name().is_empty() {
            self.forget(&key);
            let known = self.places.get(&key).is_some_and(|(_, assumed)| !assumed);
            let labels = |pod: &Arc<Pod>| pod.metadata.labels.clone();
            let moved = delta.old.as_ref().map(labels) != Some(labels(&info.pod));
            self.occupy(&info, info.node_name().to_owned(), false);
            if !known || moved {
                self.queue.event(ClusterEvent::PodAssigned);
            }
        } else if info.is_terminating() {
            self.forget(&key);
        } else if self.places.contains_key(&key) {
            // Assumed: its binding is on the way.
        } else {
            self.wait(info);
        }
    }

    /// A pod that is to be scheduled.
    fn wait(&mut self, info: Arc<PodInfo>) {
        let Some(profile) = self.profile(&info) else {
            return;
        };
        let status = info.pod.status.as_ref();
        let nominated = status.and_then(|status| status.nominated_node_name.clone());
        if let Some(node) = nominated.filter(|node| !node.is_empty())
            && self.snapshot.nomination(&info.key).is_none()
        {
            self.snapshot.nominate(&info, &node);
        }
        if let Err(rejection) = self.queue.put(info.clone(), &profile) {
            self.report(&info, "SchedulingGated", rejection.reasons.join(", "), None);
        }
    }

    /// A pod that is not to be scheduled any more.
    fn forget(&mut self, key: &Key) {
        self.queue.remove(key);
        self.snapshot.withdraw(key);
    }

    fn profile(&self, info: &PodInfo) -> Option<Arc<Profile>> {
        self.settings
            .profiles
            .iter()
            .find(|profile| profile.name() == info.scheduler_name())
            .cloned()
    }

    /// Counts a pod on a node.
    fn occupy(&mut self, info: &Arc<PodInfo>, node: String, assumed: bool) {
        if let Some((before, _)) = self.places.get(&info.key).cloned() {
            if before == node {
                self.snapshot.entry(&node).replace_pod(info);
                self.places.insert(info.key.clone(), (node, assumed));
                return;
            }
            self.snapshot.entry(&before).remove_pod(&info.key);
        }
        self.snapshot.entry(&node).add_pod(info);
        self.places.insert(info.key.clone(), (node, assumed));
    }

    /// Counts a pod no longer.
    fn vacate(&mut self, key: &Key) {
        let Some((node, _)) = self.places.remove(key) else {
            return;
        };
        self.snapshot.entry(&node).remove_pod(key);
        self.snapshot.prune(&node);
        self.queue.event(ClusterEvent::PodDeleted);
    }

    fn schedule(&mut self, queued: Queued) {
        let Queued { info, profile, .. } = queued;
        match self.decider.decide(&profile, &info, &self.snapshot) {
            Decision::Node(node, state) => self.assume(info, profile, node, state),
            Decision::Unfit(unfit) => self.unfit(&info, &profile, unfit),
            Decision::Failed(error) => {
                self.recorder.event(
                    reference(&*info.pod),
                    EventType::Warning,
                    "FailedScheduling",
                    error.clone(),
                );
                self.queue.retry(&info.key, "a plugin failed");
                self.report(&info, "SchedulerError", error, None);
            }
        }
    }

    /// Parks a pod that fits nowhere; when it may take the place of others, they are asked to leave.
    fn unfit(&mut self, info: &Arc<PodInfo>, profile: &Profile, unfit: Unfit) {
        self.recorder.event(
            reference(&*info.pod),
            EventType::Warning,
            "FailedScheduling",
            unfit.message.clone(),
        );
        self.queue.park(&info.key, unfit.rejectors);
        match unfit.room {
            Some((node, victims)) => self.preempt(info, profile, &node, victims),
            None if unfit.waits => {}
            None => self.snapshot.withdraw(&info.key),
        }
        let nominated = self.snapshot.nomination(&info.key).map(ToString::to_string);
        self.report(info, "Unschedulable", unfit.message, nominated);
    }

    fn preempt(
        &mut self,
        info: &Arc<PodInfo>,
        profile: &Profile,
        node: &str,
        victims: Vec<Arc<PodInfo>>,
    ) {
        // Those of lower priority that wait for room there have to find another place.
        let lower: Vec<_> = self
            .snapshot
            .nominated_to(node)
            .filter(|other| other.priority < info.priority)
            .cloned()
            .collect();
        for other in lower {
            self.snapshot.withdraw(&other.key);
            let withdrawn = evict::withdraw(self.client.clone(), other);
            self.tails
                .push(Box::pin(withdrawn.map(|()| Tail::Reported)));
        }
        self.snapshot.nominate(info, node);
        let uid = info.pod.metadata.uid.as_deref().unwrap_or_default();
        for victim in &victims {
            self.recorder.event(
                reference(&*victim.pod),
                EventType::Normal,
                "Preempted",
                format!("Preempted by pod {uid} on node {node}"),
            );
        }
        let guard = self
            .activity
            .begin(NAME, info.key.to_string(), "preemption", None);
        let evicted = evict::evict(
            self.client.clone(),
            self.clock.clone(),
            profile.name().to_owned(),
            victims,
        );
        self.tails.push(Box::pin(async move {
            evicted.await;
            drop(guard);
            Tail::Reported
        }));
    }

    /// Counts the pod on its node before it is bound, so that the next decision knows of it.
    fn assume(
        &mut self,
        info: Arc<PodInfo>,
        profile: Arc<Profile>,
        node: String,
        mut state: CycleState,
    ) {
        for (index, plugin) in profile.reserve.iter().enumerate() {
            let status = plugin.reserve(&mut state, &info, &node);
            if !status.is_success() {
                profile.reserve[..=index]
                    .iter()
                    .rev()
                    .for_each(|plugin| plugin.unreserve(&mut state, &info, &node));
                self.queue.retry(&info.key, "a reservation failed");
                self.report(&info, "SchedulerError", status.reasons.join(", "), None);
                return;
            }
        }
        self.occupy(&info, node.clone(), true);
        self.snapshot.withdraw(&info.key);
        self.bindings += 1;
        let guard = self
            .activity
            .begin(NAME, info.key.to_string(), "binding", None);
        let (client, binding) = (
            self.client.clone(),
            Binding {
                pod: info,
                profile,
                node,
                state,
            },
        );
        self.tails.push(Box::pin(async move {
            let (binding, result) = bind(client, binding).await;
            Tail::Bound(binding, result, guard)
        }));
    }

    fn tail(&mut self, tail: Tail) {
        let Tail::Bound(binding, result, guard) = tail else {
            return;
        };
        let Binding {
            pod,
            profile,
            node,
            mut state,
        } = binding;
        self.bindings -= 1;
        match result {
            Ok(()) => {
                self.queue.remove(&pod.key);
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.recorder.event(
                    reference(&*pod.pod),
                    EventType::Normal,
                    "Scheduled",
                    message,
                );
            }
            Err(error) => {
                profile
                    .reserve
                    .iter()
                    .rev()
                    .for_each(|plugin| plugin.unreserve(&mut state, &pod, &node));
                // Whether the binding took effect may be unknown; if it did, the watch says so and the pod is counted again.
                if self
                    .places
                    .get(&pod.key)
                    .is_some_and(|(_, assumed)| *assumed)
                {
                    self.vacate(&pod.key);
                    self.queue.retry(&pod.key, "binding failed");
                    self.recorder.event(
                        reference(&*pod.pod),
                        EventType::Warning,
                        "FailedScheduling",
                        error.to_string(),
                    );
                    self.report(&pod, "SchedulerError", error.to_string(), None);
                }
            }
        }
        drop(guard);
    }

    fn report(
        &mut self,
        info: &PodInfo,
        reason: &'static str,
        message: String,
        nominated: Option<String>,
    ) {
        let guard = self
            .activity
            .begin(NAME, info.key.to_string(), reason, None);
        let report = report::unscheduled(
            self.client.clone(),
            self.clock.clone(),
            info.pod.clone(),
            reason,
            message,
            nominated,
        );
        self.tails.push(Box::pin(async move {
            report.await;
            drop(guard);
            Tail::Reported
        }));
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// What a change of a node means to waiting pods.
fn node_events(old: Option<&Node>, new: Option<&Node>) -> Vec<ClusterEvent> {
    let (old, new) = match (old, new) {
        (None, Some(_)) => return vec![ClusterEvent::NodeAdded],
        (Some(old), Some(new)) => (old, new),
        (_, None) => return Vec::new(),
    };
    let allocatable = |node: &Node| {
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.clone())
    };
    let taints = |node: &Node| {
        node.spec
            .as_ref()
            .map(|spec| (spec.taints.clone(), spec.unschedulable))
    };
    let mut events = Vec::new();
    if allocatable(old) != allocatable(new) {
        events.push(ClusterEvent::NodeAllocatable);
    }
    if old.metadata.labels != new.metadata.labels {
        events.push(ClusterEvent::NodeLabels);
    }
    if taints(old) != taints(new) {
        events.push(ClusterEvent::NodeTaints);
    }
    events
}
