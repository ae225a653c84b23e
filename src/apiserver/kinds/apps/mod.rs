//! Kinds of the group `apps`.

mod deployment;
mod replica_set;

pub(super) use self::deployment::Deployment;
pub(super) use self::replica_set::ReplicaSet;
use serde_json::Value;

use super::core;
use crate::apiserver::registry::strategy::Scale;
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// The scale of a workload with a label selector.
fn scale() -> Scale {
    let path = |parts: [&str; 2]| parts.map(str::to_owned).to_vec();
    Scale {
        spec_replicas: path(["spec", "replicas"]),
        status_replicas: path(["status", "replicas"]),
        selector: Some(path(["spec", "selector"])),
    }
}

/// The pod template of a workload whose pods always restart.
fn validate_template(spec: &Value, path: &Path, errors: &mut Errors) {
    let template = spec.get("template").unwrap_or(&Value::Null);
    let path = path.child("template");
    core::pod::validate_template(template, &path, errors);
    let pod = template.get("spec").unwrap_or(&Value::Null);
    let policy = pod.str_at(&["restartPolicy"]);
    if !matches!(policy, "" | "Always") {
        errors.not_supported(
            path.child("spec").child("restartPolicy"),
            policy,
            &["Always"],
        );
    }
    if pod
        .get("activeDeadlineSeconds")
        .is_some_and(|seconds| !seconds.is_null())
    {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(path.child("spec").child("activeDeadlineSeconds"), why);
    }
}

fn default_template(object: &mut Value) {
    if let Some(template) = object.at_mut(&["spec", "template"]) {
        core::pod::default_template(template);
    }
}
