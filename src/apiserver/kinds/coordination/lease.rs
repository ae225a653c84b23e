//! Lease, of the group `coordination.k8s.io`.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Lease;

impl Strategy for Lease {
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        drop_disabled(object);
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Value, _old: &Value) {
        drop_disabled(object);
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn has_known_finalizers(&self) -> bool {
        false
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let Some(spec) = object.get("spec") else {
            return;
        };
        if let Some(seconds) = spec
            .i64_at(&["leaseDurationSeconds"])
            .filter(|seconds| *seconds <= 0)
        {
            errors.invalid(
                path.child("leaseDurationSeconds"),
                seconds,
                "must be greater than 0",
            );
        }
        check::not_negative(spec, "leaseTransitions", &path, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Takes out the fields of coordinated leader election, a feature that is off.
fn drop_disabled(object: &mut Value) {
    for field in ["strategy", "preferredHolder"] {
        object.remove_at(&["spec", field]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules() {
        for (spec, expected) in [
            (json!({}), vec![]),
            (
                json!({"leaseDurationSeconds": 15, "leaseTransitions": 0}),
                vec![],
            ),
            (
                json!({"leaseDurationSeconds": 0}),
                vec!["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
            ),
            (
                json!({"leaseTransitions": -1}),
                vec![
                    "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            let context = Context {
                now: "",
                subresource: None,
                user: "",
            };
            Lease.validate(&context, &json!({"spec": spec}), &mut errors);
            assert_eq!(
                errors.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
                expected
            );
        }
    }
}
