//! A device of a slice: its attributes, its capacity, its counters, its taints.

use serde_json::Value;

use super::words;
use crate::apiserver::kinds::{check, node_selector};
use crate::object::field::{Errors, Path};
use crate::object::{Document, Quantity, name};

const MOST_ATTRIBUTES: usize = 32;
const MOST_TAINTS: usize = 16;
const MOST_CONSUMPTIONS: usize = 2;
const MOST_COUNTERS: usize = 32;
const MOST_VALUES: usize = 10;
const LONGEST_VALUE: usize = 64;
const ONE_OF: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";

/// Checks a device; `old` is the one of its name before the update.
pub(super) fn validate(
    device: &Value,
    old: Option<&Value>,
    by_device: bool,
    path: &Path,
    errors: &mut Errors,
) {
    words::label(device.str_at(&["name"]), &path.child("name"), errors);
    let map = |field: &str| check::map_at(device, &[field]);
    let size = |field: &str| map(field).map_or(0, serde_json::Map::len);
    let total = size("attributes") + size("capacity");
    if total > MOST_ATTRIBUTES {
        let why = format!(
            "the total number of attributes and capacities must not exceed {MOST_ATTRIBUTES}"
        );
        errors.invalid(path.clone(), total, &why);
    }
    for (key, attribute) in map("attributes").into_iter().flatten() {
        let at = path.child("attributes").key(key);
        words::qualified(key, &at, errors);
        validate_attribute(attribute, &at, errors);
    }
    let shared = device.bool_at(&["allowMultipleAllocations"]) == Some(true);
    for (key, capacity) in map("capacity").into_iter().flatten() {
        let at = path.child("capacity").key(key);
        words::qualified(key, &at, errors);
        let policy = capacity
            .get("requestPolicy")
            .filter(|policy| policy.is_object());
        let Some(policy) = policy else { continue };
        let at = at.child("requestPolicy");
        if shared {
            validate_policy(policy, capacity.str_at(&["value"]), &at, errors);
        } else {
            errors.forbidden(at, "allowMultipleAllocations must be true");
        }
    }
    let taints = device.list_at(&["taints"]);
    if old.is_none_or(|old| old.list_at(&["taints"]) != taints)
        && words::bounded(taints, MOST_TAINTS, &path.child("taints"), errors)
    {
        for (index, taint) in taints.iter().enumerate() {
            words::taint(taint, &path.child("taints").index(index), errors);
        }
    }
    let (consumed, at) = (
        device.list_at(&["consumesCounters"]),
        path.child("consumesCounters"),
    );
    if words::bounded(consumed, MOST_CONSUMPTIONS, &at, errors) {
        for (index, counters) in consumed.iter().enumerate() {
            validate_counters(counters, "counterSet", &at.index(index), errors);
        }
        let names = consumed
            .iter()
            .map(|counters| counters.str_at(&["counterSet"]));
        words::unique(names, &at, errors);
    }
    validate_nodes(device, by_device, path, errors);
    words::binding_conditions(device, path, errors);
}

/// A set of counters, named at `field`.
pub(super) fn validate_counters(set: &Value, field: &str, path: &Path, errors: &mut Errors) {
    words::label(set.str_at(&[field]), &path.child(field), errors);
    let at = path.child("counters");
    match check::map_at(set, &["counters"]).filter(|counters| !counters.is_empty()) {
        None => errors.required(at, ""),
        Some(counters) if counters.len() > MOST_COUNTERS => {
            errors.too_many(at, counters.len(), MOST_COUNTERS);
        }
        Some(counters) => {
            for key in counters.keys() {
                words::label(key, &at.key(key), errors);
            }
        }
    }
}

fn validate_attribute(attribute: &Value, path: &Path, errors: &mut Errors) {
    let has = |field: &&str| attribute.get(*field).is_some_and(|value| !value.is_null());
    let values = ["bool", "int", "string", "version"];
    for field in ["string", "version"] {
        let Some(text) = attribute.get(field).and_then(Value::as_str) else {
            continue;
        };
        let at = path.child(field);
        if field == "version" && !is_version(text) {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.invalid(at.clone(), text, why);
        }
        if text.len() > LONGEST_VALUE {
            errors.too_long(at, LONGEST_VALUE);
        }
    }
    let why = "exactly one value must be specified";
    match values.iter().filter(|field| has(field)).count() {
        0 => errors.invalid(path.clone(), "", why),
        1 => {}
        _ => {
            let definition = "api.resource.v1.DeviceAttribute";
            check::invalid_struct(attribute, definition, path.clone(), why, errors);
        }
    }
}

/// `1.2.3[-pre.release][+build]`
fn is_version(text: &str) -> bool {
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (numbers, pre) = match text.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (text, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !part.is_empty() && part.bytes().all(allowed)
    };
    let numbers: Vec<&str> = numbers.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(|pre| {
            pre.split('.')
                .all(|part| word(part) && (!digits(part) || number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(word))
}

fn quantity(text: &str) -> Quantity {
    Quantity::parse(text).unwrap_or_else(|_| Quantity::from_milli(0))
}

/// How much of a capacity may be asked for.
fn validate_policy(policy: &Value, capacity: &str, path: &Path, errors: &mut Errors) {
    let values = policy.list_at(&["validValues"]);
    let range = policy.get("validRange").filter(|range| range.is_object());
    let default = policy.get("default").and_then(Value::as_str);
    match (values.is_empty(), range) {
        (false, Some(_)) => {
            let why = "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
            errors.forbidden(path.clone(), why);
        }
        (false, None) => match default {
            None => errors.required(
                path.child("default"),
                "required when validValues is defined",
            ),
            Some(default) => {
                validate_values(
                    values,
                    default,
                    capacity,
                    &path.child("validValues"),
                    errors,
                );
            }
        },
        (true, Some(range)) => match default {
            None => errors.required(path.child("default"), "required when validRange is defined"),
            Some(default) => {
                validate_range(range, default, capacity, &path.child("validRange"), errors);
            }
        },
        (true, None) => {}
    }
}

fn validate_values(
    values: &[Value],
    default: &str,
    capacity: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    for (index, pair) in texts.windows(2).enumerate() {
        if let [before, after] = pair
            && quantity(before) > quantity(after)
        {
            let why = "values must be sorted in ascending order";
            errors.invalid(path.index(index + 1), *after, why);
        }
    }
    if !words::bounded(values, MOST_VALUES, path, errors) {
        return;
    }
    for (index, text) in texts.iter().enumerate() {
        if quantity(text) > quantity(capacity) {
            let why = format!("option is larger than capacity value: {capacity}");
            errors.invalid(path.index(index), *text, &why);
        }
    }
    words::unique(texts.iter().copied(), path, errors);
    if texts.iter().all(|text| quantity(text) != quantity(default)) {
        let why = "default value is not valid according to the requestPolicy";
        errors.invalid(path.clone(), default, why);
    }
}

fn validate_range(range: &Value, default: &str, capacity: &str, path: &Path, errors: &mut Errors) {
    let end = |field: &str| range.get(field).and_then(Value::as_str);
    let Some(min) = end("min") else {
        errors.required(path.child("min"), "required when validRange is defined");
        return;
    };
    let at = path.child("min");
    if quantity(min) > quantity(capacity) {
        let why = format!("min is larger than capacity value: {capacity}");
        errors.invalid(at.clone(), min, &why);
    }
    if quantity(default) < quantity(min) {
        errors.invalid(at, default, &format!("default is less than min: {min}"));
    }
    if let Some(max) = end("max") {
        let at = path.child("max");
        if quantity(min) > quantity(max) {
            errors.invalid(at.clone(), min, &format!("min is larger than max: {max}"));
        }
        if quantity(max) > quantity(capacity) {
            let why = format!("max is larger than capacity value: {capacity}");
            errors.invalid(at.clone(), max, &why);
        }
        if quantity(default) > quantity(max) {
            errors.invalid(at, default, &format!("default is more than max: {max}"));
        }
    }
    if let Some(step) = end("step") {
        let at = path.child("step");
        let one = quantity(min) + quantity(step);
        if one > quantity(capacity) {
            let why = format!("one step {one} is larger than capacity value: {capacity}");
            errors.invalid(at.clone(), step, &why);
        }
        for value in [Some(default), end("max")].into_iter().flatten() {
            let above = quantity(value).value() - quantity(min).value();
            if above
                .checked_rem(quantity(step).value())
                .is_some_and(|rest| rest != 0)
            {
                let why = format!("value is not a multiple of a given step ({step}) from ({min})");
                errors.invalid(at.clone(), value, &why);
            }
        }
    }
}

/// Where the device is, when its slice leaves that to each device.
fn validate_nodes(device: &Value, by_device: bool, path: &Path, errors: &mut Errors) {
    let has = |field: &str| device.get(field).is_some_and(|value| !value.is_null());
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    if !by_device {
        if fields.into_iter().any(has) {
            let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.invalid(path.clone(), Value::Null, why);
        }
        return;
    }
    let mut ways = Vec::new();
    if let Some(node) = device.get("nodeName").and_then(Value::as_str) {
        let at = path.child("nodeName");
        if node.is_empty() {
            errors.invalid(at, node, "must not be empty");
        } else {
            ways.push("`nodeName`");
            check::problems(node, name::dns_subdomain(node), &at, errors);
        }
    }
    if let Some(selector) = device.get("nodeSelector").filter(|nodes| nodes.is_object()) {
        ways.push("`nodeSelector`");
        node_selector::validate(selector, &path.child("nodeSelector"), errors);
    }
    match device.bool_at(&["allNodes"]) {
        Some(true) => ways.push("`allNodes`"),
        Some(false) => {
            let why = "must be either unset or set to true";
            errors.invalid(path.child("allNodes"), false, why);
        }
        None => {}
    }
    match ways.len() {
        0 => errors.required(path.clone(), ONE_OF),
        1 => {}
        _ => errors.invalid(path.clone(), format!("{{{}}}", ways.join(", ")), ONE_OF),
    }
}
