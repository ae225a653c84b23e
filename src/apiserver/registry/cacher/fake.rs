//! A small store whose faults the tests command, and a resource to keep in it.
use super::*;
use crate::apiserver::Strategy;
use crate::apiserver::admission::Chain;
use crate::apiserver::alloc::{Allocators, Cidr};
use crate::apiserver::auth::Authorizer;
use crate::apiserver::auth::token::ServiceAccountTokens;
use crate::apiserver::filter::limit::InFlight;
use crate::apiserver::filter::static_token::StaticTokens;
use crate::apiserver::metrics::Metrics;
use crate::apiserver::registry::Registry;
use crate::apiserver::registry::encoding;
use crate::apiserver::server::Shared as Server;
use crate::apiserver::zpages::Program;
use crate::clock::Clock;
use crate::object::{Document, GroupVersionKind};
use crate::signal::Signal;
use crate::store::{Change, Entry, Error, Expect, Page, Result, WatchEvent, WatchStream};
use async_trait::async_trait;
use futures::stream;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A store in which every write is kept in one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeStore(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    wake: Signal<()>,
    ranges: AtomicUsize,
}

#[derive(Debug, Default)]
struct Log {
    changes: Vec<Change>,
    /// History before this is gone.
    compacted: Revision,
    /// Watches of an earlier generation break.
    generation: usize,
    /// Whether watches are refused.
    down: bool,
    /// Whether watches deliver nothing.
    stuck: bool,
}

impl Log {
    fn entries(&self, at: Revision) -> BTreeMap<Arc<str>, Entry> {
        let mut entries = BTreeMap::new();
        for change in self
            .changes
            .iter()
            .take_while(|change| change.revision() <= at)
        {
            match change {
                Change::Put { entry, .. } => entries.insert(entry.key.clone(), entry.clone()),
                Change::Delete { previous, .. } => entries.remove(&previous.key),
            };
        }
        entries
    }

    fn revision(&self) -> Revision {
        self.changes.len() as u64
    }
}

impl FakeStore {
    fn append(&self, key: &str, document: Option<&Value>) -> Revision {
        let mut log = self.0.log.lock();
        let modified = log.revision() + 1;
        let previous = log.entries(modified).remove(key);
        log.changes.push(match document {
            Some(document) => {
                let created = previous
                    .as_ref()
                    .map_or(modified, |previous| previous.created);
                let entry = Entry {
                    key: key.into(),
                    value: encoding::encode(document),
                    created,
                    modified,
                };
                Change::Put { entry, previous }
            }
            None => Change::Delete {
                previous: previous.unwrap(),
                revision: modified,
            },
        });
        drop(log);
        self.0.wake.set(());
        modified
    }

    /// Writes the pod `name` in namespace `ns`, on node `node` and with label `app`.
    pub(crate) fn pod(&self, name: &str, app: &str, node: &str) -> Revision {
        self.append(
            &format!("/registry/pods/ns/{name}"),
            Some(&pod(name, app, node)),
        )
    }

    pub(crate) fn write(&self, key: &str, document: &Value) -> Revision {
        self.append(key, Some(document))
    }

    pub(crate) fn remove(&self, key: &str) -> Revision {
        self.append(key, None)
    }

    /// Breaks all watches; without the history they cannot be continued.
    pub(crate) fn break_watches(&self, lose_history: bool) {
        let mut log = self.0.log.lock();
        log.generation += 1;
        if lose_history {
            log.compacted = log.revision();
        }
        drop(log);
        self.0.wake.set(());
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.0.log.lock().down = down;
    }

    pub(crate) fn set_stuck(&self, stuck: bool) {
        self.0.log.lock().stuck = stuck;
        self.0.wake.set(());
    }

    /// How many ranges were read.
    pub(crate) fn ranges(&self) -> usize {
        self.0.ranges.load(Ordering::Relaxed)
    }
}

/// A pod, as its answer shows it but for the resource version.
pub(crate) fn pod(name: &str, app: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "ns", "labels": { "app": app } },
        "spec": { "nodeName": node },
    })
}

#[async_trait]
impl Store for FakeStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        let log = self.0.log.lock();
        Ok(log.entries(log.revision()).remove(key))
    }

    async fn range(&self, range: Range) -> Result<Page> {
        self.0.ranges.fetch_add(1, Ordering::Relaxed);
        // Lets other tasks in, as a real store would.
        tokio::task::yield_now().await;
        let log = self.0.log.lock();
        let revision = range.revision.unwrap_or_else(|| log.revision());
        if revision < log.compacted {
            return Err(Error::Compacted {
                oldest: log.compacted,
            });
        }
        let entries = log.entries(revision).into_values();
        let mut entries = entries.filter(|entry| {
            entry.key.starts_with(&range.prefix)
                && range
                    .after
                    .as_deref()
                    .is_none_or(|after| *entry.key > *after)
        });
        let limit = range.limit.unwrap_or(usize::MAX);
        Ok(Page {
            entries: entries.by_ref().take(limit).collect(),
            revision,
            remaining: entries.count(),
        })
    }

    async fn put(&self, _: &str, _: Bytes, _: Expect, _: Option<Duration>) -> Result<Revision> {
        Err(Error::Unavailable("tests use `write`".into()))
    }

    async fn delete(&self, _: &str, _: Option<Revision>) -> Result<(Entry, Revision)> {
        Err(Error::Unavailable("tests use `remove`".into()))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        assert_eq!(prefix, "");
        let (generation, wake) = (self.begin(after)?, self.0.wake.waiter());
        let state = (self.clone(), after, generation, wake);
        Ok(Box::pin(stream::unfold(Some(state), |state| async {
            let (store, after, generation, mut wake) = state?;
            loop {
                wake.look();
                {
                    let log = store.0.log.lock();
                    if log.generation != generation {
                        return Some((Err(Error::Unavailable("broken".into())), None));
                    }
                    let new: Vec<Change> = log
                        .changes
                        .iter()
                        .filter(|change| change.revision() > after && !log.stuck)
                        .cloned()
                        .collect();
                    if let Some(last) = new.last().map(Change::revision) {
                        drop(log);
                        return Some((
                            Ok(WatchEvent::Changes(new)),
                            Some((store, last, generation, wake)),
                        ));
                    }
                }
                wake.changed().await;
            }
        })))
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.0.log.lock().compacted = revision;
        Ok(())
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.0.log.lock().revision())
    }
}

impl FakeStore {
    fn begin(&self, after: Revision) -> Result<usize> {
        let log = self.0.log.lock();
        if log.down {
            return Err(Error::Unavailable("down".into()));
        }
        if after < log.compacted {
            return Err(Error::Compacted {
                oldest: log.compacted,
            });
        }
        Ok(log.generation)
    }
}

/// What requests share, over `store`.
pub(crate) fn server(store: &FakeStore, config: CacherConfig) -> Server {
    let clock = Clock::seeded(1);
    let ranges = Cidr::parse_list("10.0.0.0/16").unwrap();
    Server {
        store: Arc::new(store.clone()),
        cacher: Cacher::new(Arc::new(store.clone()), config),
        registry: Registry::default(),
        admission: Chain::default(),
        allocators: Allocators::new(ranges, 30000..=32767, &clock),
        observer: None,
        auditor: None,
        client_ca: None,
        tokens: StaticTokens::default(),
        anonymous: true,
        bootstrap_tokens: false,
        authorizer: Authorizer::default(),
        service_account_tokens: ServiceAccountTokens::default(),
        in_flight: InFlight::new(9, 9),
        body_limit: 1024,
        stopping: Signal::new(false),
        metrics: Metrics::default(),
        dialer: None,
        requests: 1.into(),
        program: Program {
            flags: std::collections::BTreeMap::default(),
            started: clock.now(),
        },
        clock,
    }
}

/// Selected by `spec.nodeName`, as pods are.
#[derive(Debug)]
struct Pods;

impl Strategy for Pods {
    fn selectable_fields(&self) -> &[&str] {
        &["spec.nodeName"]
    }
    fn field(&self, object: &Value, field: &str) -> String {
        assert_eq!(field, "spec.nodeName");
        object.str_at(&["spec", "nodeName"]).to_owned()
    }
}

/// A resource of the core group.
pub(crate) fn resource(
    kind: &str,
    plural: &str,
    namespaced: bool,
    strategy: Arc<dyn Strategy>,
) -> Resource {
    Resource {
        gvk: GroupVersionKind::new("", "v1", kind),
        list_kind: format!("{kind}List"),
        plural: plural.into(),
        singular: kind.to_lowercase(),
        namespaced,
        short_names: Vec::new(),
        categories: Vec::new(),
        verbs: Vec::new(),
        subresources: Vec::new(),
        storage_version: "v1".into(),
        storage_group: String::new(),
        key_prefix: format!("/registry/{plural}"),
        custom: None,
        schema: None,
        open_api: None,
        strategy,
    }
}

pub(crate) fn pods() -> Arc<Resource> {
    Arc::new(resource("Pod", "pods", true, Arc::new(Pods)))
}
