//! Pods in templates: of workloads, and of the kind PodTemplate.

use serde_json::Value;

use super::{annotations, warnings};
use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// Fills in a template.
pub(in crate::apiserver::kinds) fn default_template(template: &mut Value) {
    if let Some(spec) = template.get_mut("spec").filter(|spec| spec.is_object()) {
        super::default_spec(spec);
    }
}

/// Takes out of a template what the server does not have: fields of features that are off.
pub(in crate::apiserver::kinds) fn prepare_template(template: &mut Value) {
    if let Some(spec) = template.get_mut("spec") {
        // Whether there are pod groups is asked when a pod is made.
        super::drop_disabled(spec, true);
    }
}

/// Checks a template (`ValidatePodTemplateSpec`).
pub(in crate::apiserver::kinds) fn validate_template(
    template: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    let empty = Value::Null;
    let metadata = template.get("metadata").unwrap_or(&empty);
    let pod = template.get("spec").unwrap_or(&empty);
    // The real server leaves out that they are metadata.
    check::labels(metadata.get("labels"), &path.child("labels"), errors);
    let at = path.child("annotations");
    check::annotations(metadata.get("annotations"), &at, errors);
    annotations::validate(metadata, pod, &at, errors);
    let at = path.child("spec");
    super::validate_spec(pod, &at, errors);
    annotations::agree(metadata, pod, &at, errors);
    if !pod.list_at(&["ephemeralContainers"]).is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.forbidden(at.child("ephemeralContainers"), why);
    }
}

/// What clients are warned of in a template at `path`.
pub(in crate::apiserver::kinds) fn template_warnings(template: &Value, path: &Path) -> Vec<String> {
    warnings::of(template, path)
}
