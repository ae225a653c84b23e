//! Patches: JSON patch, merge patch, strategic merge patch and server-side apply, and who owns which field.
//!
//! Pure: no clock, no I/O.

pub(crate) mod apply;
pub(crate) mod fieldset;
pub(crate) mod json;
pub(crate) mod managed;
pub(crate) mod merge;
pub(crate) mod strategic;
#[cfg(test)]
mod tests;
mod typed;
mod validate;

#[cfg(feature = "cel")]
pub(crate) use self::typed::merge as merge_typed;

use crate::apiserver::schema::decode::{self, Decoded};
use crate::apiserver::schema::{Schema, convert, gojson};
use crate::object::field::{Errors, Path};
use crate::object::{GroupKind, GroupVersionKind, Status};
use serde_json::Value;

/// Which kind of patch made a document, for the messages about it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Made<'a> {
    /// By a JSON patch; [`json::Patch::touched`].
    Json(&'a Value),
    /// By this merge patch.
    Merge(&'a Value),
    /// By this strategic merge patch.
    Strategic(&'a Value),
}

/// Decodes the outcome of a patch. `complaints` are those about the patch itself; with `strict`
/// (`fieldValidation=Strict`) any complaint is an error.
///
/// # Errors
/// 422 on the field `patch` with the real server's message.
pub(crate) fn decode(
    object: Value,
    made: Made<'_>,
    schema: Option<&Schema>,
    expected: &GroupVersionKind,
    complaints: Vec<String>,
    strict: bool,
) -> Result<Decoded, Status> {
    let shown = |object: &Value| match made {
        Made::Json(touched) | Made::Merge(touched) => gojson::encode(object, schema, Some(touched)),
        Made::Strategic(patch) => gojson::percent_v(patch),
    };
    // The strategic merge goes through a converter with words of its own.
    if let (Made::Strategic(_), Some(schema)) = (made, schema)
        && let Some(why) = convert::error(&schema.root, &object)
    {
        return Err(invalid(&shown(&object), &why));
    }
    let text = std::cell::Cell::new(None);
    let keep = |object: &Value| {
        let shown = shown(object);
        text.set(Some(shown.clone()));
        shown
    };
    let mut decoded = decode::check_patched(object, schema, expected, keep)?;
    decoded.strict_errors = complaints
        .into_iter()
        .chain(decoded.strict_errors)
        .collect();
    if strict && !decoded.strict_errors.is_empty() {
        let text = text.take().unwrap_or_else(|| shown(&decoded.object));
        return Err(invalid(&text, &decode::strict_text(&decoded.strict_errors)));
    }
    Ok(decoded)
}

/// 422: the outcome of a patch is no object of its kind. `shown`: the patched document or the patch, as the real server shows it.
pub(crate) fn invalid(shown: &str, why: &str) -> Status {
    let mut errors = Errors::new();
    errors.invalid(Path::new("patch"), shown, why);
    Status::invalid(&GroupKind::default(), "", &errors)
}
