//! EndpointSlice.

use serde_json::Value;

use super::{check, ip};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(super) struct EndpointSlice;

const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const MOST_ENDPOINTS: usize = 1000;
const MOST_ADDRESSES: usize = 100;
const MOST_PORTS: usize = 100;
const MOST_HINTS: usize = 8;
/// The label by which controllers mark what is theirs.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// What these write is always in good form.
const CONTROLLERS: [&str; 2] = [
    "endpointslice-controller.k8s.io",
    "endpointslicemirroring-controller.k8s.io",
];

impl Strategy for EndpointSlice {
    fn default(&self, object: &mut Value) {
        let ports = object.at_mut(&["ports"]).and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            port.default_at(&["name"], "");
            port.default_at(&["protocol"], "TCP");
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        drop_topology(object);
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Value, old: &Value) {
        let labels = |object: &Value| object.at(&["metadata", "labels"]).cloned();
        if labels(object) != labels(old) {
            object.set_at(&["metadata", "generation"], old.generation() + 1);
        }
        if object.get("endpoints") != old.get("endpoints") {
            drop_topology(object);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate(object, &Value::Null, errors);
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        validate(object, old, errors);
        check::immutable(object, old, "addressType", &Path::default(), errors);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && object.str_at(&["addressType"]) == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        if CONTROLLERS.contains(&object.label(MANAGED_BY).unwrap_or_default()) {
            return warnings;
        }
        for (index, endpoint) in object.list_at(&["endpoints"]).iter().enumerate() {
            let at = Path::new("endpoints").index(index).child("addresses");
            for (number, address) in endpoint.list_at(&["addresses"]).iter().enumerate() {
                let address = address.as_str().unwrap_or_default();
                warnings.extend(ip::address_warning(&at.index(number), address));
            }
        }
        warnings
    }
}

/// The map of topology labels is of the version before this.
fn drop_topology(object: &mut Value) {
    let endpoints = object.at_mut(&["endpoints"]).and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten() {
        endpoint.remove_at(&["deprecatedTopology"]);
    }
}

fn validate(object: &Value, old: &Value, errors: &mut Errors) {
    let kind = object.str_at(&["addressType"]);
    check::required_one_of(object, "addressType", &TYPES, &Path::default(), errors);
    let kept: Vec<&str> = old
        .list_at(&["endpoints"])
        .iter()
        .flat_map(|endpoint| endpoint.list_at(&["addresses"]))
        .filter_map(Value::as_str)
        .collect();
    let path = Path::new("endpoints");
    let endpoints = object.list_at(&["endpoints"]);
    if endpoints.len() > MOST_ENDPOINTS {
        errors.too_many(path, endpoints.len(), MOST_ENDPOINTS);
    } else {
        for (index, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, kind, &kept, &path.index(index), errors);
        }
    }
    validate_ports(object.list_at(&["ports"]), errors);
}

fn validate_endpoint(
    endpoint: &Value,
    kind: &str,
    kept: &[&str],
    path: &Path,
    errors: &mut Errors,
) {
    let at = path.child("addresses");
    let addresses = endpoint.list_at(&["addresses"]);
    if addresses.is_empty() {
        errors.required(at.clone(), "must contain at least 1 address");
    } else if addresses.len() > MOST_ADDRESSES {
        errors.too_many(at.clone(), addresses.len(), MOST_ADDRESSES);
    }
    for (index, address) in addresses.iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        let at = at.index(index);
        match kind {
            "IPv4" | "IPv6" => validate_address(address, kind, kept, &at, errors),
            "FQDN" => fully_qualified(address, &at, errors),
            _ => {}
        }
    }
    if let Some(node) = endpoint.get("nodeName").and_then(Value::as_str) {
        check::problems(
            node,
            name::dns_subdomain(node),
            &path.child("nodeName"),
            errors,
        );
    }
    if let Some(host) = endpoint.get("hostname").and_then(Value::as_str) {
        check::problems(host, name::dns_label(host), &path.child("hostname"), errors);
    }
    let hints = path.child("hints");
    for field in ["forZones", "forNodes"] {
        let items = endpoint.list_at(&["hints", field]);
        let at = hints.child(field);
        if items.len() > MOST_HINTS {
            errors.too_many(at, items.len(), MOST_HINTS);
            continue;
        }
        for (index, item) in items.iter().enumerate() {
            let text = item.str_at(&["name"]);
            let at = at.index(index).child("name");
            if items[..index]
                .iter()
                .any(|other| other.str_at(&["name"]) == text)
            {
                errors.duplicate(at.clone(), text);
            }
            let problems = match field {
                "forZones" => name::label_value(text),
                _ => name::dns_subdomain(text),
            };
            check::problems(text, problems, &at, errors);
        }
    }
}

fn validate_address(address: &str, kind: &str, kept: &[&str], path: &Path, errors: &mut Errors) {
    if !ip::address(address, kept, path, errors) {
        return;
    }
    if ip::is_v6(address) != (kind == "IPv6") {
        errors.invalid(path.clone(), address, &format!("must be an {kind} address"));
    }
    ip::reachable(address, path, errors);
}

fn fully_qualified(host: &str, path: &Path, errors: &mut Errors) {
    if host.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let problems = name::dns_subdomain(host);
    if !problems.is_empty() {
        errors.invalid(path.clone(), host, &problems.join(","));
    } else if !host.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.invalid(path.clone(), host, why);
    } else {
        for label in host.split('.') {
            let problems = name::dns_label(label);
            if !problems.is_empty() {
                errors.invalid(path.clone(), label, &problems.join(","));
            }
        }
    }
}

fn validate_ports(ports: &[Value], errors: &mut Errors) {
    let path = Path::new("ports");
    if ports.len() > MOST_PORTS {
        errors.too_many(path, ports.len(), MOST_PORTS);
        return;
    }
    for (index, port) in ports.iter().enumerate() {
        let at = path.index(index);
        let text = port.str_at(&["name"]);
        if !text.is_empty() {
            check::problems(text, name::dns_label(text), &at.child("name"), errors);
        }
        if ports[..index]
            .iter()
            .any(|other| other.str_at(&["name"]) == text)
        {
            errors.duplicate(at.child("name"), text);
        }
        check::protocol(port, &at, errors);
        if let Some(text) = port.get("appProtocol").and_then(Value::as_str) {
            check::problems(
                text,
                name::qualified(text),
                &at.child("appProtocol"),
                errors,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{defaulted, errors_of, errors_of_update};
    use super::*;

    fn slice(kind: &str, endpoint: Value) -> Value {
        json!({ "addressType": kind, "endpoints": [endpoint] })
    }

    #[test]
    fn rules() {
        let at = "endpoints[0]";
        for (object, expected) in [
            (
                slice("IPv4", json!({ "addresses": ["10.0.0.1"], "nodeName": "n" })),
                String::new(),
            ),
            (json!({}), "addressType: Required value".into()),
            (
                json!({ "addressType": "IP" }),
                "addressType: Unsupported value: \"IP\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"".into(),
            ),
            (
                slice("IPv4", json!({})),
                format!("{at}.addresses: Required value: must contain at least 1 address"),
            ),
            (
                slice("IPv4", json!({ "addresses": ["fd00::1"] })),
                format!("{at}.addresses[0]: Invalid value: \"fd00::1\": must be an IPv4 address"),
            ),
            (
                slice("IPv4", json!({ "addresses": ["127.0.0.1"] })),
                format!(
                    "{at}.addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"
                ),
            ),
            (
                slice("FQDN", json!({ "addresses": ["example"] })),
                format!(
                    "{at}.addresses[0]: Invalid value: \"example\": should be a domain with at least two segments separated by dots"
                ),
            ),
            (
                slice(
                    "IPv4",
                    json!({ "addresses": ["10.0.0.1"], "hints": { "forZones": [{ "name": "a" }, { "name": "a" }] } }),
                ),
                format!("{at}.hints.forZones[1].name: Duplicate value: \"a\""),
            ),
            (
                json!({ "addressType": "IPv4", "ports": [{ "protocol": "X" }, {}] }),
                "ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"; ports[1].name: Duplicate value: \"\"".into(),
            ),
        ] {
            let object = defaulted(&EndpointSlice, object);
            assert_eq!(errors_of(&EndpointSlice, &object), expected);
        }
        let many = vec![json!({}); 1001];
        assert_eq!(
            errors_of(
                &EndpointSlice,
                &json!({ "addressType": "IPv4", "endpoints": many })
            ),
            "endpoints: Too many: 1001: must have at most 1000 items"
        );
    }

    #[test]
    fn updates() {
        let old = json!({ "addressType": "IPv4", "metadata": { "generation": 1 } });
        let mut new = old.clone();
        new["addressType"] = "IPv6".into();
        assert_eq!(
            errors_of_update(&EndpointSlice, None, &new, &old),
            "addressType: Invalid value: \"IPv6\": field is immutable"
        );
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({ "a": "b" });
        let context = super::super::testing::context(None);
        EndpointSlice.prepare_update(&context, &mut new, &old);
        assert_eq!(new.generation(), 2);
    }
}
