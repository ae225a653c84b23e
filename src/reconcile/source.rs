//! Sources: what wakes a controller.
use super::{Cache, Error, Key, Object};
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// Puts keys on a controller's queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Wake {}
impl Wake {
    /// Reconcile `key` soon.
    pub fn now(&self, _key: Key, _cause: &str) {
        todo!()
    }
    /// Reconcile `key` after `delay`.
    pub fn after(&self, _key: Key, _delay: Duration, _cause: &str) {
        todo!()
    }
}

/// A source of changes that wakes a loop: a kind, an outside system, a channel.
#[async_trait]
pub trait Watcher: Debug + Send + 'static {
    /// Waits until what it watches has been read once; controllers start after that.
    async fn ready(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// Runs until it is dropped, waking keys.
    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error>;
}

/// A typed source of a controller.
#[derive(Debug)]
pub struct Source {}
impl Source {
    /// Objects of a kind wake their own key.
    pub fn objects<K: Object>(_cache: &Cache<K>) -> Self {
        todo!()
    }
    /// Objects of kind `K` wake the key of their controlling owner of kind `O` (old and new).
    pub fn owned<K: Object, O: Object>(_cache: &Cache<K>) -> Self {
        todo!()
    }
    /// Objects of a kind wake the keys that `map` gives for old (if any) and new (if any).
    pub fn mapped<K: Object>(
        _cache: &Cache<K>,
        _map: impl Fn(Option<&Arc<K>>, Option<&Arc<K>>) -> Vec<Key> + Send + Sync + 'static,
    ) -> Self {
        todo!()
    }
    /// Any other watcher.
    pub fn watcher(_watcher: impl Watcher) -> Self {
        todo!()
    }
}
