//! NetworkPolicy.

use serde_json::Value;

use crate::apiserver::kinds::{check, ip};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct NetworkPolicy;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];
const TYPES: [&str; 2] = ["Ingress", "Egress"];
/// The directions of traffic, and where the other ends are.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

impl Strategy for NetworkPolicy {
    fn default(&self, object: &mut Value) {
        let has_egress = !object.list_at(&["spec", "egress"]).is_empty();
        if object.list_at(&["spec", "policyTypes"]).is_empty() {
            let types = if has_egress { &TYPES[..] } else { &TYPES[..1] };
            object.set_at(&["spec", "policyTypes"], types);
        }
        for (direction, _) in DIRECTIONS {
            let rules = object
                .at_mut(&["spec", direction])
                .and_then(Value::as_array_mut);
            for rule in rules.into_iter().flatten() {
                let ports = rule.at_mut(&["ports"]).and_then(Value::as_array_mut);
                for port in ports.into_iter().flatten() {
                    port.default_at(&["protocol"], "TCP");
                }
            }
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object, &[], errors);
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let mut kept = Vec::new();
        each_block(old, |block, _| {
            kept.push(block.str_at(&["cidr"]));
            kept.extend(block.list_at(&["except"]).iter().filter_map(Value::as_str));
        });
        validate_spec(object, &kept, errors);
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        each_block(object, |block, path| {
            warnings.extend(ip::cidr_warnings(
                &path.child("cidr"),
                block.str_at(&["cidr"]),
            ));
            for (index, except) in block.list_at(&["except"]).iter().enumerate() {
                let at = path.child("except").index(index);
                warnings.extend(ip::cidr_warnings(&at, except.as_str().unwrap_or_default()));
            }
        });
        warnings
    }
}

/// Visits the blocks of addresses that rules name.
fn each_block<'a>(object: &'a Value, mut visit: impl FnMut(&'a Value, &Path)) {
    for (direction, peers) in DIRECTIONS {
        for (index, rule) in object.list_at(&["spec", direction]).iter().enumerate() {
            for (number, peer) in rule.list_at(&[peers]).iter().enumerate() {
                if let Some(block) = peer.get("ipBlock").filter(|block| block.is_object()) {
                    let at = Path::new("spec").child(direction).index(index);
                    visit(block, &at.child(peers).index(number).child("ipBlock"));
                }
            }
        }
    }
}

fn validate_spec(object: &Value, kept: &[&str], errors: &mut Errors) {
    let path = Path::new("spec");
    let empty = Value::Null;
    let spec = object.get("spec").unwrap_or(&empty);
    let selector = spec.get("podSelector").unwrap_or(&empty);
    check::label_selector(selector, &path.child("podSelector"), errors);
    for (direction, peers) in DIRECTIONS {
        for (index, rule) in spec.list_at(&[direction]).iter().enumerate() {
            let at = path.child(direction).index(index);
            for (number, port) in rule.list_at(&["ports"]).iter().enumerate() {
                validate_port(port, &at.child("ports").index(number), errors);
            }
            for (number, peer) in rule.list_at(&[peers]).iter().enumerate() {
                validate_peer(peer, kept, &at.child(peers).index(number), errors);
            }
        }
    }
    let path = path.child("policyTypes");
    let types = spec.list_at(&["policyTypes"]);
    if types.len() > TYPES.len() {
        let why = "may not specify more than two policyTypes";
        errors.invalid(path, types.to_vec(), why);
        return;
    }
    for (index, text) in types.iter().filter_map(Value::as_str).enumerate() {
        if !TYPES.contains(&text) {
            errors.not_supported(path.index(index), text, &TYPES);
        }
    }
}

fn validate_port(port: &Value, path: &Path, errors: &mut Errors) {
    check::one_of(port, "protocol", &PROTOCOLS, path, errors);
    let end = port.i64_at(&["endPort"]);
    let at_end = || path.child("endPort");
    match port.get("port") {
        Some(Value::Number(number)) => {
            let number = number.as_i64().unwrap_or(0);
            check::port(Some(number), &path.child("port"), errors);
            // It is the other one of the two that the real server shows.
            if end.is_some_and(|end| end < number) {
                errors.invalid(at_end(), number, "must be greater than or equal to `port`");
            }
            check::port(end, &at_end(), errors);
        }
        Some(Value::String(text)) => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is non-numeric";
                errors.invalid(at_end(), end, why);
            }
            check::problems(text, name::port(text), &path.child("port"), errors);
        }
        _ => {
            if let Some(end) = end {
                let why = "may not be specified when `port` is not specified";
                errors.invalid(at_end(), end, why);
            }
        }
    }
}

fn validate_peer(peer: &Value, kept: &[&str], path: &Path, errors: &mut Errors) {
    let given = |field: &str| peer.get(field).filter(|value| value.is_object());
    let mut selectors = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = given(field) {
            selectors += 1;
            check::label_selector(selector, &path.child(field), errors);
        }
    }
    match (given("ipBlock"), selectors) {
        (None, 0) => errors.required(path.clone(), "must specify a peer"),
        (None, _) => {}
        (Some(block), _) => {
            validate_block(block, kept, &path.child("ipBlock"), errors);
            if selectors > 0 {
                let why = "may not specify both ipBlock and another peer";
                errors.forbidden(path.clone(), why);
            }
        }
    }
}

fn validate_block(block: &Value, kept: &[&str], path: &Path, errors: &mut Errors) {
    let text = block.str_at(&["cidr"]);
    if text.is_empty() {
        errors.required(path.child("cidr"), "");
        return;
    }
    ip::cidr(text, kept, &path.child("cidr"), errors);
    let Some(range) = ip::Cidr::parse(text) else {
        return;
    };
    for (index, except) in block.list_at(&["except"]).iter().enumerate() {
        let at = path.child("except").index(index);
        let except = except.as_str().unwrap_or_default();
        ip::cidr(except, kept, &at, errors);
        let Some(part) = ip::Cidr::parse(except) else {
            continue;
        };
        if !range.contains(part.network()) || range.bits() >= part.bits() {
            errors.invalid(at, except, "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{defaulted, errors_of, errors_of_update};

    fn policy(rule: Value) -> Value {
        json!({ "spec": { "podSelector": {}, "ingress": [rule] } })
    }

    #[test]
    fn defaults() {
        let object = defaulted(&NetworkPolicy, policy(json!({ "ports": [{ "port": 80 }] })));
        assert_eq!(object["spec"]["policyTypes"], json!(["Ingress"]));
        assert_eq!(object["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
        let object = defaulted(&NetworkPolicy, json!({ "spec": { "egress": [{}] } }));
        assert_eq!(object["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    }

    #[test]
    fn rules() {
        let at = "spec.ingress[0]";
        let block = |block: Value| policy(json!({ "from": [{ "ipBlock": block }] }));
        for (object, expected) in [
            (
                policy(json!({ "from": [{ "podSelector": {} }] })),
                String::new(),
            ),
            (
                policy(json!({ "from": [{}] })),
                format!("{at}.from[0]: Required value: must specify a peer"),
            ),
            (
                block(json!({})),
                format!("{at}.from[0].ipBlock.cidr: Required value"),
            ),
            (
                block(json!({ "cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "10.1.0.0/16"] })),
                format!(
                    "{at}.from[0].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`"
                ),
            ),
            (
                policy(json!({ "from": [{ "podSelector": {}, "ipBlock": { "cidr": "10.0.0.0/8" } }] })),
                format!("{at}.from[0]: Forbidden: may not specify both ipBlock and another peer"),
            ),
            (
                policy(json!({ "ports": [{ "port": 80, "endPort": 79 }] })),
                format!(
                    "{at}.ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"
                ),
            ),
            (
                policy(json!({ "ports": [{ "port": "http", "endPort": 79 }, { "endPort": 1 }] })),
                format!(
                    "{at}.ports[0].endPort: Invalid value: 79: may not be specified when `port` is non-numeric; \
                     {at}.ports[1].endPort: Invalid value: 1: may not be specified when `port` is not specified"
                ),
            ),
            (
                json!({ "spec": { "policyTypes": ["X"] } }),
                "spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\"".into(),
            ),
        ] {
            assert_eq!(errors_of(&NetworkPolicy, &object), expected);
        }
    }

    #[test]
    fn what_is_there_stays_allowed() {
        let with = |cidr: &str| policy(json!({ "from": [{ "ipBlock": { "cidr": cidr } }] }));
        let old = with("10.0.0.1/8");
        assert_ne!(errors_of(&NetworkPolicy, &old), "");
        assert_eq!(errors_of_update(&NetworkPolicy, None, &old, &old), "");
        assert_eq!(NetworkPolicy.warnings(&old, None).len(), 1);
    }
}
