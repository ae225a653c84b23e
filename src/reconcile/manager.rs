//! The manager: one cache per kind, controllers started after their caches and stopped before them.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cache::{Cache, Object};
use super::controller::{Controller, panic_text};
use super::events::Sink;
use super::leader::{Elector, LeaderConfig, Tenure};
use super::queue::{Metrics, Queue};
use super::source::Wake;
use super::{Activity, Error, Recorder, exposition, feed};
use crate::client;
use crate::clock::Clock;

/// How long [`Manager::start`] waits for the caches.
const SYNC: Duration = Duration::from_secs(120);
/// How long [`Manager::stop`] waits for the keys under way.
const DRAIN: Duration = Duration::from_secs(30);
/// How long giving up the lease may take.
const RELEASE: Duration = Duration::from_secs(5);
/// A task that fails is started again after this long, doubling up to a minute.
const RESTART: Duration = Duration::from_secs(1);

/// Runs caches, controllers and other tasks; see the [module](super). Clones share it; when the last one is dropped,
/// everything it runs ends.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    clock: Clock,
    activity: Activity,
    events: Arc<Sink>,
    state: Mutex<State>,
    leadership: watch::Sender<Leadership>,
    tenure: Tenure,
}

#[derive(Default)]
struct State {
    caches: Vec<Slot>,
    /// Added and not started.
    controllers: Vec<Controller>,
    tasks: Vec<Task>,
    queues: Vec<Running>,
    stage: Stage,
    /// Sources and workers, by what they stop with.
    feeds: JoinSet<()>,
    sources: JoinSet<()>,
    workers: JoinSet<()>,
    /// Runs for leadership, when that was asked for.
    election: JoinSet<()>,
    lease: Option<LeaderConfig>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    New,
    Caches,
    Running,
    Stopped,
}

/// A controller that was started.
struct Running {
    name: String,
    workers: usize,
    queue: Arc<Queue>,
}

/// Whether a manager's controllers run, when it has rivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another one leads, or nobody yet.
    Candidate,
    /// This one leads: its controllers run.
    Leader,
    /// This one led and does no longer: its controllers are stopped for good. Make a new manager to run again.
    Lost,
}

struct Slot {
    type_: TypeId,
    kind: String,
    cache: Box<dyn Any + Send + Sync>,
    /// Fills the cache; taken when it is started.
    feed: Option<BoxFuture<'static, ()>>,
    synced: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    is_synced: Box<dyn Fn() -> bool + Send + Sync>,
    stop: Box<dyn Fn() + Send + Sync>,
}

type Task = (
    String,
    Arc<dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync>,
);

/// A manager that others keep alive: for what the manager itself runs, which would otherwise keep it from ever ending.
#[derive(Clone)]
pub struct WeakManager(Weak<Inner>);

impl WeakManager {
    /// The manager, while somebody holds it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Manager> {
        self.0.upgrade().map(|inner| Manager { inner })
    }

    /// As [`Manager::cache`]; an empty cache that has stopped when the manager is no more.
    #[must_use]
    pub fn cache<K: Object>(&self) -> Cache<K> {
        self.upgrade().map_or_else(
            || {
                let cache = Cache::new();
                cache.stop();
                cache
            },
            |manager| manager.cache(),
        )
    }
}

impl fmt::Debug for WeakManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakManager").field(&self.upgrade()).finish()
    }
}

impl Manager {
    /// This manager, without keeping it alive.
    #[must_use]
    pub fn downgrade(&self) -> WeakManager {
        WeakManager(Arc::downgrade(&self.inner))
    }

    /// A manager that reads and writes through `client`. Nothing runs until [`Manager::start`].
    #[must_use]
    pub fn new(client: kube::Client, clock: Clock) -> Self {
        Self::with_activity(client, clock, Activity::default())
    }

    /// A manager that notes its work in `activity`, beside others.
    #[must_use]
    pub fn with_activity(client: kube::Client, clock: Clock, activity: Activity) -> Self {
        let events = Arc::new(Sink::new(clock.fork("events"), activity.clone()));
        Self {
            inner: Arc::new(Inner {
                client,
                clock,
                activity,
                events,
                state: Mutex::default(),
                leadership: watch::Sender::new(Leadership::Candidate),
                tenure: Tenure::default(),
            }),
        }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.inner.client.clone()
    }

    /// A client that names `component` as its user agent, so that writes are recorded as its own. Must be called within
    /// a tokio runtime.
    #[must_use]
    pub fn client_for(&self, component: &str) -> kube::Client {
        client::with_user_agent(&self.inner.client, component)
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// What is under way; `settle()` reads it.
    #[must_use]
    pub fn activity(&self) -> &Activity {
        &self.inner.activity
    }

    /// The one cache of kind `K`; made, and started when the manager runs already, at the first call.
    #[must_use]
    pub fn cache<K: Object>(&self) -> Cache<K> {
        let mut state = self.inner.state.lock();
        let type_ = TypeId::of::<K>();
        let known = state.caches.iter().find(|slot| slot.type_ == type_);
        if let Some(cache) = known.and_then(|slot| slot.cache.downcast_ref::<Cache<K>>()) {
            return cache.clone();
        }
        let cache = Cache::<K>::new();
        let clock = self.inner.clock.fork(&format!("cache {}", K::kind(&())));
        let (for_synced, for_is_synced, for_stop) = (cache.clone(), cache.clone(), cache.clone());
        let mut slot = Slot {
            type_,
            kind: K::kind(&()).into_owned(),
            cache: Box::new(cache.clone()),
            feed: Some(feed::feed(self.inner.client.clone(), cache.clone(), clock).boxed()),
            synced: Box::new(move || {
                let cache = for_synced.clone();
                async move { cache.synced().await }.boxed()
            }),
            is_synced: Box::new(move || for_is_synced.is_synced()),
            stop: Box::new(move || for_stop.stop()),
        };
        match state.stage {
            Stage::New => {}
            Stage::Caches | Stage::Running => {
                if let Some(feed) = slot.feed.take() {
                    state.feeds.spawn(feed);
                }
            }
            Stage::Stopped => cache.stop(),
        }
        state.caches.push(slot);
        cache
    }

    /// An event recorder for `component`. Must be called within a tokio runtime.
    #[must_use]
    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(
            self.inner.events.clone(),
            self.client_for(component),
            component,
        )
    }

    /// Makes this manager one of several, of which one acts: its controllers and tasks start when it leads, by holding the
    /// Lease that `config` names, and are stopped when it does no longer. Its caches are kept filled all the time, so that it
    /// can take over at once. Has no effect after the start.
    pub fn elect(&self, config: LeaderConfig) {
        self.inner.state.lock().lease = Some(config);
    }

    /// Whether it is one of several, by [`Manager::elect`].
    #[must_use]
    pub fn is_candidate(&self) -> bool {
        self.inner.state.lock().lease.is_some()
    }

    /// Whether it has no rivals, or leads, and its lease has not run out by its own clock. What must not be done twice is done only
    /// while this holds: a process that was stopped for longer than its lease goes on where it was, before it learns that another
    /// one leads.
    #[must_use]
    pub fn may_act(&self) -> bool {
        !self.is_candidate() || self.inner.tenure.lasts()
    }

    /// Whether this manager's controllers run. A manager without rivals leads from its start.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// Adds a controller; when the manager runs already, it starts as soon as its sources are ready.
    pub fn add(&self, controller: Controller) {
        let mut state = self.inner.state.lock();
        match state.stage {
            Stage::Running => {
                let start = self.inner.launch(&mut state, controller);
                state.sources.spawn(async move {
                    for worker in start.await {
                        worker.await;
                    }
                });
            }
            Stage::Stopped => {}
            Stage::New | Stage::Caches => state.controllers.push(controller),
        }
    }

    /// Adds a task that runs from the start of the controllers (after their caches are synced) until the manager stops,
    /// when it is dropped. An error or a panic in it is reported, and it is started again with backoff.
    pub fn add_task<F, Fut>(&self, name: &str, task: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let task: Task = (name.to_owned(), Arc::new(move || task().boxed()));
        let mut state = self.inner.state.lock();
        match state.stage {
            Stage::Running => {
                state.sources.spawn(keep(task));
            }
            Stage::Stopped => {}
            Stage::New | Stage::Caches => state.tasks.push(task),
        }
    }

    /// Starts caches, waits until they are synced, then starts controllers and tasks. Returns once all run, or, after
    /// [`Manager::elect`], once this manager is a candidate.
    ///
    /// # Errors
    /// When a cache is not filled within two minutes; the caches go on trying.
    pub async fn start(&self) -> Result<(), Error> {
        {
            let mut state = self.inner.state.lock();
            if state.stage != Stage::New {
                return Err("the manager was started before".into());
            }
            state.stage = Stage::Caches;
            let feeds: Vec<_> = state
                .caches
                .iter_mut()
                .filter_map(|slot| slot.feed.take())
                .collect();
            for feed in feeds {
                state.feeds.spawn(feed);
            }
            let events = self.inner.events.clone();
            state.feeds.spawn(async move { events.run().await });
        }
        let synced = || {
            self.inner
                .state
                .lock()
                .caches
                .iter()
                .map(|slot| (slot.synced)())
                .collect::<Vec<_>>()
        };
        if timeout(SYNC, join_all(synced())).await.is_err() {
            return Err(format!("caches are not filled: {}", self.unhealthy().join(", ")).into());
        }
        let lease = self.inner.state.lock().lease.clone();
        let Some(lease) = lease else {
            self.inner.run().await;
            return Ok(());
        };
        // The election must not keep alive what nobody holds any more.
        let inner = Arc::downgrade(&self.inner);
        let clock = self.inner.clock.fork("leader election");
        let elector = Elector::new(self.client_for("leader-election"), clock, lease);
        let elector = elector.noting(self.inner.tenure.clone());
        let mut state = self.inner.state.lock();
        state.election.spawn(elect(inner, elector));
        Ok(())
    }

    /// Stops the tasks and sources, then the workers (the keys under way are finished, for up to 30 s), then the caches.
    pub async fn stop(&self) {
        let (mut sources, mut workers, mut feeds, mut election, lease) = {
            let mut state = self.inner.state.lock();
            state.stage = Stage::Stopped;
            state
                .queues
                .iter()
                .for_each(|running| running.queue.close());
            state.caches.iter().for_each(|slot| (slot.stop)());
            (
                std::mem::take(&mut state.sources),
                std::mem::take(&mut state.workers),
                std::mem::take(&mut state.feeds),
                std::mem::take(&mut state.election),
                state.lease.clone(),
            )
        };
        sources.shutdown().await;
        let drained = async { while workers.join_next().await.is_some() {} };
        if timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some keys were still under way after 30 s");
        }
        election.shutdown().await;
        let led = *self.inner.leadership.borrow() == Leadership::Leader;
        if let Some(lease) = lease.filter(|_| led) {
            // Another one need not wait until the lease runs out.
            let clock = self.inner.clock.clone();
            let mut elector = Elector::new(self.client_for("leader-election"), clock, lease);
            if let Ok(Err(error)) = timeout(RELEASE, elector.release()).await {
                tracing::warn!(%error, "the lease was not given up");
            }
        }
        feeds.shutdown().await;
    }

    /// What is not as it should be: caches that are not filled. Empty when all is well.
    #[must_use]
    pub fn unhealthy(&self) -> Vec<String> {
        let state = self.inner.state.lock();
        let unsynced = state.caches.iter().filter(|slot| !(slot.is_synced)());
        unsynced
            .map(|slot| format!("cache of {}", slot.kind))
            .collect()
    }

    /// The counts of each controller's queue, by name.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, Metrics)> {
        let state = self.inner.state.lock();
        state
            .queues
            .iter()
            .map(|running| (running.name.clone(), running.queue.metrics()))
            .collect()
    }

    /// What was counted of queues and reconciles, as Prometheus text with the names that controller-runtime uses.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let state = self.inner.state.lock();
        let queues = state.queues.iter().map(|running| exposition::Controller {
            name: &running.name,
            workers: running.workers,
            queue: &running.queue,
        });
        let queues: Vec<_> = queues.collect();
        let lease = state.lease.as_ref().map(LeaderConfig::name);
        let leads = *self.inner.leadership.borrow() == Leadership::Leader;
        exposition::text(&queues, lease.map(|name| (name, leads)))
    }
}

type Worker = BoxFuture<'static, ()>;

/// Runs for leadership; leads, once, for as long as it can.
async fn elect(inner: Weak<Inner>, mut elector: Elector) {
    elector.acquire().await;
    {
        let Some(inner) = inner.upgrade() else { return };
        inner.run().await;
    }
    elector.hold().await;
    let Some(inner) = inner.upgrade() else { return };
    tracing::error!("leadership is lost; the controllers are stopped");
    inner.halt().await;
}

impl Inner {
    /// Starts controllers and tasks.
    async fn run(&self) {
        let starts: Vec<_> = {
            let mut state = self.state.lock();
            let controllers = std::mem::take(&mut state.controllers);
            controllers
                .into_iter()
                .map(|controller| self.launch(&mut state, controller))
                .collect()
        };
        let workers = join_all(starts).await;
        let mut state = self.state.lock();
        for worker in workers.into_iter().flatten() {
            state.workers.spawn(worker);
        }
        for task in std::mem::take(&mut state.tasks) {
            state.sources.spawn(keep(task));
        }
        state.stage = Stage::Running;
        self.leadership.send_replace(Leadership::Leader);
    }

    /// Stops controllers and tasks at once, wherever they are: another one acts now.
    async fn halt(&self) {
        let (mut sources, mut workers) = {
            let mut state = self.state.lock();
            state.stage = Stage::Stopped;
            state
                .queues
                .iter()
                .for_each(|running| running.queue.close());
            let sources = std::mem::take(&mut state.sources);
            (sources, std::mem::take(&mut state.workers))
        };
        sources.shutdown().await;
        workers.shutdown().await;
        self.leadership.send_replace(Leadership::Lost);
    }

    /// Makes a controller's queue and starts its sources; the future gives its workers once the sources are ready.
    fn launch(
        &self,
        state: &mut State,
        mut controller: Controller,
    ) -> BoxFuture<'static, Vec<Worker>> {
        let queue = controller.queue(&self.clock, &self.activity);
        state.queues.push(Running {
            name: controller.name.clone(),
            workers: controller.workers,
            queue: queue.clone(),
        });
        let mut ready = Vec::new();
        for source in std::mem::take(&mut controller.sources) {
            let (tell, told) = tokio::sync::oneshot::channel();
            let (wake, name, mut watcher) = (
                Wake::new(queue.clone(), source.window),
                controller.name.clone(),
                source.watcher,
            );
            state.sources.spawn(async move {
                let result = match watcher.ready().await {
                    Ok(()) => {
                        // The receiver is gone only when the manager is.
                        let _ = tell.send(());
                        AssertUnwindSafe(watcher.run(wake)).catch_unwind().await
                    }
                    Err(error) => Ok(Err(error)),
                };
                match result {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(controller = %name, %error, "a source ended"),
                    Err(panic) => tracing::error!(controller = %name, panic = panic_text(&*panic), "a source panicked"),
                }
            });
            ready.push(told);
        }
        async move {
            join_all(ready).await;
            (0..controller.workers)
                .map(|_| controller.worker(queue.clone()).boxed())
                .collect()
        }
        .boxed()
    }
}

/// Runs a task again and again for as long as it fails.
async fn keep((name, task): Task) {
    let mut pause = RESTART;
    loop {
        match AssertUnwindSafe(async { task().await })
            .catch_unwind()
            .await
        {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(task = %name, %error, "a task failed; it is started again");
            }
            Err(panic) => {
                tracing::error!(task = %name, panic = panic_text(&*panic), "a task panicked; it is started again");
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(60));
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        let caches: Vec<_> = state.caches.iter().map(|slot| slot.kind.as_str()).collect();
        let controllers: Vec<_> = state
            .queues
            .iter()
            .map(|running| running.name.as_str())
            .collect();
        f.debug_struct("Manager")
            .field("caches", &caches)
            .field("controllers", &controllers)
            .finish_non_exhaustive()
    }
}
