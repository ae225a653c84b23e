//! The scheduler's loop: follows pods and nodes, takes the next pod, decides, assumes, binds.
//!
//! One task owns everything, so a decision sees a state that does not change under it, and no event can be missed while
//! a pod is being decided about. Bindings run beside it, a bounded number at once.

mod aside;
mod decide;
mod gang;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::aside::Aside;
use self::steps::Steps;
use super::bind::{Attempt, Binding, Failure, Limits, bind};
use super::drain::Drain;
use super::framework::{
    Actions, ClusterEvent, Code, CycleState, Decision, Framework, Handle, PodInfo, Resource,
    Scheduler, Snapshot, Status, Unfit, WaitingPod,
};
use super::metrics::{CacheSize, Metrics, Outcome};
use super::queue::{Queue, Queued};
use super::{changes, evict, report};
use crate::client;
use crate::reconcile::activity::Guard;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{Activity, Cache, Delta, Error, Key, Manager};

/// The name under which the scheduler writes and records.
pub(super) const NAME: &str = "default-scheduler";
/// How often pods are looked for that nothing woke.
const LEFTOVERS: Duration = Duration::from_secs(30);
/// So many pods may be on their way to a node at once, those that wait at permit among them.
const MOST_TAILS: usize = 10_000;
/// Plugins that are not our own must come back within this; a little more than what a decision may wait for others.
const COME_BACK: Duration = Duration::from_secs(65);
/// So many decisions are made before changes are looked at and others get their turn.
const BATCH: usize = 16;

/// How many pods are listed at once.
const PAGE: usize = 500;
/// What fails at the start is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type MakeScheduler = Arc<dyn Fn(&Handle) -> Box<dyn Scheduler> + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub frameworks: Vec<Arc<Framework>>,
    pub handle: Handle,
    pub parallelism: usize,
    pub patience: Duration,
    pub backoff: Option<(Duration, Duration)>,
    pub metrics: Metrics,
    pub drain: Drain,
    pub make: MakeScheduler,
    /// Whether what it makes is the user's own.
    pub is_users: bool,
}

pub(super) fn install(manager: &Manager, settings: Settings) {
    let caches = Caches {
        pods: manager.cache(),
        nodes: manager.cache(),
        budgets: manager.cache(),
        namespaces: manager.cache(),
    };
    let activity = manager.activity().clone();
    // Caches that are filled before this scheduler acts show all that was written before. Those of one that takes over may not.
    let (lives, manager_of) = (AtomicU64::new(0), manager.downgrade());
    manager.add_task(NAME, move || {
        let has_rivals = manager_of
            .upgrade()
            .is_some_and(|manager| manager.is_candidate());
        let takes_over = lives.fetch_add(1, Ordering::Relaxed) > 0 || has_rivals;
        Loop::new(settings.clone(), activity.clone()).run(caches.clone(), takes_over)
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
    Bound(Box<Binding>, Result<(), Failure>, Guard),
    /// The victims of this pod's preemption were asked to leave.
    Evicted(Key, Guard),
    Reported,
    /// A pod that the cache did not show on its node: whether it is still there.
    Seen(Key, bool),
}

struct Loop {
    /// `None`: it is made when it is needed.
    scheduler: Option<Box<dyn Scheduler>>,
    aside: Aside,
    queue: Queue,
    activity: Activity,
    /// Shared while a decision runs on another thread.
    snapshot: Arc<Snapshot>,
    /// Where each pod is counted, and whether that is only assumed.
    places: BTreeMap<Key, (Arc<str>, bool)>,
    /// How many of them are.
    assumed: usize,
    /// How many bindings are under way.
    bindings: usize,
    /// Pods whose victims are being asked to leave, and who came up meanwhile and waits for that.
    preempting: BTreeMap<Key, BTreeSet<Key>>,
    limits: Limits,
    settings: Settings,
    tails: JoinSet<Tail>,
}

impl Loop {
    fn new(settings: Settings, activity: Activity) -> Self {
        Self {
            scheduler: None,
            aside: Aside::new(COME_BACK),
            queue: Queue::new(activity.clone())
                .pausing(settings.backoff)
                .counting(settings.metrics.clone()),
            activity,
            snapshot: Arc::default(),
            places: BTreeMap::new(),
            assumed: 0,
            bindings: 0,
            preempting: BTreeMap::new(),
            limits: Limits {
                writes: Arc::new(Semaphore::new(settings.parallelism)),
                patience: settings.patience,
                metrics: settings.metrics.clone(),
            },
            settings,
            tails: JoinSet::new(),
        }
    }

    async fn run(mut self, caches: Caches, takes_over: bool) -> Result<(), Error> {
        let drain = self.settings.drain.clone();
        let _running = drain.running();
        if takes_over {
            self.take_over(&caches.pods).await;
        }
        let (mut pods, mut nodes) = (caches.pods.subscribe(), caches.nodes.subscribe());
        let mut budgets = caches.budgets.subscribe();
        let mut namespaces = caches.namespaces.subscribe();
        let handle = self.settings.handle.clone();
        let mut followed = handle.changes();
        let mut leftovers = Instant::now() + LEFTOVERS;
        loop {
            self.queue.show();
            self.settings.metrics.cache(CacheSize {
                nodes: self.snapshot.present(),
                pods: self.places.len(),
                assumed: self.assumed,
            });
            self.settings.metrics.bindings(self.bindings);
            if drain.is_asked() && self.bindings == 0 {
                return Ok(());
            }
            let may_act = handle.may_act();
            let can_schedule = may_act
                && !drain.is_asked()
                && self.tails.len() < MOST_TAILS
                && self.queue.has_active();
            let due = self.queue.next_due().into_iter();
            let due = due.chain((!may_act).then(|| Instant::now() + RETRY));
            let due = due.fold(leftovers, Instant::min);
            tokio::select! {
                biased;
                deltas = namespaces.next() => match deltas {
                    Some(deltas) => deltas.into_iter().for_each(|delta| self.namespace(delta)),
                    None => return Ok(()),
                },
                deltas = budgets.next() => match deltas {
                    Some(deltas) => for delta in deltas {
                        self.snapshot_mut().set_budget(delta.key, delta.new);
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
                Some(changes) = followed.next() => for change in changes {
                    self.queue.event(&change.event(), &self.snapshot);
                },
                activated = handle.activated() => for key in activated {
                    self.queue.activate_now(&key);
                },
                Some(tail) = self.tails.join_next(), if !self.tails.is_empty() => self.tail(tail.ok()).await,
                () = drain.asked() => for waiting in handle.waiting().list() {
                    waiting.reject(NAME, "the scheduler stops");
                },
                () = std::future::ready(()), if can_schedule => {
                    for _ in 0..BATCH {
                        let Some(queued) = self.queue.take() else { break };
                        self.schedule(queued).await;
                    }
                    // Others must get their turn between decisions.
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

    /// Counts the pods that another scheduler, or an earlier life of this one, gave a node, and that the cache does not show there
    /// yet: their room would be given away a second time.
    async fn take_over(&mut self, cache: &Cache<Pod>) {
        let client = self.settings.handle.client().clone();
        let mut path = client::Path::of::<Pod>();
        "spec.nodeName!=".clone_into(&mut path.fields);
        let listed = loop {
            match client::list::<Pod>(&client, &path, PAGE).await {
                Ok(listed) => break listed,
                Err(error) => {
                    tracing::warn!(%error, "pods cannot be listed; nothing is scheduled until they are");
                    sleep(RETRY).await;
                }
            }
        };
        for pod in listed.items {
            let info = Arc::new(PodInfo::new(Arc::new(pod)));
            let shown = cache.get(&info.key);
            let is_shown = shown.is_some_and(|shown| {
                let spec = shown.spec.as_ref();
                spec.and_then(|spec| spec.node_name.as_deref()) == Some(info.node_name())
            });
            if is_shown || is_finished(&info.pod) || info.node_name().is_empty() {
                continue;
            }
            self.occupy(&info, info.node_name().into(), true);
            let (client, cache) = (client.clone(), cache.clone());
            self.tails.spawn(async move {
                cache.caught_up(&info.pod).await;
                let pods: Api<Pod> = Api::namespaced(client, &info.key.namespace);
                loop {
                    match pods.get_opt(&info.key.name).await {
                        Ok(pod) => {
                            let is_there = pod.is_some_and(|pod| {
                                pod.metadata.uid == info.pod.metadata.uid && !is_finished(&pod)
                            });
                            return Tail::Seen(info.key.clone(), is_there);
                        }
                        Err(_) => sleep(RETRY).await,
                    }
                }
            });
        }
    }

    fn namespace(&mut self, delta: Delta<Namespace>) {
        let (old, new) = (delta.old, delta.new);
        let actions = match (&old, &new) {
            (None, _) => Actions::ADD,
            (_, None) => Actions::DELETE,
            _ => Actions::UPDATE_OTHER,
        };
        self.snapshot_mut()
            .set_namespace(&delta.key.name, new.clone());
        let event = ClusterEvent::new(Resource::Namespace, actions);
        let event = event.with(old.as_deref(), new.as_deref());
        self.queue.event(&event, &self.snapshot);
    }

    fn node(&mut self, delta: Delta<Node>) {
        let Delta { key, old, new } = delta;
        let actions = changes::of_node(old.as_deref(), new.as_deref());
        self.snapshot_mut().set_node(&key.name, new.clone());
        if !actions.is_empty() {
            let event = ClusterEvent::new(Resource::Node, actions);
            let event = event.with(old.as_deref(), new.as_deref());
            self.queue.event(&event, &self.snapshot);
        }
    }

    fn pod(&mut self, delta: Delta<Pod>) {
        let key = delta.key;
        let Some(pod) = delta.new else {
            self.gone(&key);
            return;
        };
        let info = Arc::new(PodInfo::new(pod));
        if is_finished(&info.pod) {
            self.gone(&key);
        } else if !info.node_name().is_empty() {
            self.queue.remove(&key);
            self.assigned(&info);
            self.withdraw(&key, Some(info.node_name()));
        } else if info.is_terminating() {
            self.queue.remove(&key);
            self.withdraw(&key, None);
        } else if self.places.contains_key(&key) {
            // Assumed: its binding is on the way.
        } else {
            self.wait(&info);
        }
    }

    /// A pod that is not, or not any more.
    fn gone(&mut self, key: &Key) {
        let waited = self.queue.remove(key);
        self.withdraw(key, None);
        if let Some(pod) = waited {
            let event = ClusterEvent::new(Resource::UnscheduledPod, Actions::DELETE);
            let event = event.with(Some(&*pod), None);
            self.queue.event(&event, &self.snapshot);
        }
        self.vacate(key);
    }

    /// A pod that has a node.
    fn assigned(&mut self, info: &Arc<PodInfo>) {
        let old = match self.places.get(&info.key) {
            Some((node, false)) => self
                .snapshot
                .get(node)
                .and_then(|node| node.pods.get(&info.key).cloned()),
            _ => None,
        };
        self.occupy(info, info.node_name().into(), false);
        let actions = old
            .as_ref()
            .map_or(Actions::ADD, |old| changes::of_pod(old, info));
        if !actions.is_empty() {
            let event = ClusterEvent::new(Resource::AssignedPod, actions);
            let event = event.with(old.as_deref(), Some(&**info));
            self.queue.event(&event, &self.snapshot);
        }
    }

    /// A pod that is to be scheduled.
    fn wait(&mut self, info: &Arc<PodInfo>) {
        let Some(framework) = self.framework(info) else {
            return;
        };
        let status = info.pod.status.as_ref();
        let nominated = status.and_then(|status| status.nominated_node_name.as_deref());
        if let Some(node) = nominated.filter(|node| !node.is_empty())
            && self.snapshot.nomination(&info.key).is_none()
        {
            self.snapshot_mut().nominate(info, node);
        }
        let old = self.queue.get(&info.key).cloned();
        // One that a plugin keeps out has its condition from the API server.
        let _kept_out = self.queue.put(info.clone(), &framework, &self.snapshot);
        let actions = old
            .as_ref()
            .map_or(Actions::ADD, |old| changes::of_pod(old, info));
        if !actions.is_empty() {
            let event = ClusterEvent::new(Resource::UnscheduledPod, actions);
            let event = event.with(old.as_deref(), Some(&**info));
            self.queue.event(&event, &self.snapshot);
        }
    }

    /// Takes back the nomination of a pod, which went to `node` if anywhere. Those that had to do without the room may have it now.
    fn withdraw(&mut self, key: &Key, node: Option<&str>) {
        if let Some((nominated, pod)) = self.snapshot_mut().withdraw(key)
            && node != Some(&*nominated)
        {
            let event = ClusterEvent::new(Resource::AssignedPod, Actions::DELETE);
            let event = event.with(Some(&*pod), None);
            // The more important ones did not heed it.
            let heeded = |other: &PodInfo| other.key != pod.key && other.priority <= pod.priority;
            self.queue.event_for(&event, &self.snapshot, heeded);
        }
    }

    fn framework(&self, info: &PodInfo) -> Option<Arc<Framework>> {
        self.settings
            .frameworks
            .iter()
            .find(|framework| framework.name() == info.scheduler_name())
            .cloned()
    }

    /// Counts a pod on a node.
    fn occupy(&mut self, info: &Arc<PodInfo>, node: Arc<str>, assumed: bool) {
        let before = self.places.get(&info.key).map(|(before, _)| before.clone());
        match before {
            Some(before) if before == node => self.snapshot_mut().replace_pod(&node, info),
            before => {
                if let Some(before) = before {
                    self.snapshot_mut().remove_pod(&before, &info.key);
                }
                self.snapshot_mut().add_pod(&node, info);
            }
        }
        let was = self.places.insert(info.key.clone(), (node, assumed));
        self.assumed -= usize::from(was.is_some_and(|(_, assumed)| assumed));
        self.assumed += usize::from(assumed);
    }

    /// Counts a pod no longer.
    fn vacate(&mut self, key: &Key) {
        let Some((node, assumed)) = self.places.remove(key) else {
            return;
        };
        self.assumed -= usize::from(assumed);
        let removed = self.snapshot_mut().remove_pod(&node, key);
        let event = ClusterEvent::new(Resource::AssignedPod, Actions::DELETE);
        let event = event.with(removed.as_deref(), None);
        self.queue.event(&event, &self.snapshot);
    }

    async fn schedule(&mut self, queued: Queued) {
        match queued.framework.gang(&queued.info) {
            Ok(None) => {}
            Ok(Some(gang)) => return self.schedule_gang(queued, gang).await,
            Err(status) => return self.refused(&queued.info, status),
        }
        let attempt = Attempt::of(&queued);
        let Queued {
            info, framework, ..
        } = queued;
        if let Some(came) = self.preempting.get_mut(&info.key) {
            // Room is being made for it; it is tried when that is done.
            self.queue.hold(&info.key);
            came.insert(info.key.clone());
            return;
        }
        let decision = self.decide(&framework, &info).await;
        self.settings.metrics.decided(attempt.began.elapsed());
        match decision {
            Decision::Node(node, state) => {
                self.assume(info, framework, node, state, attempt).await;
            }
            Decision::Unfit(unfit) => {
                self.ended(Outcome::Unschedulable, &framework, attempt);
                self.unfit(&info, &framework, unfit);
            }
            Decision::Failed(error) => {
                self.ended(Outcome::Error, &framework, attempt);
                self.failed(&info, error, "a plugin failed");
            }
        }
    }

    /// Counts an attempt.
    fn ended(&self, outcome: Outcome, framework: &Framework, attempt: Attempt) {
        let (profile, took) = (framework.shared_name(), attempt.began.elapsed());
        self.settings.metrics.attempt(outcome, &profile, took);
    }

    /// Tries a pod again later.
    fn failed(&mut self, info: &Arc<PodInfo>, error: String, cause: &str) {
        self.event(info, EventType::Warning, "FailedScheduling", error.clone());
        self.queue.retry(&info.key, cause);
        self.report(info, "SchedulerError", error, None);
    }

    /// Parks a pod that fits nowhere; when it may take the place of others, they are asked to leave.
    fn unfit(&mut self, info: &Arc<PodInfo>, framework: &Framework, unfit: Unfit) {
        let message = unfit.message.clone();
        self.event(info, EventType::Warning, "FailedScheduling", message);
        self.queue.park(&info.key, unfit.rejectors);
        if !framework.post_filter.is_empty() {
            self.settings.metrics.preemption_attempted();
        }
        match unfit.room {
            Some((node, victims)) => self.preempt(info, framework, &node, victims),
            None if unfit.waits => {}
            None => self.withdraw(&info.key, None),
        }
        let nominated = self.snapshot.nomination(&info.key).map(ToString::to_string);
        self.report(info, "Unschedulable", unfit.message, nominated);
    }

    fn preempt(
        &mut self,
        info: &Arc<PodInfo>,
        framework: &Framework,
        node: &Arc<str>,
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
            self.withdraw(&other.key, None);
            let withdrawn = evict::withdraw(self.settings.handle.client().clone(), other);
            self.tails.spawn(async move {
                withdrawn.await;
                Tail::Reported
            });
        }
        self.settings.metrics.preempted(victims.len());
        self.snapshot_mut().nominate(info, node);
        let uid = info.pod.metadata.uid.as_deref().unwrap_or_default();
        for victim in &victims {
            // One that waits at permit has no place yet that it could leave gracefully.
            if let Some(waiting) = self.settings.handle.waiting().get(&victim.key) {
                waiting.reject(NAME, "preempted");
            }
            let message = format!("Preempted by pod {uid} on node {node}");
            self.event(victim, EventType::Normal, "Preempted", message);
        }
        let (key, guard) = (info.key.clone(), self.begin(&info.key, "preemption"));
        self.preempting.insert(key.clone(), BTreeSet::new());
        let evicted = evict::evict(
            self.settings.handle.client().clone(),
            self.settings.handle.clock().clone(),
            framework.name().to_owned(),
            victims,
        );
        let metrics = self.settings.metrics.clone();
        self.tails.spawn(async move {
            let since = Instant::now();
            let is_ok = evicted.await;
            metrics.evicted(is_ok, since.elapsed());
            Tail::Evicted(key, guard)
        });
    }

    /// Counts the pod on its node before it is bound, so that the next decision knows of it.
    async fn assume(
        &mut self,
        info: Arc<PodInfo>,
        framework: Arc<Framework>,
        node: Arc<str>,
        mut state: CycleState,
        attempt: Attempt,
    ) {
        let steps = Steps::new(&self.settings.metrics, attempt, &framework, &info, &node);
        let (asked, late) = (steps.clone(), steps.clone());
        let reserve = move || {
            let reserved = asked.reserve(&mut state);
            (state, reserved)
        };
        let undo = move |(mut state, reserved): (_, Result<_, _>)| {
            if reserved.is_ok() {
                late.unreserve(&mut state);
            }
        };
        let reserved = self.ask(&framework, &info.key, reserve, undo).await;
        let mut state = match reserved {
            Ok((state, Ok(()))) => state,
            Ok((_, Err(status))) => return self.turned_away(&info, &framework, status, attempt),
            Err(why) => {
                return self.turned_away(&info, &framework, Status::error(why), attempt);
            }
        };
        self.occupy(&info, node.clone(), true);
        let late = steps.clone();
        let permit = move || {
            let waits = steps.permit(&mut state);
            (state, waits)
        };
        let undo = move |(mut state, waits): (_, Result<_, _>)| {
            if waits.is_ok() {
                late.unreserve(&mut state);
            }
        };
        let permitted = self.ask(&framework, &info.key, permit, undo).await;
        let denied = match permitted {
            Ok((permitted, Ok(waits))) => Ok((permitted, waits)),
            Ok((_, Err(status))) => Err(status),
            Err(why) => Err(Status::error(why)),
        };
        let (state, waits) = match denied {
            Ok(permitted) => permitted,
            Err(status) => {
                self.vacate(&info.key);
                return self.turned_away(&info, &framework, status, attempt);
            }
        };
        self.withdraw(&info.key, Some(&node));
        let waits = (!waits.is_empty()).then(|| {
            let waiting = WaitingPod::new(info.clone(), node.clone(), waits);
            self.settings.handle.waiting().insert(&waiting);
            waiting
        });
        let guard = self.begin(&info.key, "binding");
        let binding = Binding {
            pod: info,
            framework,
            node,
            state,
            waits,
            attempt,
        };
        let limits = self.limits.clone();
        self.bindings += 1;
        self.tails.spawn(async move {
            let (binding, result) = bind(limits, binding).await;
            Tail::Bound(Box::new(binding), result, guard)
        });
    }

    /// An attempt ends because a plugin does not want the pod on the node that was chosen.
    fn turned_away(
        &mut self,
        info: &Arc<PodInfo>,
        framework: &Framework,
        status: Status,
        attempt: Attempt,
    ) {
        self.ended(outcome(status.code), framework, attempt);
        self.refused(info, status);
    }

    /// A plugin does not want the pod on the node that was chosen: it waits for the plugin's events.
    fn refused(&mut self, info: &Arc<PodInfo>, status: Status) {
        let message = status.reasons.join(", ");
        if status.code == Code::Error {
            self.failed(info, message, "a plugin failed");
            return;
        }
        self.event(
            info,
            EventType::Warning,
            "FailedScheduling",
            message.clone(),
        );
        self.queue
            .park(&info.key, BTreeSet::from([status.plugin.clone()]));
        self.report(info, "Unschedulable", message, None);
    }

    async fn tail(&mut self, tail: Option<Tail>) {
        let (binding, result, guard) = match tail {
            Some(Tail::Bound(binding, result, guard)) => {
                self.bindings -= 1;
                (binding, result, guard)
            }
            Some(Tail::Seen(key, is_there)) => {
                let assumed = self.places.get(&key).is_some_and(|(_, assumed)| *assumed);
                if assumed && !is_there {
                    self.vacate(&key);
                }
                return;
            }
            Some(Tail::Evicted(key, guard)) => {
                self.room_is_made(&key);
                drop(guard);
                return;
            }
            Some(Tail::Reported) | None => return,
        };
        let Binding {
            pod,
            framework,
            node,
            mut state,
            waits,
            attempt,
        } = *binding;
        if waits.is_some() {
            self.settings.handle.waiting().remove(&pod.key);
        }
        let Err(failure) = result else {
            self.ended(Outcome::Scheduled, &framework, attempt);
            let tries = attempt.earlier.saturating_add(1);
            self.settings.metrics.bound(tries, attempt.queued.elapsed());
            if attempt.flushed {
                self.settings.metrics.bound_after_flush();
            }
            self.queue.remove(&pod.key);
            let message = format!("Successfully assigned {} to {node}", pod.key);
            self.event(&pod, EventType::Normal, "Scheduled", message);
            drop(guard);
            return;
        };
        let steps = Steps::new(&self.settings.metrics, attempt, &framework, &pod, &node);
        let unreserve = move || steps.unreserve(&mut state);
        // One that does not come back is told; there is nothing that would wait for it.
        let _ = self.ask(&framework, &pod.key, unreserve, drop).await;
        let outcome = match &failure {
            Failure::Rejected(status) => outcome(status.code),
            Failure::Failed(_) => Outcome::Error,
        };
        self.ended(outcome, &framework, attempt);
        // It could not be woken on its way.
        let missed = match &failure {
            Failure::Rejected(status) => self.queue.has_missed(&pod.key, &status.plugin),
            Failure::Failed(_) => false,
        };
        // Whether the binding took effect may be unknown; if it did, the watch says so and the pod is counted again.
        let assumed = self.places.get(&pod.key);
        if assumed.is_some_and(|(_, assumed)| *assumed) {
            self.vacate(&pod.key);
            match failure {
                Failure::Rejected(status) => {
                    self.refused(&pod, status);
                    if missed {
                        self.queue.wake_late(&pod.key);
                    }
                }
                Failure::Failed(error) => self.failed(&pod, error, "binding failed"),
            }
        }
        drop(guard);
    }

    /// To change it: where a decision that does not come back still reads it, in a copy.
    fn snapshot_mut(&mut self) -> &mut Snapshot {
        Arc::make_mut(&mut self.snapshot)
    }

    fn begin(&self, key: &Key, cause: &'static str) -> Guard {
        self.activity.begin(NAME, key.to_string(), cause, None)
    }

    fn event(&self, about: &PodInfo, type_: EventType, reason: &str, message: String) {
        let recorder = self.settings.handle.recorder();
        recorder.event(reference(&*about.pod), type_, reason, message);
    }

    fn report(
        &mut self,
        info: &PodInfo,
        reason: &'static str,
        message: String,
        nominated: Option<String>,
    ) {
        let guard = self.begin(&info.key, reason);
        let report = report::unscheduled(
            self.settings.handle.client().clone(),
            self.settings.handle.clock().clone(),
            info.pod.clone(),
            reason,
            message,
            nominated,
        );
        self.tails.spawn(async move {
            report.await;
            drop(guard);
            Tail::Reported
        });
    }
}

/// How an attempt ends that a plugin ended.
fn outcome(code: Code) -> Outcome {
    match code {
        Code::Error => Outcome::Error,
        _ => Outcome::Unschedulable,
    }
}

fn is_finished(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests;
