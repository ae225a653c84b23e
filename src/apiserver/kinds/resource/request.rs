//! What a claim asks for: requests, constraints and configuration (`DeviceClaim`).

use serde_json::Value;

use super::words;
use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{Errors, Path};

const MOST_ITEMS: usize = 32;
const MOST_ALTERNATIVES: usize = 8;
const LONGEST_EXPRESSION: usize = 10 << 10;
const NO_SUCH_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const MODES: [&str; 2] = ["All", "ExactCount"];

/// Fills in a claim's spec.
pub(super) fn default(spec: &mut Value) {
    let requests = spec.at_mut(&["devices", "requests"]);
    let requests = requests.and_then(Value::as_array_mut);
    for request in requests.into_iter().flatten() {
        if let Some(exactly) = request
            .get_mut("exactly")
            .filter(|exactly| exactly.is_object())
        {
            default_request(exactly);
        }
        let alternatives = request.get_mut("firstAvailable");
        for alternative in alternatives
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            default_request(alternative);
        }
    }
}

fn default_request(request: &mut Value) {
    if request.str_at(&["allocationMode"]).is_empty() {
        request.set_at(&["allocationMode"], "ExactCount");
    }
    let count = request.i64_at(&["count"]).unwrap_or(0);
    if request.str_at(&["allocationMode"]) == "ExactCount" && count == 0 {
        request.set_at(&["count"], 1);
    }
    let tolerations = request.get_mut("tolerations").and_then(Value::as_array_mut);
    for toleration in tolerations.into_iter().flatten() {
        if toleration.str_at(&["operator"]).is_empty() {
            toleration.set_at(&["operator"], "Equal");
        }
    }
}

/// The requests of a claim, by which its other parts name them.
#[derive(Debug)]
pub(super) struct Requests<'a>(Vec<(&'a str, Vec<&'a str>)>);

impl<'a> Requests<'a> {
    /// Those of a claim's spec.
    pub(super) fn of(spec: &'a Value) -> Self {
        let name = |named: &'a Value| named.str_at(&["name"]);
        let requests = spec.list_at(&["devices", "requests"]).iter();
        let requests = requests.map(|request| {
            let alternatives = request.list_at(&["firstAvailable"]);
            (name(request), alternatives.iter().map(name).collect())
        });
        Self(requests.collect())
    }
    /// `text` names one of them.
    pub(super) fn validate_name(&self, text: &str, path: &Path, errors: &mut Errors) {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.len() > 2 {
            errors.invalid(path.clone(), text, NO_SUCH_REQUEST);
            return;
        }
        for part in &parts {
            words::label(part, path, errors);
        }
        let found = match parts[..] {
            [request] => self.0.iter().any(|(name, _)| *name == request),
            [request, alternative] => self.0.iter().any(|(name, alternatives)| {
                *name == request && alternatives.contains(&alternative)
            }),
            _ => false,
        };
        if !found {
            errors.invalid(path.clone(), text, NO_SUCH_REQUEST);
        }
    }
    /// The list of names at `holder.requests`.
    pub(super) fn validate_names(&self, holder: &Value, path: &Path, errors: &mut Errors) {
        let path = path.child("requests");
        let names = holder.list_at(&["requests"]);
        if !words::bounded(names, MOST_ITEMS, &path, errors) {
            return;
        }
        let texts = || names.iter().filter_map(Value::as_str);
        for (index, name) in texts().enumerate() {
            self.validate_name(name, &path.index(index), errors);
        }
        words::unique(texts(), &path, errors);
    }
}

/// Checks a claim's spec.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("devices");
    let devices = spec.get("devices").unwrap_or(&Value::Null);
    let names = Requests::of(spec);
    let (list, at) = (devices.list_at(&["requests"]), path.child("requests"));
    if words::bounded(list, MOST_ITEMS, &at, errors) {
        for (index, request) in list.iter().enumerate() {
            validate_request(request, &at.index(index), errors);
        }
        words::unique(list.iter().map(|item| item.str_at(&["name"])), &at, errors);
    }
    let (list, at) = (devices.list_at(&["constraints"]), path.child("constraints"));
    if words::bounded(list, MOST_ITEMS, &at, errors) {
        for (index, constraint) in list.iter().enumerate() {
            validate_constraint(constraint, &names, &at.index(index), errors);
        }
    }
    let (list, at) = (devices.list_at(&["config"]), path.child("config"));
    if words::bounded(list, MOST_ITEMS, &at, errors) {
        for (index, config) in list.iter().enumerate() {
            names.validate_names(config, &at.index(index), errors);
            words::opaque(config, &at.index(index), errors);
        }
    }
}

fn validate_constraint(constraint: &Value, names: &Requests<'_>, path: &Path, errors: &mut Errors) {
    names.validate_names(constraint, path, errors);
    let attribute = |field: &str| constraint.get(field).and_then(Value::as_str);
    if let Some(name) = attribute("matchAttribute") {
        words::fully_qualified(name, &path.child("matchAttribute"), errors);
    } else if let Some(name) = attribute("distinctAttribute") {
        words::fully_qualified(name, &path.child("distinctAttribute"), errors);
    } else {
        let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
        errors.required(path.clone(), why);
    }
}

fn validate_request(request: &Value, path: &Path, errors: &mut Errors) {
    words::label(request.str_at(&["name"]), &path.child("name"), errors);
    let exactly = request.get("exactly").filter(|exactly| exactly.is_object());
    let alternatives = request.list_at(&["firstAvailable"]);
    match (exactly, alternatives.is_empty()) {
        (None, true) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required";
            errors.required(path.clone(), why);
        }
        (Some(_), false) => {
            let why = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.invalid(path.clone(), Value::Null, why);
        }
        (Some(exactly), true) => validate_devices(exactly, &path.child("exactly"), errors),
        (None, false) => {
            let path = path.child("firstAvailable");
            if !words::bounded(alternatives, MOST_ALTERNATIVES, &path, errors) {
                return;
            }
            for (index, alternative) in alternatives.iter().enumerate() {
                let path = path.index(index);
                words::label(alternative.str_at(&["name"]), &path.child("name"), errors);
                validate_devices(alternative, &path, errors);
            }
            let names = alternatives.iter().map(|item| item.str_at(&["name"]));
            words::unique(names, &path, errors);
        }
    }
}

/// What is the same for a request and an alternative of one.
fn validate_devices(request: &Value, path: &Path, errors: &mut Errors) {
    let class = request.str_at(&["deviceClassName"]);
    words::class(class, &path.child("deviceClassName"), errors);
    validate_selectors(
        request.list_at(&["selectors"]),
        &path.child("selectors"),
        errors,
    );
    let count = request.i64_at(&["count"]).unwrap_or(0);
    match request.str_at(&["allocationMode"]) {
        "All" => {
            if count != 0 {
                let why = "must not be specified when allocationMode is 'All'";
                errors.invalid(path.child("count"), count, why);
            }
        }
        "ExactCount" => {
            if count <= 0 {
                errors.invalid(path.child("count"), count, "must be greater than zero");
            }
        }
        other => errors.not_supported(path.child("allocationMode"), other, &MODES),
    }
    for (index, toleration) in request.list_at(&["tolerations"]).iter().enumerate() {
        words::toleration(toleration, &path.child("tolerations").index(index), errors);
    }
}

#[cfg(feature = "cel")]
use super::expression::{Problem, problem};

/// The selectors of devices, by expressions.
pub(super) fn validate_selectors(selectors: &[Value], path: &Path, errors: &mut Errors) {
    if !words::bounded(selectors, MOST_ITEMS, path, errors) {
        return;
    }
    for (index, selector) in selectors.iter().enumerate() {
        let path = path.index(index).child("cel");
        let Some(cel) = selector.get("cel").filter(|cel| cel.is_object()) else {
            errors.required(path, "");
            continue;
        };
        let (source, at) = (cel.str_at(&["expression"]), path.child("expression"));
        if source.len() > LONGEST_EXPRESSION {
            errors.too_long(at, LONGEST_EXPRESSION);
        } else {
            #[cfg(feature = "cel")]
            match problem(source) {
                None => {}
                Some(Problem::Invalid(why)) => errors.invalid(at, source, &why),
                Some(Problem::TooCostly) => errors.forbidden(at, "too complex, exceeds cost limit"),
            }
        }
    }
}

/// The spec cannot change.
pub(super) fn same_spec(object: &Value, old: &Value, definition: &str, errors: &mut Errors) {
    check::immutable_struct(object, old, "spec", definition, &Path::default(), errors);
}
