//! What a change of a service may do, and what it takes along.

use serde_json::{Value, json};

use super::{
    addresses, has_health_port, has_node_ports, is_balanced, is_external, is_headless,
    is_reached_from_outside,
};
use crate::object::Document;
use crate::object::field::{Errors, Path};

const UNCHANGING: &str = "may not change once set";

/// A change of type takes along what only the old type had, unless the client changed it.
pub(super) fn drop_what_the_type_had(service: &mut Value, old: &Value) {
    fn has_address(service: &Value) -> bool {
        !is_external(service)
    }
    /// What a service must be, and the fields that only such services have.
    type Rule = (fn(&Value) -> bool, &'static [&'static str]);
    let rules: [Rule; 4] = [
        (has_address, &["ipFamilies", "ipFamilyPolicy"]),
        (has_health_port, &["healthCheckNodePort"]),
        (
            is_balanced,
            &["allocateLoadBalancerNodePorts", "loadBalancerClass"],
        ),
        (is_reached_from_outside, &["externalTrafficPolicy"]),
    ];
    let same =
        |service: &Value, field: &str| service.at(&["spec", field]) == old.at(&["spec", field]);
    let lost = |service: &Value, has: fn(&Value) -> bool| has(old) && !has(service);
    let mut dropped: Vec<&str> = rules
        .iter()
        .filter(|(has, _)| lost(service, *has))
        .flat_map(|(_, fields)| fields.iter().copied())
        .filter(|field| same(service, field))
        .collect();
    let both = ["clusterIP", "clusterIPs"];
    if lost(service, has_address) && both.iter().all(|field| same(service, field)) {
        dropped.extend(both);
    }
    let numbers = |service: &Value| -> Vec<i64> {
        let ports = service.list_at(&["spec", "ports"]).iter();
        ports
            .filter_map(|port| port.i64_at(&["nodePort"]))
            .collect()
    };
    let before = numbers(old);
    if lost(service, has_node_ports) && numbers(service).iter().all(|port| before.contains(port)) {
        let ports = service
            .at_mut(&["spec", "ports"])
            .and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    for field in dropped {
        service.remove_at(&["spec", field]);
    }
    if !is_balanced(service) {
        service.set_at(&["status", "loadBalancer"], json!({}));
    }
}

/// Checks what an update changes.
pub(super) fn validate(service: &Value, old: &Value, errors: &mut Errors) {
    if !is_external(service) && !is_external(old) {
        validate_addresses(service, old, errors);
        validate_families(service, old, errors);
    }
    if is_balanced(service) && is_balanced(old) {
        let class = |service: &Value| service.at(&["spec", "loadBalancerClass"]).cloned();
        if class(service) != class(old) {
            let path = Path::new("spec").child("loadBalancerClass");
            errors.invalid(path, class(service).unwrap_or_default(), UNCHANGING);
        }
    }
    if has_health_port(service) && has_health_port(old) {
        let port = |service: &Value| service.i64_at(&["spec", "healthCheckNodePort"]);
        if port(service) != port(old) {
            let path = Path::new("spec").child("healthCheckNodePort");
            errors.forbidden(path, "field is immutable");
        }
    }
}

fn policy(service: &Value) -> Value {
    service
        .at(&["spec", "ipFamilyPolicy"])
        .cloned()
        .unwrap_or_default()
}

/// Releasing the second address or family must be meant.
fn must_be_single(service: &Value, what: &str, errors: &mut Errors) {
    if policy(service) != "SingleStack" {
        let path = Path::new("spec").child("ipFamilyPolicy");
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.invalid(path, policy(service), &why);
    }
}

fn validate_addresses(service: &Value, old: &Value, errors: &mut Errors) {
    if is_headless(service) && is_headless(old) {
        return;
    }
    let path = Path::new("spec").child("clusterIPs");
    let (new, before) = (addresses::listed(service), addresses::listed(old));
    let shown = || {
        let listed = service.at(&["spec", "clusterIPs"]);
        listed.cloned().unwrap_or_default()
    };
    if new.len() == before.len() {
        for (index, address) in new.iter().enumerate() {
            if *address != before[index] {
                errors.invalid(path.index(index), shown(), UNCHANGING);
            }
        }
        return;
    }
    let shrinks = new.len() < before.len();
    if new.is_empty() {
        let why = "primary clusterIP can not be unset";
        errors.invalid(path.index(0), shown(), why);
    }
    if let (Some(first), Some(was)) = (new.first(), before.first())
        && first != was
    {
        errors.invalid(path.index(0), shown(), UNCHANGING);
    }
    if shrinks && new.len() == 1 {
        must_be_single(service, "clusterIP", errors);
    }
}

fn validate_families(service: &Value, old: &Value, errors: &mut Errors) {
    if is_headless(service) || is_headless(old) {
        return;
    }
    let path = Path::new("spec").child("ipFamilies").index(0);
    let families = |service: &Value| service.list_at(&["spec", "ipFamilies"]).to_vec();
    let (new, before) = (families(service), families(old));
    if new.len() == before.len() {
        for _ in new
            .iter()
            .zip(&before)
            .filter(|(new, before)| new != before)
        {
            errors.invalid(path.clone(), new.clone(), UNCHANGING);
        }
        return;
    }
    let shrinks = new.len() < before.len();
    if shrinks && addresses::listed(service).is_empty() {
        let why = "primary ipFamily can not be unset";
        errors.invalid(path.clone(), new.clone(), why);
    }
    if let (Some(first), Some(was)) = (new.first(), before.first())
        && first != was
    {
        // The real server shows the addresses here.
        let shown = service.at(&["spec", "clusterIPs"]);
        errors.invalid(path, shown.cloned().unwrap_or_default(), UNCHANGING);
    }
    if shrinks && new.len() == 1 {
        must_be_single(service, "ipFamily", errors);
    }
}
