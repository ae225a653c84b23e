//! The manager: one cache per kind, controllers started after their caches and stopped before them.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cache::{Cache, Object};
use super::controller::{Controller, panic_text};
use super::events::Sink;
use super::queue::{Metrics, Queue};
use super::source::Wake;
use super::{Activity, Error, Recorder, feed};
use crate::client;
use crate::clock::Clock;

/// How long [`Manager::start`] waits for the caches.
const SYNC: Duration = Duration::from_secs(120);
/// How long [`Manager::stop`] waits for the keys under way.
const DRAIN: Duration = Duration::from_secs(30);
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
}

#[derive(Default)]
struct State {
    caches: Vec<Slot>,
    /// Added and not started.
    controllers: Vec<Controller>,
    tasks: Vec<Task>,
    queues: Vec<(String, Arc<Queue>)>,
    stage: Stage,
    /// Sources and workers, by what they stop with.
    feeds: JoinSet<()>,
    sources: JoinSet<()>,
    workers: JoinSet<()>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    New,
    Caches,
    Running,
    Stopped,
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

impl Manager {
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

    /// Starts caches, waits until they are synced, then starts controllers and tasks. Returns once all run.
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
        let starts: Vec<_> = {
            let mut state = self.inner.state.lock();
            let controllers = std::mem::take(&mut state.controllers);
            controllers
                .into_iter()
                .map(|controller| self.inner.launch(&mut state, controller))
                .collect()
        };
        let workers = join_all(starts).await;
        let mut state = self.inner.state.lock();
        for worker in workers.into_iter().flatten() {
            state.workers.spawn(worker);
        }
        for task in std::mem::take(&mut state.tasks) {
            state.sources.spawn(keep(task));
        }
        state.stage = Stage::Running;
        Ok(())
    }

    /// Stops the tasks and sources, then the workers (the keys under way are finished, for up to 30 s), then the caches.
    pub async fn stop(&self) {
        let (mut sources, mut workers, mut feeds) = {
            let mut state = self.inner.state.lock();
            state.stage = Stage::Stopped;
            state.queues.iter().for_each(|(_, queue)| queue.close());
            state.caches.iter().for_each(|slot| (slot.stop)());
            (
                std::mem::take(&mut state.sources),
                std::mem::take(&mut state.workers),
                std::mem::take(&mut state.feeds),
            )
        };
        sources.shutdown().await;
        let drained = async { while workers.join_next().await.is_some() {} };
        if timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some keys were still under way after 30 s");
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
            .map(|(name, queue)| (name.clone(), queue.metrics()))
            .collect()
    }
}

type Worker = BoxFuture<'static, ()>;

impl Inner {
    /// Makes a controller's queue and starts its sources; the future gives its workers once the sources are ready.
    fn launch(
        &self,
        state: &mut State,
        mut controller: Controller,
    ) -> BoxFuture<'static, Vec<Worker>> {
        let queue = controller.queue(&self.clock, &self.activity);
        state.queues.push((controller.name.clone(), queue.clone()));
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
        let controllers: Vec<_> = state.queues.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Manager")
            .field("caches", &caches)
            .field("controllers", &controllers)
            .finish_non_exhaustive()
    }
}
