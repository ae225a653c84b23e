//! ResourceSlice.

use serde_json::Value;

use super::{device, words};
use crate::apiserver::kinds::{check, node_selector};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::apiserver::schema::internal;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ResourceSlice;

const MOST_DEVICES: usize = 128;
const MOST_INTRICATE_DEVICES: usize = 64;
const MOST_COUNTER_SETS: usize = 8;
const ONE_OF: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

impl Strategy for ResourceSlice {
    fn prepare_create(&self, context: &Context<'_>, object: &mut Value) {
        date_taints(object, context.now);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, _old: &Value) {
        date_taints(object, context.now);
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate_pool(spec, errors);
        validate_rest(spec, None, errors);
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let before = old.get("spec").unwrap_or(&Value::Null);
        validate_pool(spec, errors);
        let path = Path::new("spec");
        let pool = |spec: &Value| spec.get("pool").cloned().unwrap_or(Value::Null);
        check::immutable(
            &pool(spec),
            &pool(before),
            "name",
            &path.child("pool"),
            errors,
        );
        check::immutable(spec, before, "driver", &path, errors);
        check::immutable(spec, before, "nodeName", &path, errors);
        validate_rest(spec, Some(before), errors);
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let driver = object.str_at(&["spec", "driver"]);
        let mixed = driver != driver.to_lowercase();
        let warning = || {
            format!(
                "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
            )
        };
        mixed.then(warning).into_iter().collect()
    }

    fn selectable_fields(&self) -> &[&str] {
        &["spec.driver", "spec.nodeName"]
    }

    fn field(&self, object: &Value, field: &str) -> String {
        let path: Vec<&str> = field.split('.').collect();
        object.str_at(&path).to_owned()
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// A taint without a time was added now.
fn date_taints(object: &mut Value, now: &str) {
    let devices = object.at_mut(&["spec", "devices"]);
    for device in devices.and_then(Value::as_array_mut).into_iter().flatten() {
        let taints = device.get_mut("taints").and_then(Value::as_array_mut);
        for taint in taints.into_iter().flatten() {
            taint.default_at(&["timeAdded"], now);
        }
    }
}

fn validate_pool(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    words::driver(spec.str_at(&["driver"]), &path.child("driver"), errors);
    let path = path.child("pool");
    words::pool(spec.str_at(&["pool", "name"]), &path.child("name"), errors);
    let number = |field: &str| spec.i64_at(&["pool", field]).unwrap_or(0);
    let slices = number("resourceSliceCount");
    if slices <= 0 {
        let why = "must be greater than zero";
        errors.invalid(path.child("resourceSliceCount"), slices, why);
    }
    let generation = number("generation");
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.invalid(path.child("generation"), generation, why);
    }
}

fn validate_rest(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    validate_nodes(spec, &path, errors);
    let has = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    if has("sharedCounters") && has("devices") {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.invalid(path.clone(), "", why);
    }
    let (devices, at) = (spec.list_at(&["devices"]), path.child("devices"));
    let intricate = |device: &Value| {
        ["taints", "consumesCounters"]
            .iter()
            .any(|list| !device.list_at(&[list]).is_empty())
    };
    let most = if devices.iter().any(intricate) {
        MOST_INTRICATE_DEVICES
    } else {
        MOST_DEVICES
    };
    if words::bounded(devices, most, &at, errors) {
        let by_device = spec.bool_at(&["perDeviceNodeSelection"]) == Some(true);
        for (index, device) in devices.iter().enumerate() {
            let name = device.str_at(&["name"]);
            let before = old.and_then(|old| {
                let devices = old.list_at(&["devices"]).iter();
                devices
                    .into_iter()
                    .find(|old| old.str_at(&["name"]) == name)
            });
            device::validate(device, before, by_device, &at.index(index), errors);
        }
        let names = devices.iter().map(|device| device.str_at(&["name"]));
        words::unique(names, &at, errors);
    }
    let (sets, at) = (
        spec.list_at(&["sharedCounters"]),
        path.child("sharedCounters"),
    );
    if words::bounded(sets, MOST_COUNTER_SETS, &at, errors) {
        for (index, set) in sets.iter().enumerate() {
            device::validate_counters(set, "name", &at.index(index), errors);
        }
        let names = sets.iter().map(|set| set.str_at(&["name"]));
        words::unique(names, &at, errors);
    }
}

/// Where the devices are: said in one way.
fn validate_nodes(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut ways = Vec::new();
    if let Some(node) = spec.get("nodeName").and_then(Value::as_str) {
        let at = path.child("nodeName");
        if node.is_empty() {
            let why = "must be either unset or set to a non-empty string";
            errors.invalid(at, node, why);
        } else {
            ways.push("`nodeName`");
            check::problems(node, name::dns_subdomain(node), &at, errors);
        }
    }
    if let Some(selector) = spec
        .get("nodeSelector")
        .filter(|selector| selector.is_object())
    {
        ways.push("`nodeSelector`");
        let at = path.child("nodeSelector");
        node_selector::validate(selector, &at, errors);
        let terms = selector.list_at(&["nodeSelectorTerms"]);
        if terms.len() != 1 {
            let shown = |term| internal::text("api.core.v1.NodeSelectorTerm", term);
            let shown: Vec<String> = terms.iter().map(shown).collect();
            let shown = match shown[..] {
                [] => "null".to_owned(),
                _ => format!("[{}]", shown.join(",")),
            };
            let why = "must have exactly one node selector term";
            errors.invalid_text(at.child("nodeSelectorTerms"), &shown, why);
        }
    }
    for (field, way) in [
        ("allNodes", "`allNodes`"),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`"),
    ] {
        match spec.bool_at(&[field]) {
            Some(true) => ways.push(way),
            Some(false) => {
                let why = "must be either unset or set to true";
                errors.invalid(path.child(field), false, why);
            }
            None => {}
        }
    }
    match ways.len() {
        0 => errors.required(path.clone(), ONE_OF),
        1 => {}
        _ => {
            let why = format!("{ONE_OF}, but multiple fields are set");
            errors.invalid(path.clone(), format!("{{{}}}", ways.join(", ")), &why);
        }
    }
}
