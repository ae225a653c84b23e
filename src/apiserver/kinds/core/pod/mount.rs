//! How a container uses the volumes of its pod: as directories, or as raw devices.

use serde_json::Value;

use super::Scope;
use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// The mounts and devices of a container.
pub(super) fn validate(container: &Value, scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let mounts = container.list_at(&["volumeMounts"]);
    let devices = container.list_at(&["volumeDevices"]);
    if !mounts.is_empty() {
        validate_mounts(container, scope, &path.child("volumeMounts"), errors);
    }
    if !devices.is_empty() {
        let at = path.child("volumeDevices");
        validate_devices(devices, mounts, scope, &at, errors);
    }
}

/// Whether an entry has this text at `field`.
fn any(entries: &[Value], field: &str, text: &str) -> bool {
    entries.iter().any(|entry| entry.str_at(&[field]) == text)
}

fn validate_mounts(container: &Value, scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let devices = container.list_at(&["volumeDevices"]);
    let mut targets: Vec<&str> = Vec::new();
    for (index, mount) in container.list_at(&["volumeMounts"]).iter().enumerate() {
        let at = || path.index(index);
        let (name, target) = (mount.str_at(&["name"]), mount.str_at(&["mountPath"]));
        check::required(mount, "name", &at(), errors);
        let volume = scope.volumes.get(name);
        if volume.is_none() {
            errors.not_found(at().child("name"), name);
        }
        check::required(mount, "mountPath", &at(), errors);
        if targets.contains(&target) {
            errors.invalid(at().child("mountPath"), target, "must be unique");
        }
        targets.push(target);
        if any(devices, "name", name) {
            let why = "must not already exist in volumeDevices";
            errors.invalid(at().child("name"), name, why);
        }
        if any(devices, "devicePath", target) {
            let why = "must not already exist as a path in volumeDevices";
            errors.invalid(at().child("mountPath"), target, why);
        }
        let (part, expression) = (mount.str_at(&["subPath"]), mount.str_at(&["subPathExpr"]));
        if !part.is_empty() {
            check::descending_path(part, &path.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !part.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(at().child("subPathExpr"), expression, why);
            }
            check::descending_path(expression, &path.child("subPathExpr"), errors);
        }
        let privileged = container.bool_at(&["securityContext", "privileged"]) == Some(true);
        propagation(mount, privileged, path, errors);
    }
}

/// The errors of what a mount sees of others are put at the list.
fn propagation(mount: &Value, privileged: bool, path: &Path, errors: &mut Errors) {
    let mode = mount.str_at(&["mountPropagation"]);
    if check::given(mount, "mountPropagation").is_some() {
        let modes = ["Bidirectional", "HostToContainer", "None"];
        let at = || path.child("mountPropagation");
        if !modes.contains(&mode) {
            errors.not_supported(at(), mode, &modes);
        }
        if mode == "Bidirectional" && !privileged {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(at(), why);
        }
    }
    if check::given(mount, "recursiveReadOnly").is_none() {
        return;
    }
    let at = || path.child("recursiveReadOnly");
    match mount.str_at(&["recursiveReadOnly"]) {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if mount.bool_at(&["readOnly"]) != Some(true) {
                errors.forbidden(at(), "may only be specified when readOnly is true");
            }
            if !matches!(mode, "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(at(), why);
            }
        }
        other => errors.not_supported(at(), other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn validate_devices(
    devices: &[Value],
    mounts: &[Value],
    scope: &Scope<'_>,
    path: &Path,
    errors: &mut Errors,
) {
    let (mut names, mut targets): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (index, device) in devices.iter().enumerate() {
        let at = || path.index(index);
        let (name, target) = (device.str_at(&["name"]), device.str_at(&["devicePath"]));
        check::required(device, "name", &at(), errors);
        if names.contains(&name) {
            errors.invalid(at().child("name"), name, "must be unique");
        }
        match scope.volumes.get(name) {
            None => errors.not_found(at().child("name"), name),
            Some(volume) => {
                let of_claim = ["persistentVolumeClaim", "ephemeral"]
                    .iter()
                    .any(|kind| check::given(volume, kind).is_some());
                if !of_claim {
                    let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.invalid(at().child("name"), name, why);
                }
            }
        }
        check::required(device, "devicePath", &at(), errors);
        if targets.contains(&target) {
            errors.invalid(at().child("devicePath"), target, "must be unique");
        }
        if target.split('/').any(|part| part == "..") {
            let why = "can not contain backsteps ('..')";
            errors.invalid(at().child("devicePath"), target, why);
        } else {
            targets.push(target);
        }
        if any(mounts, "name", name) {
            let why = "must not already exist in volumeMounts";
            errors.invalid(at().child("name"), name, why);
        }
        if any(mounts, "mountPath", target) {
            let why = "must not already exist as a path in volumeMounts";
            errors.invalid(at().child("devicePath"), target, why);
        }
        if !name.is_empty() {
            names.push(name);
        }
    }
}
