//! What a failed call means.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};

use crate::cri::Error;

/// What `status` means as the answer to `call` about `what`.
pub(super) fn of(call: &'static str, what: &str, status: &Status) -> Error {
    let why = message(status);
    if is_transport(status) {
        return Error::Unavailable(format!("{call}: {}", root(status)));
    }
    match status.code() {
        Code::NotFound => Error::NotFound(what.to_owned()),
        // Old runtimes say it only in words.
        Code::Unknown if why.ends_with(": not found") || why == "not found" => {
            Error::NotFound(what.to_owned())
        }
        Code::Unimplemented => Error::Unimplemented(call),
        Code::Unavailable | Code::Cancelled => Error::Unavailable(format!("{call}: {why}")),
        // While it starts.
        Code::Unknown if why.contains("server is not initialized yet") => {
            Error::Unavailable(format!("{call}: {why}"))
        }
        _ => Error::Refused { call, why },
    }
}

/// A call that was not answered in time.
pub(super) fn late(call: &'static str, limit: Duration) -> Error {
    Error::Unavailable(format!("{call}: no answer within {limit:?}"))
}

/// The runtime's own words.
pub(super) fn message(status: &Status) -> String {
    status.message().to_owned()
}

/// Whether no runtime answered: the status was made on this side.
pub(super) fn is_transport(status: &Status) -> bool {
    status.source().is_some()
}

/// What lies at the bottom of a failed connection.
pub(super) fn root(status: &Status) -> String {
    let Some(mut error) = status.source() else {
        return message(status);
    };
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
