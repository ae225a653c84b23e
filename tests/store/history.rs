//! Histories of concurrent clients, and whether a linearizable store can have made them.
//!
//! The changes that a watch told are the total order of all writes. Against it each operation is judged by what real time
//! demands: it took effect after everything that was answered before it began, and before everything that began after it
//! was answered. That is Wing and Gong's condition with the order of writes given, so it needs no search.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homeostat::store::{Change, Error, Expect, Revision, Store};
use parking_lot::Mutex;

/// What a client did and was told.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// When it began and was answered, on one logical clock.
    began: u64,
    answered: u64,
    key: String,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A read: the revision that wrote what was found.
    Read(Option<Revision>),
    /// A write that took effect: its revision and the value it wrote, `None` for a deletion.
    Wrote(Revision, Option<String>),
    /// A write that was refused: what it expected is not what was there.
    Refused,
    /// A write of whose outcome nothing is known: the value.
    Unknown(Option<String>),
}

/// Records what clients do.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    /// What all keys begin with.
    prefix: Arc<str>,
    clock: Arc<AtomicU64>,
    operations: Arc<Mutex<Vec<Operation>>>,
}

fn next(random: &mut u64, below: u64) -> u64 {
    *random = random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*random >> 33) % below
}

impl Default for Recorder {
    fn default() -> Self {
        Self::under("/")
    }
}

impl Recorder {
    /// For clients that share keys under this prefix.
    pub(crate) fn under(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            clock: Arc::default(),
            operations: Arc::default(),
        }
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().clone()
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn record(&self, began: u64, key: &str, what: What) {
        let answered = self.tick();
        let key = key.to_owned();
        self.operations.lock().push(Operation {
            began,
            answered,
            key,
            what,
        });
    }

    /// A client reads a key and perhaps writes it, as controllers do.
    pub(crate) async fn step(&self, store: &dyn Store, random: &mut u64, keys: u64) {
        let key = format!("{}{}", self.prefix, next(random, keys));
        let began = self.tick();
        let Ok(found) = store.get(&key).await else {
            return;
        };
        let found = found.map(|entry| entry.modified);
        self.record(began, &key, What::Read(found));
        for _ in 0..next(random, 3) {
            tokio::task::yield_now().await;
        }
        // Values are unique, so that a write of unknown outcome is known again.
        let value = format!("{} {}", self.tick(), *random);
        let choice = next(random, 4);
        let began = self.tick();
        let (value, result) = match (choice, found) {
            (0, _) => return,
            (1, Some(revision)) => {
                let deleted = store.delete(&key, Some(revision)).await;
                (None, deleted.map(|(_, revision)| revision))
            }
            (_, found) => {
                let expect = found.map_or(Expect::Absent, Expect::Modified);
                let put = store.put(&key, value.clone().into(), expect, None).await;
                (Some(value), put)
            }
        };
        let what = match result {
            Ok(revision) => What::Wrote(revision, value),
            Err(Error::Unavailable(_)) => What::Unknown(value),
            Err(_) => What::Refused,
        };
        self.record(began, &key, what);
    }
}

/// All changes, in order.
#[derive(Debug)]
pub(crate) struct History {
    changes: Vec<Change>,
}

impl History {
    pub(crate) fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// Whether a linearizable store can have given these answers.
    pub(crate) fn check(&self, operations: &[Operation]) -> Result<(), String> {
        let mut last = 0;
        let mut written: BTreeMap<Revision, (&str, Option<&[u8]>)> = BTreeMap::new();
        let mut of_key: BTreeMap<&str, Vec<(Revision, bool)>> = BTreeMap::new();
        for change in &self.changes {
            let revision = change.revision();
            if revision <= last {
                return Err(format!("revision {revision} comes after {last}"));
            }
            last = revision;
            let value = match change {
                Change::Put { entry, .. } => Some(&entry.value[..]),
                Change::Delete { .. } => None,
            };
            written.insert(revision, (change.key(), value));
            let versions = of_key.entry(change.key()).or_default();
            let before = match change {
                Change::Put { previous, .. } => previous.as_ref(),
                Change::Delete { previous, .. } => Some(previous),
            };
            let present = versions.last().filter(|(_, exists)| *exists);
            if before.map(|entry| entry.modified) != present.map(|(revision, _)| *revision) {
                return Err(format!("{change:?} tells another past than the watch did"));
            }
            versions.push((revision, value.is_some()));
        }
        for operation in operations {
            if let What::Wrote(revision, value) = &operation.what {
                let told = written.get(revision);
                let expected = (operation.key.as_str(), value.as_deref().map(str::as_bytes));
                if told != Some(&expected) {
                    return Err(format!(
                        "{operation:?} was acknowledged; the watch told {told:?}"
                    ));
                }
            }
        }
        self.check_unknown(operations)?;
        check_time(operations, &of_key)
    }

    /// What nobody acknowledged and nobody tried was not written.
    fn check_unknown(&self, operations: &[Operation]) -> Result<(), String> {
        let tried: std::collections::BTreeSet<&str> = operations
            .iter()
            .filter_map(|operation| match &operation.what {
                What::Wrote(_, value) | What::Unknown(value) => value.as_deref(),
                _ => None,
            })
            .collect();
        for change in &self.changes {
            if let Change::Put { entry, .. } = change {
                let value = std::str::from_utf8(&entry.value).unwrap_or_default();
                if !tried.contains(value) {
                    return Err(format!("nobody wrote {value:?} at {}", entry.modified));
                }
            }
        }
        Ok(())
    }
}

/// Real time: what was answered before an operation began was before it.
fn check_time(
    operations: &[Operation],
    of_key: &BTreeMap<&str, Vec<(Revision, bool)>>,
) -> Result<(), String> {
    let seen = |operation: &Operation| match operation.what {
        What::Wrote(revision, _) | What::Read(Some(revision)) => revision,
        _ => 0,
    };
    // The newest revision that was known to somebody by the time of each answer.
    let mut by_answer: Vec<(u64, Revision)> = operations
        .iter()
        .map(|operation| (operation.answered, seen(operation)))
        .collect();
    by_answer.sort_unstable();
    let mut newest = 0;
    for (_, revision) in &mut by_answer {
        newest = newest.max(*revision);
        *revision = newest;
    }
    let known_before = |began: u64| {
        let count = by_answer.partition_point(|(answered, _)| *answered < began);
        count.checked_sub(1).map_or(0, |index| by_answer[index].1)
    };
    // The oldest revision written by an operation that began after a time.
    let mut by_begin: Vec<(u64, Revision)> = operations
        .iter()
        .filter_map(|operation| match operation.what {
            What::Wrote(revision, _) => Some((operation.began, revision)),
            _ => None,
        })
        .collect();
    by_begin.sort_unstable();
    let mut oldest = Revision::MAX;
    for (_, revision) in by_begin.iter_mut().rev() {
        oldest = oldest.min(*revision);
        *revision = oldest;
    }
    let written_after = |answered: u64| {
        let index = by_begin.partition_point(|(began, _)| *began <= answered);
        by_begin
            .get(index)
            .map_or(Revision::MAX, |(_, revision)| *revision)
    };
    for operation in operations {
        let (from, until) = (
            known_before(operation.began),
            written_after(operation.answered),
        );
        match operation.what {
            What::Wrote(revision, _) if revision <= from || revision >= until => {
                return Err(format!("{operation:?} is not between {from} and {until}"));
            }
            What::Read(found) => {
                // The versions of the key, each with the revisions during which it was the present one.
                let versions = of_key.get(operation.key.as_str()).map_or(&[][..], |v| v);
                let began = found.unwrap_or(0);
                let holds = |index: usize, exists: bool| {
                    let end = versions.get(index).map_or(Revision::MAX, |(next, _)| *next);
                    let start = index.checked_sub(1).map_or(0, |index| versions[index].0);
                    let fits = if exists {
                        start == began && found.is_some()
                    } else {
                        found.is_none()
                    };
                    fits && end > from && start < until
                };
                let absent_at_first = holds(0, false);
                let present = versions
                    .iter()
                    .enumerate()
                    .any(|(index, (_, exists))| holds(index + 1, *exists));
                if !absent_at_first && !present {
                    return Err(format!(
                        "{operation:?} is stale: known before {from}, versions {versions:?}"
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat::store::Entry;

    fn put(key: &str, value: &str, modified: Revision, previous: Option<Entry>) -> Change {
        let entry = Entry {
            key: key.into(),
            value: value.to_owned().into(),
            created: previous.as_ref().map_or(modified, |entry| entry.created),
            modified,
        };
        Change::Put { entry, previous }
    }

    fn operation(began: u64, answered: u64, what: What) -> Operation {
        Operation {
            began,
            answered,
            key: "/a".into(),
            what,
        }
    }

    #[test]
    fn the_checker_finds_what_is_wrong() {
        let first = put("/a", "1", 1, None);
        let Change::Put { entry, .. } = &first else {
            panic!()
        };
        let second = put("/a", "2", 2, Some(entry.clone()));
        let history = History::new(vec![first.clone(), second]);
        let wrote = |revision| What::Wrote(revision, Some(revision.to_string()));
        let good = [
            operation(0, 1, wrote(1)),
            operation(2, 9, wrote(2)),
            operation(3, 4, What::Read(Some(1))),
            operation(5, 6, What::Read(Some(2))),
        ];
        history.check(&good).unwrap();
        let stale = [
            operation(0, 1, wrote(1)),
            operation(2, 3, wrote(2)),
            operation(4, 5, What::Read(Some(1))),
        ];
        assert!(history.check(&stale).unwrap_err().contains("stale"));
        let backwards = [
            operation(0, 1, wrote(1)),
            operation(2, 8, wrote(2)),
            operation(3, 4, What::Read(Some(2))),
            operation(5, 6, What::Read(Some(1))),
        ];
        assert!(history.check(&backwards).unwrap_err().contains("stale"));
        let gone = [
            operation(0, 1, wrote(1)),
            operation(2, 3, wrote(2)),
            operation(4, 5, What::Read(None)),
        ];
        assert!(history.check(&gone).unwrap_err().contains("stale"));
        let lost = History::new(vec![first.clone()]);
        assert!(lost.check(&good).unwrap_err().contains("acknowledged"));
        let late = [operation(4, 5, wrote(1)), operation(0, 1, wrote(2))];
        assert!(history.check(&late).unwrap_err().contains("not between"));
        let nobody = [operation(0, 1, wrote(1))];
        assert!(history.check(&nobody).unwrap_err().contains("nobody wrote"));
    }
}
