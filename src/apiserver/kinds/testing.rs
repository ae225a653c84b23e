//! What the tests of kinds share.

use serde_json::Value;

use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::Errors;

/// A request for the object itself or for a subresource.
pub(super) fn context(subresource: Option<&str>) -> Context<'_> {
    Context {
        now: "2026-01-01T00:00:00Z",
        subresource,
        user: "",
    }
}

/// The object with its defaults.
pub(super) fn defaulted(kind: &dyn Strategy, mut object: Value) -> Value {
    kind.default(&mut object);
    object
}

fn text(errors: &Errors) -> String {
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// What is wrong with a new object, each with its field.
pub(super) fn errors_of(kind: &dyn Strategy, object: &Value) -> String {
    let mut errors = Errors::new();
    kind.validate(&context(None), object, &mut errors);
    text(&errors)
}

/// What is wrong with a change, each with its field.
pub(super) fn errors_of_update(
    kind: &dyn Strategy,
    subresource: Option<&str>,
    object: &Value,
    old: &Value,
) -> String {
    let mut errors = Errors::new();
    kind.validate_update(&context(subresource), object, old, &mut errors);
    text(&errors)
}
