//! The status of a claim: what it was given, by whom it is used, and what drivers say of the devices.

use serde_json::Value;

use super::request::Requests;
use super::words;
use crate::apiserver::kinds::{check, ip, node_selector};
use crate::object::Document;
use crate::object::field::{Errors, Path};

const MOST_CONSUMERS: usize = 256;
const MOST_RESULTS: usize = 32;
const MOST_CONFIGS: usize = 64;
const MOST_CONDITIONS: usize = 8;
const MOST_ADDRESSES: usize = 16;
const LONGEST_INTERFACE: usize = 256;
const LONGEST_HARDWARE_ADDRESS: usize = 128;
const LONGEST_DATA: usize = 10 << 10;
const SOURCES: [&str; 2] = ["FromClaim", "FromClass"];

/// Fills in the tolerations that an allocation carries.
pub(super) fn default(status: &mut Value) {
    let results = status.at_mut(&["allocation", "devices", "results"]);
    for result in results.and_then(Value::as_array_mut).into_iter().flatten() {
        let tolerations = result.get_mut("tolerations").and_then(Value::as_array_mut);
        for toleration in tolerations.into_iter().flatten() {
            if toleration.str_at(&["operator"]).is_empty() {
                toleration.set_at(&["operator"], "Equal");
            }
        }
    }
}

/// Checks the new status of a claim.
pub(super) fn validate_update(object: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    let none = Value::Null;
    let (status, before) = (
        object.get("status").unwrap_or(&none),
        old.get("status").unwrap_or(&none),
    );
    let requests = Requests::of(object.get("spec").unwrap_or(&none));
    let allocation = status
        .get("allocation")
        .filter(|allocation| allocation.is_object());
    let (consumers, at) = (status.list_at(&["reservedFor"]), path.child("reservedFor"));
    if words::bounded(consumers, MOST_CONSUMERS, &at, errors) {
        for (index, consumer) in consumers.iter().enumerate() {
            for field in ["resource", "name", "uid"] {
                if consumer.str_at(&[field]).is_empty() {
                    errors.required(at.index(index).child(field), "");
                }
            }
        }
        let uids = consumers.iter().map(|consumer| consumer.str_at(&["uid"]));
        words::unique(uids, &at, errors);
    }
    for (index, device) in status.list_at(&["devices"]).iter().enumerate() {
        validate_device(
            device,
            allocation,
            &path.child("devices").index(index),
            errors,
        );
    }
    if !consumers.is_empty() && allocation.is_none() {
        let why = "may not be specified when `allocated` is not set";
        errors.forbidden(at, why);
    } else if object.deletion_timestamp().is_some() {
        let known = before.list_at(&["reservedFor"]);
        if consumers.iter().any(|consumer| !known.contains(consumer)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(at, why);
        }
    }
    let Some(allocation) = allocation else { return };
    if before.get("allocation").is_some_and(Value::is_object) {
        let definition = "api.resource.v1.AllocationResult";
        check::immutable_struct(status, before, "allocation", definition, &path, errors);
    } else {
        validate_allocation(allocation, &requests, &path.child("allocation"), errors);
    }
}

fn validate_allocation(
    allocation: &Value,
    requests: &Requests<'_>,
    path: &Path,
    errors: &mut Errors,
) {
    let nodes = path.child("nodeSelector");
    let path = path.child("devices");
    let (results, at) = (
        allocation.list_at(&["devices", "results"]),
        path.child("results"),
    );
    if words::bounded(results, MOST_RESULTS, &at, errors) {
        for (index, result) in results.iter().enumerate() {
            let at = at.index(index);
            let request = result.str_at(&["request"]);
            requests.validate_name(request, &at.child("request"), errors);
            validate_place(result, &at, errors);
            words::binding_conditions(result, &at, errors);
            words::share(result, &at, errors);
        }
    }
    let (configs, at) = (
        allocation.list_at(&["devices", "config"]),
        path.child("config"),
    );
    if words::bounded(configs, MOST_CONFIGS, &at, errors) {
        for (index, config) in configs.iter().enumerate() {
            let at = at.index(index);
            check::required_one_of(config, "source", &SOURCES, &at, errors);
            requests.validate_names(config, &at, errors);
            words::opaque(config, &at, errors);
        }
    }
    if let Some(selector) = allocation
        .get("nodeSelector")
        .filter(|nodes| nodes.is_object())
    {
        node_selector::validate(selector, &nodes, errors);
    }
}

/// Which device of which pool of which driver.
fn validate_place(device: &Value, path: &Path, errors: &mut Errors) {
    words::driver(device.str_at(&["driver"]), &path.child("driver"), errors);
    words::pool(device.str_at(&["pool"]), &path.child("pool"), errors);
    words::label(device.str_at(&["device"]), &path.child("device"), errors);
}

fn place(device: &Value) -> [&str; 4] {
    ["driver", "pool", "device", "shareID"].map(|field| device.str_at(&[field]))
}

fn validate_device(device: &Value, allocation: Option<&Value>, path: &Path, errors: &mut Errors) {
    validate_place(device, path, errors);
    words::share(device, path, errors);
    let results = allocation.map(|allocation| allocation.list_at(&["devices", "results"]));
    let given = results.unwrap_or_default();
    if given.iter().all(|result| place(result) != place(device)) {
        let [driver, pool, name, share] = place(device);
        let share = if share.is_empty() {
            String::new()
        } else {
            format!("/{share}")
        };
        errors.invalid_text(
            path.clone(),
            &format!("{driver}/{pool}/{name}{share}"),
            "must be an allocated device in the claim",
        );
    }
    let (conditions, at) = (device.list_at(&["conditions"]), path.child("conditions"));
    words::bounded(conditions, MOST_CONDITIONS, &at, errors);
    check::conditions(conditions, &at, errors);
    if let Some(data) = device.get("data").filter(|data| !data.is_null()) {
        words::raw(data, LONGEST_DATA, &path.child("data"), errors);
    }
    let network = device.get("networkData").unwrap_or(&Value::Null);
    let path = path.child("networkData");
    for (field, most) in [
        ("interfaceName", LONGEST_INTERFACE),
        ("hardwareAddress", LONGEST_HARDWARE_ADDRESS),
    ] {
        if network.str_at(&[field]).len() > most {
            errors.too_long(path.child(field), most);
        }
    }
    let (addresses, at) = (network.list_at(&["ips"]), path.child("ips"));
    if words::bounded(addresses, MOST_ADDRESSES, &at, errors) {
        for (index, text) in addresses.iter().filter_map(Value::as_str).enumerate() {
            check::problems(text, ip::interface_address(text), &at.index(index), errors);
        }
        words::unique(addresses.iter().filter_map(Value::as_str), &at, errors);
    }
}
