//! Node.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Node;

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "PreferNoSchedule"];

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        // What may be handed out is what there is, unless the agent says otherwise.
        if object.at(&["status", "allocatable"]).is_none()
            && let Some(capacity) = object.at(&["status", "capacity"]).cloned()
        {
            object.set_at(&["status", "allocatable"], capacity);
        }
    }

    /// A node brings its status along when its agent registers it.
    fn prepare_create(&self, _context: &Context<'_>, _object: &mut Value) {}

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("taints");
        let taints = object.list_at(&["spec", "taints"]);
        for (index, taint) in taints.iter().enumerate() {
            let at = path.index(index);
            let key = taint.str_at(&["key"]);
            if key.is_empty() {
                errors.required(at.child("key"), "");
            }
            check::problems(
                key,
                if key.is_empty() {
                    Vec::new()
                } else {
                    name::qualified(key)
                },
                &at.child("key"),
                errors,
            );
            let value = taint.str_at(&["value"]);
            if let Some(problem) = name::label_value(value).first() {
                errors.invalid(at.child("value"), value, problem);
            }
            check::required_one_of(taint, "effect", &EFFECTS, &at, errors);
            let same = |other: &&Value| {
                other.str_at(&["key"]) == key
                    && other.str_at(&["effect"]) == taint.str_at(&["effect"])
            };
            if taints.iter().take(index).any(|other| same(&other)) {
                errors.duplicate(at, taint.clone());
            }
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
        let (provider, before) = (
            object.str_at(&["spec", "providerID"]),
            old.str_at(&["spec", "providerID"]),
        );
        if !before.is_empty() && provider != before {
            errors.forbidden(
                Path::new("spec").child("providerID"),
                "node updates may not change providerID except from \"\" to valid",
            );
        }
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
