//! The cluster IPs of a service and their families.

use serde_json::Value;

use crate::apiserver::kinds::{check, ip};
use crate::object::Document;
use crate::object::field::{Errors, Path};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

pub(super) fn listed(service: &Value) -> Vec<&str> {
    let items = service.list_at(&["spec", "clusterIPs"]).iter();
    items.filter_map(Value::as_str).collect()
}

/// Checks addresses and families; also on behalf of the allocators, before they give out what is missing. What the service
/// had before, `kept`, stays allowed.
pub(crate) fn validate(service: &Value, kept: &[&str], errors: &mut Errors) {
    if super::is_external(service) {
        return;
    }
    let path = Path::new("spec").child("clusterIPs");
    let empty = Value::Null;
    let spec = service.get("spec").unwrap_or(&empty);
    let addresses = listed(service);
    let one = spec.str_at(&["clusterIP"]);
    match (one, addresses.first()) {
        ("", None) => {}
        ("", Some(_)) => errors.invalid(
            path.clone(),
            &addresses[..],
            "must be empty when `clusterIP` is not specified",
        ),
        (_, None) => errors.required(path.clone(), ""),
        (one, Some(first)) if one != *first => {
            errors.invalid(
                path.clone(),
                &addresses[..],
                "first value must match `clusterIP`",
            );
        }
        _ => {}
    }
    let families: Vec<&str> = spec
        .list_at(&["ipFamilies"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for (index, family) in families.iter().enumerate() {
        let at = Path::new("spec").child("ipFamilies").index(index);
        if !FAMILIES.contains(family) {
            errors.not_supported(at.clone(), *family, &FAMILIES);
        }
        if families[..index].contains(family) {
            errors.duplicate(at, *family);
        }
    }
    check::one_of(
        spec,
        "ipFamilyPolicy",
        &POLICIES,
        &Path::new("spec"),
        errors,
    );
    let mut valid = true;
    for (index, address) in addresses.iter().enumerate() {
        if index == 0 && *address == "None" {
            if addresses.len() > 1 {
                valid = false;
                let why = "'None' must be the first and only value";
                errors.invalid(path.clone(), &addresses[..], why);
            }
        } else {
            valid &= ip::address(address, kept, &path.index(index), errors);
        }
    }
    if addresses.len() > 2 {
        let why = "may only hold up to 2 values";
        errors.invalid(path.clone(), &addresses[..], why);
    }
    if !valid {
        return;
    }
    let sixes = addresses
        .iter()
        .filter(|address| ip::is_v6(address))
        .count();
    if addresses.len() > 1 && (sixes == 0 || sixes == addresses.len()) {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid(path.clone(), &addresses[..], why);
    }
    if addresses == ["None"] {
        return;
    }
    for (index, (address, family)) in addresses.iter().zip(&families).enumerate() {
        if FAMILIES.contains(family) && ip::is_v6(address) != (*family == "IPv6") {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(path.index(index), *address, &why);
        }
    }
}
