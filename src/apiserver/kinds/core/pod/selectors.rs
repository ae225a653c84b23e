//! Selectors that take values from the pod's own labels: they are written out when the pod is made.

use serde_json::{Map, Value, json};

use crate::object::Document;

/// Adds to the selectors of affinity terms and spread constraints what their label keys stand for.
pub(super) fn merge_label_keys(object: &mut Value) {
    let labels = object
        .at(&["metadata", "labels"])
        .and_then(Value::as_object);
    let Some(labels) = labels.cloned() else {
        return;
    };
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (list, wrapped) in [
            ("preferredDuringSchedulingIgnoredDuringExecution", true),
            ("requiredDuringSchedulingIgnoredDuringExecution", false),
        ] {
            let terms = object.at_mut(&["spec", "affinity", kind, list]);
            for term in terms.and_then(Value::as_array_mut).into_iter().flatten() {
                let term = if wrapped {
                    term.get_mut("podAffinityTerm")
                } else {
                    Some(term)
                };
                if let Some(term) = term {
                    merge(term, "matchLabelKeys", "In", &labels);
                    merge(term, "mismatchLabelKeys", "NotIn", &labels);
                }
            }
        }
    }
    let constraints = object.at_mut(&["spec", "topologySpreadConstraints"]);
    for constraint in constraints
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        merge(constraint, "matchLabelKeys", "In", &labels);
    }
}

fn merge(holder: &mut Value, field: &str, operator: &str, labels: &Map<String, Value>) {
    let added: Vec<Value> = holder
        .list_at(&[field])
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|key| {
            let value = labels.get(key)?;
            Some(json!({"key": key, "operator": operator, "values": [value]}))
        })
        .collect();
    // No selector selects nothing, whatever the labels.
    let has_selector = holder.get("labelSelector").is_some_and(Value::is_object);
    if added.is_empty() || !has_selector {
        return;
    }
    holder.default_at(&["labelSelector", "matchExpressions"], Vec::<Value>::new());
    if let Some(Value::Array(expressions)) = holder.at_mut(&["labelSelector", "matchExpressions"]) {
        expressions.extend(added);
    }
}
