//! One kind, watched once and shared: objects, indexes, and subscribers' dirty keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Debug};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::{Key, ownership};
use crate::object::LabelSelector;
use crate::signal::Signal;

/// How long [`Cache::caught_up`] waits at most.
const CATCH_UP: Duration = Duration::from_secs(30);

/// What a cache can hold: a typed kind. Implemented for all that fit.
pub trait Object:
    kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static>
    Object for K
{
}

/// A shared, watched copy of all objects of one kind, without their `managedFields`. Clones share it. Reads never block
/// on I/O.
pub struct Cache<K: Object> {
    shared: Arc<Shared<K>>,
}

struct Shared<K: Object> {
    state: RwLock<State<K>>,
    progress: Signal<Progress>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    synced: bool,
    revision: u64,
    stopped: bool,
}

struct State<K: Object> {
    objects: BTreeMap<Key, Arc<K>>,
    by_controller: Groups<K>,
    indexes: Vec<Weak<IndexState<K>>>,
    subscribers: Vec<Weak<Dirty<K>>>,
}

/// Objects by a value of theirs. The objects themselves are kept: a lookup by key would cost more than the pointer.
struct Groups<K> {
    by_value: BTreeMap<String, BTreeMap<Key, Arc<K>>>,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self {
            by_value: BTreeMap::new(),
        }
    }
}

impl<K> Groups<K> {
    fn get(&self, value: &str) -> Vec<Arc<K>> {
        self.by_value
            .get(value)
            .into_iter()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    fn insert(&mut self, value: String, key: &Key, object: &Arc<K>) {
        let group = self.by_value.entry(value).or_default();
        group.insert(key.clone(), object.clone());
    }

    fn remove(&mut self, value: &str, key: &Key) {
        if let Some(group) = self.by_value.get_mut(value) {
            group.remove(key);
            if group.is_empty() {
                self.by_value.remove(value);
            }
        }
    }
}

type Values<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct IndexState<K: Object> {
    values: Values<K>,
    groups: RwLock<Groups<K>>,
}

/// A secondary index of a cache: values of objects to their keys. Clones share it; it goes with its last clone.
pub struct Index<K: Object> {
    index: Arc<IndexState<K>>,
}

/// A subscriber's keys that changed since it last looked.
struct Dirty<K: Object> {
    state: Mutex<DirtyState<K>>,
    changed: Notify,
}

struct DirtyState<K: Object> {
    order: VecDeque<Key>,
    /// What the subscriber saw last of each dirty key.
    old: BTreeMap<Key, Option<Arc<K>>>,
    stopped: bool,
}

/// A subscriber's view of a cache's changes.
pub struct Subscription<K: Object> {
    cache: Arc<Shared<K>>,
    dirty: Arc<Dirty<K>>,
}

/// A changed key: what the subscriber saw last and what is there now. At least one of the two is present.
#[derive(Clone, Debug)]
pub struct Delta<K: Object> {
    /// The key.
    pub key: Key,
    /// As this subscriber last took it.
    pub old: Option<Arc<K>>,
    /// As it is now; `None`: deleted.
    pub new: Option<Arc<K>>,
}

impl<K: Object> Cache<K> {
    pub(super) fn new() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            by_controller: Groups::default(),
            indexes: Vec::new(),
            subscribers: Vec::new(),
        };
        let progress = Signal::new(Progress::default());
        Self {
            shared: Arc::new(Shared {
                state: RwLock::new(state),
                progress,
            }),
        }
    }

    /// The object at `key`.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.shared.state.read().objects.get(key).cloned()
    }

    /// All objects, in key order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.state.read().objects.values().cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of a namespace (`""`: all) that `selector` selects, in key order.
    #[must_use]
    pub fn select(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let from = if namespace.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Included(Key::new(namespace, ""))
        };
        let in_namespace = state.objects.range((from, Bound::Unbounded));
        let in_namespace = in_namespace
            .take_while(|(key, _)| namespace.is_empty() || &*key.namespace == namespace);
        let selected = in_namespace
            .filter(|(_, object)| selector.matches_optional(object.meta().labels.as_ref()));
        selected.map(|(_, object)| object.clone()).collect()
    }

    /// The objects whose controller (owner reference with `controller: true`) has this uid, in key order. An index that
    /// every cache has.
    #[must_use]
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        state.by_controller.get(uid)
    }

    /// Adds an index: `values` gives the values under which an object is found. May be added at any time; it covers
    /// what is cached already.
    pub fn index(&self, values: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Index<K> {
        let index = Arc::new(IndexState {
            values: Box::new(values),
            groups: RwLock::default(),
        });
        let mut state = self.shared.state.write();
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.indexes.retain(|index| index.strong_count() > 0);
        state.indexes.push(Arc::downgrade(&index));
        Index { index }
    }

    /// Subscribes: every object present now and every later change marks its key dirty; keys coalesce until taken, so a
    /// slow subscriber holds at most one entry per object.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<K> {
        let mut state = self.shared.state.write();
        let dirty = DirtyState {
            order: state.objects.keys().cloned().collect(),
            old: state
                .objects
                .keys()
                .map(|key| (key.clone(), None))
                .collect(),
            stopped: self.shared.progress.get().stopped,
        };
        let dirty = Arc::new(Dirty {
            state: Mutex::new(dirty),
            changed: Notify::new(),
        });
        state
            .subscribers
            .retain(|subscriber| subscriber.strong_count() > 0);
        state.subscribers.push(Arc::downgrade(&dirty));
        Subscription {
            cache: self.shared.clone(),
            dirty,
        }
    }

    /// Waits until the first list is in, or the cache has stopped.
    pub async fn synced(&self) {
        self.progress(|progress| progress.synced).await;
    }

    /// Whether the first list is in.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.shared.progress.get().synced
    }

    /// Waits until the cache shows the state that a write answered with `object`, so that a loop which reads the cache sees
    /// its own write. Gives up after 30 s (the watch is broken then, and will list again).
    pub async fn caught_up(&self, object: &K) {
        let revision = revision_of(object.meta().resource_version.as_deref());
        let seen = self.progress(|progress| progress.revision >= revision);
        // Late is not wrong: the loop runs again when the change arrives.
        let _ = tokio::time::timeout(CATCH_UP, seen).await;
    }

    async fn progress(&self, reached: impl Fn(&Progress) -> bool) {
        let wanted = |progress: &Progress| progress.stopped || reached(progress);
        self.shared.progress.reached(wanted).await;
    }

    /// Takes over a whole list.
    pub(super) fn replace(&self, objects: Vec<K>, revision: &str) {
        let mut state = self.shared.state.write();
        let mut gone: BTreeSet<Key> = state.objects.keys().cloned().collect();
        for object in objects {
            gone.remove(&Key::of(&object));
            state.apply(object);
        }
        for key in gone {
            state.remove(&key);
        }
        drop(state);
        let revision = revision_of(Some(revision));
        self.shared.progress.modify(|progress| {
            (progress.synced, progress.revision) = (true, revision);
            true
        });
    }

    pub(super) fn apply(&self, object: K) {
        let revision = revision_of(object.meta().resource_version.as_deref());
        self.shared.state.write().apply(object);
        self.advance(revision);
    }

    pub(super) fn remove(&self, object: &K) {
        let revision = revision_of(object.meta().resource_version.as_deref());
        self.shared.state.write().remove(&Key::of(object));
        self.advance(revision);
    }

    fn advance(&self, revision: u64) {
        self.shared.progress.modify(|progress| {
            let newer = revision > progress.revision;
            progress.revision = revision.max(progress.revision);
            newer
        });
    }

    pub(super) fn bookmark(&self, revision: &str) {
        let revision = revision_of(Some(revision));
        self.advance(revision);
    }

    /// Ends all subscriptions and waits.
    pub(super) fn stop(&self) {
        self.shared
            .progress
            .modify(|progress| !std::mem::replace(&mut progress.stopped, true));
        for dirty in self
            .shared
            .state
            .read()
            .subscribers
            .iter()
            .filter_map(Weak::upgrade)
        {
            dirty.state.lock().stopped = true;
            dirty.changed.notify_one();
        }
    }
}

/// Resource versions of one kind are comparable as numbers (KEP-5504); what is no number counts as reached.
fn revision_of(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl<K: Object> State<K> {
    fn apply(&mut self, mut object: K) {
        // Nothing here reads them, and they are a good part of an object.
        object.meta_mut().managed_fields = None;
        let (key, object) = (Key::of(&object), Arc::new(object));
        let old = self.objects.insert(key.clone(), object.clone());
        let version = |object: &Arc<K>| object.meta().resource_version.clone();
        if old
            .as_ref()
            .is_some_and(|old| version(old).is_some() && version(old) == version(&object))
        {
            return;
        }
        let controller =
            |object: &Arc<K>| ownership::controller_of(&**object).map(|owner| owner.uid.clone());
        let (before, after) = (old.as_ref().and_then(controller), controller(&object));
        if let Some(uid) = before.filter(|uid| after.as_ref() != Some(uid)) {
            self.by_controller.remove(&uid, &key);
        }
        if let Some(uid) = after {
            self.by_controller.insert(uid, &key, &object);
        }
        for index in self.indexes.iter().filter_map(Weak::upgrade) {
            index.change(&key, old.as_deref(), Some(&object));
        }
        self.mark(&key, old.as_ref());
    }

    fn remove(&mut self, key: &Key) {
        let Some(old) = self.objects.remove(key) else {
            return;
        };
        if let Some(owner) = ownership::controller_of(&*old) {
            self.by_controller.remove(&owner.uid, key);
        }
        for index in self.indexes.iter().filter_map(Weak::upgrade) {
            index.change(key, Some(&old), None);
        }
        self.mark(key, Some(&old));
    }

    /// Marks a key dirty for every subscriber. What a subscriber that has taken everything saw last is the old object.
    fn mark(&mut self, key: &Key, old: Option<&Arc<K>>) {
        self.subscribers.retain(|subscriber| {
            let Some(dirty) = subscriber.upgrade() else {
                return false;
            };
            let mut state = dirty.state.lock();
            if !state.old.contains_key(key) {
                state.old.insert(key.clone(), old.cloned());
                state.order.push_back(key.clone());
                drop(state);
                dirty.changed.notify_one();
            }
            true
        });
    }
}

impl<K: Object> IndexState<K> {
    fn insert(&self, key: &Key, object: &Arc<K>) {
        let mut groups = self.groups.write();
        for value in (self.values)(object) {
            groups.insert(value, key, object);
        }
    }

    fn change(&self, key: &Key, old: Option<&K>, new: Option<&Arc<K>>) {
        let before = old.map(|object| (self.values)(object)).unwrap_or_default();
        let after = new.map(|object| (self.values)(object)).unwrap_or_default();
        let mut groups = self.groups.write();
        for value in before.iter().filter(|value| !after.contains(value)) {
            groups.remove(value, key);
        }
        for value in after {
            if let Some(object) = new {
                groups.insert(value, key, object);
            }
        }
    }
}

impl<K: Object> Index<K> {
    /// The objects indexed under `value`, in key order.
    #[must_use]
    pub fn get(&self, value: &str) -> Vec<Arc<K>> {
        self.index.groups.read().get(value)
    }

    /// Visits the objects whose values begin with `prefix`, in the order of their values, then keys, from the value `from` on,
    /// until `visit` breaks. With an order in the values, the first object that does is found without looking at all. The
    /// index cannot change meanwhile, so `visit` should be brief.
    pub fn visit(
        &self,
        prefix: &str,
        from: &str,
        mut visit: impl FnMut(&str, &Arc<K>) -> ControlFlow<()>,
    ) {
        let groups = self.index.groups.read();
        let range = (Bound::Included(from.max(prefix)), Bound::Unbounded);
        let values = groups.by_value.range::<str, _>(range);
        for (value, group) in values.take_while(|(value, _)| value.starts_with(prefix)) {
            for object in group.values() {
                if visit(value, object).is_break() {
                    return;
                }
            }
        }
    }

    /// How many objects are indexed under `value`.
    #[must_use]
    pub fn count(&self, value: &str) -> usize {
        self.index
            .groups
            .read()
            .by_value
            .get(value)
            .map_or(0, BTreeMap::len)
    }
}

impl<K: Object> Subscription<K> {
    /// Waits until something is dirty, then takes all dirty keys in the order in which they first became dirty. `None` when
    /// the cache stopped. Cancellation-safe.
    pub async fn next(&mut self) -> Option<Vec<Delta<K>>> {
        loop {
            let changed = self.dirty.changed.notified();
            if self.dirty.state.lock().stopped {
                return None;
            }
            let deltas = self.take();
            // What came and went while nobody looked is nothing.
            if !deltas.is_empty() {
                return Some(deltas);
            }
            changed.await;
        }
    }

    /// Takes all dirty keys, as [`Subscription::next`], without waiting: none, when nothing is dirty.
    pub fn pending(&mut self) -> Vec<Delta<K>> {
        self.take()
    }

    fn take(&self) -> Vec<Delta<K>> {
        let (order, mut old) = {
            let mut dirty = self.dirty.state.lock();
            if dirty.order.is_empty() {
                return Vec::new();
            }
            (
                std::mem::take(&mut dirty.order),
                std::mem::take(&mut dirty.old),
            )
        };
        let state = self.cache.state.read();
        let delta = |key: Key| {
            let (old, new) = (old.remove(&key).flatten(), state.objects.get(&key).cloned());
            (old.is_some() || new.is_some()).then_some(Delta { key, old, new })
        };
        order.into_iter().filter_map(delta).collect()
    }
}

impl<K: Object> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K: Object> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self {
            index: self.index.clone(),
        }
    }
}

impl<K: Object> Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("kind", &K::kind(&()))
            .field("objects", &self.len())
            .finish()
    }
}

impl<K: Object> Debug for Index<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("kind", &K::kind(&()))
            .finish_non_exhaustive()
    }
}

impl<K: Object> Debug for Subscription<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("kind", &K::kind(&()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn map(name: &str, revision: u64, label: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "ns", "resourceVersion": revision.to_string(), "labels": {"l": label},
                "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": format!("owner-{label}"), "controller": true}]},
        }))
        .unwrap()
    }

    fn names(maps: &[Arc<ConfigMap>]) -> Vec<&str> {
        maps.iter()
            .map(|map| map.metadata.name.as_deref().unwrap())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn indexes_follow_changes() {
        let cache = Cache::new();
        cache.replace(vec![map("a", 1, "x"), map("b", 2, "y")], "2");
        let by_label = cache.index(|map: &ConfigMap| {
            map.metadata
                .labels
                .iter()
                .flatten()
                .map(|(_, value)| value.clone())
                .collect()
        });
        assert_eq!(names(&by_label.get("x")), ["a"]);
        cache.apply(map("a", 3, "y"));
        assert!(by_label.get("x").is_empty() && by_label.count("y") == 2);
        cache.apply(map("a", 4, "x"));
        cache.apply(map("a", 5, "y"));
        assert_eq!(names(&cache.controlled_by("owner-y")), ["a", "b"]);
        cache.remove(&map("b", 6, "y"));
        assert_eq!(names(&by_label.get("y")), ["a"]);
        assert_eq!(
            names(&cache.select("ns", &LabelSelector::from_pairs([("l", "y")]))),
            ["a"]
        );
        assert!(cache.select("other", &LabelSelector::default()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn indexes_are_visited_in_the_order_of_their_values() {
        let cache = Cache::new();
        let labels = ["a/2", "a/1", "b/1", "a/1", "a/3"];
        let all = ["p", "q", "r", "s", "t"].into_iter().zip(labels);
        cache.replace(all.map(|(name, label)| map(name, 1, label)).collect(), "1");
        let by_label = cache.index(|map: &ConfigMap| {
            let labels = map.metadata.labels.as_ref().unwrap();
            vec![labels["l"].clone()]
        });
        for (prefix, from, most, expected) in [
            ("a/", "", 9, vec!["q", "s", "p", "t"]),
            ("a/", "a/2", 9, vec!["p", "t"]),
            ("a/", "", 2, vec!["q", "s"]),
            ("a/", "b", 9, vec![]),
            ("b/", "a/2", 9, vec!["r"]),
            ("c/", "", 9, vec![]),
        ] {
            let mut seen = Vec::new();
            by_label.visit(prefix, from, |_, map| {
                seen.push(map.clone());
                if seen.len() < most {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            assert_eq!(names(&seen), expected, "{prefix} {from} {most}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn subscribers_see_coalesced_changes() {
        let cache = Cache::new();
        cache.replace(vec![map("a", 1, "x")], "1");
        let mut subscription = cache.subscribe();
        let first = subscription.next().await.unwrap();
        assert!(first.len() == 1 && first[0].old.is_none());
        cache.apply(map("a", 2, "y"));
        cache.apply(map("a", 3, "z"));
        cache.apply(map("b", 4, "x"));
        cache.remove(&map("b", 5, "x"));
        let second = subscription.next().await.unwrap();
        assert_eq!(second.len(), 1);
        let label = |map: &Option<Arc<ConfigMap>>| {
            map.as_ref().unwrap().metadata.labels.as_ref().unwrap()["l"].clone()
        };
        assert_eq!(
            (label(&second[0].old), label(&second[0].new)),
            ("x".to_owned(), "z".to_owned())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_list_tells_what_is_gone() {
        let cache = Cache::new();
        cache.replace(vec![map("a", 1, "x"), map("b", 2, "x")], "2");
        let mut subscription = cache.subscribe();
        subscription.next().await;
        cache.replace(vec![map("b", 2, "x")], "9");
        let deltas = subscription.next().await.unwrap();
        assert!(deltas.len() == 1 && deltas[0].new.is_none() && &*deltas[0].key.name == "a");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_its_own_writes_and_for_stop() {
        let cache = Cache::new();
        let waiting = tokio::spawn({
            let cache = cache.clone();
            async move { cache.caught_up(&map("a", 7, "x")).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        cache.apply(map("a", 7, "x"));
        waiting.await.unwrap();
        let mut subscription = cache.subscribe();
        cache.stop();
        assert!(subscription.next().await.is_none());
    }
}
