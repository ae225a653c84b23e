//! Namespace.

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Namespace;

/// The label by which selectors find a namespace by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer of the namespace controller.
const FINALIZER: &str = "kubernetes";

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        let name = object.name().to_owned();
        if !name.is_empty() {
            object.set_at(&["metadata", "labels", NAME_LABEL], name);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({"phase": "Active"});
        let mut finalizers = object.list_at(&["spec", "finalizers"]).to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
        }
        object.set_at(&["spec", "finalizers"], finalizers);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        match context.subresource {
            Some("finalize") => object["status"] = old["status"].clone(),
            Some(_) => {}
            None => {
                object["status"] = old["status"].clone();
                object.set_at(
                    &["spec", "finalizers"],
                    old.list_at(&["spec", "finalizers"]).to_vec(),
                );
            }
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("finalizers");
        for finalizer in object
            .list_at(&["spec", "finalizers"])
            .iter()
            .filter_map(Value::as_str)
        {
            check::problems(finalizer, name::qualified(finalizer), &path, errors);
            if !finalizer.contains('/') && finalizer != FINALIZER {
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                errors.invalid(path.clone(), finalizer, why);
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
        if context.subresource == Some("finalize") {
            self.validate(context, object, errors);
        }
        if context.subresource == Some("status") {
            let phase = object.str_at(&["status", "phase"]);
            let deleting = old.deletion_timestamp().is_some();
            let path = Path::new("status").child("Phase");
            if deleting && phase != "Terminating" {
                errors.invalid(
                    path,
                    phase,
                    "may only be 'Terminating' if `deletionTimestamp` is not empty",
                );
            } else if !deleting && phase != "Active" {
                errors.invalid(
                    path,
                    phase,
                    "may only be 'Active' if `deletionTimestamp` is empty",
                );
            }
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }

    fn selectable_fields(&self) -> &[&str] {
        &["status.phase"]
    }

    fn field(&self, object: &Value, _field: &str) -> String {
        object.str_at(&["status", "phase"]).to_owned()
    }

    fn has_generation(&self) -> bool {
        false
    }

    /// It goes when the namespace controller has emptied it and taken its finalizer away.
    fn begin_deletion(&self, object: &mut Value, _now: &str) -> bool {
        object.set_at(&["status", "phase"], "Terminating");
        true
    }

    fn is_finalized(&self, object: &Value) -> bool {
        object.list_at(&["spec", "finalizers"]).is_empty()
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
