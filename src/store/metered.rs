//! A store that counts: operations, errors and how long they took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::Instant;

use super::{Entry, Error, Expect, Page, Range, Result, Revision, Store, WatchEvent, WatchStream};
use crate::metrics::{Histogram, Kind, Text};

/// The bounds of the buckets of durations: from ten microseconds, for memory, to ten seconds, for a store in trouble.
const BOUNDS: &[f64] = &[
    0.000_01, 0.000_025, 0.000_1, 0.000_25, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 10.0,
];

/// The operations of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Get,
    Range,
    Put,
    Delete,
    Watch,
    Compact,
    Revision,
}

impl Operation {
    const ALL: [Self; 7] = [
        Self::Get,
        Self::Range,
        Self::Put,
        Self::Delete,
        Self::Watch,
        Self::Compact,
        Self::Revision,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Range => "range",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Watch => "watch",
            Self::Compact => "compact",
            Self::Revision => "revision",
        }
    }
}

/// What kind of failure an error is, as a label.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::NotFound { .. } => "not_found",
        Error::AlreadyExists { .. } => "already_exists",
        Error::Conflict { .. } => "conflict",
        Error::Compacted { .. } => "compacted",
        Error::FutureRevision { .. } => "future_revision",
        Error::TooLarge { .. } => "too_large",
        Error::Unavailable(_) => "unavailable",
    }
}

/// What was counted of one operation.
#[derive(Debug)]
struct Numbers {
    durations: Histogram,
    errors: parking_lot::Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Debug)]
struct Counts {
    operations: BTreeMap<Operation, Numbers>,
    watches: AtomicU64,
    events: AtomicU64,
}

/// Counts what goes through another store. Clones count together.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use homeostat::store::{Expect, MemoryStore, MeteredStore, Store};
/// let store = MeteredStore::new(Arc::new(MemoryStore::default()));
/// store.put("/a", "1".into(), Expect::Absent, None).await?;
/// assert!(store.text().contains("store_requests_total{operation=\"put\"} 1"));
/// # Ok::<(), homeostat::store::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct MeteredStore {
    inner: Arc<dyn Store>,
    counts: Arc<Counts>,
}

impl MeteredStore {
    /// Counts what goes through `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        let operations = Operation::ALL.map(|operation| {
            let numbers = Numbers {
                durations: Histogram::new(BOUNDS),
                errors: parking_lot::Mutex::default(),
            };
            (operation, numbers)
        });
        let counts = Counts {
            operations: operations.into(),
            watches: AtomicU64::new(0),
            events: AtomicU64::new(0),
        };
        Self {
            inner,
            counts: Arc::new(counts),
        }
    }

    /// What was counted, as Prometheus text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Text::default();
        let each = || self.counts.operations.iter();
        let name = "store_requests_total";
        text.family(name, Kind::Counter, "Operations that ended, by kind.");
        for (operation, numbers) in each() {
            let labels = [("operation", operation.as_str())];
            text.count(name, &labels, numbers.durations.count());
        }
        let name = "store_request_errors_total";
        text.family(
            name,
            Kind::Counter,
            "Operations that failed, by kind and error.",
        );
        for (operation, numbers) in each() {
            for (error, count) in &*numbers.errors.lock() {
                let labels = [("operation", operation.as_str()), ("error", error)];
                text.count(name, &labels, *count);
            }
        }
        let name = "store_request_duration_seconds";
        text.family(name, Kind::Histogram, "How long operations took, by kind.");
        for (operation, numbers) in each() {
            let labels = [("operation", operation.as_str())];
            text.histogram(name, &labels, &numbers.durations);
        }
        let name = "store_watches";
        text.family(name, Kind::Gauge, "Watches that are open.");
        text.count(name, &[], self.counts.watches.load(Ordering::Relaxed));
        let name = "store_watch_events_total";
        text.family(name, Kind::Counter, "Changes that watches delivered.");
        text.count(name, &[], self.counts.events.load(Ordering::Relaxed));
        text.finish()
    }

    async fn measure<T: Send>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let begun = Instant::now();
        let result = work.await;
        if let Some(numbers) = self.counts.operations.get(&operation) {
            numbers.durations.observe(begun.elapsed());
            if let Err(error) = &result {
                *numbers.errors.lock().entry(kind(error)).or_default() += 1;
            }
        }
        result
    }
}

/// Counts a watch for as long as it is open.
#[derive(Debug)]
struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Store for MeteredStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.measure(Operation::Get, self.inner.get(key)).await
    }

    async fn range(&self, range: Range) -> Result<Page> {
        self.measure(Operation::Range, self.inner.range(range))
            .await
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision> {
        let put = self.inner.put(key, value, expect, ttl);
        self.measure(Operation::Put, put).await
    }

    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        let delete = self.inner.delete(key, expect);
        self.measure(Operation::Delete, delete).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        let watch = self.inner.watch(prefix, after);
        let events = self.measure(Operation::Watch, watch).await?;
        self.counts.watches.fetch_add(1, Ordering::Relaxed);
        let open = Open(self.counts.clone());
        let counted = events.inspect(move |event| {
            if let Ok(WatchEvent::Changes(changes)) = event {
                let count = u64::try_from(changes.len()).unwrap_or(0);
                open.0.events.fetch_add(count, Ordering::Relaxed);
            }
        });
        Ok(counted.boxed())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.measure(Operation::Compact, self.inner.compact(revision))
            .await
    }

    async fn revision(&self) -> Result<Revision> {
        self.measure(Operation::Revision, self.inner.revision())
            .await
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[cfg(feature = "testing")]
    #[tokio::test(start_paused = true)]
    async fn it_conforms() {
        crate::testing::conformance::store::run(|| async {
            Box::new(MeteredStore::new(Arc::new(MemoryStore::default()))) as Box<dyn Store>
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_counted() {
        let store = MeteredStore::new(Arc::new(MemoryStore::default()));
        let revision = store
            .put("/a", "1".into(), Expect::Absent, None)
            .await
            .unwrap();
        assert!(
            store
                .put("/a", "1".into(), Expect::Absent, None)
                .await
                .is_err()
        );
        assert!(store.delete("/b", None).await.is_err());
        store.get("/a").await.unwrap();
        let mut watch = store.watch("/", 0).await.unwrap();
        watch.next().await.unwrap().unwrap();
        let text = store.text();
        for line in [
            "store_requests_total{operation=\"put\"} 2",
            "store_requests_total{operation=\"get\"} 1",
            "store_requests_total{operation=\"compact\"} 0",
            "store_request_errors_total{operation=\"put\",error=\"already_exists\"} 1",
            "store_request_errors_total{operation=\"delete\",error=\"not_found\"} 1",
            "store_request_duration_seconds_count{operation=\"put\"} 2",
            "store_watches 1",
            "store_watch_events_total 1",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        drop(watch);
        assert!(store.text().contains("\nstore_watches 0\n"));
        assert_eq!(revision, 1);
    }
}
