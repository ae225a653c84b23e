//! Sources: what wakes a controller.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::cache::{Cache, Object};
use super::queue::{self, Queue};
use super::{Error, Key, ownership};

/// Puts keys on a controller's queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Wake {
    queue: Arc<Queue>,
    window: Duration,
    priority: i32,
}

impl Wake {
    pub(super) fn new(queue: Arc<Queue>, window: Duration) -> Self {
        Self {
            queue,
            window,
            priority: queue::EVENT,
        }
    }

    /// The same, for keys of this priority: higher goes first. Default = 0. What is merely there, such as the objects that a
    /// controller finds when it starts, has -100.
    #[must_use]
    pub fn priority(&self, priority: i32) -> Self {
        Self {
            priority,
            ..self.clone()
        }
    }

    /// Reconciles `key` soon: at once, or when the source's window has passed. `cause` shows when somebody asks what keeps
    /// the controller busy.
    pub fn now(&self, key: Key, cause: &str) {
        self.queue.add_after(key, self.window, self.priority, cause);
    }

    /// Reconciles `key` after `delay`, unless it is reconciled sooner for another reason.
    pub fn after(&self, key: Key, delay: Duration, cause: &str) {
        self.queue.add_after(key, delay, self.priority, cause);
    }
}

/// A source of changes that wakes a loop: a kind, an outside system, a channel.
#[async_trait]
pub trait Watcher: fmt::Debug + Send + 'static {
    /// Waits until what it watches has been read once; controllers start after that. Default: at once.
    async fn ready(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Runs until it is dropped, waking keys. When it returns early, with or without an error, the controller goes on
    /// without this source, and the manager reports it as unhealthy.
    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error>;
}

/// A typed source of a controller.
#[derive(Debug)]
pub struct Source {
    pub(super) watcher: Box<dyn Watcher>,
    pub(super) window: Duration,
}

type Map<K> = Box<dyn Fn(Option<&Arc<K>>, Option<&Arc<K>>) -> Vec<Key> + Send + Sync>;

impl Source {
    /// Objects of a kind wake their own key.
    #[must_use]
    pub fn objects<K: Object>(cache: &Cache<K>) -> Self {
        Self::mapped(cache, |old, new| {
            new.or(old)
                .map(|object| Key::of(&**object))
                .into_iter()
                .collect()
        })
    }

    /// Objects of kind `K` wake the key of their controlling owner of kind `O`, both before and after a change.
    #[must_use]
    pub fn owned<K: Object, O: Object>(cache: &Cache<K>) -> Self {
        let owner = |object: &Arc<K>| {
            let owner = ownership::controller_of(&**object)?;
            let group = owner
                .api_version
                .split_once('/')
                .map_or("", |(group, _)| group);
            let is_owner = owner.kind == O::kind(&()) && group == O::group(&());
            let namespace = object.meta().namespace.as_deref().unwrap_or_default();
            is_owner.then(|| Key::new(namespace, owner.name.as_str()))
        };
        Self::mapped(cache, move |old, new| {
            let mut keys: Vec<Key> = new
                .and_then(owner)
                .into_iter()
                .chain(old.and_then(owner))
                .collect();
            keys.dedup();
            keys
        })
    }

    /// Objects of a kind wake the keys that `map` gives for their state before (if any) and after (if any) a change.
    #[must_use]
    pub fn mapped<K: Object>(
        cache: &Cache<K>,
        map: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        Self::watcher(Changes {
            cache: cache.clone(),
            map: Box::new(map),
        })
    }

    /// Keys that arrive on a channel.
    #[must_use]
    pub fn channel(keys: mpsc::Receiver<Key>) -> Self {
        Self::watcher(Channel { keys })
    }

    /// Asks an outside system every `period`; `ask` gives the keys to wake. An error is logged and asked again.
    #[must_use]
    pub fn poll<F, Fut>(period: Duration, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Key>, Error>> + Send + 'static,
    {
        Self::watcher(Poll { period, ask })
    }

    /// Collects what happens to a key for this long before it is reconciled: for controllers whose work grows with the
    /// number of things that change together. Default = zero, at once.
    #[must_use]
    pub fn batched(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Is not waited for: the controller begins before this source has been read, and gets its keys when it has. Default = a
    /// controller begins when all its sources have been read.
    #[must_use]
    pub fn not_awaited(self) -> Self {
        Self {
            watcher: Box::new(NotAwaited(self.watcher)),
            window: self.window,
        }
    }

    /// Any other watcher.
    #[must_use]
    pub fn watcher(watcher: impl Watcher) -> Self {
        Self {
            watcher: Box::new(watcher),
            window: Duration::ZERO,
        }
    }
}

struct Changes<K: Object> {
    cache: Cache<K>,
    map: Map<K>,
}

impl<K: Object> fmt::Debug for Changes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<K: Object> Watcher for Changes<K> {
    async fn ready(&mut self) -> Result<(), Error> {
        self.cache.synced().await;
        Ok(())
    }

    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error> {
        let mut changes = self.cache.subscribe();
        let kind = K::kind(&());
        let causes = ["created", "changed", "deleted"].map(|what| format!("{kind} {what}"));
        let [created, changed, deleted] = &causes;
        // What is there at the start is less urgent than what happens.
        let mut waker = wake.priority(queue::HOUSEKEEPING);
        while let Some(deltas) = changes.next().await {
            for delta in deltas {
                let cause = match (&delta.old, &delta.new) {
                    (None, _) => created,
                    (_, Some(_)) => changed,
                    (_, None) => deleted,
                };
                for key in (self.map)(delta.old.as_ref(), delta.new.as_ref()) {
                    waker.now(key, cause);
                }
            }
            waker = wake.clone();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct NotAwaited(Box<dyn Watcher>);

#[async_trait]
impl Watcher for NotAwaited {
    async fn run(mut self: Box<Self>, wake: Wake) -> Result<(), Error> {
        self.0.ready().await?;
        self.0.run(wake).await
    }
}

#[derive(Debug)]
struct Channel {
    keys: mpsc::Receiver<Key>,
}

#[async_trait]
impl Watcher for Channel {
    async fn run(mut self: Box<Self>, wake: Wake) -> Result<(), Error> {
        while let Some(key) = self.keys.recv().await {
            wake.now(key, "channel");
        }
        Ok(())
    }
}

struct Poll<F> {
    period: Duration,
    ask: F,
}

impl<F> fmt::Debug for Poll<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poll")
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, Fut> Watcher for Poll<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<Key>, Error>> + Send + 'static,
{
    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error> {
        let mut ticks = interval(self.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match (self.ask)().await {
                Ok(keys) => keys.into_iter().for_each(|key| wake.now(key, "poll")),
                Err(error) => tracing::warn!(%error, "polling failed; asking again"),
            }
        }
    }
}
