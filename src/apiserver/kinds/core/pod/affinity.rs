//! Where a pod may run: node selectors, affinity, topology spread and tolerations.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const BOTH_KEYS: &str = "exists in both matchLabelKeys and labelSelector";

/// Checks the affinity of a pod.
pub(super) fn validate(affinity: &Value, path: &Path, errors: &mut Errors) {
    if let Some(node) = check::given(affinity, "nodeAffinity") {
        let at = path.child("nodeAffinity");
        if let Some(selector) = check::given(node, REQUIRED) {
            node_selector(selector, &at.child(REQUIRED), errors);
        }
        for (index, term) in node.list_at(&[PREFERRED]).iter().enumerate() {
            let at = at.child(PREFERRED).index(index);
            weight(term, &at, errors);
            let preference = term.get("preference").unwrap_or(&Value::Null);
            node_selector_term(preference, false, &at.child("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = check::given(affinity, kind) else {
            continue;
        };
        let at = path.child(kind);
        for (index, term) in pods.list_at(&[REQUIRED]).iter().enumerate() {
            pod_term(term, &at.child(REQUIRED).index(index), errors);
        }
        for (index, weighted) in pods.list_at(&[PREFERRED]).iter().enumerate() {
            let at = at.child(PREFERRED).index(index);
            weight(weighted, &at, errors);
            let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
            pod_term(term, &at.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    let weight = term.i64_at(&["weight"]).unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// A `v1.NodeSelector`; persistent volumes have one too.
pub(in crate::apiserver::kinds) fn node_selector(
    selector: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    let at = path.child("nodeSelectorTerms");
    let terms = selector.list_at(&["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.required(at, "must have at least one node selector term");
        return;
    }
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term, true, &at.index(index), errors);
    }
}

/// `values`: whether the values are checked; what is only preferred may have any.
fn node_selector_term(term: &Value, values: bool, path: &Path, errors: &mut Errors) {
    for (index, requirement) in term.list_at(&["matchExpressions"]).iter().enumerate() {
        let at = path.child("matchExpressions").index(index);
        node_requirement(requirement, values, &at, errors);
    }
    for (index, requirement) in term.list_at(&["matchFields"]).iter().enumerate() {
        let at = path.child("matchFields").index(index);
        node_field(requirement, &at, errors);
    }
}

fn node_requirement(requirement: &Value, values: bool, path: &Path, errors: &mut Errors) {
    let given = requirement.list_at(&["values"]);
    let at = || path.child("values");
    match requirement.str_at(&["operator"]) {
        "In" | "NotIn" => {
            if given.is_empty() {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(at(), why);
            }
        }
        "Exists" | "DoesNotExist" => {
            if !given.is_empty() {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(at(), why);
            }
        }
        "Gt" | "Lt" => {
            if given.len() != 1 {
                let why = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(at(), why);
            }
        }
        other => errors.invalid(
            path.child("operator"),
            other,
            "not a valid selector operator",
        ),
    }
    let key = requirement.str_at(&["key"]);
    check::problems(key, name::qualified(key), &path.child("key"), errors);
    if values {
        for (index, value) in given.iter().filter_map(Value::as_str).enumerate() {
            check::problems(value, name::label_value(value), &at().index(index), errors);
        }
    }
}

/// A requirement on a field of the node: its name.
fn node_field(requirement: &Value, path: &Path, errors: &mut Errors) {
    let given = requirement.list_at(&["values"]);
    match requirement.str_at(&["operator"]) {
        "In" | "NotIn" => {
            if given.len() != 1 {
                let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(path.child("values"), why);
            }
        }
        other => errors.invalid(
            path.child("operator"),
            other,
            "not a valid selector operator",
        ),
    }
    let key = requirement.str_at(&["key"]);
    if key != "metadata.name" {
        errors.invalid(path.child("key"), key, "not a valid field selector key");
        return;
    }
    for (index, value) in given.iter().filter_map(Value::as_str).enumerate() {
        check::dns_subdomain(value, &path.child("values").index(index), errors);
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    let selector = check::given(term, "labelSelector");
    for field in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = check::given(term, field) {
            check::label_selector(selector, &path.child(field), errors);
        }
    }
    for namespace in texts(term, "namespaces") {
        check::dns_label(namespace, &path.child("namespace"), errors);
    }
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(term, field, &path.child(field), errors);
    }
    repeated_keys(term, selector, path, errors);
    let mismatched: Vec<&str> = texts(term, "mismatchLabelKeys").collect();
    for (index, key) in texts(term, "matchLabelKeys").enumerate() {
        if mismatched.contains(&key) {
            let why = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.invalid(path.child("matchLabelKeys").index(index), key, why);
        }
    }
    let key = term.str_at(&["topologyKey"]);
    let at = path.child("topologyKey");
    if key.is_empty() {
        errors.required(at.clone(), "can not be empty");
    }
    check::problems(key, name::qualified(key), &at, errors);
}

fn texts<'a>(holder: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    holder.list_at(&[field]).iter().filter_map(Value::as_str)
}

/// Keys whose values come from the pod's labels.
fn label_keys(holder: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if holder.list_at(&[field]).is_empty() {
        return;
    }
    if check::given(holder, "labelSelector").is_none() {
        errors.forbidden(
            path.clone(),
            "must not be specified when labelSelector is not set",
        );
        return;
    }
    for (index, key) in texts(holder, field).enumerate() {
        check::problems(key, name::qualified(key), &path.index(index), errors);
    }
}

/// The requirements that `matchLabelKeys` became are in the selector by now: what was there of the same key is one too many.
fn repeated_keys(holder: &Value, selector: Option<&Value>, path: &Path, errors: &mut Errors) {
    let Some(selector) = selector else { return };
    let keys: Vec<&str> = texts(holder, "matchLabelKeys").collect();
    let mut seen: Vec<&str> = check::map_at(selector, &["matchLabels"])
        .into_iter()
        .flat_map(|labels| labels.keys())
        .map(String::as_str)
        .collect();
    for expression in selector.list_at(&["matchExpressions"]) {
        let key = expression.str_at(&["key"]);
        let index = keys.iter().rposition(|other| *other == key);
        if let Some(index) = index.filter(|_| seen.contains(&key)) {
            errors.invalid(path.index(index), key, BOTH_KEYS);
        }
        seen.push(key);
    }
}

/// How pods are to be spread.
pub(super) fn topology_spread(constraints: &[Value], path: &Path, errors: &mut Errors) {
    for (index, constraint) in constraints.iter().enumerate() {
        let at = path.index(index);
        let skew = constraint.i64_at(&["maxSkew"]).unwrap_or(0);
        if skew <= 0 {
            errors.invalid(at.child("maxSkew"), skew, "must be greater than zero");
        }
        let key = constraint.str_at(&["topologyKey"]);
        if key.is_empty() {
            errors.required(at.child("topologyKey"), "can not be empty");
        }
        let action = constraint.str_at(&["whenUnsatisfiable"]);
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            errors.not_supported(at.child("whenUnsatisfiable"), action, &actions);
        }
        let repeats = |other: &Value| {
            other.str_at(&["topologyKey"]) == key && other.str_at(&["whenUnsatisfiable"]) == action
        };
        if constraints.iter().skip(index + 1).any(repeats) {
            errors.duplicate(
                at.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{key}, {action}}}"),
            );
        }
        if let Some(domains) = constraint.i64_at(&["minDomains"]) {
            let at = || at.child("minDomains");
            if domains <= 0 {
                errors.invalid(at(), domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let why = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                );
                errors.invalid(at(), domains, &why);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policies = ["Honor", "Ignore"];
            if let Some(policy) = check::given(constraint, field)
                && !policies.iter().any(|supported| policy == supported)
            {
                errors.not_supported(at.child(field), policy.clone(), &policies);
            }
        }
        let selector = check::given(constraint, "labelSelector");
        let keys = at.child("matchLabelKeys");
        label_keys(constraint, "matchLabelKeys", &keys, errors);
        repeated_keys(constraint, selector, &keys, errors);
        if let Some(selector) = selector {
            check::label_selector(selector, &at.child("labelSelector"), errors);
        }
    }
}

/// The taints that a pod tolerates.
pub(super) fn tolerations(tolerations: &[Value], path: &Path, errors: &mut Errors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = || path.index(index);
        let (key, operator) = (
            toleration.str_at(&["key"]),
            toleration.str_at(&["operator"]),
        );
        let (value, effect) = (
            toleration.str_at(&["value"]),
            toleration.str_at(&["effect"]),
        );
        if !key.is_empty() {
            check::problems(key, name::qualified(key), &at().child("key"), errors);
        } else if operator != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(at().child("operator"), operator, why);
        }
        if check::given(toleration, "tolerationSeconds").is_some() && effect != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(at().child("effect"), effect, why);
        }
        match operator {
            "" | "Equal" => {
                let problems = name::label_value(value);
                if !problems.is_empty() {
                    errors.invalid(at().child("operator"), value, &problems.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let why = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(at().child("operator"), value, why);
                }
            }
            // The server knows these, and has them switched off.
            "Lt" | "Gt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                errors.not_supported(at().child("operator"), operator, &known);
            }
            other => errors.not_supported(at().child("operator"), other, &["Equal", "Exists"]),
        }
        check::one_of(
            toleration,
            "effect",
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            &at(),
            errors,
        );
    }
}
