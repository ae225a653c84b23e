//! Names and small parts that the kinds of this group share.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

const LONGEST_POOL: usize = 253;
const LONGEST_DRIVER: usize = 63;
const LONGEST_ID: usize = 32;
const LONGEST_PARAMETERS: usize = 10 << 10;
const MOST_BINDING_CONDITIONS: usize = 4;
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// A value that is there, and one without problems.
fn required_name(text: &str, problems: fn(&str) -> Vec<String>, path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        errors.required(path.clone(), "");
    } else {
        check::problems(text, problems(text), path, errors);
    }
}

/// The name of a request, a device or a counter.
pub(super) fn label(text: &str, path: &Path, errors: &mut Errors) {
    required_name(text, name::dns_label, path, errors);
}

/// The name of a device class.
pub(super) fn class(text: &str, path: &Path, errors: &mut Errors) {
    required_name(text, name::dns_subdomain, path, errors);
}

/// The name of a driver.
pub(super) fn driver(text: &str, path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    if text.len() > LONGEST_DRIVER {
        errors.too_long(path.clone(), LONGEST_DRIVER);
    }
    let lower = text.to_lowercase();
    check::problems(text, name::dns_subdomain(&lower), path, errors);
}

/// The name of a pool of devices.
pub(super) fn pool(text: &str, path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    if text.len() > LONGEST_POOL {
        errors.too_long(path.clone(), LONGEST_POOL);
    }
    for part in text.split('/') {
        check::problems(part, name::dns_subdomain(part), path, errors);
    }
}

/// `[domain/]identifier`.
pub(super) fn qualified(text: &str, path: &Path, errors: &mut Errors) {
    match text.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(id, path, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.invalid(path.clone(), "", "the domain must not be empty");
            } else {
                driver(domain, path, errors);
            }
            if id.is_empty() {
                errors.invalid(path.clone(), "", "the name must not be empty");
            } else {
                identifier(id, path, errors);
            }
        }
        _ => {}
    }
}

/// `domain/identifier`.
pub(super) fn fully_qualified(text: &str, path: &Path, errors: &mut Errors) {
    qualified(text, path, errors);
    if !text.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(path.clone(), text, why);
    }
}

fn identifier(text: &str, path: &Path, errors: &mut Errors) {
    if text.len() > LONGEST_ID {
        errors.too_long(path.clone(), LONGEST_ID);
    }
    let starts = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let whole = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !starts || !text.bytes().all(whole) {
        errors.invalid(
            path.clone(),
            text,
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or \
             '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')",
        );
    }
}

/// At most `most` items; whether they are to be looked at.
pub(super) fn bounded(items: &[Value], most: usize, path: &Path, errors: &mut Errors) -> bool {
    let fits = items.len() <= most;
    if !fits {
        errors.too_many(path.clone(), items.len(), most);
    }
    fits
}

/// No two items have the same name.
pub(super) fn unique<'a>(names: impl Iterator<Item = &'a str>, path: &Path, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, name) in names.enumerate() {
        if seen.contains(&name) {
            errors.duplicate(path.index(index), name);
        }
        seen.push(name);
    }
}

/// Configuration that only a driver understands: there, an object, and not too long.
pub(super) fn opaque(config: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("opaque");
    let Some(opaque) = config.get("opaque").filter(|opaque| opaque.is_object()) else {
        errors.required(path, "");
        return;
    };
    driver(opaque.str_at(&["driver"]), &path.child("driver"), errors);
    let parameters = opaque.get("parameters").unwrap_or(&Value::Null);
    raw(
        parameters,
        LONGEST_PARAMETERS,
        &path.child("parameters"),
        errors,
    );
}

/// Any JSON object of at most `most` bytes.
pub(super) fn raw(value: &Value, most: usize, path: &Path, errors: &mut Errors) {
    match value {
        Value::Null => errors.required(path.clone(), ""),
        value if value.to_string().len() > most => errors.too_long(path.clone(), most),
        Value::Object(_) => {}
        _ => errors.invalid(
            path.clone(),
            "<value omitted>",
            "must be a valid JSON object",
        ),
    }
}

/// A taint of a device.
pub(super) fn taint(taint: &Value, path: &Path, errors: &mut Errors) {
    let (key, value) = (taint.str_at(&["key"]), taint.str_at(&["value"]));
    check::problems(key, name::qualified(key), &path.child("key"), errors);
    label_value(value, &path.child("value"), errors);
    check::required_one_of(taint, "effect", &EFFECTS, path, errors);
}

/// A toleration of such taints.
pub(super) fn toleration(toleration: &Value, path: &Path, errors: &mut Errors) {
    let (key, value) = (toleration.str_at(&["key"]), toleration.str_at(&["value"]));
    if !key.is_empty() {
        check::problems(key, name::qualified(key), &path.child("key"), errors);
    }
    match toleration.str_at(&["operator"]) {
        "Exists" => {
            if !value.is_empty() {
                let why = "must be empty for operator `Exists`";
                errors.invalid(path.child("value"), value, why);
            }
        }
        "Equal" => label_value(value, &path.child("value"), errors),
        "" => errors.required(path.child("operator"), ""),
        other => errors.not_supported(path.child("operator"), other, &["Equal", "Exists"]),
    }
    check::one_of(toleration, "effect", &EFFECTS, path, errors);
}

/// Conditions that a driver sets before pods are bound: those that let them be bound and those that do not.
pub(super) fn binding_conditions(device: &Value, path: &Path, errors: &mut Errors) {
    const BOTH: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    let [good, bad] = BOTH.map(|field| device.list_at(&[field]));
    for (field, list) in BOTH.into_iter().zip([good, bad]) {
        let at = path.child(field);
        if bounded(list, MOST_BINDING_CONDITIONS, &at, errors) {
            for (index, text) in list.iter().filter_map(Value::as_str).enumerate() {
                check::problems(text, name::qualified(text), &at.index(index), errors);
            }
        }
    }
    let texts = |list: &'_ [Value]| -> Vec<String> {
        let texts = list.iter().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let (good_texts, bad_texts) = (texts(good), texts(bad));
    let [at_good, at_bad] = BOTH.map(|field| path.child(field));
    unique(good_texts.iter().map(String::as_str), &at_good, errors);
    for (index, text) in bad_texts.iter().enumerate() {
        let at = at_bad.index(index);
        if bad_texts.iter().take(index).any(|before| before == text) {
            errors.duplicate(at.clone(), text.as_str());
        }
        if good_texts.contains(text) {
            let why = "bindingFailureConditions must not overlap with bindingConditions";
            errors.invalid(at, text.as_str(), why);
        }
    }
    match (good.is_empty(), bad.is_empty()) {
        (true, false) => {
            let why = "bindingConditions are required to use bindingFailureConditions";
            errors.invalid(at_good, Value::Null, why);
        }
        (false, true) => {
            let why = "bindingFailureConditions are required to use bindingConditions";
            errors.invalid(at_bad, Value::Null, why);
        }
        _ => {}
    }
}

/// The id of a share, if any: a UUID in its usual form.
pub(super) fn share(device: &Value, path: &Path, errors: &mut Errors) {
    let Some(text) = device.get("shareID").and_then(Value::as_str) else {
        return;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let dashed = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.iter().all(|part| digits(part))
            && parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
    };
    let problem = match text.len() {
        36 => (!dashed(text)).then_some("invalid UUID format"),
        32 => (!digits(text)).then_some("invalid UUID format"),
        38 if !(text.starts_with('{') && text.ends_with('}')) => {
            Some("invalid bracketed UUID format")
        }
        38 | 45 => None,
        length => {
            let why = format!("error validating uid: invalid UUID length: {length}");
            errors.invalid(path.child("shareID"), text, &why);
            return;
        }
    };
    if let Some(problem) = problem {
        let why = format!("error validating uid: {problem}");
        errors.invalid(path.child("shareID"), text, &why);
    } else if text.len() != 36 || text != text.to_lowercase() {
        let why = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        errors.invalid(path.child("shareID"), text, why);
    }
}

fn label_value(value: &str, path: &Path, errors: &mut Errors) {
    check::problems(value, name::label_value(value), path, errors);
}
