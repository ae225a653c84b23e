//! Checks that many kinds share. A path is made only when there is something to say.

use serde_json::{Map, Value};

use crate::apiserver::schema::internal;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

/// The number at `field` of `object` is zero or more.
pub(super) fn not_negative(object: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(number) = object.i64_at(&[field]).filter(|number| *number < 0) {
        errors.invalid(
            path.child(field),
            number,
            "must be greater than or equal to 0",
        );
    }
}

/// The text at `field`, if any, is one of `allowed`.
pub(super) fn one_of(
    object: &Value,
    field: &str,
    allowed: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    let text = object.str_at(&[field]);
    if !text.is_empty() && !allowed.contains(&text) {
        errors.not_supported(path.child(field), text, allowed);
    }
}

/// As [`one_of`], and the field must be there.
pub(super) fn required_one_of(
    object: &Value,
    field: &str,
    allowed: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    if object.str_at(&[field]).is_empty() {
        errors.required(path.child(field), "");
    } else {
        one_of(object, field, allowed, path, errors);
    }
}

/// Each problem of `value`.
pub(super) fn problems(value: &str, problems: Vec<String>, path: &Path, errors: &mut Errors) {
    for problem in problems {
        errors.invalid(path.clone(), value, &problem);
    }
}

/// Label keys and values; upstream puts all their errors at the map itself.
pub(super) fn labels(labels: Option<&Value>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        problems(key, name::qualified(key), path, errors);
        let value = value.as_str().unwrap_or_default();
        problems(value, name::label_value(value), path, errors);
    }
}

/// Annotations: their keys, and their size together.
pub(super) fn annotations(annotations: Option<&Value>, path: &Path, errors: &mut Errors) {
    const LIMIT: usize = 256 << 10;
    let mut size = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        problems(key, name::qualified(&key.to_lowercase()), path, errors);
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > LIMIT {
        errors.too_long(path.clone(), LIMIT);
    }
}

/// A `metav1.LabelSelector`.
pub(super) fn label_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    labels(
        selector.at(&["matchLabels"]),
        &path.child("matchLabels"),
        errors,
    );
    for (index, expression) in selector.list_at(&["matchExpressions"]).iter().enumerate() {
        let at = || path.child("matchExpressions").index(index);
        let has_values = !expression.list_at(&["values"]).is_empty();
        match expression.str_at(&["operator"]) {
            "In" | "NotIn" if !has_values => {
                errors.required(
                    at().child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if has_values => {
                errors.forbidden(
                    at().child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(
                at().child("operator"),
                other,
                "not a valid selector operator",
            ),
        }
        let key = expression.str_at(&["key"]);
        problems(key, name::qualified(key), &at().child("key"), errors);
        for (number, value) in expression
            .list_at(&["values"])
            .iter()
            .filter_map(Value::as_str)
            .enumerate()
        {
            if let Some(problem) = name::label_value(value).first() {
                errors.invalid(at().child("values").index(number), value, problem);
            }
        }
    }
}

/// `field` must stay as it is.
pub(super) fn immutable(new: &Value, old: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let (new, old) = (
        new.get(field).unwrap_or(&Value::Null),
        old.get(field).unwrap_or(&Value::Null),
    );
    if new != old {
        errors.invalid(path.child(field), new.clone(), "field is immutable");
    }
}

/// As [`immutable`], for a field that holds a struct of this definition.
pub(super) fn immutable_struct(
    new: &Value,
    old: &Value,
    field: &str,
    definition: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let value = |object: &Value| {
        let value = object.get(field).filter(|value| !value.is_null());
        value.cloned().unwrap_or(Value::Null)
    };
    let (new, old) = (value(new), value(old));
    if new != old {
        let at = path.child(field);
        invalid_struct(&new, definition, at, "field is immutable", errors);
    }
}

/// `value`, a struct of this definition, is invalid; it is shown as the real server's own type.
pub(super) fn invalid_struct(
    value: &Value,
    definition: &str,
    path: Path,
    why: &str,
    errors: &mut Errors,
) {
    if value.is_null() {
        errors.invalid(path, Value::Null, why);
    } else {
        errors.invalid_text(path, &internal::text(definition, value), why);
    }
}

/// The counter at `field` may not become smaller than it was.
pub(super) fn not_decremented(
    new: &Value,
    old: &Value,
    field: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let (now, before) = (new.i64_at(&[field]), old.i64_at(&[field]));
    if before.is_some_and(|before| now.is_none_or(|now| now < before)) {
        errors.invalid(path.child(field), now.unwrap_or(0), "cannot be decremented");
    }
}

/// The number at `field` is at most the one at `most`, which the message calls `name`.
pub(super) fn at_most(
    status: &Value,
    field: &str,
    most: &str,
    name: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let number = |field: &str| status.i64_at(&[field]).unwrap_or(0);
    if number(field) > number(most) {
        let why = format!("cannot be greater than {name}");
        errors.invalid(path.child(field), number(field), &why);
    }
}

/// `metav1.Condition`s.
pub(super) fn conditions(conditions: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let at = path.index(index);
        let (kind, reason) = (condition.str_at(&["type"]), condition.str_at(&["reason"]));
        if seen.contains(&kind) {
            errors.duplicate(at.child("type"), kind);
        }
        seen.push(kind);
        problems(kind, name::qualified(kind), &at.child("type"), errors);
        let status = condition.str_at(&["status"]);
        if !CONDITION_STATUSES.contains(&status) {
            errors.not_supported(at.child("status"), status, &CONDITION_STATUSES);
        }
        if let Some(generation) = condition
            .i64_at(&["observedGeneration"])
            .filter(|generation| *generation < 0)
        {
            let why = "must be greater than or equal to zero";
            errors.invalid(at.child("observedGeneration"), generation, why);
        }
        if condition.str_at(&["lastTransitionTime"]).is_empty() {
            errors.required(at.child("lastTransitionTime"), "must be set");
        }
        if reason.is_empty() {
            errors.required(at.child("reason"), "must be set");
        } else if !is_condition_reason(reason) {
            errors.invalid(at.child("reason"), reason, CONDITION_REASON);
        }
        if reason.len() > 1024 {
            errors.too_long(at.child("reason"), 1024);
        }
        if condition.str_at(&["message"]).len() > 32 << 10 {
            errors.too_long(at.child("message"), 32 << 10);
        }
    }
}

const CONDITION_STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const CONDITION_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of \
                                alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                                'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used \
                                for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

fn is_condition_reason(reason: &str) -> bool {
    let bytes = reason.as_bytes();
    let end = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(end)
        && bytes
            .iter()
            .all(|byte| end(byte) || matches!(byte, b',' | b':'))
}

/// The number that a percentage stands for, or the number itself.
pub(super) fn int_or_percent_value(value: &Value) -> i64 {
    match value {
        Value::String(text) => percent(text).unwrap_or_else(|| text.parse().unwrap_or(0)),
        other => other.as_i64().unwrap_or(0),
    }
}

/// A percentage is at most 100%.
pub(super) fn at_most_all(value: &Value, path: &Path, errors: &mut Errors) {
    if value
        .as_str()
        .and_then(percent)
        .is_some_and(|percent| percent > 100)
    {
        let why = "must not be greater than 100%";
        errors.invalid(path.clone(), value.clone(), why);
    }
}

fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().unwrap_or(i64::MAX))
}

/// A number or a percentage, zero or more.
pub(super) fn int_or_percent(value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.invalid(
                path.clone(),
                value.clone(),
                "must be greater than or equal to 0",
            );
        }
        Value::String(text) if percent(text).is_none() => {
            errors.invalid(
                path.clone(),
                text.as_str(),
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
                 used for validation is '[0-9]+%')",
            );
        }
        _ => {}
    }
}

/// The keys of a config map or secret.
pub(super) fn config_key(key: &str, path: &Path, errors: &mut Errors) {
    problems(key, name::config_key(key), path, errors);
}

/// A port number.
pub(super) fn port(value: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(port) = value.filter(|port| !(1..=65535).contains(port)) {
        errors.invalid(path.clone(), port, "must be between 1 and 65535, inclusive");
    }
}

/// The map at `field`.
pub(super) fn map_at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Map<String, Value>> {
    object.at(path).and_then(Value::as_object)
}

/// What is at `field`, unless it is null.
pub(super) fn given<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

/// A text is at `field`; whether it is.
pub(super) fn required(object: &Value, field: &str, path: &Path, errors: &mut Errors) -> bool {
    let there = !object.str_at(&[field]).is_empty();
    if !there {
        errors.required(path.child(field), "");
    }
    there
}

/// A DNS label.
pub(super) fn dns_label(text: &str, path: &Path, errors: &mut Errors) {
    problems(text, name::dns_label(text), path, errors);
}

/// A DNS subdomain.
pub(super) fn dns_subdomain(text: &str, path: &Path, errors: &mut Errors) {
    problems(text, name::dns_subdomain(text), path, errors);
}

/// A user or group of Unix.
pub(super) fn unix_id(value: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(id) = value.filter(|id| !(0..=i64::from(u32::MAX)).contains(id)) {
        errors.invalid(
            path.clone(),
            id,
            "must be between 0 and 4294967295, inclusive",
        );
    }
}

/// A path that stays where it is: relative, without a step back.
pub(super) fn descending_path(text: &str, path: &Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path.clone(), text, "must be a relative path");
    }
    no_backsteps(text, path, errors);
}

/// A path without `..`.
pub(super) fn no_backsteps(text: &str, path: &Path, errors: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path.clone(), text, "must not contain '..'");
    }
}

/// As [`descending_path`], and not in the way of what the node keeps beside it.
pub(super) fn local_path(text: &str, path: &Path, errors: &mut Errors) {
    descending_path(text, path, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path.clone(), text, "must not start with '..'");
    }
}

/// The bytes of a map's keys and texts.
pub(super) fn bytes_of(map: &Map<String, Value>) -> usize {
    map.iter()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum()
}

/// The protocol of a port.
pub(super) fn protocol(port: &Value, path: &Path, errors: &mut Errors) {
    required_one_of(port, "protocol", &["SCTP", "TCP", "UDP"], path, errors);
}

/// A port by its number or by its name.
pub(super) fn port_or_name(value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::String(text) => problems(text, name::port(text), path, errors),
        other => port(Some(other.as_i64().unwrap_or(0)), path, errors),
    }
}

/// A reference to an object of any kind: the kind and the name must be given and fit into a path.
pub(super) fn typed_reference(reference: &Value, path: &Path, errors: &mut Errors) {
    if let Some(group) = reference.get("apiGroup").and_then(Value::as_str) {
        let found = name::dns_subdomain(group);
        problems(group, found, &path.child("apiGroup"), errors);
    }
    for field in ["kind", "name"] {
        let text = reference.str_at(&[field]);
        if text.is_empty() {
            errors.required(path.child(field), "");
        } else {
            let found = super::names::path_segment(text, false);
            problems(text, found, &path.child(field), errors);
        }
    }
}

/// How many bytes the text stands for.
pub(super) fn base64_size(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}
