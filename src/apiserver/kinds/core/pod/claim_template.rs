//! Claims that are made with a pod.

use serde_json::Value;

use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{Errors, Path};

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

/// Metadata that a template cannot give, in the order of the struct.
const NOT_OF_TEMPLATES: [&str; 13] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// The template of a claim: labels, annotations and a spec.
pub(super) fn validate(template: &Value, path: &Path, errors: &mut Errors) {
    if let Some(metadata) = check::given(template, "metadata") {
        let at = path.child("metadata");
        check::annotations(
            metadata.get("annotations"),
            &at.child("annotations"),
            errors,
        );
        check::labels(metadata.get("labels"), &at.child("labels"), errors);
        for field in NOT_OF_TEMPLATES {
            if check::given(metadata, field).is_some() {
                errors.forbidden(at.child(field), "cannot be set");
            }
        }
    }
    let spec = template.get("spec").unwrap_or(&Value::Null);
    validate_spec(spec, &path.child("spec"), errors);
}

fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let modes: Vec<&str> = spec
        .list_at(&["accessModes"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let at = || path.child("accessModes");
    if modes.is_empty() {
        errors.required(at(), "at least 1 access mode is required");
    }
    if let Some(selector) = check::given(spec, "selector") {
        check::label_selector(selector, &path.child("selector"), errors);
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(at(), *mode, &ACCESS_MODES);
    }
    let alone = |mode: &&str| *mode == "ReadWriteOncePod";
    if modes.iter().any(alone)
        && modes
            .iter()
            .any(|mode| !alone(mode) && ACCESS_MODES.contains(mode))
    {
        errors.forbidden(at(), "may not use ReadWriteOncePod with other access modes");
    }
    let storage = path.child("resources").key("storage");
    match spec
        .at(&["resources", "requests", "storage"])
        .and_then(super::resources::quantity)
    {
        None => errors.required(storage, ""),
        Some(amount) if amount.is_negative() => errors.invalid(
            storage,
            amount.to_string(),
            "must be greater than or equal to 0",
        ),
        Some(amount) if amount.is_zero() => {
            errors.invalid(storage, amount.to_string(), "must be greater than zero");
        }
        Some(_) => {}
    }
    let class = spec.str_at(&["storageClassName"]);
    if !class.is_empty() {
        check::dns_subdomain(class, &path.child("storageClassName"), errors);
    }
    check::one_of(spec, "volumeMode", &["Block", "Filesystem"], path, errors);
}
