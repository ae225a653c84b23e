//! CSIDriver.

use serde_json::{Value, json};

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct CsiDriver;

const GROUP_POLICIES: [&str; 3] = ["File", "None", "ReadWriteOnceWithFSType"];
const MODES: [&str; 2] = ["Persistent", "Ephemeral"];

impl Strategy for CsiDriver {
    fn default(&self, object: &mut Value) {
        for (field, value) in [
            ("attachRequired", json!(true)),
            ("podInfoOnMount", json!(false)),
            ("storageCapacity", json!(false)),
            ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
            ("requiresRepublish", json!(false)),
            ("seLinuxMount", json!(false)),
        ] {
            object.default_at(&["spec", field], value);
        }
        if object.list_at(&["spec", "volumeLifecycleModes"]).is_empty() {
            object.set_at(&["spec", "volumeLifecycleModes"], &MODES[..1]);
        }
    }

    /// The generation is not given to a new driver, but counts its changes.
    fn prepare_update(&self, _context: &Context<'_>, object: &mut Value, old: &Value) {
        if object.get("spec") != old.get("spec") {
            object.set_at(&["metadata", "generation"], old.generation() + 1);
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        let Some(spec) = object.get("spec") else {
            return;
        };
        check::one_of(spec, "fsGroupPolicy", &GROUP_POLICIES, &path, errors);
        let requests = spec.list_at(&["tokenRequests"]);
        validate_tokens(requests, &path.child("tokenRequests"), errors);
        for mode in spec.list_at(&["volumeLifecycleModes"]) {
            let mode = mode.as_str().unwrap_or_default();
            if !MODES.contains(&mode) {
                errors.not_supported(path.child("volumeLifecycleModes"), mode, &MODES);
            }
        }
        let period = spec.i64_at(&["nodeAllocatableUpdatePeriodSeconds"]);
        if let Some(period) = period.filter(|period| *period < 10) {
            errors.invalid(
                path.child("nodeAllocatableUpdatePeriodSeconds"),
                period,
                "must be greater than or equal to 10 seconds",
            );
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
        for (field, shown) in [
            ("attachRequired", "attachedRequired"),
            ("volumeLifecycleModes", "volumeLifecycleModes"),
        ] {
            let new = object.at(&["spec", field]);
            if new != old.at(&["spec", field]) {
                let new = new.cloned().unwrap_or(Value::Null);
                let path = Path::new("spec").child(shown);
                errors.invalid(path, new, "field is immutable");
            }
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn validate_tokens(requests: &[Value], path: &Path, errors: &mut Errors) {
    let audience = |request: &Value| request.str_at(&["audience"]).to_owned();
    for (index, request) in requests.iter().enumerate() {
        let at = path.index(index);
        let wanted = audience(request);
        if requests[..index]
            .iter()
            .any(|other| audience(other) == wanted)
        {
            errors.duplicate(at.child("audience"), wanted);
            continue;
        }
        let Some(seconds) = request.i64_at(&["expirationSeconds"]) else {
            continue;
        };
        let at = at.child("expirationSeconds");
        if seconds < 600 {
            let why = "may not specify a duration less than 10 minutes";
            errors.invalid(at, seconds, why);
        } else if seconds > 1 << 32 {
            let why = "may not specify a duration larger than 2^32 seconds";
            errors.invalid(at, seconds, why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{context, defaulted, errors_of, errors_of_update};

    fn driver(spec: Value) -> Value {
        defaulted(&CsiDriver, json!({ "spec": spec }))
    }

    #[test]
    fn rules() {
        for (spec, expected) in [
            (json!({}), ""),
            (
                json!({ "fsGroupPolicy": "X", "volumeLifecycleModes": ["Y"] }),
                "spec.fsGroupPolicy: Unsupported value: \"X\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"; \
                 spec.volumeLifecycleModes: Unsupported value: \"Y\": supported values: \"Persistent\", \"Ephemeral\"",
            ),
            (
                json!({ "tokenRequests": [{ "audience": "a", "expirationSeconds": 1 }, { "audience": "a" }] }),
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes; \
                 spec.tokenRequests[1].audience: Duplicate value: \"a\"",
            ),
            (
                json!({ "nodeAllocatableUpdatePeriodSeconds": 9 }),
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ),
        ] {
            assert_eq!(errors_of(&CsiDriver, &driver(spec)), expected);
        }
    }

    #[test]
    fn attaching_stays() {
        let (old, new) = (
            driver(json!({})),
            driver(json!({ "attachRequired": false })),
        );
        assert_eq!(
            errors_of_update(&CsiDriver, None, &new, &old),
            "spec.attachedRequired: Invalid value: false: field is immutable"
        );
        let mut changed = driver(json!({ "podInfoOnMount": true }));
        assert_eq!(errors_of_update(&CsiDriver, None, &changed, &old), "");
        let wrong = driver(json!({ "fsGroupPolicy": "X" }));
        assert_eq!(
            errors_of_update(&CsiDriver, None, &wrong, &old),
            "spec.fsGroupPolicy: Unsupported value: \"X\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\""
        );
        CsiDriver.prepare_update(&context(None), &mut changed, &old);
        assert_eq!(changed["metadata"], json!({ "generation": 1 }));
        let mut same = old.clone();
        CsiDriver.prepare_update(&context(None), &mut same, &old);
        assert_eq!(same, old);
    }
}
