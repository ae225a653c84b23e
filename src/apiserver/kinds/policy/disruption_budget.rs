//! PodDisruptionBudget.

use serde_json::{Value, json};

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct PodDisruptionBudget;

const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];
const COUNTERS: [&str; 4] = [
    "disruptionsAllowed",
    "currentHealthy",
    "desiredHealthy",
    "expectedPods",
];

impl Strategy for PodDisruptionBudget {
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let bound = |field: &str| spec.get(field).filter(|bound| !bound.is_null());
        if bound("minAvailable").is_some() && bound("maxUnavailable").is_some() {
            let definition = "api.policy.v1.PodDisruptionBudgetSpec";
            let why = "minAvailable and maxUnavailable cannot be both set";
            check::invalid_struct(spec, definition, path.clone(), why, errors);
        }
        for field in ["minAvailable", "maxUnavailable"] {
            if let Some(bound) = bound(field) {
                check::int_or_percent(bound, &path.child(field), errors);
                check::at_most_all(bound, &path.child(field), errors);
            }
        }
        if let Some(selector) = spec.get("selector") {
            check::label_selector(selector, &path.child("selector"), errors);
        }
        if let Some(policy) = spec
            .get("unhealthyPodEvictionPolicy")
            .and_then(Value::as_str)
            && !POLICIES.contains(&policy)
        {
            errors.not_supported(path.child("unhealthyPodEvictionPolicy"), policy, &POLICIES);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            let path = Path::new("status");
            let status = object.get("status").unwrap_or(&Value::Null);
            let conditions = status.list_at(&["conditions"]);
            check::conditions(conditions, &path.child("conditions"), errors);
            for field in COUNTERS {
                check::not_negative(status, field, &path, errors);
            }
        } else {
            self.validate(context, object, errors);
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::None
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &Errors) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    const fn context(subresource: Option<&'static str>) -> Context<'static> {
        Context {
            now: "",
            subresource,
            user: "",
        }
    }

    #[test]
    fn rules() {
        for (spec, expected) in [
            (json!({"minAvailable": "50%", "selector": {}}), vec![]),
            (
                json!({"minAvailable": 1, "maxUnavailable": 1}),
                vec![
                    "spec: Invalid value: {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set",
                ],
            ),
            (
                json!({"maxUnavailable": -1}),
                vec!["spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"maxUnavailable": "101%"}),
                vec!["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"],
            ),
            (
                json!({"unhealthyPodEvictionPolicy": "X"}),
                vec![
                    "spec.unhealthyPodEvictionPolicy: Unsupported value: \"X\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            PodDisruptionBudget.validate(&context(None), &json!({"spec": spec}), &mut errors);
            assert_eq!(texts(&errors), expected);
        }
    }

    #[test]
    fn status() {
        let condition =
            json!({"type": "A", "status": "X", "reason": "a b", "observedGeneration": -1});
        let status = json!({"currentHealthy": -1, "conditions": [condition, {"type": "A", "status": "True", "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let mut errors = Errors::new();
        PodDisruptionBudget.validate_update(
            &context(Some("status")),
            &json!({"status": status}),
            &json!({}),
            &mut errors,
        );
        let texts = texts(&errors);
        let texts: Vec<&str> = texts
            .iter()
            .map(|text| &text[..text.len().min(70)])
            .collect();
        assert_eq!(
            texts,
            [
                "status.conditions[0].status: Unsupported value: \"X\": supported values:",
                "status.conditions[0].observedGeneration: Invalid value: -1: must be gr",
                "status.conditions[0].lastTransitionTime: Required value: must be set",
                "status.conditions[0].reason: Invalid value: \"a b\": a condition reason ",
                "status.conditions[1].type: Duplicate value: \"A\"",
                "status.currentHealthy: Invalid value: -1: must be greater than or equa",
            ]
        );
    }
}
