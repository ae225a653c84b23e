//! Values of custom resources against their schema: the rules and the words of `kube-openapi/pkg/validation/validate`.
//!
//! What is wrong with a part that an update leaves as it was is not told again.
mod format;
mod number;
#[cfg(test)]
mod tests;

pub(super) use self::format::is_known as is_known_format;
pub(crate) use self::number::{Shown, unequal};
use super::schema::{Additional, Props};
use crate::object::field::{ErrorKind, Errors, Path};
use serde_json::{Map, Value};

/// Deeper values are not looked into.
const MAX_DEPTH: usize = 200;

/// Checks `value`, which replaces `old`, against a schema. Paths begin with `base`, if there is one; the words of messages do not.
pub(crate) fn validate(
    schema: &Props,
    value: &Value,
    old: Option<&Value>,
    base: Option<&Path>,
    errors: &mut Errors,
) {
    let outcome = Check { depth: 0 }.node(schema, value, old, "");
    for issue in outcome.issues {
        let path = match (base, issue.name.as_deref().filter(|name| !name.is_empty())) {
            (Some(base), Some(name)) => base.child(name),
            (Some(base), None) => base.clone(),
            (None, Some(name)) => Path::new(name),
            (None, None) => Path::new("<nil>"),
        };
        errors.push(issue.kind, path, issue.message);
    }
}

/// Something that is wrong.
struct Issue {
    kind: ErrorKind,
    /// Where; `None`: the real server does not say.
    name: Option<String>,
    message: String,
}

/// What is wrong, and how much is right: by the latter the best of several schemas is found.
#[derive(Default)]
struct Outcome {
    issues: Vec<Issue>,
    right: usize,
}

impl Outcome {
    fn is_valid(&self) -> bool {
        self.issues.is_empty()
    }
    fn merge(&mut self, other: Self) {
        self.issues.extend(other.issues);
        self.right += other.right;
    }
    fn push(&mut self, kind: ErrorKind, name: &str, message: String) {
        self.issues.push(Issue {
            kind,
            name: Some(name.to_owned()),
            message,
        });
    }
    /// A value that is not as it should be, with the value shown.
    fn invalid(&mut self, kind: ErrorKind, name: &str, shown: &Value, why: &str) {
        let message = format!("Invalid value: {}: {why}", Shown(shown));
        self.push(kind, name, message);
    }
    fn of_type(&mut self, name: &str, wanted: &str, found: &str) {
        let why = format!("{} must be of type {wanted}: {found:?}", within(name));
        self.invalid(ErrorKind::TypeInvalid, name, &found.into(), &why);
    }
    /// An error without a place.
    fn loose(&mut self, why: &str) {
        self.issues.push(Issue {
            kind: ErrorKind::Invalid,
            name: None,
            message: format!("Invalid value: \"\": {why}"),
        });
    }
}

/// `spec.a in body`.
fn within(name: &str) -> String {
    // At the root there is no name, and still a space.
    format!("{name} in body")
}

struct Check {
    depth: usize,
}

impl Check {
    fn node(&mut self, schema: &Props, value: &Value, old: Option<&Value>, name: &str) -> Outcome {
        if self.depth > MAX_DEPTH {
            return Outcome::default();
        }
        self.depth += 1;
        let outcome = self.all(schema, value, old, name);
        self.depth -= 1;
        // What an update leaves as it was is not judged anew. The root is never the same: its metadata change.
        if !outcome.is_valid() && !name.is_empty() && old == Some(value) {
            return Outcome {
                right: outcome.right,
                ..Outcome::default()
            };
        }
        outcome
    }

    fn all(&mut self, schema: &Props, value: &Value, old: Option<&Value>, name: &str) -> Outcome {
        let mut outcome = Outcome::default();
        type_of(schema, value, name, &mut outcome);
        outcome.right += 1;
        if value.is_null() {
            enumeration(schema, value, name, &mut outcome);
            return outcome;
        }
        self.junctors(schema, value, old, name, &mut outcome);
        match value {
            Value::String(text) => {
                string(schema, text, name, &mut outcome);
                format::check(schema, text, name, &mut outcome);
            }
            Value::Number(number) => number::check(schema, number, name, &mut outcome),
            Value::Array(items) => self.list(schema, items, old, name, &mut outcome),
            _ => {}
        }
        enumeration(schema, value, name, &mut outcome);
        if let Value::Object(map) = value {
            self.object(schema, map, old, name, &mut outcome);
        }
        outcome.right += 2;
        outcome
    }

    fn junctors(
        &mut self,
        schema: &Props,
        value: &Value,
        old: Option<&Value>,
        name: &str,
        outcome: &mut Outcome,
    ) {
        if !schema.any_of.is_empty() {
            let mut best: Option<Outcome> = None;
            let mut found = None;
            for alternative in &schema.any_of {
                let result = self.all(alternative, value, old, name);
                if result.is_valid() {
                    found = Some(result);
                    break;
                }
                if best.as_ref().is_none_or(|best| result.right > best.right) {
                    best = Some(result);
                }
            }
            if found.is_none() {
                outcome.loose(&format!(
                    "{name:?} must validate at least one schema (anyOf)"
                ));
            }
            if let Some(result) = found.or(best) {
                outcome.merge(result);
            }
        }
        if !schema.one_of.is_empty() {
            let mut best: Option<Outcome> = None;
            let mut first = None;
            let mut valid = 0;
            for alternative in &schema.one_of {
                let result = self.all(alternative, value, old, name);
                if result.is_valid() {
                    valid += 1;
                    best = None;
                    first.get_or_insert(result);
                } else if valid == 0 && best.as_ref().is_none_or(|best| result.right > best.right) {
                    best = Some(result);
                }
            }
            if valid == 1 {
                outcome.merge(first.unwrap_or_default());
            } else {
                let found = if valid == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {valid} valid alternatives")
                };
                outcome.loose(&format!(
                    "{name:?} must validate one and only one schema (oneOf). {found}"
                ));
                if let Some(best) = best {
                    outcome.merge(best);
                }
            }
        }
        if !schema.all_of.is_empty() {
            let mut valid = 0;
            for part in &schema.all_of {
                let result = self.all(part, value, old, name);
                valid += usize::from(result.is_valid());
                outcome.merge(result);
            }
            if valid != schema.all_of.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                outcome.loose(&format!(
                    "{name:?} must validate all the schemas (allOf){none}"
                ));
            }
        }
        if let Some(not) = &schema.not
            && self.all(not, value, old, name).is_valid()
        {
            outcome.loose(&format!("{name:?} must not validate the schema (not)"));
        }
        outcome.right += 1;
    }

    fn list(
        &mut self,
        schema: &Props,
        items: &[Value],
        old: Option<&Value>,
        name: &str,
        outcome: &mut Outcome,
    ) {
        let old = old.and_then(Value::as_array).map(Vec::as_slice);
        if let Some(item_schema) = &schema.items {
            for (index, item) in items.iter().enumerate() {
                let old = old.and_then(|old| correlated(schema, item, index, old));
                let result = self.node(item_schema, item, old, &format!("{name}[{index}]"));
                outcome.merge(result);
            }
        }
        let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
        if let Some(least) = schema.min_items.filter(|least| size < *least) {
            let why = format!("{} should have at least {least} items", within(name));
            outcome.invalid(ErrorKind::Invalid, name, &size.into(), &why);
        }
        if let Some(most) = schema.max_items.filter(|most| size > *most) {
            outcome.push(ErrorKind::TooMany, name, too_many(size, most));
        }
        if schema.unique_items && has_repeated(items) {
            let why = format!("{} shouldn't contain duplicates", within(name));
            outcome.invalid(ErrorKind::Invalid, name, &"".into(), &why);
        }
        outcome.right += 1;
    }

    fn object(
        &mut self,
        schema: &Props,
        map: &Map<String, Value>,
        old: Option<&Value>,
        name: &str,
        outcome: &mut Outcome,
    ) {
        let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(least) = schema.min_properties.filter(|least| size < *least) {
            let why = format!("{} should have at least {least} properties", within(name));
            outcome.invalid(ErrorKind::Invalid, name, &size.into(), &why);
            return;
        }
        if let Some(most) = schema.max_properties.filter(|most| size > *most) {
            outcome.push(ErrorKind::TooMany, name, too_many(size, most));
            return;
        }
        let below = |key: &str| {
            if name.is_empty() {
                key.to_owned()
            } else {
                format!("{name}.{key}")
            }
        };
        let old_of = |key: &str| old.and_then(|old| old.get(key));
        for (key, value) in map {
            if let Some(property) = schema.properties.get(key) {
                let result = self.node(property, value, old_of(key), &below(key));
                outcome.merge(result);
                continue;
            }
            match &schema.additional {
                Some(Additional::Schema(additional)) => {
                    let result = self.node(additional, value, old_of(key), &below(key));
                    outcome.merge(result);
                }
                Some(Additional::Allowed(false)) => {
                    let path = below(key);
                    let why = format!("{} is a forbidden property", within(&path));
                    outcome.invalid(ErrorKind::Invalid, &path, &"".into(), &why);
                }
                _ => {}
            }
        }
        for key in schema.required.iter().filter(|key| !map.contains_key(*key)) {
            outcome.push(
                ErrorKind::Required,
                &below(key),
                "Required value".to_owned(),
            );
        }
        outcome.right += 1;
    }
}

/// The item of the old list that this one replaces.
pub(crate) fn correlated<'a>(
    schema: &Props,
    item: &Value,
    index: usize,
    old: &'a [Value],
) -> Option<&'a Value> {
    match schema.list_type.as_str() {
        "map" => old.iter().find(|old| {
            let same = |key: &String| item.get(key) == old.get(key);
            old.is_object() && item.is_object() && schema.map_keys.iter().all(same)
        }),
        "set" | "atomic" => None,
        _ => old.get(index),
    }
}

fn too_many(actual: i64, most: i64) -> String {
    let items = if most == 1 { "item" } else { "items" };
    format!("Too many: {actual}: must have at most {most} {items}")
}

fn has_repeated(items: &[Value]) -> bool {
    // Quadratic, as upstream's; schemas may not ask for it, so it is never reached with long lists.
    items.iter().enumerate().any(|(index, item)| {
        items
            .iter()
            .take(index)
            .any(|before| !unequal(before, item))
    })
}

/// The type and the format by which a value is known.
fn kind(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) if number.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn type_of(schema: &Props, value: &Value, name: &str, outcome: &mut Outcome) {
    outcome.right += 1;
    let types: &[&str] = if schema.int_or_string {
        &["integer", "string"]
    } else if schema.type_.is_empty() {
        &[]
    } else {
        &[schema.type_.as_str()]
    };
    if types.is_empty() && (value.is_null() || schema.format.is_empty()) {
        return;
    }
    let (found, format) = kind(value);
    if value.is_null() {
        if !types.contains(&"null") && !schema.nullable {
            outcome.of_type(name, &types.join(","), found);
        }
        return;
    }
    let integral = value.is_number() && number::is_integral(value);
    let fits = types.contains(&found)
        || (found == "number" && integral && types.contains(&"integer"))
        || (found == "integer" && types.contains(&"number"));
    let shaped = matches!(value, Value::String(_) | Value::Array(_));
    if !shaped && !schema.format.is_empty() && !fits && format != schema.format {
        let lower = (schema.format == "int64" && format == "int32")
            || (schema.format == "float64" && format == "float32");
        if !lower && !types.is_empty() {
            outcome.of_type(name, &schema.format, format);
            return;
        }
    }
    if !types.is_empty() && !fits {
        outcome.of_type(name, &types.join(","), found);
    }
}

fn string(schema: &Props, text: &str, name: &str, outcome: &mut Outcome) {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(most) = schema.max_length.filter(|most| length > *most) {
        let bytes = if most == 1 { "byte" } else { "bytes" };
        let message = format!("Too long: may not be more than {most} {bytes}");
        outcome.push(ErrorKind::TooLong, name, message);
        return;
    }
    if let Some(least) = schema.min_length.filter(|least| length < *least) {
        let why = format!("{} should be at least {least} chars long", within(name));
        outcome.invalid(ErrorKind::Invalid, name, &text.into(), &why);
        return;
    }
    if let Some(pattern) = &schema.pattern
        && pattern
            .regex
            .as_ref()
            .is_some_and(|regex| !regex.is_match(text))
    {
        let why = format!("{} should match '{}'", within(name), pattern.text);
        outcome.invalid(ErrorKind::Invalid, name, &text.into(), &why);
        return;
    }
    outcome.right += 1;
}

fn enumeration(schema: &Props, value: &Value, name: &str, outcome: &mut Outcome) {
    outcome.right += 1;
    let Some(allowed) = schema.enum_.as_ref().filter(|allowed| !allowed.is_empty()) else {
        return;
    };
    if allowed.iter().any(|allowed| !unequal(allowed, value)) {
        return;
    }
    let shown: Vec<String> = allowed
        .iter()
        .map(|allowed| match allowed {
            Value::String(text) => format!("{text:?}"),
            other => format!("{:?}", other.to_string()),
        })
        .collect();
    let message = format!(
        "Unsupported value: {}: supported values: {}",
        Shown(value),
        shown.join(", ")
    );
    outcome.push(ErrorKind::NotSupported, name, message);
}
