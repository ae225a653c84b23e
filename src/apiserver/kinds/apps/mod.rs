//! Kinds of the group `apps`.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;

use serde_json::Value;

pub(super) use self::controller_revision::ControllerRevision;
pub(super) use self::daemon_set::DaemonSet;
pub(super) use self::deployment::Deployment;
pub(super) use self::replica_set::{ReplicaSet, validate_status as validate_replicas_status};
pub(super) use self::stateful_set::StatefulSet;
use super::{check, workload};
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// What a deployment's and a replica set's selector is told.
const SELECTOR: (&str, &str) = (
    "empty selector is invalid for deployment",
    "invalid label selector",
);

/// The template of a deployment or a replica set, and that the selector selects its pods.
fn validate_replicas(spec: &Value, path: &Path, errors: &mut Errors) {
    let template_path = path.child("template");
    let Some(selector) = workload::validate_selector(spec, path, SELECTOR, errors) else {
        return;
    };
    let template = spec.get("template").unwrap_or(&Value::Null);
    selector.validate_labels(template, &template_path, errors);
    workload::validate_template(template, &template_path, errors);
    workload::runs_forever(template, "ReplicaSet", &template_path, errors);
}

/// The counters of a status: none is negative, and each of `parts` (with a part of its own) is at most the whole.
fn validate_counters(status: &Value, counters: &[&str], parts: &[&str], errors: &mut Errors) {
    let path = Path::new("status");
    for counter in counters {
        check::not_negative(status, counter, &path, errors);
    }
    for part in parts {
        check::at_most(status, part, "replicas", "status.replicas", &path, errors);
    }
}

/// The warnings of a workload whose name is part of its pods' names.
fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if old.is_none() {
        warnings.extend(workload::name_warning(object, workload::IN_PODS));
    }
    warnings.extend(template_warnings(object, old));
    warnings
}

/// The warnings about the template at `spec.template`, when it is new.
fn template_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| old.generation() == object.generation()) {
        return Vec::new();
    }
    let path = Path::new("spec").child("template");
    workload::template_warnings(object.at(&["spec", "template"]), &path)
}

#[cfg(test)]
mod tests;
