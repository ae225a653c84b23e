//! HorizontalPodAutoscaler, stored as `autoscaling/v2`; `v1` shows it with what it has no fields for as annotations.

use serde_json::{Value, json};

use super::{convert, metrics};
use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupVersion};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct HorizontalPodAutoscaler;

/// Percent of the requested CPU that pods use on average, when the client says nothing.
const CPU_UTILIZATION: i64 = 80;
const LONGEST_WINDOW: i64 = 3600;
const LONGEST_PERIOD: i64 = 1800;

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        object.default_at(&["spec", "minReplicas"], 1);
        if object.list_at(&["spec", "metrics"]).is_empty() {
            object.set_at(
                &["spec", "metrics"],
                json!([{
                    "type": "Resource",
                    "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": CPU_UTILIZATION } },
                }]),
            );
        }
        let Some(behavior) = object
            .at_mut(&["spec", "behavior"])
            .filter(|behavior| behavior.is_object())
        else {
            return;
        };
        default_rules(
            behavior,
            "scaleUp",
            &json!({
                "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [
                    { "type": "Pods", "value": 4, "periodSeconds": 15 },
                    { "type": "Percent", "value": 100, "periodSeconds": 15 },
                ],
            }),
        );
        default_rules(
            behavior,
            "scaleDown",
            &json!({ "selectPolicy": "Max", "policies": [{ "type": "Percent", "value": 100, "periodSeconds": 15 }] }),
        );
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object, None, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            for field in ["currentReplicas", "desiredReplicas"] {
                check::not_negative(&object["status"], field, &Path::new("status"), errors);
            }
        } else {
            validate_spec(object, Some(old), errors);
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn field_annotations(&self) -> &[&str] {
        &convert::ANNOTATIONS
    }

    fn convert(&self, object: &mut Value, from: &str, to: &str) {
        match (from, to) {
            ("autoscaling/v1", "autoscaling/v2") => convert::from_v1(object),
            ("autoscaling/v2", "autoscaling/v1") => convert::to_v1(object),
            _ => return,
        }
        crate::apiserver::schema::normalise(to, "HorizontalPodAutoscaler", object);
    }
}

/// Fills in the rules of one direction.
fn default_rules(behavior: &mut Value, direction: &str, defaults: &Value) {
    for (field, value) in defaults.as_object().into_iter().flatten() {
        behavior.default_at(&[direction, field], value.clone());
    }
}

fn validate_spec(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let old = old.and_then(|old| old.get("spec"));
    let scaled_to_zero = old.and_then(|old| old.i64_at(&["minReplicas"])) == Some(0);
    let least = i64::from(!scaled_to_zero);
    let (min, max) = (
        spec.i64_at(&["minReplicas"]),
        spec.i64_at(&["maxReplicas"]).unwrap_or(0),
    );
    if let Some(min) = min.filter(|min| *min < least) {
        let why = format!("must be greater than or equal to {least}");
        errors.invalid(path.child("minReplicas"), min, &why);
    }
    if max < 1 {
        errors.invalid(path.child("maxReplicas"), max, "must be greater than 0");
    }
    if min.is_some_and(|min| max < min) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.invalid(path.child("maxReplicas"), max, why);
    }
    let target = spec.get("scaleTargetRef").unwrap_or(&Value::Null);
    let before = old.and_then(|old| old.get("scaleTargetRef"));
    let same = |field: &str| {
        before.is_some_and(|before| before.str_at(&[field]) == target.str_at(&[field]))
    };
    let version = if same("apiVersion") && same("kind") {
        ApiVersion::Any
    } else if target.str_at(&["kind"]) == "ReplicationController" {
        ApiVersion::Valid
    } else {
        ApiVersion::WithGroup
    };
    validate_reference(target, version, &path.child("scaleTargetRef"), errors);
    metrics::validate(
        spec.list_at(&["metrics"]),
        min,
        &path.child("metrics"),
        errors,
    );
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = spec
            .at(&["behavior", direction])
            .filter(|rules| rules.is_object())
        {
            validate_rules(rules, &path.child("behavior").child(direction), errors);
        }
    }
}

/// What the `apiVersion` of a reference must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApiVersion {
    Any,
    Valid,
    WithGroup,
}

/// Checks a `CrossVersionObjectReference`.
pub(super) fn validate_reference(
    reference: &Value,
    version: ApiVersion,
    path: &Path,
    errors: &mut Errors,
) {
    for field in ["kind", "name"] {
        let text = reference.str_at(&[field]);
        if text.is_empty() {
            errors.required(path.child(field), "");
        } else {
            let problems = names::path_segment(text, false);
            check::problems(text, problems, &path.child(field), errors);
        }
    }
    if version == ApiVersion::Any {
        return;
    }
    let text = reference.str_at(&["apiVersion"]);
    match GroupVersion::parse(text) {
        Err(why) => errors.invalid(path.child("apiVersion"), text, &why),
        Ok(parsed) if parsed.group.is_empty() && version == ApiVersion::WithGroup => {
            let why = "apiVersion must specify API group";
            errors.invalid(path.child("apiVersion"), text, why);
        }
        Ok(_) => {}
    }
}

fn validate_rules(rules: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("stabilizationWindowSeconds");
    match rules.i64_at(&["stabilizationWindowSeconds"]) {
        Some(window) if window < 0 => {
            errors.invalid(at, window, "must be greater than or equal to zero");
        }
        Some(window) if window > LONGEST_WINDOW => {
            let why = format!("must be less than or equal to {LONGEST_WINDOW}");
            errors.invalid(at, window, &why);
        }
        _ => {}
    }
    check::one_of(
        rules,
        "selectPolicy",
        &["Disabled", "Max", "Min"],
        path,
        errors,
    );
    let at = path.child("policies");
    let policies = rules.list_at(&["policies"]);
    if policies.is_empty() {
        errors.required(at.clone(), "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let at = at.index(index);
        let kind = policy.str_at(&["type"]);
        if !matches!(kind, "Pods" | "Percent") {
            errors.not_supported(at.child("type"), kind, &["Percent", "Pods"]);
        }
        for field in ["value", "periodSeconds"] {
            let number = policy.i64_at(&[field]).unwrap_or(0);
            if number <= 0 {
                errors.invalid(at.child(field), number, "must be greater than zero");
            }
            if field == "periodSeconds" && number > LONGEST_PERIOD {
                let why = format!("must be less than or equal to {LONGEST_PERIOD}");
                errors.invalid(at.child(field), number, &why);
            }
        }
    }
    if let Some(tolerance) = rules.get("tolerance").and_then(Value::as_str)
        && crate::object::Quantity::parse(tolerance).is_ok_and(|tolerance| tolerance.is_negative())
    {
        let why = "must be greater than or equal to 0";
        errors.invalid(path.child("tolerance"), tolerance, why);
    }
}
