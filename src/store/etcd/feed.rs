//! The one watch of all keys that feeds all watches of a store, and the compaction that goes on beside it.

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, Event, EventType, Txn, TxnOp, TxnOpResponse, WatchClient,
    WatchOptions, WatchResponse,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{LARGEST, entry, error, header, newest, number, revision};
use crate::store::{Change, Error, MemoryStore, Result, Revision, Store as _, WatchStream};

/// Before a broken watch is begun again.
const PAUSE: Duration = Duration::from_millis(200);
/// Where servers agree on who compacts; the key that Kubernetes uses.
const COMPACTION: &str = "compact_rev_key";

/// Follows etcd until it is dropped.
#[derive(Debug)]
pub(super) struct Feed {
    memory: MemoryStore,
    /// How far it has come.
    reached: watch::Receiver<Revision>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Feed {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Feed {
    /// Follows etcd from where `memory` is.
    pub(super) fn start(client: Client, memory: MemoryStore, compaction: Option<Duration>) -> Self {
        let (tell, reached) = watch::channel(memory.newest());
        // The store's own tasks; aborted when it is dropped.
        let mut tasks = vec![tokio::spawn(follow(client.clone(), memory.clone(), tell))];
        if let Some(interval) = compaction {
            tasks.push(tokio::spawn(compact(client, interval)));
        }
        Self {
            memory,
            reached,
            tasks,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.memory.newest()
    }

    pub(super) async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        self.memory.watch(prefix, after).await
    }

    /// Waits until the feed has come to `revision`.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) async fn reach(&self, revision: Revision, limit: Duration) -> Result<()> {
        let mut reached = self.reached.clone();
        match timeout(limit, reached.wait_for(|reached| *reached >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(error::timed_out()),
        }
    }

    /// Watches may no longer begin before `revision`.
    pub(super) fn forget(&self, revision: Revision) {
        // Forgotten already is as good.
        let _forgotten = self.memory.forget(revision);
    }
}

/// Where the history that etcd knows begins; `None`: it has never been compacted.
pub(super) async fn compacted(mut client: WatchClient) -> Option<Revision> {
    let options = WatchOptions::new().with_start_revision(1);
    let mut watch = client.watch("\0", Some(options)).await.ok()?;
    while let Ok(Some(answer)) = watch.message().await {
        if answer.canceled() {
            return Some(revision(answer.compact_revision()));
        }
        if !answer.created() {
            break;
        }
    }
    None
}

/// Keeps `memory` up with etcd; begins again whenever the watch breaks.
async fn follow(client: Client, memory: MemoryStore, reached: watch::Sender<Revision>) {
    loop {
        let next = memory.newest() + 1;
        match follow_from(&client, &memory, &reached, next).await {
            Ok(()) => tracing::debug!("the watch of etcd ended"),
            Err(Error::Compacted { oldest }) => {
                // What happened meanwhile is not known: who watches begins again from the present.
                tracing::warn!(
                    next,
                    oldest,
                    "etcd has compacted what the store did not see"
                );
                if let Ok(now) = newest(client.kv_client()).await {
                    memory.restart(now);
                    reached.send_replace(now);
                }
            }
            Err(error) => tracing::warn!(%error, "the watch of etcd broke"),
        }
        sleep(PAUSE).await;
    }
}

async fn follow_from(
    client: &Client,
    memory: &MemoryStore,
    reached: &watch::Sender<Revision>,
    next: Revision,
) -> Result<()> {
    let options = WatchOptions::new()
        .with_all_keys()
        .with_start_revision(number(next))
        .with_prev_key()
        .with_progress_notify();
    let mut watch = client
        .watch_client()
        .max_decoding_message_size(LARGEST)
        .watch("\0", Some(options))
        .await
        .map_err(|error| error::of(&error))?;
    while let Some(answer) = watch.message().await.map_err(|error| error::of(&error))? {
        if answer.canceled() {
            return Err(ended(&answer));
        }
        // All changes of a revision come in one answer, for the watch does not ask for fragments.
        let changes = answer.events().iter().map(change);
        memory.tell(changes.collect::<Result<_>>()?);
        reached.send_replace(memory.newest());
    }
    Ok(())
}

fn ended(answer: &WatchResponse) -> Error {
    match answer.compact_revision() {
        0 => Error::Unavailable(format!("etcd ended the watch: {}", answer.cancel_reason()).into()),
        oldest => Error::Compacted {
            oldest: revision(oldest),
        },
    }
}

/// # Errors
/// [`Error::Compacted`] when etcd no longer knows what the key was before.
fn change(event: &Event) -> Result<Change> {
    let lost = || Error::Compacted { oldest: 0 };
    let kv = event.kv().ok_or_else(lost)?;
    let modified = revision(kv.mod_revision());
    let previous = event.prev_kv().cloned().and_then(entry);
    if event.event_type() == EventType::Delete {
        return Ok(Change::Delete {
            previous: previous.ok_or_else(lost)?,
            revision: modified,
        });
    }
    if previous.is_none() && kv.create_revision() != kv.mod_revision() {
        return Err(lost());
    }
    Ok(Change::Put {
        entry: entry(kv.clone()).ok_or_else(lost)?,
        previous,
    })
}

/// Compacts history to what it was an interval ago, as Kubernetes' API servers agree on it: whoever raises the version of
/// one key from what all saw does it.
async fn compact(client: Client, interval: Duration) {
    let mut version = 0;
    let mut then = 0;
    loop {
        sleep(interval).await;
        let mut kv = client.kv_client();
        let txn = Txn::new()
            .when([Compare::version(COMPACTION, CompareOp::Equal, version)])
            .and_then([TxnOp::put(COMPACTION, then.to_string(), None)])
            .or_else([TxnOp::get(COMPACTION, None)]);
        let done = match kv.txn(txn).await {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(%error, "history could not be compacted");
                continue;
            }
        };
        let now = header(done.header());
        if done.succeeded() {
            version += 1;
            if then > 0
                && let Err(error) = kv.compact(number(then), None).await
            {
                tracing::warn!(%error, "history could not be compacted");
            }
        } else if let Some(TxnOpResponse::Get(found)) = done.op_responses().pop() {
            // Somebody else did.
            version = found
                .kvs()
                .first()
                .map_or(0, etcd_client::KeyValue::version);
        }
        then = now;
    }
}
