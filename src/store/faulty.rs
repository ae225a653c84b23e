//! A store that fails on purpose, from a seed: to see whether what stands on it copes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Entry, Error, Expect, Page, Range, Result, Revision, Store, WatchStream};
use crate::clock::Clock;

/// How often a [`FaultyStore`] fails, in thousandths of the calls. Default = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    before: u64,
    after: u64,
    read: u64,
    watch: u64,
    compaction: u64,
    latency: Duration,
}

impl Faults {
    /// Writes that fail and take no effect.
    #[must_use]
    pub fn before_commit(mut self, per_thousand: u64) -> Self {
        self.before = per_thousand;
        self
    }

    /// Writes that take effect, and are told to have failed: the caller cannot know.
    #[must_use]
    pub fn after_commit(mut self, per_thousand: u64) -> Self {
        self.after = per_thousand;
        self
    }

    /// Reads that fail.
    #[must_use]
    pub fn reads(mut self, per_thousand: u64) -> Self {
        self.read = per_thousand;
        self
    }

    /// Events after which a watch breaks.
    #[must_use]
    pub fn watches(mut self, per_thousand: u64) -> Self {
        self.watch = per_thousand;
        self
    }

    /// Calls at which all history is forgotten, in the worst moment each has: before a watch begins from the revision of a list;
    /// before the next page of a list; before a watch reads on; after a write that no watch has been told of yet. Whoever
    /// is not up to date then is told [`Error::Compacted`].
    #[must_use]
    pub fn compactions(mut self, per_thousand: u64) -> Self {
        self.compaction = per_thousand;
        self
    }

    /// How long every call takes at most; chance decides how long.
    #[must_use]
    pub fn latency(mut self, most: Duration) -> Self {
        self.latency = most;
        self
    }
}

/// A store that fails as its [`Faults`] say. Clones share the faults, which can be changed at any time.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    chance: Clock,
    faults: Arc<Mutex<Faults>>,
}

impl FaultyStore {
    /// `inner` with faults from `clock`'s seed; none until [`FaultyStore::set`].
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, clock: &Clock) -> Self {
        Self {
            inner,
            chance: clock.fork("faults"),
            faults: Arc::default(),
        }
    }

    /// Fails like this from now on.
    pub fn set(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    fn strikes(&self, per_thousand: impl Fn(&Faults) -> u64) -> bool {
        let per_thousand = per_thousand(&self.faults.lock());
        per_thousand > 0 && self.chance.below(1000) < per_thousand
    }

    fn fails(&self, per_thousand: impl Fn(&Faults) -> u64) -> Result<()> {
        if self.strikes(per_thousand) {
            return Err(Error::Unavailable("a fault was injected".into()));
        }
        Ok(())
    }

    /// Forgets, if chance has it, all that was before now.
    async fn may_compact(&self) {
        if self.strikes(|faults| faults.compaction)
            && let Ok(newest) = self.inner.revision().await
        {
            // If it is forgotten already, so much the better.
            let _compacted = self.inner.compact(newest).await;
        }
    }

    async fn lag(&self) {
        let most = u64::try_from(self.faults.lock().latency.as_micros()).unwrap_or(u64::MAX);
        if most > 0 {
            sleep(Duration::from_micros(self.chance.below(most))).await;
        }
    }

    async fn write<T: Send>(&self, write: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.lag().await;
        self.fails(|faults| faults.before)?;
        let written = write.await?;
        self.may_compact().await;
        self.fails(|faults| faults.after)?;
        Ok(written)
    }

    async fn read<T: Send>(&self, read: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.lag().await;
        self.fails(|faults| faults.read)?;
        read.await
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.read(self.inner.get(key)).await
    }

    async fn range(&self, range: Range) -> Result<Page> {
        if range.revision.is_some() {
            self.may_compact().await;
        }
        self.read(self.inner.range(range)).await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision> {
        self.write(self.inner.put(key, value, expect, ttl)).await
    }

    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        self.write(self.inner.delete(key, expect)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        self.may_compact().await;
        let events = self.read(self.inner.watch(prefix, after)).await?;
        let (faults, broken) = (self.clone(), false);
        let breaking = futures::stream::unfold(
            (events, faults, broken),
            |(mut events, faults, broken)| async move {
                if broken {
                    return None;
                }
                faults.may_compact().await;
                let event = events.next().await?;
                match faults.fails(|faults| faults.watch) {
                    Ok(()) => Some((event, (events, faults, false))),
                    Err(error) => Some((Err(error), (events, faults, true))),
                }
            },
        );
        Ok(breaking.boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.inner.compact(revision).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.read(self.inner.revision()).await
    }

    async fn health(&self) -> Result<()> {
        self.read(self.inner.health()).await
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test(start_paused = true)]
    async fn without_faults_it_conforms() {
        crate::testing::conformance::store::run(|| async {
            let clock = Clock::seeded(1);
            Box::new(FaultyStore::new(Arc::new(MemoryStore::default()), &clock)) as Box<dyn Store>
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_fails_as_told() {
        let memory = MemoryStore::default();
        let store = FaultyStore::new(Arc::new(memory.clone()), &Clock::seeded(1));
        store.set(Faults::default().before_commit(1000));
        assert!(
            store
                .put("/a", "1".into(), Expect::Absent, None)
                .await
                .is_err()
        );
        assert!(memory.get("/a").await.unwrap().is_none());
        store.set(Faults::default().after_commit(1000));
        assert!(
            store
                .put("/a", "1".into(), Expect::Absent, None)
                .await
                .is_err()
        );
        assert!(memory.get("/a").await.unwrap().is_some());
        store.set(Faults::default().reads(1000).watches(1000));
        assert!(store.get("/a").await.is_err());
        store.set(Faults::default().watches(1000));
        let mut watch = store.watch("/", 0).await.unwrap();
        assert!(matches!(
            watch.next().await,
            Some(Err(Error::Unavailable(_)))
        ));
        assert!(watch.next().await.is_none());
    }

    /// Each is behind when history goes: a list's next page, a watch from a list, a watch that has more to read.
    #[tokio::test(start_paused = true)]
    async fn history_goes_in_the_worst_moment() {
        let store = FaultyStore::new(Arc::new(MemoryStore::default()), &Clock::seeded(1));
        let put = |key: &'static str| store.put(key, "1".into(), Expect::Absent, None);
        let listed = put("/a").await.unwrap();
        put("/b").await.unwrap();
        let mut lagging = store.watch("/", listed).await.unwrap();
        let mut current = store.watch("/", 0).await.unwrap();
        current.next().await.unwrap().unwrap();
        store.set(Faults::default().compactions(1000));
        let page = store.range(Range::prefix("/").at(listed)).await;
        assert!(matches!(page, Err(Error::Compacted { .. })), "{page:?}");
        let watch = store.watch("/", listed).await.err();
        assert!(matches!(watch, Some(Error::Compacted { .. })), "{watch:?}");
        let next = lagging.next().await;
        assert!(
            matches!(next, Some(Err(Error::Compacted { .. }))),
            "{next:?}"
        );
        // The write succeeds, and takes away what the watch had to be told.
        put("/c").await.unwrap();
        let next = current.next().await;
        assert!(
            matches!(next, Some(Err(Error::Compacted { .. }))),
            "{next:?}"
        );
    }
}
