//! The write log: who wrote what, when, at which revision. Two runs of one seed have the same.

use std::collections::VecDeque;
use std::fmt;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::apiserver::{Write, WriteObserver};
use crate::store::Revision;

/// How many entries are kept; the hash covers all there ever were.
const KEPT: usize = 100_000;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The component that wrote, by its user agent.
    pub who: String,
    /// `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// What: `pods/default/web-1`, `pods/default/web-1/status`.
    pub key: String,
    /// The store's revision.
    pub revision: Revision,
    /// When, in virtual time.
    pub time: Timestamp,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {}",
            self.time, self.revision, self.who, self.verb, self.key
        )
    }
}

/// The writes of a cluster. It holds no contents of objects, so no secrets.
#[derive(Debug, Default)]
pub struct WriteLog {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    hash: u64,
    count: u64,
    last_foreground: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            last_foreground: None,
        }
    }
}

impl WriteLog {
    /// The last 100,000 writes.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.state.lock().entries.iter().cloned().collect()
    }

    /// How many writes there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// A hash of all writes, with their order and times: equal for two runs of one seed.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    /// When something other than a heartbeat was written last.
    pub(super) fn last_foreground(&self) -> Option<Instant> {
        self.state.lock().last_foreground
    }
}

/// Heartbeats: they go on for ever, and change nothing that anybody waits for.
fn is_background(write: &Write<'_>) -> bool {
    write.group == "coordination.k8s.io" && write.resource == "leases"
}

impl WriteObserver for WriteLog {
    fn wrote(&self, write: &Write<'_>) {
        let mut key = write.resource.to_owned();
        for part in [
            write.namespace,
            write.name,
            write.subresource.unwrap_or_default(),
        ] {
            if !part.is_empty() {
                key.push('/');
                key.push_str(part);
            }
        }
        let entry = Entry {
            who: write.user_agent.to_owned(),
            verb: write.verb,
            key,
            revision: write.revision,
            time: write.time,
        };
        let mut state = self.state.lock();
        // FNV-1a: stable across runs and versions.
        let bytes = entry.to_string();
        state.hash = bytes.bytes().fold(state.hash, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        state.count += 1;
        if !is_background(write) {
            state.last_foreground = Some(Instant::now());
        }
        if state.entries.len() == KEPT {
            state.entries.pop_front();
        }
        state.entries.push_back(entry);
    }
}
