//! Services, endpoints and networking.k8s.io.
use super::cells::cells;
use super::format::{age, labels, number, or, selector, shortened, strings};
use crate::object::Document;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = object
        .list_at(&["spec", "ports"])
        .iter()
        .map(|port| {
            let (own, protocol) = (number(port, &["port"]), port.str_at(&["protocol"]));
            match number(port, &["nodePort"]) {
                0 => format!("{own}/{protocol}"),
                node => format!("{own}:{node}/{protocol}"),
            }
        })
        .collect();
    let internal = strings(object, &["spec", "clusterIPs"])
        .first()
        .copied()
        .unwrap_or_default();
    cells![
        object.name(),
        object.str_at(&["spec", "type"]),
        or(internal, "<none>"),
        external_addresses(object),
        or(&ports.join(","), "<none>"),
        age(object, now),
        labels(object, &["spec", "selector"]),
    ]
}

fn external_addresses(service: &Value) -> String {
    let external = strings(service, &["spec", "externalIPs"]);
    match service.str_at(&["spec", "type"]) {
        "ExternalName" => service.str_at(&["spec", "externalName"]).to_owned(),
        "LoadBalancer" => {
            let balancers = balancer_addresses(service).into_iter();
            let all: Vec<&str> = balancers.chain(external).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        "ClusterIP" | "NodePort" => or(&external.join(","), "<none>").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// The addresses or names of the load balancers in the status, each once, in order.
fn balancer_addresses(object: &Value) -> BTreeSet<&str> {
    let ingress = object
        .list_at(&["status", "loadBalancer", "ingress"])
        .iter();
    ingress
        .map(|ingress| or(ingress.str_at(&["ip"]), ingress.str_at(&["hostname"])))
        .filter(|address| !address.is_empty())
        .collect()
}

pub(super) fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    let subsets = object.list_at(&["subsets"]);
    for subset in subsets {
        let addresses = || {
            subset
                .list_at(&["addresses"])
                .iter()
                .map(|address| address.str_at(&["ip"]))
        };
        let ports = subset.list_at(&["ports"]);
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = number(port, &["port"]);
            all.extend(addresses().map(|ip| {
                if ip.contains(':') {
                    format!("[{ip}]:{port}")
                } else {
                    format!("{ip}:{port}")
                }
            }));
        }
    }
    let none = if subsets.is_empty() { "<none>" } else { "" };
    cells![
        object.name(),
        shortened(&all, 3, ",", none),
        age(object, now)
    ]
}

pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports = object.list_at(&["ports"]).iter();
    let ports: Vec<String> = ports
        .map(|port| match port.i64_at(&["port"]) {
            Some(port) => port.to_string(),
            None => match port.at(&["name"]).and_then(Value::as_str) {
                Some(name) => name.to_owned(),
                None => "*".to_owned(),
            },
        })
        .collect();
    let endpoints = object.list_at(&["endpoints"]).iter();
    let addresses: Vec<String> = endpoints
        .flat_map(|endpoint| strings(endpoint, &["addresses"]))
        .map(str::to_owned)
        .collect();
    cells![
        object.name(),
        object.str_at(&["addressType"]),
        shortened(&ports, 3, ",", "<unset>"),
        shortened(&addresses, 3, ",", "<unset>"),
        age(object, now),
    ]
}

pub(super) fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports = if object.list_at(&["spec", "tls"]).is_empty() {
        "80"
    } else {
        "80, 443"
    };
    cells![
        object.name(),
        or(object.str_at(&["spec", "ingressClassName"]), "<none>"),
        hosts(object.list_at(&["spec", "rules"])),
        Vec::from_iter(balancer_addresses(object)).join(","),
        ports,
        age(object, now),
    ]
}

/// The first hosts that have rules. What follows is counted in rules, with a host or without.
fn hosts(rules: &[Value]) -> String {
    const MOST: usize = 3;
    let named = |rule: &&Value| !rule.str_at(&["host"]).is_empty();
    let shown: Vec<&str> = rules
        .iter()
        .filter(named)
        .take(MOST)
        .map(|rule| rule.str_at(&["host"]))
        .collect();
    let last = rules.iter().enumerate().filter(|(_, rule)| named(rule));
    let full = last.map(|(index, _)| index).nth(MOST - 1);
    let text = shown.join(",");
    match full {
        Some(index) if index + 1 < rules.len() => {
            format!("{text} + {} more...", rules.len() - MOST)
        }
        _ => or(&text, "*").to_owned(),
    }
}

pub(super) fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = object.at(&["spec", "parameters"]).map_or_else(
        || "<none>".to_owned(),
        |parameters| {
            let (kind, group) = (parameters.kind(), parameters.str_at(&["apiGroup"]));
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", parameters.str_at(&["name"]))
        },
    );
    cells![
        object.name(),
        object.str_at(&["spec", "controller"]),
        parameters,
        age(object, now)
    ]
}

pub(super) fn network_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        selector(object, &["spec", "podSelector"]),
        age(object, now)
    ]
}

/// As in Kubernetes there is one cell more than there are columns.
pub(super) fn ip_address(object: &Value, now: Timestamp) -> Vec<Value> {
    let parent = |field: &str| object.str_at(&["spec", "parentRef", field]);
    let group = parent("group");
    let dot = if group.is_empty() { "" } else { "." };
    let parts = [
        format!("{}{dot}{group}", parent("resource")).to_lowercase(),
        parent("namespace").to_owned(),
        parent("name").to_owned(),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let parent = if object.at(&["spec", "parentRef"]).is_some() {
        parts.join("/")
    } else {
        "<none>".to_owned()
    };
    cells![object.name(), parent, age(object, now)]
}

pub(super) fn service_cidr(object: &Value, now: Timestamp) -> Vec<Value> {
    cells![
        object.name(),
        strings(object, &["spec", "cidrs"]).join(","),
        age(object, now)
    ]
}
