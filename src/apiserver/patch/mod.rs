//! Patches: JSON patch, merge patch, strategic merge patch and server-side apply, and who owns which field.
//!
//! Pure: no clock, no I/O.

use crate::object::field::{Errors, Path};
use crate::object::{GroupKind, Status};

/// 422: the outcome of a patch is no object of its kind. `shown`: the patched document or the patch, as the real server shows it.
pub(crate) fn invalid(shown: &str, why: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(Path::new("patch"), shown, why);
    Status::invalid(&GroupKind::default(), "", &errors)
}
