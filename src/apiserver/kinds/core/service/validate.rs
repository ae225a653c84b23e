//! What a service must be.

use serde_json::Value;

use super::{
    TIMEOUT, TOPOLOGY_HINTS, TOPOLOGY_MODE, addresses, has_health_port, has_node_ports,
    is_balanced, is_external, is_headless, is_reached_from_outside, type_of,
};
use crate::apiserver::kinds::networking::balancer_point;
use crate::apiserver::kinds::{check, ip};
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, name};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
pub(super) const POLICIES: [&str; 2] = ["Cluster", "Local"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
/// A day.
const MOST_SECONDS: i64 = 86400;
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// Where kubelets are asked; clouds would open it to everybody.
const KUBELET_PORT: i64 = 10250;
const BALANCED_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

/// Checks all but the metadata and the status. What `old` has of addresses stays allowed.
pub(super) fn spec(service: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    let empty = Value::Null;
    let spec = service.get("spec").unwrap_or(&empty);
    topology(service, errors);
    if spec.list_at(&["ports"]).is_empty() && !is_headless(service) && !is_external(service) {
        errors.required(path.child("ports"), "");
    }
    if type_of(service) == "LoadBalancer" {
        for (index, port) in spec.list_at(&["ports"]).iter().enumerate() {
            if port.i64_at(&["port"]) == Some(KUBELET_PORT) {
                let why = format!(
                    "may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                );
                errors.invalid(path.child("ports").index(index), KUBELET_PORT, &why);
            }
        }
    }
    if has_node_ports(service) && is_headless(service) {
        let why = format!("may not be set to 'None' for {} services", type_of(service));
        errors.invalid(path.child("clusterIPs").index(0), "None", &why);
    }
    if is_external(service) {
        external(spec, &path, errors);
    }
    let ports = spec.list_at(&["ports"]);
    for (index, entry) in ports.iter().enumerate() {
        let at = path.child("ports").index(index);
        port(entry, ports, index, &at, errors);
    }
    check::labels(spec.get("selector"), &path.child("selector"), errors);
    affinity(service, errors);
    let kept = |field: &str| -> Vec<&str> {
        let items = old
            .map(|old| old.list_at(&["spec", field]))
            .unwrap_or_default();
        items.iter().filter_map(Value::as_str).collect()
    };
    addresses::validate(service, &kept("clusterIPs"), errors);
    let external = spec.list_at(&["externalIPs"]).iter();
    for (index, address) in external.filter_map(Value::as_str).enumerate() {
        let at = path.child("externalIPs").index(index);
        if ip::address(address, &kept("externalIPs"), &at, errors) {
            ip::reachable(address, &at, errors);
        }
    }
    check::required_one_of(spec, "type", &TYPES, &path, errors);
    numbers(service, ports, &path, errors);
    sources(service, &kept("loadBalancerSourceRanges"), errors);
    balancer(service, errors);
    traffic(service, errors);
}

fn topology(service: &Value, errors: &mut Errors) {
    let (mode, hints) = (
        service.annotation(TOPOLOGY_MODE),
        service.annotation(TOPOLOGY_HINTS),
    );
    if let (Some(mode), Some(hints)) = (mode, hints)
        && mode != hints
    {
        let path = Path::new("metadata")
            .child("annotations")
            .key(TOPOLOGY_MODE);
        let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.invalid(path, mode, &why);
    }
}

fn external(spec: &Value, path: &Path, errors: &mut Errors) {
    let why = "may not be set for ExternalName services";
    for list in ["clusterIPs", "ipFamilies"] {
        if !spec.list_at(&[list]).is_empty() {
            errors.forbidden(path.child(list), why);
        }
    }
    if !spec.str_at(&["ipFamilyPolicy"]).is_empty() {
        errors.forbidden(path.child("ipFamilyPolicy"), why);
    }
    let host = spec.str_at(&["externalName"]);
    let host = host.strip_suffix('.').unwrap_or(host);
    let at = path.child("externalName");
    if host.is_empty() {
        errors.required(at, "");
    } else {
        check::problems(host, name::dns_subdomain(host), &at, errors);
    }
}

fn port(port: &Value, ports: &[Value], index: usize, path: &Path, errors: &mut Errors) {
    let text = port.str_at(&["name"]);
    if text.is_empty() && ports.len() > 1 {
        errors.required(path.child("name"), "");
    } else if !text.is_empty() {
        check::problems(text, name::dns_label(text), &path.child("name"), errors);
        let before = &ports[..index];
        if before.iter().any(|other| other.str_at(&["name"]) == text) {
            errors.duplicate(path.child("name"), text);
        }
    }
    let number = port.i64_at(&["port"]).unwrap_or(0);
    check::port(Some(number), &path.child("port"), errors);
    check::protocol(port, path, errors);
    let target = port.get("targetPort").unwrap_or(&Value::Null);
    check::port_or_name(target, &path.child("targetPort"), errors);
    if let Some(text) = port.get("appProtocol").and_then(Value::as_str) {
        let problems = name::qualified(text);
        check::problems(text, problems, &path.child("appProtocol"), errors);
    }
}

fn affinity(service: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let empty = Value::Null;
    let spec = service.get("spec").unwrap_or(&empty);
    check::required_one_of(
        spec,
        "sessionAffinity",
        &["ClientIP", "None"],
        &path,
        errors,
    );
    let at = path.child("sessionAffinityConfig");
    let config = spec
        .get("sessionAffinityConfig")
        .filter(|config| config.is_object());
    match (spec.str_at(&["sessionAffinity"]), config) {
        ("ClientIP", config) => {
            let why = "when session affinity type is ClientIP";
            let client = config
                .and_then(|config| config.get("clientIP"))
                .filter(|client| client.is_object());
            let seconds = service.i64_at(&TIMEOUT);
            match (config, client, seconds) {
                (None, ..) => errors.required(at, why),
                (_, None, _) => errors.required(at.child("clientIP"), why),
                (.., None) => errors.required(at.child("clientIP").child("timeoutSeconds"), why),
                (.., Some(seconds)) if !(1..=MOST_SECONDS).contains(&seconds) => {
                    let why = format!("must be greater than 0 and less than {MOST_SECONDS}");
                    let at = at.child("clientIP").child("timeoutSeconds");
                    errors.invalid(at, seconds, &why);
                }
                _ => {}
            }
        }
        ("None", Some(_)) => {
            let why = "must not be set when session affinity is None";
            errors.forbidden(at, why);
        }
        _ => {}
    }
}

/// Numbers and node ports are distinct by protocol.
fn numbers(service: &Value, ports: &[Value], path: &Path, errors: &mut Errors) {
    let node_port = |port: &Value| port.i64_at(&["nodePort"]).unwrap_or(0);
    let key = |port: &Value, number: i64| (port.str_at(&["protocol"]).to_owned(), number);
    let at = |index: usize| path.child("ports").index(index);
    if type_of(service) == "ClusterIP" {
        let why = "may not be used when `type` is 'ClusterIP'";
        for (index, _) in ports
            .iter()
            .enumerate()
            .filter(|(_, port)| node_port(port) != 0)
        {
            errors.forbidden(at(index).child("nodePort"), why);
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let number = node_port(port);
        let same = |other: &&Value| key(other, node_port(other)) == key(port, number);
        if number != 0 && ports[..index].iter().any(|other| same(&other)) {
            errors.duplicate(at(index).child("nodePort"), number);
        }
    }
    let number = |port: &Value| port.i64_at(&["port"]).unwrap_or(0);
    for (index, port) in ports.iter().enumerate() {
        let same = |other: &Value| key(other, number(other)) == key(port, number(port));
        if ports[..index].iter().any(same) {
            // A port as Go prints its internal form.
            let shown = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":{:?},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                port.str_at(&["protocol"]),
                number(port)
            );
            errors.push(ErrorKind::Duplicate, at(index), shown);
        }
    }
}

/// The addresses from which a load balancer takes traffic: in a field, or else in an annotation.
fn sources(service: &Value, kept: &[&str], errors: &mut Errors) {
    let listed = service.list_at(&["spec", "loadBalancerSourceRanges"]);
    if !listed.is_empty() {
        let path = Path::new("spec").child("LoadBalancerSourceRanges");
        if !is_balanced(service) {
            errors.forbidden(path.clone(), BALANCED_ONLY);
        }
        for (index, range) in listed.iter().filter_map(Value::as_str).enumerate() {
            ip::cidr(range.trim(), kept, &path.index(index), errors);
        }
    } else if let Some(ranges) = service.annotation(SOURCE_RANGES) {
        let path = Path::new("metadata")
            .child("annotations")
            .key(SOURCE_RANGES);
        if !is_balanced(service) {
            errors.forbidden(path.clone(), BALANCED_ONLY);
        }
        if !ranges.trim().is_empty() {
            for range in ranges.trim().split(',') {
                ip::cidr(range.trim(), kept, &path, errors);
            }
        }
    }
}

fn balancer(service: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let given = |field: &str| {
        let value = service.at(&["spec", field]);
        value.filter(|value| !value.is_null())
    };
    let allocates = given("allocateLoadBalancerNodePorts");
    let class = given("loadBalancerClass").and_then(Value::as_str);
    if is_balanced(service) {
        if allocates.is_none() {
            errors.required(Path::new("allocateLoadBalancerNodePorts"), "");
        }
        if let Some(class) = class {
            let problems = name::qualified(class);
            check::problems(class, problems, &path.child("loadBalancerClass"), errors);
        }
        return;
    }
    if allocates.is_some() {
        errors.forbidden(path.child("allocateLoadBalancerNodePorts"), BALANCED_ONLY);
    }
    if class.is_some() {
        errors.forbidden(path.child("loadBalancerClass"), BALANCED_ONLY);
    }
}

fn traffic(service: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let empty = Value::Null;
    let spec = service.get("spec").unwrap_or(&empty);
    let policy = spec.str_at(&["externalTrafficPolicy"]);
    if is_reached_from_outside(service) {
        check::required_one_of(spec, "externalTrafficPolicy", &POLICIES, &path, errors);
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.invalid(path.child("externalTrafficPolicy"), policy, why);
    }
    let at = path.child("healthCheckNodePort");
    let port = spec.i64_at(&["healthCheckNodePort"]).unwrap_or(0);
    match (has_health_port(service), port) {
        (true, 0) => errors.required(at, ""),
        (true, port) => check::port(Some(port), &at, errors),
        (false, 0) => {}
        (false, port) => {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(at, port, why);
        }
    }
    match spec.get("internalTrafficPolicy").and_then(Value::as_str) {
        None if matches!(type_of(service), "ClusterIP" | "NodePort" | "LoadBalancer") => {
            errors.required(path.child("internalTrafficPolicy"), "");
        }
        Some(policy) if !POLICIES.contains(&policy) => {
            errors.not_supported(path.child("internalTrafficPolicy"), policy, &POLICIES);
        }
        _ => {}
    }
    if let Some(distribution) = spec.get("trafficDistribution").and_then(Value::as_str)
        && !DISTRIBUTIONS.contains(&distribution)
    {
        let at = path.child("trafficDistribution");
        errors.not_supported(at, distribution, &DISTRIBUTIONS);
    }
}

/// Checks the status.
pub(super) fn status(service: &Value, old: &Value, errors: &mut Errors) {
    let points = |service| Document::list_at(service, &["status", "loadBalancer", "ingress"]);
    let kept: Vec<&str> = points(old)
        .iter()
        .map(|point| point.str_at(&["ip"]))
        .collect();
    let path = Path::new("status.loadBalancer.ingress");
    let new = points(service);
    if !is_balanced(service) && !new.is_empty() {
        errors.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, point) in new.iter().enumerate() {
        let at = path.index(index);
        balancer_point(point, &kept, &at, errors);
        let has_address = !point.str_at(&["ip"]).is_empty();
        match point.get("ipMode").and_then(Value::as_str) {
            None if has_address => {
                errors.required(at.child("ipMode"), "must be specified when `ip` is set");
            }
            Some(_) if !has_address => {
                let why = "may not be specified when `ip` is not set";
                errors.forbidden(at.child("ipMode"), why);
            }
            _ => check::one_of(point, "ipMode", &["Proxy", "VIP"], &at, errors),
        }
    }
}
