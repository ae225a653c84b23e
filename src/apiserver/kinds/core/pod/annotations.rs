//! Annotations that mean something to a pod: old forms of fields, mirror pods, the cost of a deletion.

use serde_json::{Map, Value};

use super::each_container;
use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{Errors, Path};

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Annotations of which every client is warned.
const DEPRECATED: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

fn of(metadata: &Value) -> Option<&Map<String, Value>> {
    check::map_at(metadata, &["annotations"])
}

/// The annotations of a pod or a template; `path` is theirs.
pub(super) fn validate(metadata: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(annotations) = of(metadata) else {
        return;
    };
    let text = |key: &str| annotations.get(key).and_then(Value::as_str);
    if let Some(value) = text(MIRROR)
        && spec.str_at(&["nodeName"]).is_empty()
    {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(path.key(MIRROR), value, why);
    }
    if let Some(cost) = text(DELETION_COST).filter(|cost| !is_cost(cost)) {
        errors.invalid(path.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    if let Some(profile) = text(SECCOMP) {
        seccomp(profile, &path.child(SECCOMP), errors);
    }
    for (key, value) in annotations {
        let value = value.as_str().unwrap_or_default();
        if key.starts_with(SECCOMP_CONTAINER) {
            seccomp(value, &path.child(key), errors);
        }
    }
    for (key, value) in annotations {
        let value = value.as_str().unwrap_or_default();
        let Some(container) = key.strip_prefix(APP_ARMOR) else {
            continue;
        };
        let mut found = false;
        each_container(spec, path, &mut |own, _| {
            found |= own.str_at(&["name"]) == container;
        });
        if !found {
            errors.invalid(path.key(key), container, "container not found");
        }
        let known = matches!(value, "" | "runtime/default" | "unconfined");
        if !known && !value.starts_with("localhost/") {
            let why = format!("invalid AppArmor profile name: {value:?}");
            errors.invalid(path.key(key), value, &why);
        }
    }
}

/// A decimal number of 32 bits, without a plus sign or zeros that lead it.
fn is_cost(text: &str) -> bool {
    let starts =
        text == "0" || text.starts_with('-') || text.starts_with(|c: char| matches!(c, '1'..='9'));
    starts && text.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &Path, errors: &mut Errors) {
    match profile {
        "runtime/default" | "docker/default" | "unconfined" => {}
        _ => match profile.strip_prefix("localhost/") {
            Some(file) => check::descending_path(file, path, errors),
            None => errors.invalid(path.clone(), profile, "must be a valid seccomp profile"),
        },
    }
}

/// Where a profile is given as annotation and as field, the two must say the same. `path` is the spec's.
pub(super) fn agree(metadata: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(annotations) = of(metadata) else {
        return;
    };
    let text = |key: &str| annotations.get(key).and_then(Value::as_str);
    let field = "seccompProfile";
    let of_pod = spec.at(&["securityContext", field]);
    if let (Some(profile), Some(text)) = (of_pod, text(SECCOMP)) {
        let at = path.child("securityContext").child(field);
        compare("seccomp", text, profile, &at, errors);
    }
    each_container(spec, path, &mut |container, at| {
        let key = format!("{SECCOMP_CONTAINER}{}", container.str_at(&["name"]));
        let own = container.at(&["securityContext", field]);
        if let (Some(profile), Some(text)) = (own, text(&key)) {
            let at = at.child("securityContext").child(field);
            compare("seccomp", text, profile, &at, errors);
        }
    });
    if spec.str_at(&["os", "name"]) == "windows" {
        return;
    }
    let field = "appArmorProfile";
    let of_pod = spec.at(&["securityContext", field]);
    each_container(spec, path, &mut |container, at| {
        let key = format!("{APP_ARMOR}{}", container.str_at(&["name"]));
        let own = container.at(&["securityContext", field]).or(of_pod);
        if let (Some(profile), Some(text)) = (own, text(&key)) {
            let at = at.child("securityContext").child(field);
            compare("apparmor", text, profile, &at, errors);
        }
    });
}

fn compare(what: &str, annotation: &str, profile: &Value, path: &Path, errors: &mut Errors) {
    let file = annotation.strip_prefix("localhost/");
    let same_type = match profile.str_at(&["type"]) {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => {
            annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default")
        }
        "Localhost" => file.is_some(),
        _ => true,
    };
    if !same_type {
        let why = format!("{what} type in annotation and field must match");
        errors.forbidden(path.child("type"), &why);
    } else if profile.str_at(&["type"]) == "Localhost"
        && file != profile.get("localhostProfile").and_then(Value::as_str)
    {
        let why = format!("{what} profile in annotation and field must match");
        errors.forbidden(path.child("localhostProfile"), &why);
    }
}

/// What an update may not do to them.
pub(super) fn validate_change(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let guarded = |key: &str| {
        if key.starts_with(APP_ARMOR) {
            Some("AppArmor annotations")
        } else {
            (key == MIRROR).then_some("mirror pod annotation")
        }
    };
    let (new, old) = (of(new), of(old));
    for (key, value) in old.into_iter().flatten() {
        if new.and_then(|new| new.get(key)) == Some(value) {
            continue;
        }
        if let Some(what) = guarded(key) {
            let why = format!("may not remove or update {what}");
            errors.forbidden(path.key(key), &why);
        }
    }
    for key in new.into_iter().flat_map(|new| new.keys()) {
        if old.is_some_and(|old| old.contains_key(key)) {
            continue;
        }
        if let Some(what) = guarded(key) {
            errors.forbidden(path.key(key), &format!("may not add {what}"));
        }
    }
}

/// Gives containers the AppArmor profiles that annotations ask for, where no field does.
pub(super) fn to_fields(object: &mut Value) {
    if object.str_at(&["spec", "os", "name"]) == "windows" {
        return;
    }
    let annotations = of(&object["metadata"]).cloned().unwrap_or_default();
    if !annotations.keys().any(|key| key.starts_with(APP_ARMOR)) {
        return;
    }
    for list in super::CONTAINER_LISTS {
        let containers = object.at_mut(&["spec", list]).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let key = format!("{APP_ARMOR}{}", container.str_at(&["name"]));
            let profile = match annotations.get(&key).and_then(Value::as_str) {
                Some("unconfined") => serde_json::json!({"type": "Unconfined"}),
                Some("runtime/default") => serde_json::json!({"type": "RuntimeDefault"}),
                Some(text) => match text.strip_prefix("localhost/") {
                    Some(file) if !file.is_empty() => {
                        serde_json::json!({"type": "Localhost", "localhostProfile": file})
                    }
                    _ => continue,
                },
                None => continue,
            };
            container.default_at(&["securityContext", "appArmorProfile"], profile);
        }
    }
}

/// What clients are warned of. `prefix` is the path of the object, empty for a pod.
pub(super) fn warnings(metadata: &Value, spec: &Value, prefix: &Path) -> Vec<String> {
    let Some(annotations) = of(metadata) else {
        return Vec::new();
    };
    let at = |key: &str| prefix.child("metadata").child("annotations").key(key);
    let mut warnings: Vec<String> = DEPRECATED
        .iter()
        .filter(|(key, _)| annotations.contains_key(*key))
        .map(|(key, why)| format!("{}: {why}", at(key)))
        .collect();
    let pod = &spec["securityContext"];
    let unused = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if annotations.contains_key(SECCOMP) && check::given(pod, "seccompProfile").is_none() {
        warnings.push(format!("{}: {unused}", at(SECCOMP)));
    }
    let is_template = !prefix.as_str().is_empty();
    each_container(spec, prefix, &mut |container, _| {
        let name = container.str_at(&["name"]);
        let own = &container["securityContext"];
        let key = format!("{SECCOMP_CONTAINER}{name}");
        if annotations.contains_key(&key) && check::given(own, "seccompProfile").is_none() {
            warnings.push(format!("{}: {unused}", at(&key)));
        }
        let key = format!("{APP_ARMOR}{name}");
        let has_field = [own, pod]
            .iter()
            .any(|context| check::given(context, "appArmorProfile").is_some());
        // A pod has got the field from the annotation by now.
        if annotations.contains_key(&key) && has_field != is_template {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            warnings.push(format!("{}: {why}", at(&key)));
        }
    });
    warnings
}
