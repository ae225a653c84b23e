//! What is asked of the writer, and how what waits is gathered into one commit.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;

use super::backup::Snapshot;
use crate::store::{Entry, Expect, Result, Revision};

/// So many operations share a commit,
const MOST: usize = 1024;
/// or as many as write so many bytes, which are in memory once more while they are written.
const MOST_BYTES: usize = 16 << 20;

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Operation {
    Put {
        key: String,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
        answer: oneshot::Sender<Result<Revision>>,
    },
    Delete {
        key: String,
        expect: Option<Revision>,
        answer: oneshot::Sender<Result<(Entry, Revision)>>,
    },
    Compact {
        revision: Revision,
        answer: oneshot::Sender<Result<()>>,
    },
    Check {
        answer: oneshot::Sender<Result<()>>,
    },
    Snapshot(oneshot::Sender<std::io::Result<Snapshot>>),
    Close,
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            _ => 0,
        }
    }
}

/// Operations that share a commit.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub operations: Vec<Operation>,
    bytes: usize,
    /// Whether the store is to be closed.
    pub closes: bool,
}

impl Gathered {
    pub(super) fn add(&mut self, operation: Operation) {
        self.bytes += operation.bytes();
        self.closes |= matches!(operation, Operation::Close);
        self.operations.push(operation);
    }

    /// Adds what waits in the queue.
    fn take(&mut self, queue: &mut mpsc::Receiver<Operation>) {
        while self.operations.len() < MOST
            && self.bytes < MOST_BYTES
            && let Ok(operation) = queue.try_recv()
        {
            self.add(operation);
        }
    }

    /// Adds what waits, and what comes at once from those who were answered together, `expected` in number. Without that the
    /// first of them would have a commit for himself, and all others wait for it.
    pub(super) async fn gather(&mut self, queue: &mut mpsc::Receiver<Operation>, expected: usize) {
        self.take(queue);
        let mut before = 0;
        while before < self.operations.len() && self.operations.len() < expected {
            before = self.operations.len();
            yield_now().await;
            self.take(queue);
        }
    }
}
