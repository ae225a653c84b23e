//! Namespace.

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Namespace;

/// The label by which selectors find a namespace by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer of the namespace controller.
const FINALIZER: &str = "kubernetes";
/// Finalizers that need no domain.
const STANDARD: [&str; 3] = [FINALIZER, "orphan", "foregroundDeletion"];

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        let name = object.name().to_owned();
        if !name.is_empty() {
            object.set_at(&["metadata", "labels", NAME_LABEL], name);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({"phase": "Active"});
        // A generated name was not there yet when the defaults were.
        self.default(object);
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
        for finalizer in finalizers(object) {
            validate_finalizer(finalizer, &path, errors);
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
            let path = Path::new("spec").child("finalizers");
            for (index, finalizer) in finalizers(object).enumerate() {
                validate_finalizer(finalizer, &path.index(index), errors);
            }
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

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
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

fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let finalizers = object.list_at(&["spec", "finalizers"]);
    finalizers.iter().filter_map(Value::as_str)
}

fn validate_finalizer(finalizer: &str, path: &Path, errors: &mut Errors) {
    check::problems(finalizer, name::qualified(finalizer), path, errors);
    if !finalizer.contains('/') && !STANDARD.contains(&finalizer) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path.clone(), finalizer, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{context, errors_of, errors_of_update};

    #[test]
    fn new_namespaces() {
        let mut object =
            json!({ "metadata": { "name": "a" }, "spec": { "finalizers": ["x.io/y"] } });
        Namespace.prepare_create(&context(None), &mut object);
        assert_eq!(
            object["spec"]["finalizers"],
            json!(["x.io/y", "kubernetes"])
        );
        assert_eq!(object["status"]["phase"], "Active");
        assert_eq!(object["metadata"]["labels"][NAME_LABEL], "a");
        let bad = json!({ "spec": { "finalizers": ["bad"] } });
        assert_eq!(
            errors_of(&Namespace, &bad),
            "spec.finalizers: Invalid value: \"bad\": name is neither a standard finalizer name nor is it fully qualified"
        );
    }

    #[test]
    fn subresources() {
        let old = json!({ "metadata": {}, "status": { "phase": "Active" } });
        let mut new = old.clone();
        new["spec"] = json!({ "finalizers": ["kubernetes", "bad"] });
        assert_eq!(
            errors_of_update(&Namespace, Some("finalize"), &new, &old),
            "spec.finalizers[1]: Invalid value: \"bad\": name is neither a standard finalizer name nor is it fully qualified"
        );
        new["status"]["phase"] = "Terminating".into();
        assert_eq!(
            errors_of_update(&Namespace, Some("status"), &new, &old),
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        );
    }
}
