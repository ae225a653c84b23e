//! Endpoints, which EndpointSlices have replaced.

use serde_json::Value;

use crate::apiserver::kinds::{check, ip};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Endpoints;

const LISTS: [&str; 2] = ["addresses", "notReadyAddresses"];
/// The label by which the endpoints controller marks what is its own, which is always in good form.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

impl Strategy for Endpoints {
    fn default(&self, object: &mut Value) {
        let subsets = object.at_mut(&["subsets"]).and_then(Value::as_array_mut);
        for subset in subsets.into_iter().flatten() {
            let ports = subset.at_mut(&["ports"]).and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                if port.str_at(&["protocol"]).is_empty() {
                    port.set_at(&["protocol"], "TCP");
                }
            }
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
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        if object.label(MANAGED_BY) == Some("endpoint-controller") {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        each_address(object, |address, path| {
            warnings.extend(ip::address_warning(
                &path.child("ip"),
                address.str_at(&["ip"]),
            ));
        });
        warnings
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }
}

/// Visits the addresses, ready or not.
fn each_address<'a>(object: &'a Value, mut visit: impl FnMut(&'a Value, &Path)) {
    for (index, subset) in object.list_at(&["subsets"]).iter().enumerate() {
        for list in LISTS {
            let path = Path::new("subsets").index(index).child(list);
            for (number, address) in subset.list_at(&[list]).iter().enumerate() {
                visit(address, &path.index(number));
            }
        }
    }
}

fn validate(object: &Value, old: &Value, errors: &mut Errors) {
    let mut kept = Vec::new();
    each_address(old, |address, _| kept.push(address.str_at(&["ip"])));
    let path = Path::new("subsets");
    for (index, subset) in object.list_at(&["subsets"]).iter().enumerate() {
        let at = path.index(index);
        if LISTS.iter().all(|list| subset.list_at(&[list]).is_empty()) {
            let why = "must specify `addresses` or `notReadyAddresses`";
            errors.required(at.clone(), why);
        }
        let ports = subset.list_at(&["ports"]);
        for (number, port) in ports.iter().enumerate() {
            let at = at.child("ports").index(number);
            validate_port(port, ports.len() > 1, &at, errors);
        }
    }
    each_address(object, |address, path| {
        let text = address.str_at(&["ip"]);
        ip::address(text, &kept, &path.child("ip"), errors);
        let host = address.str_at(&["hostname"]);
        if !host.is_empty() {
            check::problems(host, name::dns_label(host), &path.child("hostname"), errors);
        }
        if let Some(node) = address.get("nodeName").and_then(Value::as_str) {
            let problems = name::dns_subdomain(node);
            check::problems(node, problems, &path.child("nodeName"), errors);
        }
        ip::reachable(text, &path.child("ip"), errors);
    });
}

fn validate_port(port: &Value, is_named: bool, path: &Path, errors: &mut Errors) {
    let text = port.str_at(&["name"]);
    if !text.is_empty() {
        check::problems(text, name::dns_label(text), &path.child("name"), errors);
    } else if is_named {
        errors.required(path.child("name"), "");
    }
    let number = port.i64_at(&["port"]).unwrap_or(0);
    check::port(Some(number), &path.child("port"), errors);
    check::protocol(port, path, errors);
    if let Some(text) = port.get("appProtocol").and_then(Value::as_str) {
        let problems = name::qualified(text);
        check::problems(text, problems, &path.child("appProtocol"), errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{defaulted, errors_of, errors_of_update};

    fn subset(subset: Value) -> Value {
        defaulted(&Endpoints, json!({ "subsets": [subset] }))
    }

    #[test]
    fn rules() {
        let ready = json!([{ "ip": "10.0.0.1" }]);
        for (object, expected) in [
            (
                subset(json!({ "addresses": ready, "ports": [{ "port": 80 }] })),
                "",
            ),
            (
                subset(json!({ "ports": [{ "port": 80 }] })),
                "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            ),
            (
                subset(json!({ "notReadyAddresses": [{ "ip": "a" }] })),
                "subsets[0].notReadyAddresses[0].ip: Invalid value: \"a\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff); \
                 subsets[0].notReadyAddresses[0].ip: Invalid value: \"a\": must be a valid IP address",
            ),
            (
                subset(json!({ "addresses": [{ "ip": "127.0.0.1" }] })),
                "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ),
            (
                subset(json!({ "addresses": ready, "ports": [{ "port": 0, "protocol": "X" }] })),
                "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive; \
                 subsets[0].ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ),
            (
                subset(
                    json!({ "addresses": ready, "ports": [{ "port": 1 }, { "port": 2, "name": "a" }] }),
                ),
                "subsets[0].ports[0].name: Required value",
            ),
        ] {
            assert_eq!(errors_of(&Endpoints, &object), expected);
        }
    }

    #[test]
    fn odd_addresses_stay_and_are_warned_of() {
        let old = subset(json!({ "addresses": [{ "ip": "010.0.0.1" }] }));
        assert_eq!(
            errors_of(&Endpoints, &old),
            "subsets[0].addresses[0].ip: Invalid value: \"010.0.0.1\": must not have leading 0s"
        );
        assert_eq!(errors_of_update(&Endpoints, None, &old, &old), "");
        assert_eq!(
            Endpoints.warnings(&old, None),
            [
                "subsets[0].addresses[0].ip: non-standard IP address \"010.0.0.1\" will be considered invalid in a future Kubernetes release: use \"10.0.0.1\""
            ]
        );
    }
}
