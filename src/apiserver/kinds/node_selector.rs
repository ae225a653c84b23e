//! Selectors of nodes, and labels of nodes that have newer names.

use serde_json::Value;

use super::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

/// Labels of nodes that have newer names, and what is said of each.
const OLD_LABELS: [(&str, &str); 5] = [
    (
        "beta.kubernetes.io/arch",
        "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
    ),
    (
        "beta.kubernetes.io/os",
        "deprecated since v1.14; use \"kubernetes.io/os\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

/// What is said of a label that has a newer name.
pub(super) fn old_label(key: &str) -> Option<&'static str> {
    OLD_LABELS
        .iter()
        .find(|(label, _)| *label == key)
        .map(|(_, message)| *message)
}

/// The warnings about the keys of expressions.
pub(super) fn key_warnings(expressions: &[Value], path: &Path) -> Vec<String> {
    let warning = |(index, expression): (usize, &Value)| {
        let key = expression.str_at(&["key"]);
        let message = old_label(key)?;
        Some(format!(
            "{}: {key} is {message}",
            path.index(index).child("key")
        ))
    };
    expressions.iter().enumerate().filter_map(warning).collect()
}

/// The warnings about a `metav1.LabelSelector` of nodes.
pub(super) fn label_selector_warnings(selector: &Value, path: &Path) -> Vec<String> {
    let expressions = selector.list_at(&["matchExpressions"]);
    let mut warnings = key_warnings(expressions, &path.child("matchExpressions"));
    let labels = check::map_at(selector, &["matchLabels"]);
    for key in labels.into_iter().flat_map(serde_json::Map::keys) {
        if let Some(message) = old_label(key) {
            let at = path.child("matchLabels").child(key);
            warnings.push(format!("{at}: {message}"));
        }
    }
    warnings
}

/// The warnings about the terms of a `NodeSelector`.
pub(super) fn term_warnings(terms: &[Value], path: &Path) -> Vec<String> {
    let of_term = |(index, term): (usize, &Value)| {
        let at = path.index(index).child("matchExpressions");
        key_warnings(term.list_at(&["matchExpressions"]), &at)
    };
    terms.iter().enumerate().flat_map(of_term).collect()
}

/// A `NodeSelector`.
pub(super) fn validate(selector: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    let terms = selector.list_at(&["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.required(path, "must have at least one node selector term");
        return;
    }
    for (index, term) in terms.iter().enumerate() {
        validate_term(term, &path.index(index), errors);
    }
}

/// A term of a `NodeSelector`.
pub(super) fn validate_term(term: &Value, path: &Path, errors: &mut Errors) {
    for (index, expression) in term.list_at(&["matchExpressions"]).iter().enumerate() {
        let at = path.child("matchExpressions").index(index);
        validate_expression(expression, &at, errors);
    }
    for (index, requirement) in term.list_at(&["matchFields"]).iter().enumerate() {
        let at = path.child("matchFields").index(index);
        validate_field(requirement, &at, errors);
    }
}

fn validate_expression(expression: &Value, path: &Path, errors: &mut Errors) {
    let values = expression.list_at(&["values"]);
    let at = || path.child("values");
    match expression.str_at(&["operator"]) {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(at(), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.forbidden(
            at(),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        "Gt" | "Lt" if values.len() != 1 => errors.required(
            at(),
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        ),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(
            path.child("operator"),
            other,
            "not a valid selector operator",
        ),
    }
    let key = expression.str_at(&["key"]);
    check::problems(key, name::qualified(key), &path.child("key"), errors);
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        check::problems(value, name::label_value(value), &at().index(index), errors);
    }
}

fn validate_field(requirement: &Value, path: &Path, errors: &mut Errors) {
    let values = requirement.list_at(&["values"]);
    match requirement.str_at(&["operator"]) {
        "In" | "NotIn" if values.len() != 1 => errors.required(
            path.child("values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        "In" | "NotIn" => {}
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
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("values").index(index);
        check::problems(value, name::dns_subdomain(value), &at, errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules() {
        for (term, expected) in [
            (json!({}), vec![]),
            (
                json!({ "matchExpressions": [{ "key": "a", "operator": "In" }] }),
                vec![
                    "f.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                ],
            ),
            (
                json!({ "matchExpressions": [{ "key": "a", "operator": "Gt", "values": ["1", "2"] }] }),
                vec![
                    "f.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
                ],
            ),
            (
                json!({ "matchExpressions": [{ "key": "a", "operator": "X" }] }),
                vec![
                    "f.nodeSelectorTerms[0].matchExpressions[0].operator: Invalid value: \"X\": not a valid selector operator",
                ],
            ),
            (
                json!({ "matchFields": [{ "key": "spec.x", "operator": "In", "values": ["a"] }] }),
                vec![
                    "f.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key",
                ],
            ),
            (
                json!({ "matchFields": [{ "key": "metadata.name", "operator": "In" }] }),
                vec![
                    "f.nodeSelectorTerms[0].matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            let selector = json!({ "nodeSelectorTerms": [term] });
            validate(&selector, &Path::new("f"), &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
        let mut errors = Errors::new();
        validate(&json!({}), &Path::new("f"), &mut errors);
        assert_eq!(errors.0.len(), 1);
    }

    #[test]
    fn old_labels() {
        let selector = json!({ "matchLabels": { "beta.kubernetes.io/os": "linux", "a": "b" } });
        assert_eq!(
            label_selector_warnings(&selector, &Path::new("f")),
            [
                "f.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use \"kubernetes.io/os\" instead"
            ]
        );
    }
}
