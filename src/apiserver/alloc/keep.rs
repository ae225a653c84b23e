//! What a client leaves out of an update of a service stays as it was given.
use super::{addresses, has_node_ports, needs_health_port, type_of};
use crate::object::Document;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Carries over addresses and ports.
pub(super) fn allocated(service: &mut Value, old: &Value) {
    let has_address = |service: &Value| type_of(service) != super::EXTERNAL;
    if has_address(service) && has_address(old) {
        if service.str_at(&["spec", "clusterIP"]).is_empty() {
            copy(service, old, &["spec", "clusterIP"]);
        }
        if service.list_at(&["spec", "clusterIPs"]).is_empty() {
            copy(service, old, &["spec", "clusterIPs"]);
        }
    }
    if has_node_ports(service) && has_node_ports(old) {
        node_ports(service, old);
    }
    if needs_health_port(service)
        && needs_health_port(old)
        && service
            .i64_at(&["spec", "healthCheckNodePort"])
            .unwrap_or(0)
            == 0
    {
        copy(service, old, &["spec", "healthCheckNodePort"]);
    }
}

fn copy(service: &mut Value, old: &Value, path: &[&str]) {
    if let Some(value) = old.at(path) {
        service.set_at(path, value.clone());
    }
}

/// Ports of the same name keep their node ports, unless another port has taken them over.
fn node_ports(service: &mut Value, old: &Value) {
    let number = |port: &Value| port.i64_at(&["nodePort"]).unwrap_or(0);
    let used = |service: &Value| -> BTreeSet<i64> {
        let ports = service.list_at(&["spec", "ports"]);
        ports.iter().map(number).filter(|port| *port != 0).collect()
    };
    let used: BTreeSet<i64> = used(old).intersection(&used(service)).copied().collect();
    let named: BTreeMap<&str, i64> = old
        .list_at(&["spec", "ports"])
        .iter()
        .map(|port| (port.str_at(&["name"]), number(port)))
        .collect();
    let Some(Value::Array(ports)) = service.at_mut(&["spec", "ports"]) else {
        return;
    };
    for port in ports.iter_mut().filter(|port| number(port) == 0) {
        let before = named.get(port.str_at(&["name"])).copied().unwrap_or(0);
        if before != 0 && !used.contains(&before) {
            port.set_at(&["nodePort"], before);
        }
    }
}

/// Keeps `clusterIP` and `clusterIPs` in step when a client knows only the former.
pub(super) fn addresses_in_step(service: &mut Value, old: Option<&Value>) {
    let one = service.str_at(&["spec", "clusterIP"]).to_owned();
    let unset = service.list_at(&["spec", "clusterIPs"]).is_empty();
    let Some(old) = old else {
        if unset && !one.is_empty() {
            service.set_at(&["spec", "clusterIPs"], vec![one]);
        }
        return;
    };
    let before = old.str_at(&["spec", "clusterIP"]);
    if one == before {
        if unset && !addresses(old).is_empty() {
            copy(service, old, &["spec", "clusterIPs"]);
        }
        return;
    }
    let same = service.list_at(&["spec", "clusterIPs"]) == old.list_at(&["spec", "clusterIPs"]);
    if !same {
        return;
    }
    if one.is_empty() {
        service.remove_at(&["spec", "clusterIPs"]);
    } else {
        service.set_at(&["spec", "clusterIPs"], vec![one]);
    }
}
