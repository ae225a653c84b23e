//! The one task that writes: plans a batch over what is there, commits it to the log, shows it, answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::log::{Batch, Contents, Log, WriteError};
use super::queue::{Gathered, Operation};
use super::record;
use super::witness::SYNC_WITHIN;
use crate::store::memory::{Expiry, Present};
use crate::store::{Change, Entry, Error, Expect, MemoryConfig, MemoryStore, Result, Revision};

/// So many obsolete records go in one commit: each alone would make a page dirty for every write.
const OBSOLETE: usize = 1000;
/// After a failed commit, expired keys are tried again this much later.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to be told once the batch is on disk, or is not.
#[derive(Debug)]
enum Answer {
    Put(oneshot::Sender<Result<Revision>>, Result<Revision>),
    Delete(
        oneshot::Sender<Result<(Entry, Revision)>>,
        Result<(Entry, Revision)>,
    ),
    /// Of a compaction or a check.
    Done(oneshot::Sender<Result<()>>),
}

/// A store's contents, read from its log.
#[derive(Debug)]
pub(super) struct Loaded {
    pub memory: MemoryStore,
    expiring: Vec<(Arc<str>, Duration)>,
    obsolete: Vec<Revision>,
}

/// Fills memory from a log: what is older than history at once, without its order in time; the rest as it happened.
pub(super) fn load(config: MemoryConfig, contents: Contents) -> Loaded {
    let records = || contents.parts.iter().flatten().rev();
    let kept = config.kept(records().map(|(_, record)| record.key.len()));
    let past = records().nth(kept).map_or(0, |(revision, _)| *revision);
    let compacted = contents.compacted.max(past);
    let mut expiring = BTreeMap::new();
    let mut obsolete = Vec::new();
    let mut expires = |key: &Arc<str>, ttl: Option<Duration>| match ttl {
        Some(ttl) => drop(expiring.insert(key.clone(), ttl)),
        None => drop(expiring.remove(key)),
    };
    let mut present = Present::default();
    let mut records = contents.parts.into_iter().flatten().peekable();
    while let Some((revision, record)) = records.next_if(|(revision, _)| *revision <= compacted) {
        expires(&record.key, record.ttl);
        let (key, created) = (record.key, record.created);
        if let Some(value) = record.value {
            obsolete.extend(present.put(key, value, created, revision));
        } else {
            obsolete.extend(present.delete(&key));
            obsolete.push(revision);
        }
    }
    let memory = MemoryStore::filled(config, compacted, present);
    for (revision, record) in records {
        expires(&record.key, record.ttl);
        let (before, created) = (memory.present(&record.key), record.created);
        if let Some(change) = change(before, record.key, record.value, created, revision) {
            let forgotten = memory.apply(vec![change]);
            obsolete.extend(forgotten.iter().flat_map(unneeded));
        }
    }
    memory.catch_up(contents.newest);
    Loaded {
        memory,
        expiring: expiring.into_iter().collect(),
        obsolete,
    }
}

/// The change that sets `key`, created at `created` if that is known better than from `previous`, to `value` at `revision`;
/// `None` for the deletion of what is not there.
fn change(
    previous: Option<Entry>,
    key: Arc<str>,
    value: Option<Bytes>,
    created: Option<Revision>,
    revision: Revision,
) -> Option<Change> {
    match (value, previous) {
        (Some(value), previous) => {
            let before = previous.as_ref().map(|entry| entry.created);
            let created = created.or(before).unwrap_or(revision);
            Some(Change::Put {
                entry: Entry {
                    key: previous.as_ref().map_or(key, |entry| entry.key.clone()),
                    value,
                    created,
                    modified: revision,
                },
                previous,
            })
        }
        (None, Some(previous)) => Some(Change::Delete { previous, revision }),
        (None, None) => None,
    }
}

/// The records that nothing needs once `change` is forgotten: those it superseded, and a deletion's own.
fn unneeded(change: &Change) -> impl Iterator<Item = Revision> + use<> {
    let (superseded, own) = match change {
        Change::Put { previous, .. } => (previous.as_ref().map(|entry| entry.modified), None),
        Change::Delete { previous, revision } => (Some(previous.modified), Some(*revision)),
    };
    superseded.into_iter().chain(own)
}

/// Changes that are decided and not yet on disk.
#[derive(Debug)]
struct Plan<'a> {
    memory: &'a MemoryStore,
    /// The last planned revision.
    revision: Revision,
    /// What planned changes make of keys; the others are as in memory.
    ahead: BTreeMap<Arc<str>, Option<Entry>>,
    changes: Vec<(Change, Option<Duration>)>,
}

impl<'a> Plan<'a> {
    fn new(memory: &'a MemoryStore) -> Self {
        Self {
            memory,
            revision: memory.newest(),
            ahead: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    fn present(&self, key: &str) -> Option<Entry> {
        match self.ahead.get(key) {
            Some(planned) => planned.clone(),
            None => self.memory.present(key),
        }
    }

    fn make(&mut self, change: Change, ttl: Option<Duration>) -> Revision {
        self.revision = change.revision();
        let entry = match &change {
            Change::Put { entry, .. } => Some(entry.clone()),
            Change::Delete { .. } => None,
        };
        self.ahead.insert(change.key().clone(), entry);
        self.changes.push((change, ttl));
        self.revision
    }

    fn put(
        &mut self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision> {
        let previous = self.present(key);
        expect.check(key, previous.as_ref())?;
        let change = change(previous, key.into(), Some(value), None, self.revision + 1);
        Ok(change.map_or(self.revision, |change| self.make(change, ttl)))
    }

    fn delete(&mut self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        let Some(previous) = self.present(key) else {
            return Err(Error::NotFound {
                key: key.to_owned(),
            });
        };
        if let Some(expected) = expect {
            Expect::Modified(expected).check(key, Some(&previous))?;
        }
        let revision = self.revision + 1;
        let deleted = previous.clone();
        self.make(Change::Delete { previous, revision }, None);
        Ok((deleted, revision))
    }
}

/// The task's state.
#[derive(Debug)]
pub(super) struct Writer {
    memory: MemoryStore,
    /// `None` only while a commit has it.
    log: Option<Log>,
    expiry: Expiry,
    /// Records that are to go with the next commit.
    obsolete: Vec<Revision>,
    relaxed: Option<Duration>,
    /// When what is not durable with each commit is made so.
    flush: Option<Instant>,
    /// Whether the last commit failed.
    failing: bool,
}

impl Writer {
    pub(super) fn new(log: Log, loaded: Loaded, relaxed: Option<Duration>) -> Self {
        let mut expiry = Expiry::default();
        let now = Instant::now();
        for (key, ttl) in loaded.expiring {
            expiry.set(&key, now, Some(ttl));
        }
        Self {
            memory: loaded.memory,
            log: Some(log),
            expiry,
            obsolete: loaded.obsolete,
            relaxed,
            flush: None,
            failing: false,
        }
    }

    /// Works until the store is closed or dropped.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Operation>) {
        // How many shared the last commit.
        let mut last = 0;
        loop {
            let next = self.expiry.next().into_iter().chain(self.flush).min();
            let mut gathered = Gathered::default();
            let mut is_open = true;
            tokio::select! {
                biased;
                received = queue.recv() => match received {
                    Some(operation) => {
                        gathered.add(operation);
                        gathered.gather(&mut queue, last).await;
                        last = gathered.operations.len();
                    }
                    None => is_open = false,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            self.work(gathered.operations).await;
            if self.flush.is_some_and(|at| at <= Instant::now()) {
                self.flush().await;
            }
            if !is_open || gathered.closes {
                break;
            }
        }
        queue.close();
        // Who came later learns that the store is closed, for its operation is dropped. Dropping the queue would not do:
        // what is being sent at that moment stays in it, and its sender waits for ever.
        while queue.recv().await.is_some() {}
        if !self.obsolete.is_empty() {
            let base = self.memory.newest();
            // They go with the next start otherwise.
            let _removed = self.commit(base, &[], true).await;
        }
        self.flush().await;
    }

    async fn work(&mut self, operations: Vec<Operation>) {
        let memory = self.memory.clone();
        let mut plan = Plan::new(&memory);
        let mut answers = Vec::with_capacity(operations.len());
        let mut expired = Vec::new();
        // Whether there is to be a commit even if it writes no record.
        let mut forced = false;
        while let Some(key) = self.expiry.due(Instant::now()) {
            if plan.delete(&key, None).is_ok() {
                expired.push(key);
            }
        }
        for operation in operations {
            match operation {
                Operation::Put {
                    key,
                    value,
                    expect,
                    ttl,
                    answer,
                } => answers.push(Answer::Put(answer, plan.put(&key, value, expect, ttl))),
                Operation::Delete {
                    key,
                    expect,
                    answer,
                } => answers.push(Answer::Delete(answer, plan.delete(&key, expect))),
                Operation::Compact { revision, answer } => match memory.forget(revision) {
                    Ok(forgotten) => {
                        self.obsolete.extend(forgotten.iter().flat_map(unneeded));
                        answers.push(Answer::Done(answer));
                        forced = true;
                    }
                    Err(error) => drop(answer.send(Err(error))),
                },
                Operation::Check { answer } => {
                    // A log that failed is tried.
                    forced |= self.failing;
                    answers.push(Answer::Done(answer));
                }
                Operation::Snapshot(answer) => {
                    let snapshot = self.log.as_ref().map_or_else(
                        || Err(std::io::Error::other("the log is closed")),
                        |log| log.snapshot(memory.newest()).map_err(std::io::Error::other),
                    );
                    drop(answer.send(snapshot));
                }
                Operation::Close => {}
            }
        }
        let (base, changes) = (memory.newest(), plan.changes);
        let committed = self.commit(base, &changes, forced).await;
        if committed.is_ok() {
            self.show(changes);
        } else {
            for key in expired {
                self.expiry.set(&key, Instant::now(), Some(AGAIN));
            }
        }
        for answer in answers {
            answer.give(&committed);
        }
    }

    /// Writes the changes, and removes what is obsolete when it is worth it or the commit is `forced`.
    async fn commit(
        &mut self,
        base: Revision,
        changes: &[(Change, Option<Duration>)],
        forced: bool,
    ) -> Result<(), Arc<WriteError>> {
        let records = changes
            .iter()
            .map(|(change, ttl)| (change.revision(), record::encode(change, *ttl)));
        let batch = Batch {
            base,
            records: records.collect(),
            obsolete: if forced || self.obsolete.len() >= OBSOLETE {
                std::mem::take(&mut self.obsolete)
            } else {
                Vec::new()
            },
            compacted: self.memory.compacted(),
        };
        if batch.records.is_empty() && !forced {
            return Ok(());
        }
        let (result, batch) = self
            .with_log(move |log| {
                let result = log.commit(&batch);
                (result, batch)
            })
            .await;
        self.failing = result.is_err();
        match result {
            Ok(()) => {
                let interval = self.relaxed.unwrap_or(SYNC_WITHIN);
                self.flush.get_or_insert_with(|| Instant::now() + interval);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a batch of writes failed");
                self.obsolete.extend(batch.obsolete);
                Err(Arc::new(error))
            }
        }
    }

    /// Makes committed changes the present.
    fn show(&mut self, changes: Vec<(Change, Option<Duration>)>) {
        let now = Instant::now();
        let mut shown = Vec::with_capacity(changes.len());
        for (change, ttl) in changes {
            self.expiry.set(change.key(), now, ttl);
            shown.push(change);
        }
        let forgotten = self.memory.apply(shown);
        self.obsolete.extend(forgotten.iter().flat_map(unneeded));
    }

    async fn flush(&mut self) {
        self.flush = None;
        if let Err(error) = self.with_log(Log::flush).await {
            tracing::error!(%error, "relaxed writes could not be made durable");
            self.flush = Some(Instant::now() + AGAIN);
        }
    }

    /// Lends the log to a blocking thread.
    async fn with_log<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Log) -> T + Send + 'static,
    ) -> T {
        let log = self.log.take();
        let done = spawn_blocking(move || {
            let mut log = log.unwrap_or_else(|| unreachable!("the log is back after each use"));
            let done = work(&mut log);
            (log, done)
        });
        match done.await {
            Ok((log, done)) => {
                self.log = Some(log);
                done
            }
            // A panic of the engine: the store cannot know what is on disk, so it ends, and all its users are told.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

impl Answer {
    /// Tells the caller; whoever no longer waits is not told.
    fn give(self, committed: &Result<(), Arc<WriteError>>) {
        let failed = |error: &Arc<WriteError>| Error::Unavailable(Box::new(error.clone()));
        match self {
            Self::Put(answer, result) => drop(answer.send(match committed {
                Ok(()) => result,
                Err(error) => Err(failed(error)),
            })),
            Self::Delete(answer, result) => drop(answer.send(match committed {
                Ok(()) => result,
                Err(error) => Err(failed(error)),
            })),
            Self::Done(answer) => drop(answer.send(match committed {
                Ok(()) => Ok(()),
                Err(error) => Err(failed(error)),
            })),
        }
    }
}
