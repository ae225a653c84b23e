//! The watch cache between the handlers and the store: every revision of an object is decoded once, and gets, lists and
//! watches are answered from its bytes.
//!
//! One watch of the whole store feeds the caches of all resources in revision order, so one number ([`Cacher::applied`]) says
//! how far all of them are. A resource's cache is loaded when the resource is first asked for. Memory is bounded by the
//! objects, a ring of recent events per resource and a short ring per narrow watch; nothing is kept per watcher.
//!
//! Architecture invariant: a watcher sees every change of its selection in revision order, each once, or its stream ends.
mod event;
#[cfg(test)]
pub(crate) mod fake;
mod feed;
mod kind;
pub(crate) mod made;
mod object;
mod read;
mod ring;
mod select;
#[cfg(test)]
mod tests;

pub(crate) use self::event::{Event, EventType};
pub(crate) use self::kind::{Kind, Subscription};
pub(crate) use self::object::Cached;
pub(crate) use self::read::{
    ListError, ListQuery, Listing, parse_revision, store_error, too_large_resource_version,
    unparsable_revision,
};
pub(crate) use self::ring::Stop;
pub(crate) use self::select::Selection;
use super::Resource;
use crate::object::Status;
use crate::signal::{Signal, Waiter};
use crate::store::{Range, Revision, Store};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

/// How long a decision waits for what this server has written itself.
const MOMENT: Duration = Duration::from_secs(1);

/// How much the cacher keeps, and how long it waits.
#[derive(Clone, Debug)]
pub(crate) struct CacherConfig {
    /// Events kept per resource for watches that resume. Default: 4096.
    pub history: usize,
    /// Decoded writes kept until the store's watch delivers them. Default: 1024.
    pub hints: usize,
    /// How long a read waits for a revision that is still to come. Default: 3 s, as kube-apiserver.
    pub wait: Duration,
}

impl Default for CacherConfig {
    fn default() -> Self {
        Self {
            history: 4096,
            hints: 1024,
            wait: Duration::from_secs(3),
        }
    }
}

/// The watch cache. Dropping it ends all watches.
#[derive(Debug)]
pub(crate) struct Cacher {
    inner: Arc<Inner>,
    feed: OnceCell<AbortOnDrop>,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    config: CacherConfig,
    /// By key prefix. Versions of one kind share a prefix.
    kinds: RwLock<BTreeMap<String, Vec<Arc<Kind>>>>,
    /// All changes up to this revision are in the caches.
    applied: Signal<Revision>,
    hints: Mutex<BTreeMap<Revision, Hint>>,
}

/// What a writer decoded, until the store's watch delivers the write.
#[derive(Debug)]
struct Hint {
    resource: Arc<Resource>,
    object: Arc<Cached>,
}

impl Cacher {
    /// A cache over `store`. Nothing is read and no task runs until a resource is asked for.
    pub(crate) fn new(store: Arc<dyn Store>, config: CacherConfig) -> Self {
        let inner = Inner {
            store,
            config,
            kinds: RwLock::default(),
            applied: Signal::new(0),
            hints: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
            feed: OnceCell::new(),
        }
    }

    /// All changes up to this revision are in the caches.
    pub(crate) fn applied(&self) -> Revision {
        self.inner.applied()
    }

    /// The cache of `resource`, loaded.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn kind(&self, resource: &Arc<Resource>) -> Result<Arc<Kind>, Status> {
        self.start().await?;
        let kind = self.inner.kind(resource);
        // Whoever waits takes the load over when the one who began it goes away.
        kind.loaded.get_or_try_init(|| self.load(&kind)).await?;
        Ok(kind)
    }

    async fn start(&self) -> Result<(), Status> {
        let begin = || async {
            let revision = self
                .inner
                .store
                .revision()
                .await
                .map_err(|error| store_error(&error))?;
            self.inner.applied.set(revision);
            Ok(AbortOnDrop(tokio::spawn(feed::run(self.inner.clone()))))
        };
        self.feed.get_or_try_init(begin).await.map(drop)
    }

    async fn load(&self, kind: &Kind) -> Result<(), Status> {
        loop {
            let epoch = kind.begin_load();
            let range = Range::prefix(prefix(&kind.resource));
            let page = self
                .inner
                .store
                .range(range)
                .await
                .map_err(|error| store_error(&error))?;
            if kind.load(&page, epoch) {
                return Ok(());
            }
        }
    }

    /// All objects of `resource`, as of the newest revision seen.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn all(&self, resource: &Arc<Resource>) -> Result<Vec<Arc<Cached>>, Status> {
        Ok(self.kind(resource).await?.all())
    }

    /// How many objects there are of the resources that somebody has asked for, by `<plural>.<group>`.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let kinds = self.inner.kinds.read();
        let versions = kinds.values().filter_map(|versions| versions.first());
        versions
            .map(|kind| (kind.resource.group_resource().to_string(), kind.count()))
            .collect()
    }

    /// Drops the cache of `resource` and ends its watches: it is no longer served, or served in another way.
    pub(crate) fn forget(&self, resource: &Resource) {
        let mut kinds = self.inner.kinds.write();
        if let Some(versions) = kinds.get_mut(&resource.key_prefix) {
            versions.retain(|kind| {
                let same = kind.resource.gvk == resource.gvk;
                if same {
                    kind.close();
                }
                !same
            });
        }
    }

    /// Hands over what a writer decoded already: `document` is what it wrote at `revision`, in the version of `resource`, and
    /// `answer` its bytes with the resource version. Optional: what is not handed over is decoded when the store delivers it.
    pub(crate) fn hint(
        &self,
        resource: &Arc<Resource>,
        key: &str,
        revision: Revision,
        document: &Value,
        answer: Bytes,
    ) {
        if revision <= self.applied() || !self.inner.is_cached(resource) {
            return;
        }
        let object = Arc::new(Cached::from_document(
            resource,
            key.into(),
            revision,
            document,
            answer,
        ));
        let mut hints = self.inner.hints.lock();
        hints.insert(
            revision,
            Hint {
                resource: resource.clone(),
                object,
            },
        );
        if hints.len() > self.inner.config.hints {
            hints.pop_first();
        }
    }

    /// Waits until the caches show everything that was written before the call; the revision they show.
    ///
    /// # Errors
    /// When the store cannot be reached, or its watch is too far behind.
    pub(crate) async fn fresh(&self) -> Result<Revision, Status> {
        self.start().await?;
        let newest = self
            .inner
            .store
            .revision()
            .await
            .map_err(|error| store_error(&error))?;
        self.at_least(newest).await
    }

    /// Notes that this server wrote an object of `resource`, for those who wait for that ([`Cacher::caught_up`]).
    pub(crate) fn wrote(&self, resource: &Resource, revision: Revision) {
        let kinds = self.inner.kinds.read();
        for kind in kinds.get(&resource.key_prefix).into_iter().flatten() {
            kind.wrote(revision);
        }
    }

    /// Waits until the cache of `resource` shows what this server has written of it, but no longer than a moment: for decisions
    /// that need not see what others write. It costs nothing unless such a write is still on its way to the cache.
    pub(crate) async fn caught_up(&self, resource: &Resource) {
        let written = self.inner.written(resource);
        if self.applied() < written {
            let reached = self.inner.applied.reached(|applied| *applied >= written);
            // Where the store's watch is slower than that, decisions are made on what is known. Boxed, for it is rare and
            // would make every request's future larger.
            let _ = Box::pin(tokio::time::timeout(MOMENT, reached)).await;
        }
    }

    /// Waits until the caches are at `revision` or later; the revision they show.
    ///
    /// # Errors
    /// 504 when that is not so within [`CacherConfig::wait`].
    pub(crate) async fn at_least(&self, revision: Revision) -> Result<Revision, Status> {
        self.start().await?;
        if self.applied() >= revision {
            return Ok(self.applied());
        }
        let reached = self.inner.applied.reached(|applied| *applied >= revision);
        tokio::time::timeout(self.inner.config.wait, reached)
            .await
            .map_err(|_| too_large_resource_version(revision, self.applied()))
    }

    /// Follows [`Cacher::applied`].
    pub(crate) fn progress(&self) -> Waiter<Revision> {
        self.inner.applied.waiter()
    }
}

impl Drop for Cacher {
    fn drop(&mut self) {
        for kind in self.inner.all() {
            kind.close();
        }
    }
}

impl Inner {
    fn kind(&self, resource: &Arc<Resource>) -> Arc<Kind> {
        let prefix = &resource.key_prefix;
        let known = |versions: &Vec<Arc<Kind>>| {
            versions
                .iter()
                .find(|kind| Arc::ptr_eq(&kind.resource, resource))
                .cloned()
        };
        if let Some(kind) = self.kinds.read().get(prefix).and_then(known) {
            return kind;
        }
        let mut kinds = self.kinds.write();
        let versions = kinds.entry(prefix.clone()).or_default();
        if let Some(kind) = known(versions) {
            return kind;
        }
        // The resource was replaced: whoever watches the old one must start anew.
        versions.retain(|kind| {
            let replaced = kind.resource.gvk == resource.gvk;
            if replaced {
                kind.close();
            }
            !replaced
        });
        let kind = Arc::new(Kind::new(resource.clone(), self.config.history));
        versions.push(kind.clone());
        kind
    }

    fn is_cached(&self, resource: &Arc<Resource>) -> bool {
        let kinds = self.kinds.read();
        let versions = kinds.get(&resource.key_prefix);
        versions.is_some_and(|versions| {
            versions
                .iter()
                .any(|kind| Arc::ptr_eq(&kind.resource, resource))
        })
    }

    /// The newest revision of `resource` that this server wrote while it had a cache.
    fn written(&self, resource: &Resource) -> Revision {
        let kinds = self.kinds.read();
        let versions = kinds.get(&resource.key_prefix).into_iter().flatten();
        versions.map(|kind| kind.written()).max().unwrap_or(0)
    }

    fn all(&self) -> Vec<Arc<Kind>> {
        self.kinds.read().values().flatten().cloned().collect()
    }
}

/// The keys of `resource` begin with this.
pub(crate) fn prefix(resource: &Resource) -> String {
    format!("{}/", resource.key_prefix)
}
