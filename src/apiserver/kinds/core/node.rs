//! Node.

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, ip, names, resource_name};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Node;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
const ONE: &str = "exactly one reference subfield must be non-nil";

type Rule = fn(&str) -> Vec<String>;

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        for list in ["capacity", "allocatable"] {
            resource_name::round_to_milli(object.at_mut(&["status", list]));
        }
        // What may be handed out is what there is, unless the agent says otherwise.
        if object
            .at(&["status", "allocatable"])
            .is_none_or(Value::is_null)
            && let Some(capacity) = object.at(&["status", "capacity"]).cloned()
        {
            object.set_at(&["status", "allocatable"], capacity);
        }
        // The range of pods was one before it was a list.
        let one = object.str_at(&["spec", "podCIDR"]).to_owned();
        let first = ranges(object).first().map(|first| (*first).to_owned());
        match first {
            first if !one.is_empty() && first.as_ref() != Some(&one) => {
                object.set_at(&["spec", "podCIDRs"], vec![one]);
            }
            Some(first) => object.set_at(&["spec", "podCIDR"], first),
            None => {}
        }
    }

    /// A node brings its status along when its agent registers it.
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object.remove_at(&["spec", "configSource"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_some() {
            return;
        }
        object["status"] = old.get("status").cloned().unwrap_or_default();
        if old.at(&["spec", "configSource"]).is_none_or(Value::is_null) {
            object.remove_at(&["spec", "configSource"]);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_taints(object.list_at(&["spec", "taints"]), errors);
        validate_resources(object, errors);
        let path = Path::new("spec").child("podCIDRs");
        let ranges = ranges(object);
        for (index, range) in ranges.iter().enumerate() {
            ip::cidr(range, &[], &path.index(index), errors);
        }
        let sixes = ranges
            .iter()
            .filter_map(|range| ip::Cidr::parse(range))
            .filter(|range| range.is_v6())
            .count();
        if ranges.len() > 2 || ranges.len() == 2 && sixes != 1 {
            let why = "may specify no more than one CIDR for each IP family";
            errors.invalid(path.clone(), ranges.clone(), why);
        }
        for (index, range) in ranges.iter().enumerate() {
            if ranges[..index].contains(range) {
                errors.duplicate(path.index(index), *range);
            }
        }
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        validate_resources(object, errors);
        let addresses = object.list_at(&["status", "addresses"]);
        for (index, address) in addresses.iter().enumerate() {
            if addresses[..index].contains(address) {
                // An address as Go prints its internal form.
                let shown = format!(
                    "Duplicate value: {{\"Type\":{:?},\"Address\":{:?}}}",
                    address.str_at(&["type"]),
                    address.str_at(&["address"])
                );
                let path = Path::new("status.addresses").index(index);
                errors.push(ErrorKind::Duplicate, path, shown);
            }
        }
        validate_change(object, old, errors);
        for (path, source, is_status) in config_sources(object) {
            validate_config_source(source, is_status, &path, errors);
        }
        validate_taints(object.list_at(&["spec", "taints"]), errors);
        let external = |object: &Value| object.str_at(&["spec", "externalID"]).to_owned();
        if external(object) != external(old) {
            let path = Path::new("spec").child("externalID");
            errors.forbidden(path, "may not be updated");
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        if spec.get("configSource").is_some_and(Value::is_object) {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !spec.str_at(&["externalID"]).is_empty() {
            warnings.push(
                "spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned(),
            );
        }
        let path = Path::new("spec").child("podCIDRs");
        for (index, range) in ranges(object).into_iter().enumerate() {
            warnings.extend(ip::cidr_warnings(&path.index(index), range));
        }
        warnings
    }

    fn selectable_fields(&self) -> &[&str] {
        &["spec.unschedulable"]
    }

    fn field(&self, object: &Value, _field: &str) -> String {
        object
            .bool_at(&["spec", "unschedulable"])
            .unwrap_or(false)
            .to_string()
    }

    fn has_generation(&self) -> bool {
        false
    }
}

/// The addresses that pods of the node get.
fn ranges(object: &Value) -> Vec<&str> {
    let ranges = object.list_at(&["spec", "podCIDRs"]);
    ranges.iter().filter_map(Value::as_str).collect()
}

fn validate_resources(object: &Value, errors: &mut Errors) {
    for list in ["capacity", "allocatable"] {
        for (resource, amount) in check::map_at(object, &["status", list])
            .into_iter()
            .flatten()
        {
            let path = Path::new("status").child(list).child(resource);
            resource_name::amount(resource, amount, &path, errors);
        }
    }
}

fn validate_change(object: &Value, old: &Value, errors: &mut Errors) {
    let (new, before) = (ranges(object), ranges(old));
    let differing = if new.len() == before.len() {
        new.iter()
            .zip(&before)
            .filter(|(new, before)| new != before)
            .count()
    } else {
        1
    };
    if !before.is_empty() {
        for _ in 0..differing {
            let why = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(Path::new("spec").child("podCIDRs"), why);
        }
    }
    let provider = |object: &Value| object.str_at(&["spec", "providerID"]).to_owned();
    if !provider(old).is_empty() && provider(object) != provider(old) {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(Path::new("spec").child("providerID"), why);
    }
}

/// Upstream puts the errors of taints under the metadata.
fn validate_taints(taints: &[Value], errors: &mut Errors) {
    for (index, taint) in taints.iter().enumerate() {
        let at = Path::new("metadata").child("taints").index(index);
        let (key, value, effect) = (
            taint.str_at(&["key"]),
            taint.str_at(&["value"]),
            taint.str_at(&["effect"]),
        );
        check::problems(key, name::qualified(key), &at.child("key"), errors);
        let problems = name::label_value(value);
        if !problems.is_empty() {
            errors.invalid(at.child("value"), value, &problems.join(";"));
        }
        check::required_one_of(taint, "effect", &EFFECTS, &at, errors);
        let same =
            |other: &Value| other.str_at(&["key"]) == key && other.str_at(&["effect"]) == effect;
        if taints[..index].iter().any(same) {
            // A taint as Go prints its internal form.
            let shown = format!(
                "Duplicate value: {{\"Key\":{key:?},\"Value\":{value:?},\"Effect\":{effect:?},\"TimeAdded\":{}}}: taints must be unique by key and effect pair",
                taint.get("timeAdded").unwrap_or(&Value::Null)
            );
            errors.push(ErrorKind::Duplicate, at, shown);
        }
    }
}

/// Where the configuration of the agent came from, before that was removed: in the spec and in the status.
fn config_sources(object: &Value) -> Vec<(Path, &Value, bool)> {
    let mut found = Vec::new();
    let mut add = |path: &[&str], is_status: bool| {
        if let Some(source) = object.at(path).filter(|source| source.is_object()) {
            found.push((Path::new(path.join(".")), source, is_status));
        }
    };
    add(&["spec", "configSource"], false);
    for field in ["assigned", "active", "lastKnownGood"] {
        add(&["status", "config", field], true);
    }
    found
}

fn validate_config_source(source: &Value, is_status: bool, path: &Path, errors: &mut Errors) {
    let Some(map) = source.get("configMap").filter(|map| map.is_object()) else {
        errors.invalid(path.clone(), json!({ "ConfigMap": null }), ONE);
        return;
    };
    let path = path.child("configMap");
    for field in ["uid", "resourceVersion"] {
        let is_set = !map.str_at(&[field]).is_empty();
        if is_set && !is_status {
            let why = format!("{field} must not be set in spec");
            errors.forbidden(path.child(field), &why);
        } else if is_status && !is_set {
            let why = format!("{field} must be set in status");
            errors.required(path.child(field), &why);
        }
    }
    let rules: [(&str, Rule); 3] = [
        ("namespace", |text| names::dns_label(text, false)),
        ("name", |text| names::dns_subdomain(text, false)),
        ("kubeletConfigKey", name::config_key),
    ];
    for (field, rule) in rules {
        let text = map.str_at(&[field]);
        if text.is_empty() {
            errors.required(path.child(field), &format!("{field} must be set"));
        } else {
            check::problems(text, rule(text), &path.child(field), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{context, defaulted, errors_of, errors_of_update};

    #[test]
    fn defaults() {
        let node = json!({ "spec": { "podCIDR": "10.1.0.0/24" }, "status": { "capacity": { "cpu": "1" } } });
        let node = defaulted(&Node, node);
        assert_eq!(node["spec"]["podCIDRs"], json!(["10.1.0.0/24"]));
        assert_eq!(node["status"]["allocatable"], json!({ "cpu": "1" }));
        let node = defaulted(&Node, json!({ "spec": { "podCIDRs": ["10.1.0.0/24"] } }));
        assert_eq!(node["spec"]["podCIDR"], "10.1.0.0/24");
    }

    #[test]
    fn rules() {
        let taint = |taint: Value| json!({ "spec": { "taints": [taint] } });
        for (node, expected) in [
            (taint(json!({ "key": "a", "effect": "NoSchedule" })), ""),
            (
                taint(json!({ "key": "a", "effect": "X" })),
                "metadata.taints[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ),
            (
                taint(json!({ "key": "a" })),
                "metadata.taints[0].effect: Required value",
            ),
            (
                json!({ "spec": { "taints": [{ "key": "a", "effect": "NoExecute" }, { "key": "a", "effect": "NoExecute" }] } }),
                "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoExecute\",\"TimeAdded\":null}: taints must be unique by key and effect pair",
            ),
            (
                json!({ "status": { "capacity": { "pods": "1500m", "cpu": "-1" } } }),
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0; status.capacity.pods: Invalid value: \"1500m\": must be an integer",
            ),
            (
                json!({ "spec": { "podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"] } }),
                "spec.podCIDRs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify no more than one CIDR for each IP family",
            ),
        ] {
            assert_eq!(errors_of(&Node, &node), expected);
        }
    }

    #[test]
    fn changes() {
        let old = json!({ "spec": { "providerID": "a", "podCIDRs": ["10.1.0.0/24"], "externalID": "e" } });
        for (spec, expected) in [
            (old["spec"].clone(), ""),
            (
                json!({ "providerID": "b", "podCIDRs": ["10.1.0.0/24"], "externalID": "e" }),
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
            ),
            (
                json!({ "providerID": "a", "externalID": "f" }),
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid; spec.externalID: Forbidden: may not be updated",
            ),
        ] {
            let new = json!({ "spec": spec });
            assert_eq!(errors_of_update(&Node, None, &new, &old), expected);
        }
        let mut twice = old.clone();
        let address = json!({ "type": "Hostname", "address": "h" });
        twice["status"] = json!({ "addresses": [address, address] });
        assert_eq!(
            errors_of_update(&Node, Some("status"), &twice, &old),
            "status.addresses[1]: Duplicate value: {\"Type\":\"Hostname\",\"Address\":\"h\"}"
        );
    }

    #[test]
    fn the_status_is_the_agents() {
        let old = json!({ "status": { "phase": "a" } });
        let mut new = json!({ "spec": { "configSource": {} }, "status": { "phase": "b" } });
        Node.prepare_update(&context(None), &mut new, &old);
        assert_eq!(new, json!({ "spec": {}, "status": { "phase": "a" } }));
    }
}
