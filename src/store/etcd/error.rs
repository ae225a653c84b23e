//! What etcd's errors mean for the caller.

use etcd_client::Error as Client;

use crate::store::Error;

/// Etcd's limit of a request unless it is told another, in bytes.
const REQUEST_LIMIT: usize = 1536 << 10;

fn message(error: &Client) -> &str {
    match error {
        Client::GRpcStatus(status) => status.message(),
        _ => "",
    }
}

/// As the store's error. Numbers that etcd does not tell are 0.
pub(super) fn of(error: &Client) -> Error {
    let message = message(error);
    if message.contains("has been compacted") {
        Error::Compacted { oldest: 0 }
    } else if message.contains("is a future revision") {
        Error::FutureRevision {
            asked: 0,
            current: 0,
        }
    } else if message.contains("request is too large")
        || message.contains("received message larger than max")
    {
        Error::TooLarge {
            size: 0,
            limit: REQUEST_LIMIT,
        }
    } else {
        unavailable(error)
    }
}

/// With the size of the value that was too large.
pub(super) fn sized(error: Error, size: usize) -> Error {
    match error {
        Error::TooLarge { limit, .. } => Error::TooLarge { size, limit },
        other => other,
    }
}

pub(super) fn unavailable(error: &Client) -> Error {
    Error::Unavailable(format!("etcd: {error}").into())
}

pub(super) fn timed_out() -> Error {
    Error::Unavailable("etcd did not answer in time".into())
}

/// Whether the request surely had no effect, so that it may be sent again: it found no connection, or was refused before
/// it was proposed.
pub(super) fn never_ran(error: &Client) -> bool {
    let message = message(error);
    [
        "tcp connect error",
        "etcdserver: no leader",
        "etcdserver: too many requests",
    ]
    .iter()
    .any(|refusal| message.contains(refusal))
}
