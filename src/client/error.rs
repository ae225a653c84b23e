//! What a failed request means to its caller.

use kube::Error;
use kube::core::Status;

fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::Api(status) => Some(status),
        _ => None,
    }
}

fn has(error: &Error, code: u16, reason: &str) -> bool {
    status(error).is_some_and(|status| status.code == code && status.reason == reason)
}

/// Whether the object does not exist.
#[must_use]
pub fn is_not_found(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// Whether the object was changed meanwhile, or is another one than the precondition said: read it again.
#[must_use]
pub fn is_conflict(error: &Error) -> bool {
    has(error, 409, "Conflict")
}

/// Whether an object of that name exists already.
#[must_use]
pub fn is_already_exists(error: &Error) -> bool {
    has(error, 409, "AlreadyExists")
}

/// Whether the server refused the object's content.
#[must_use]
pub fn is_invalid(error: &Error) -> bool {
    has(error, 422, "Invalid")
}

/// Whether the revision asked for is no longer kept: list again.
#[must_use]
pub fn is_expired(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 410)
}

/// Whether nothing can be created in the namespace any more, since it is being deleted.
#[must_use]
pub fn is_namespace_terminating(error: &Error) -> bool {
    let causes = status(error)
        .and_then(|status| status.details.as_ref())
        .map(|details| details.causes.as_slice());
    causes
        .unwrap_or_default()
        .iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// The server's own words where it answered, the transport's otherwise.
#[must_use]
pub fn message(error: &Error) -> String {
    status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}
