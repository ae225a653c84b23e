//! The cache of one resource: its objects as of the newest revision seen, and its recent events.
use super::event::Event;
use super::object::{Cached, namespace_of};
use super::ring::{Channel, Reader, Standing};
use super::select::{Selected, Selection};
use crate::apiserver::registry::Resource;
use crate::object::FieldSelector;
use crate::store::{Change, Entry, Page, Revision};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::OnceCell;

/// So many changes may wait for a cache to be loaded; when there are more, the load starts again.
const MOST_PENDING: usize = 16_384;

/// The cache of one resource.
#[derive(Debug)]
pub(crate) struct Kind {
    pub resource: Arc<Resource>,
    /// Set once the objects are loaded.
    pub loaded: OnceCell<()>,
    state: RwLock<State>,
    /// The last revision at which this server wrote an object of this kind.
    written: AtomicU64,
    history: usize,
    bucket: usize,
}

#[derive(Debug)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Cached>>,
    /// The last revision that changed an object of this kind (or as of which the objects were listed).
    changed: Revision,
    /// All events after this revision are in `all`.
    floor: Revision,
    /// Changes that arrive while the objects are loaded; `None` once they are.
    pending: Option<Vec<Change>>,
    /// Counts the times that changes were missed.
    epoch: u64,
    all: Arc<Channel>,
    /// Channels of narrower watches. Lookups only, hence the hash map.
    buckets: HashMap<Bucket, Arc<Channel>>,
}

/// The narrowest channel that carries all events a watch can see.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bucket {
    All,
    Namespace(Box<str>),
    Object(Box<str>),
    /// Index into the strategy's selectable fields, and the value.
    Field(usize, Box<str>),
}

/// What a new watch starts with.
#[derive(Debug)]
pub(crate) struct Start {
    /// The events since the revision asked for that are kept already.
    pub backlog: Vec<Arc<Event>>,
    /// All that follow.
    pub subscription: Subscription,
}

/// A reader of a channel of a kind; dropping it removes a channel that nobody else reads.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub reader: Reader,
    kind: Arc<Kind>,
    bucket: Bucket,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.bucket == Bucket::All {
            return;
        }
        let mut state = self.kind.state.write();
        // One count is the map's, one this reader's. After a gap the map may hold another channel.
        let own =
            |channel: &Arc<Channel>| self.reader.reads(channel) && Arc::strong_count(channel) <= 2;
        if state.buckets.get(&self.bucket).is_some_and(own) {
            state.buckets.remove(&self.bucket);
        }
    }
}

impl Kind {
    pub(crate) fn new(resource: Arc<Resource>, history: usize) -> Self {
        Self {
            resource,
            loaded: OnceCell::new(),
            state: RwLock::new(State {
                objects: BTreeMap::new(),
                changed: 0,
                floor: 0,
                pending: Some(Vec::new()),
                epoch: 0,
                all: Arc::new(Channel::new(history)),
                buckets: HashMap::new(),
            }),
            written: AtomicU64::new(0),
            history,
            // A narrow channel needs room for what its readers have not read yet, not for history.
            bucket: history.clamp(1, 1024),
        }
    }

    /// Starts a load: changes from here on are kept until [`Kind::load`].
    pub(crate) fn begin_load(&self) -> u64 {
        let mut state = self.state.write();
        state.pending = Some(Vec::new());
        state.epoch
    }

    /// Takes in the listed objects and the changes that came meanwhile. `false`: changes were missed, load again.
    pub(crate) fn load(&self, page: &Page, epoch: u64) -> bool {
        let mut state = self.state.write();
        if state.epoch != epoch {
            return false;
        }
        self.fill(&mut state, page);
        for change in state.pending.take().into_iter().flatten() {
            self.change(&mut state, &change, None);
        }
        true
    }

    /// Replaces everything after changes were missed: running watches cannot go on without a gap and end.
    pub(crate) fn reset(&self, page: Option<&Page>) {
        let mut state = self.state.write();
        state.epoch += 1;
        let all = std::mem::replace(&mut state.all, Arc::new(Channel::new(self.history)));
        for channel in state
            .buckets
            .drain()
            .map(|(_, channel)| channel)
            .chain([all])
        {
            channel.close(Standing::Gap);
        }
        if let Some(page) = page.filter(|_| state.pending.is_none()) {
            self.fill(&mut state, page);
        }
    }

    /// Ends all watches: the resource is no longer served in this form, or the server stops.
    pub(crate) fn close(&self) {
        let mut state = self.state.write();
        let all = state.all.clone();
        for channel in state
            .buckets
            .drain()
            .map(|(_, channel)| channel)
            .chain([all])
        {
            channel.close(Standing::Ended);
        }
    }

    fn fill(&self, state: &mut State, page: &Page) {
        let entries = page.entries.iter();
        state.objects = entries
            .filter(|entry| self.owns(&entry.key))
            .filter_map(|entry| {
                let object = self.decode(entry)?;
                Some((entry.key.clone(), object))
            })
            .collect();
        state.changed = page.revision;
        state.floor = page.revision;
    }

    fn decode(&self, entry: &Entry) -> Option<Arc<Cached>> {
        let object = Cached::from_entry(&self.resource, entry).map(Arc::new);
        if object.is_none() {
            tracing::error!(key = %entry.key, "stored object cannot be decoded and is left out");
        }
        object
    }

    /// Takes in a change of one of its keys. `hint`: what the writer decoded already.
    pub(crate) fn apply(&self, change: &Change, hint: Option<Arc<Cached>>) {
        let mut state = self.state.write();
        if let Some(pending) = &mut state.pending {
            if pending.len() < MOST_PENDING {
                pending.push(change.clone());
            } else {
                pending.clear();
                state.epoch += 1;
            }
            return;
        }
        self.change(&mut state, change, hint);
    }

    fn change(&self, state: &mut State, change: &Change, hint: Option<Arc<Cached>>) {
        let revision = change.revision();
        // The list that filled the cache may have been newer than the change.
        if revision <= state.changed {
            return;
        }
        state.changed = revision;
        let event = match change {
            Change::Put { entry, previous } => {
                let known = state.objects.get(&entry.key).cloned();
                let before = previous.as_ref().map(|previous| previous.value.clone());
                match (hint.or_else(|| self.decode(entry)), known) {
                    (Some(mut object), known) => {
                        if let (Some(known), Some(object)) = (&known, Arc::get_mut(&mut object)) {
                            object.share_facts(known);
                        }
                        state.objects.insert(entry.key.clone(), object.clone());
                        Event::put(object, known, before)
                    }
                    // What cannot be shown any more is gone for whoever watches.
                    (None, Some(known)) => {
                        state.objects.remove(&entry.key);
                        let before = before.unwrap_or_default();
                        let object = known.at_revision(&self.resource, &before, revision);
                        Event::delete(Arc::new(object), known)
                    }
                    (None, None) => return,
                }
            }
            Change::Delete { previous, .. } => {
                let Some(known) = state.objects.remove(&previous.key) else {
                    return;
                };
                let object = known.at_revision(&self.resource, &previous.value, revision);
                Event::delete(Arc::new(object), known)
            }
        };
        self.publish(state, Arc::new(event));
    }

    fn publish(&self, state: &mut State, event: Arc<Event>) {
        if !state.buckets.is_empty() {
            let mut buckets = vec![
                Bucket::Object(event.object.key.as_ref().into()),
                Bucket::Namespace(event.object.namespace(&self.resource).into()),
            ];
            for index in 0..self.resource.selectable_fields().count() {
                let value = event.object.field_at(index);
                buckets.push(Bucket::Field(index, value.into()));
                if let Some(previous) = event
                    .previous
                    .as_ref()
                    .map(|previous| previous.field_at(index))
                    .filter(|previous| *previous != value)
                {
                    buckets.push(Bucket::Field(index, previous.into()));
                }
            }
            for channel in buckets
                .iter()
                .filter_map(|bucket| state.buckets.get(bucket))
            {
                channel.push(event.clone());
            }
        }
        if let Some(dropped) = state.all.push(event) {
            state.floor = state.floor.max(dropped);
        }
    }

    /// The object at `key` as of the newest revision seen.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Cached>> {
        self.state.read().objects.get(key).cloned()
    }

    /// The objects of `selection` as of the newest revision seen.
    pub(crate) fn select(&self, selection: &Selection<'_>) -> Selected {
        self.selected(&self.state.read(), selection)
    }

    fn selected(&self, state: &State, selection: &Selection<'_>) -> Selected {
        let start = match selection.after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(selection.within),
        };
        let range = state.objects.range::<str, _>((start, Bound::Unbounded));
        let mut objects = range
            .take_while(|(key, _)| key.starts_with(selection.within))
            .map(|(_, object)| object);
        let items = selection.take(&self.resource, &mut objects, Arc::clone);
        let left = selection.limit.map_or(0, |_| objects.count());
        Selected {
            items,
            changed: state.changed,
            left,
        }
    }

    /// All objects, as of the newest revision seen.
    pub(crate) fn all(&self) -> Vec<Arc<Cached>> {
        self.state.read().objects.values().cloned().collect()
    }

    /// How many objects there are.
    pub(crate) fn count(&self) -> usize {
        self.state.read().objects.len()
    }
    /// This server wrote an object of this kind.
    pub(super) fn wrote(&self, revision: Revision) {
        self.written.fetch_max(revision, Ordering::Relaxed);
    }

    /// The last revision at which this server wrote an object of this kind.
    pub(super) fn written(&self) -> Revision {
        self.written.load(Ordering::Relaxed)
    }

    /// The last revision that changed an object of this kind.
    pub(crate) fn changed(&self) -> Revision {
        self.state.read().changed
    }

    /// Starts a watch of `namespace` (`""`: all) after `revision`. `Err`: the oldest revision it could start from.
    pub(crate) fn watch_after(
        self: &Arc<Self>,
        namespace: &str,
        fields: &FieldSelector,
        revision: Revision,
    ) -> Result<Start, Revision> {
        let bucket = self.bucket(namespace, fields);
        let mut state = self.state.write();
        if revision < state.floor {
            return Err(state.floor);
        }
        let backlog = state.all.after(revision);
        let subscription = self.subscribe(&mut state, bucket);
        Ok(Start {
            backlog,
            subscription,
        })
    }

    /// Starts a watch of `namespace` with the objects of `selection` as they are.
    pub(crate) fn watch_all(
        self: &Arc<Self>,
        namespace: &str,
        fields: &FieldSelector,
        selection: &Selection<'_>,
    ) -> (Selected, Subscription) {
        let bucket = self.bucket(namespace, fields);
        let mut state = self.state.write();
        let selected = self.selected(&state, selection);
        (selected, self.subscribe(&mut state, bucket))
    }

    fn subscribe(self: &Arc<Self>, state: &mut State, bucket: Bucket) -> Subscription {
        let channel = match &bucket {
            Bucket::All => state.all.clone(),
            narrow => state
                .buckets
                .entry(narrow.clone())
                .or_insert_with(|| Arc::new(Channel::new(self.bucket)))
                .clone(),
        };
        Subscription {
            reader: channel.reader(),
            kind: self.clone(),
            bucket,
        }
    }

    fn bucket(&self, namespace: &str, fields: &FieldSelector) -> Bucket {
        let name = fields
            .requires("metadata.name")
            .filter(|name| !name.is_empty());
        let namespace = Some(namespace)
            .filter(|namespace| !namespace.is_empty())
            .or_else(|| fields.requires("metadata.namespace"));
        match (name, namespace) {
            (Some(name), Some(namespace)) if self.resource.namespaced => {
                return Bucket::Object(self.resource.key(namespace, name).into());
            }
            (Some(name), _) if !self.resource.namespaced => {
                return Bucket::Object(self.resource.key("", name).into());
            }
            _ => {}
        }
        // The values that are known here are those of the stored form.
        let fields_are_shown = !self.resource.is_converted_by_webhook();
        for (index, field) in self.resource.selectable_fields().enumerate() {
            if let Some(value) = fields.requires(field)
                && fields_are_shown
            {
                return Bucket::Field(index, value.into());
            }
        }
        match namespace {
            Some(namespace) if self.resource.namespaced => Bucket::Namespace(namespace.into()),
            _ => Bucket::All,
        }
    }

    /// Whether `key` is one of an object of this kind: `prefix/name`, or `prefix/namespace/name`.
    pub(crate) fn owns(&self, key: &str) -> bool {
        let rest = key
            .get(self.resource.key_prefix.len() + 1..)
            .unwrap_or_default();
        rest.bytes().filter(|byte| *byte == b'/').count() == usize::from(self.resource.namespaced)
            && (!self.resource.namespaced || !namespace_of(key, &self.resource).is_empty())
    }

    #[cfg(test)]
    pub(crate) fn narrow_channels(&self) -> usize {
        self.state.read().buckets.len()
    }
}
