//! What a pod's spec must be, and what of it may change.

use serde_json::{Value, json};

use super::{CONTAINER_LISTS, container};
use crate::apiserver::kinds::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
const TOLERATION_EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks a pod's spec, in a pod or in a template.
pub(in crate::apiserver::kinds) fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let volumes = validate_volumes(spec.list_at(&["volumes"]), &path.child("volumes"), errors);
    container::validate_all(spec, &volumes, path, errors);
    check::required_one_of(spec, "restartPolicy", &RESTART_POLICIES, path, errors);
    check::required_one_of(spec, "dnsPolicy", &DNS_POLICIES, path, errors);
    check::labels(
        spec.get("nodeSelector"),
        &path.child("nodeSelector"),
        errors,
    );
    validate_tolerations(
        spec.list_at(&["tolerations"]),
        &path.child("tolerations"),
        errors,
    );
    for field in [
        "nodeName",
        "serviceAccountName",
        "priorityClassName",
        "runtimeClassName",
    ] {
        let value = spec.str_at(&[field]);
        if !value.is_empty() {
            check::problems(
                value,
                name::dns_subdomain(value),
                &path.child(field),
                errors,
            );
        }
    }
    for field in ["hostname", "subdomain"] {
        let value = spec.str_at(&[field]);
        if !value.is_empty() {
            check::problems(value, name::dns_label(value), &path.child(field), errors);
        }
    }
    if let Some(seconds) = spec
        .i64_at(&["activeDeadlineSeconds"])
        .filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds))
    {
        errors.invalid(
            path.child("activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        );
    }
    check::not_negative(spec, "terminationGracePeriodSeconds", path, errors);
    for (index, secret) in spec.list_at(&["imagePullSecrets"]).iter().enumerate() {
        if secret.str_at(&["name"]).is_empty() {
            errors.required(
                path.child("imagePullSecrets").index(index).child("name"),
                "",
            );
        }
    }
    for (index, gate) in spec.list_at(&["schedulingGates"]).iter().enumerate() {
        let gate = gate.str_at(&["name"]);
        check::problems(
            gate,
            name::qualified(gate),
            &path.child("schedulingGates").index(index),
            errors,
        );
    }
    let gates = spec.list_at(&["schedulingGates"]);
    if !gates.is_empty() && !spec.str_at(&["nodeName"]).is_empty() {
        errors.forbidden(
            path.child("nodeName"),
            "cannot be set until all schedulingGates have been cleared",
        );
    }
}

/// Checks the volumes; gives their names.
fn validate_volumes<'a>(volumes: &'a [Value], path: &Path, errors: &mut Errors) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = || path.index(index);
        let name = volume.str_at(&["name"]);
        if name.is_empty() {
            errors.required(at().child("name"), "");
        } else {
            check::problems(name, name::dns_label(name), &at().child("name"), errors);
        }
        if names.contains(&name) {
            errors.duplicate(at().child("name"), name);
        }
        names.push(name);
        let sources = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, value)| *key != "name" && !value.is_null());
        for (extra, _) in sources.skip(1) {
            errors.forbidden(at().child(extra), "may not specify more than 1 volume type");
        }
        for (kind, field) in [
            ("secret", "secretName"),
            ("configMap", "name"),
            ("hostPath", "path"),
            ("persistentVolumeClaim", "claimName"),
        ] {
            if volume.get(kind).is_some_and(Value::is_object)
                && volume.str_at(&[kind, field]).is_empty()
            {
                errors.required(at().child(kind).child(field), "");
            }
        }
    }
    names
}

fn validate_tolerations(tolerations: &[Value], path: &Path, errors: &mut Errors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let at = || path.index(index);
        let (key, operator) = (
            toleration.str_at(&["key"]),
            toleration.str_at(&["operator"]),
        );
        let effect = toleration.str_at(&["effect"]);
        if key.is_empty() {
            if operator != "Exists" {
                let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
                errors.invalid(at().child("operator"), operator, why);
            }
        } else {
            check::problems(key, name::qualified(key), &at().child("key"), errors);
        }
        if toleration.i64_at(&["tolerationSeconds"]).is_some() && effect != "NoExecute" {
            errors.invalid(
                at().child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator {
            "" | "Equal" => {
                let value = toleration.str_at(&["value"]);
                if let Some(problem) = name::label_value(value).first() {
                    errors.invalid(at().child("operator"), value, problem);
                }
            }
            "Exists" => {
                if !toleration.str_at(&["value"]).is_empty() {
                    errors.invalid(
                        at().child("operator"),
                        toleration.clone(),
                        "value must be empty when `operator` is 'Exists'",
                    );
                }
            }
            "Lt" | "Gt" => {}
            other => errors.not_supported(at().child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            check::one_of(toleration, "effect", &TOLERATION_EFFECTS, &at(), errors);
        }
    }
}

/// Checks what an update changes: of a running pod little can.
pub(super) fn validate_change(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (count, before) = (
        new.list_at(&["containers"]).len(),
        old.list_at(&["containers"]).len(),
    );
    if count != before {
        errors.forbidden(path.clone(), "pod updates may not add or remove containers");
        return;
    }
    // Everything that may change is made equal; what then differs may not.
    let mut leveled = new.clone();
    for list in CONTAINER_LISTS {
        let images: Vec<Value> = old
            .list_at(&[list])
            .iter()
            .map(|container| container["image"].clone())
            .collect();
        let containers = leveled
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten();
        for (index, (container, image)) in containers.zip(images).enumerate() {
            if container.str_at(&["image"]).is_empty() {
                errors.required(path.child(list).index(index).child("image"), "");
            }
            container["image"] = image;
        }
    }
    let deadline = (
        new.i64_at(&["activeDeadlineSeconds"]),
        old.i64_at(&["activeDeadlineSeconds"]),
    );
    match deadline {
        (Some(now), Some(was)) if now > was => {
            errors.invalid(
                path.child("activeDeadlineSeconds"),
                now,
                "must be less than or equal to previous value",
            );
        }
        (None, Some(was)) => {
            errors.invalid(
                path.child("activeDeadlineSeconds"),
                was,
                "must not update from a positive integer to nil value",
            );
        }
        _ => {}
    }
    level(&mut leveled, old, "activeDeadlineSeconds");
    let tolerations = old.list_at(&["tolerations"]);
    if tolerations
        .iter()
        .any(|toleration| !keeps(new.list_at(&["tolerations"]), toleration))
    {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(path.child("tolerations"), why);
    }
    level(&mut leveled, old, "tolerations");
    let gates = old.list_at(&["schedulingGates"]);
    let added: Vec<&Value> = new
        .list_at(&["schedulingGates"])
        .iter()
        .filter(|gate| !gates.contains(gate))
        .collect();
    if !added.is_empty() {
        let names: Vec<&str> = added.iter().map(|gate| gate.str_at(&["name"])).collect();
        let why = format!(
            "only deletion is allowed, but found new scheduling gate {}",
            json!(names.join(","))
        );
        errors.forbidden(path.child("schedulingGates"), &why);
    }
    level(&mut leveled, old, "schedulingGates");
    if !gates.is_empty() {
        let selector = new.at(&["nodeSelector"]);
        let lost = check::map_at(old, &["nodeSelector"])
            .into_iter()
            .flatten()
            .any(|(key, value)| selector.and_then(|selector| selector.get(key)) != Some(value));
        if lost {
            let shown = selector.cloned().unwrap_or(Value::Null);
            errors.invalid(
                path.child("nodeSelector"),
                shown,
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            );
        }
        level(&mut leveled, old, "nodeSelector");
        level(&mut leveled, old, "affinity");
    }
    // A negative grace may be mended to one second.
    if old
        .i64_at(&["terminationGracePeriodSeconds"])
        .is_some_and(|grace| grace < 0)
        && new.i64_at(&["terminationGracePeriodSeconds"]) == Some(1)
    {
        level(&mut leveled, old, "terminationGracePeriodSeconds");
    }
    if leveled != *old {
        let why = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                   `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                   `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        errors.forbidden(path.clone(), why);
    }
}

fn level(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new[field] = value.clone(),
        None => {
            new.as_object_mut().map(|new| new.remove(field));
        }
    }
}

/// Whether a toleration is still there, but for its seconds.
fn keeps(tolerations: &[Value], wanted: &Value) -> bool {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration
            .as_object_mut()
            .map(|map| map.remove("tolerationSeconds"));
        toleration
    };
    tolerations
        .iter()
        .any(|have| without_seconds(have) == without_seconds(wanted))
}

/// What works but should not be done.
pub(super) fn warnings(spec: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in spec.list_at(&[list]).iter().enumerate() {
            let mut names: Vec<&str> = Vec::new();
            for (number, variable) in container.list_at(&["env"]).iter().enumerate() {
                let name = variable.str_at(&["name"]);
                if names.contains(&name) {
                    warnings.push(format!("spec.{list}[{index}].env[{number}]: hides previous definition of {name:?}, which may be dropped when using apply"));
                }
                names.push(name);
            }
        }
    }
    warnings
}
