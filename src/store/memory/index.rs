//! Keys in order, each with its present version and those of the past that history still needs.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::store::{Change, Entry, Range, Revision};

/// All keys. A deleted key stays, without a value, until its deletion is forgotten.
///
/// Single keys are found by hash, ranges in order; both lead to a slot. Nobody sees the order of the hashes.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_hash: HashMap<Arc<str>, u32>,
    in_order: BTreeMap<Arc<str>, u32>,
    slots: Vec<Versions>,
    /// Slots that hold nothing.
    free: Vec<u32>,
}

#[derive(Debug)]
struct Versions {
    latest: Version,
    /// Oldest first. Most keys have none, so that it costs a pointer.
    #[expect(clippy::box_collection, reason = "a pointer for each key, not three")]
    past: Option<Box<VecDeque<Version>>>,
}

#[derive(Clone, Debug)]
struct Version {
    created: Revision,
    modified: Revision,
    /// `None`: deleted at `modified`.
    value: Option<Bytes>,
}

impl Versions {
    /// The version that was present at `revision`.
    fn at(&self, revision: Revision) -> Option<&Version> {
        if self.latest.modified <= revision {
            return Some(&self.latest);
        }
        let past = self.past.as_ref()?;
        let later = past.partition_point(|version| version.modified <= revision);
        past.get(later.checked_sub(1)?)
    }
}

impl Version {
    fn entry(&self, key: &Arc<str>) -> Option<Entry> {
        let value = self.value.clone()?;
        Some(Entry {
            key: key.clone(),
            value,
            created: self.created,
            modified: self.modified,
        })
    }
}

impl Index {
    fn versions(&self, slot: u32) -> Option<&Versions> {
        self.slots.get(slot as usize)
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        let (key, slot) = self.by_hash.get_key_value(key)?;
        self.versions(*slot)?.latest.entry(key)
    }

    /// The entries of `range` as of `revision`, and how many more there are.
    pub(super) fn range(&self, range: &Range, revision: Revision) -> (Vec<Entry>, usize) {
        let from: Bound<&str> = match &range.after {
            Some(after) if after.as_str() >= range.prefix.as_str() => Bound::Excluded(after),
            _ => Bound::Included(&range.prefix),
        };
        let keys = self.in_order.range::<str, _>((from, Bound::Unbounded));
        let mut present = keys
            .take_while(|(key, _)| key.starts_with(range.prefix.as_str()))
            .filter_map(|(key, slot)| Some((key, self.versions(*slot)?.at(revision)?)))
            .filter(|(_, version)| version.value.is_some());
        let limit = range.limit.unwrap_or(usize::MAX);
        let entries = present
            .by_ref()
            .take(limit)
            .filter_map(|(key, version)| version.entry(key))
            .collect();
        (entries, present.count())
    }

    /// Makes a change the present.
    pub(super) fn apply(&mut self, change: &Change) {
        let (key, version) = match change {
            Change::Put { entry, .. } => (
                &entry.key,
                Version {
                    created: entry.created,
                    modified: entry.modified,
                    value: Some(entry.value.clone()),
                },
            ),
            Change::Delete { previous, revision } => (
                &previous.key,
                Version {
                    created: previous.created,
                    modified: *revision,
                    value: None,
                },
            ),
        };
        let known = self.by_hash.get(&**key);
        if let Some(versions) = known.and_then(|slot| self.slots.get_mut(*slot as usize)) {
            let past = std::mem::replace(&mut versions.latest, version);
            versions.past.get_or_insert_default().push_back(past);
            return;
        }
        let slot = take_slot(&mut self.slots, &mut self.free, version);
        self.by_hash.insert(key.clone(), slot);
        self.in_order.insert(key.clone(), slot);
    }

    /// Drops what nobody can ask for any more once `change` is forgotten: the versions before it, and the key itself when
    /// the change deleted it.
    pub(super) fn forget(&mut self, change: &Change) {
        let (key, revision) = (change.key(), change.revision());
        let Some(slot) = self.by_hash.get(&**key).copied() else {
            return;
        };
        let Some(versions) = self.slots.get_mut(slot as usize) else {
            return;
        };
        if let Some(past) = &mut versions.past {
            while past
                .front()
                .is_some_and(|version| version.modified < revision)
            {
                past.pop_front();
            }
            if past.is_empty() {
                versions.past = None;
            }
        }
        if versions.latest.modified == revision && versions.latest.value.is_none() {
            versions.past = None;
            self.by_hash.remove(&**key);
            self.in_order.remove(&**key);
            self.free.push(slot);
        }
    }
}

/// What is there, gathered key by key before anybody reads it: keys are put in order once, and what is superseded is gone.
#[cfg(feature = "durable")]
#[derive(Debug, Default)]
pub(in crate::store) struct Present(Index);

#[cfg(feature = "durable")]
impl Present {
    /// Sets a key; `created`: when, if that was not with what is known of it. Returns the revision that is superseded.
    pub(in crate::store) fn put(
        &mut self,
        key: Arc<str>,
        value: Bytes,
        created: Option<Revision>,
        modified: Revision,
    ) -> Option<Revision> {
        let Index {
            by_hash,
            slots,
            free,
            ..
        } = &mut self.0;
        let mut version = Version {
            created: created.unwrap_or(modified),
            modified,
            value: Some(value),
        };
        let known = by_hash.get(&*key);
        if let Some(versions) = known.and_then(|slot| slots.get_mut(*slot as usize)) {
            version.created = created.unwrap_or(versions.latest.created);
            return Some(std::mem::replace(&mut versions.latest, version).modified);
        }
        by_hash.insert(key, take_slot(slots, free, version));
        None
    }

    /// Removes a key. Returns the revision that set it.
    pub(in crate::store) fn delete(&mut self, key: &str) -> Option<Revision> {
        let slot = self.0.by_hash.remove(key)?;
        self.0.free.push(slot);
        let versions = self.0.slots.get_mut(slot as usize)?;
        versions.latest.value = None;
        Some(versions.latest.modified)
    }

    pub(super) fn index(self) -> Index {
        let mut index = self.0;
        let keys = index.by_hash.iter();
        let mut keys: Vec<_> = keys.map(|(key, slot)| (key.clone(), *slot)).collect();
        keys.sort_unstable();
        index.in_order = keys.into_iter().collect();
        index
    }
}

/// Puts the first version of a key where there is room.
fn take_slot(slots: &mut Vec<Versions>, free: &mut Vec<u32>, latest: Version) -> u32 {
    let versions = Versions { latest, past: None };
    let slot = free.pop().unwrap_or_else(|| {
        // Four thousand million keys do not fit into any memory that this runs in.
        u32::try_from(slots.len()).unwrap_or(u32::MAX)
    });
    match slots.get_mut(slot as usize) {
        Some(empty) => *empty = versions,
        None => slots.push(versions),
    }
    slot
}

/// When keys go by themselves.
#[derive(Debug, Default)]
pub(in crate::store) struct Expiry {
    by_key: BTreeMap<Arc<str>, Instant>,
    by_time: BTreeSet<(Instant, Arc<str>)>,
}

impl Expiry {
    /// From `now` on `key` lives so long: for ever without a time, and with one that reaches past what clocks can show.
    pub(in crate::store) fn set(&mut self, key: &Arc<str>, now: Instant, ttl: Option<Duration>) {
        self.clear(key);
        if let Some(at) = ttl.and_then(|ttl| now.checked_add(ttl)) {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key.clone()));
        }
    }

    pub(in crate::store) fn clear(&mut self, key: &Arc<str>) {
        // Most keys have no time to live, and most stores no such key.
        if self.by_key.is_empty() {
            return;
        }
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    /// The next time at which a key goes.
    pub(in crate::store) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes a key whose time has come.
    pub(in crate::store) fn due(&mut self, now: Instant) -> Option<Arc<str>> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}
