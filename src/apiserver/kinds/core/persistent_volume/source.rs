//! Where the bytes of a volume are.

use serde_json::{Value, json};

use crate::apiserver::kinds::core::pod::{azure_disk_kind, flex_options};
use crate::apiserver::kinds::{check, storage};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

/// A kind of source: its field, the field that errors name, and what must be given of it.
type Source = (&'static str, &'static str, &'static [&'static str]);

/// In the order in which the real server looks at them.
const SOURCES: [Source; 22] = [
    ("hostPath", "hostPath", &[]),
    ("gcePersistentDisk", "persistentDisk", &["pdName"]),
    (
        "awsElasticBlockStore",
        "awsElasticBlockStore",
        &["volumeID"],
    ),
    ("glusterfs", "glusterfs", &["endpoints", "path"]),
    ("flocker", "flocker", &[]),
    ("nfs", "nfs", &["server", "path"]),
    ("rbd", "rbd", &["monitors", "image"]),
    ("quobyte", "quobyte", &[]),
    ("cephfs", "cephfs", &["monitors"]),
    ("iscsi", "iscsi", &["targetPortal"]),
    ("cinder", "cinder", &["volumeID"]),
    ("fc", "fc", &[]),
    ("flexVolume", "flexVolume", &["driver"]),
    ("azureFile", "azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", "vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", "photonPersistentDisk", &["pdID"]),
    ("portworxVolume", "portworxVolume", &["volumeID"]),
    ("azureDisk", "azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", "scaleIO", &["gateway", "system", "volumeName"]),
    ("local", "local", &[]),
    ("storageos", "storageos", &[]),
    ("csi", "csi", &[]),
];

const WITH_MOUNT_OPTIONS: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

/// Sources whose plugins are gone, and what is said of them.
const GONE: [(&str, &str, &str); 6] = [
    (
        "cephfs",
        "cephfs",
        "deprecated in v1.28, non-functional in v1.31+",
    ),
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "scaleIO",
        "scaleIO",
        "deprecated in v1.16, non-functional in v1.22+",
    ),
    (
        "storageos",
        "storageOS",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "glusterfs",
        "glusterfs",
        "deprecated in v1.25, non-functional in v1.26+",
    ),
    (
        "rbd",
        "rbd",
        "deprecated in v1.28, non-functional in v1.31+",
    ),
];

const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// Labels of nodes that have newer names.
const RENAMED: [(&str, &str); 5] = [
    (
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/zone",
    ),
    (
        "failure-domain.beta.kubernetes.io/region",
        "topology.kubernetes.io/region",
    ),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    (
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
    ),
];

fn given<'a>(spec: &'a Value, field: &str) -> Option<&'a Value> {
    spec.get(field).filter(|source| source.is_object())
}

/// What is left out of a source.
pub(super) fn default(spec: &mut Value) {
    let defaults: [(&str, &[(&str, Value)]); 5] = [
        ("hostPath", &[("type", json!(""))]),
        (
            "rbd",
            &[
                ("pool", json!("rbd")),
                ("user", json!("admin")),
                ("keyring", json!("/etc/ceph/keyring")),
            ],
        ),
        ("iscsi", &[("iscsiInterface", json!("default"))]),
        (
            "scaleIO",
            &[
                ("storageMode", json!("ThinProvisioned")),
                ("fsType", json!("xfs")),
            ],
        ),
        (
            "azureDisk",
            &[
                ("cachingMode", json!("ReadWrite")),
                ("kind", json!("Shared")),
                ("fsType", json!("ext4")),
                ("readOnly", json!(false)),
            ],
        ),
    ];
    for (source, fields) in defaults {
        if given(spec, source).is_some() {
            for (field, value) in fields {
                spec.default_at(&[source, field], value.clone());
            }
        }
    }
}

pub(super) fn takes_mount_options(object: &Value) -> bool {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    WITH_MOUNT_OPTIONS
        .iter()
        .any(|source| given(spec, source).is_some())
}

/// Whether it is the root of the node.
pub(super) fn is_root(spec: &Value) -> bool {
    let Some(source) = given(spec, "hostPath") else {
        return false;
    };
    let path = source.str_at(&["path"]);
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

pub(super) fn warnings(spec: &Value) -> Vec<String> {
    GONE.iter()
        .filter(|(field, ..)| given(spec, field).is_some())
        .map(|(_, shown, message)| format!("spec.{shown}: {message}"))
        .collect()
}

/// Whether an affinity stays as it is, but for newer names of labels.
pub(super) fn same_affinity(old: Option<&Value>, new: Option<&Value>) -> bool {
    fn renamed(old: &Value, new: &Value) -> bool {
        match (old, new) {
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(field, old)| {
                        let is_new_name = |new: &Value| {
                            let pair = (old.as_str(), new.as_str());
                            let is = |(was, is): &(&str, &str)| pair == (Some(was), Some(is));
                            field == "key" && RENAMED.iter().any(is)
                        };
                        b.get(field)
                            .is_some_and(|new| renamed(old, new) || is_new_name(new))
                    })
            }
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(old, new)| renamed(old, new))
            }
            _ => old == new,
        }
    }
    old.zip(new).is_some_and(|(old, new)| renamed(old, new))
}

/// There must be one source, and it must be whole.
pub(super) fn validate(spec: &Value, volume: &str, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for (field, shown, required) in SOURCES {
        let Some(source) = given(spec, field) else {
            continue;
        };
        if found && field != "flexVolume" {
            let field = if field == "cephfs" { "cephFS" } else { field };
            let why = "may not specify more than 1 volume type";
            errors.forbidden(path.child(field), why);
            continue;
        }
        found = true;
        let at = path.child(shown);
        for name in required {
            if is_empty(source.get(*name)) {
                errors.required(at.child(name), "");
            }
        }
        match field {
            "hostPath" => host_path(source, &at, errors),
            "gcePersistentDisk" | "awsElasticBlockStore" => {
                let partition = source.i64_at(&["partition"]).unwrap_or(0);
                if !(0..=255).contains(&partition) {
                    let why = "must be between 1 and 255, inclusive";
                    errors.invalid(at.child("partition"), partition, why);
                }
            }
            "glusterfs" if is_blank(source, "endpointsNamespace") => {
                let why = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.invalid(at.child("endpointsNamespace"), "", why);
            }
            "flocker" => flocker(source, &at, errors),
            "nfs" => {
                let text = source.str_at(&["path"]);
                if !text.starts_with('/') {
                    errors.invalid(at.child("path"), text, "must be an absolute path");
                }
            }
            "quobyte" => quobyte(source, &at, errors),
            "iscsi" => iscsi(source, volume, &at, errors),
            "cinder" => secret(source, &at, errors),
            "fc" => fibre_channel(source, &at, errors),
            "flexVolume" => flex_options(source, &at, errors),
            "azureFile" if is_blank(source, "secretNamespace") => {
                errors.required(at.child("secretNamespace"), "");
            }
            "azureDisk" => azure_disk_kind(source, &at, errors),
            "local" => local(source, &at, errors),
            "storageos" => storage_os(source, &at, errors),
            "csi" => csi(source, &at, errors),
            _ => {}
        }
    }
    if !found {
        errors.required(path.clone(), "must specify a volume type");
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

fn no_backsteps(text: &str, path: &Path, errors: &mut Errors) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path.clone(), text, "must not contain '..'");
    }
}

fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    let text = source.str_at(&["path"]);
    if text.is_empty() {
        errors.required(path.child("path"), "");
        return;
    }
    no_backsteps(text, &path.child("path"), errors);
    if let Some(kind) = source.get("type").and_then(Value::as_str)
        && !HOST_PATH_TYPES.contains(&kind)
    {
        errors.not_supported(path.child("type"), kind, &HOST_PATH_TYPES);
    }
}

fn local(source: &Value, path: &Path, errors: &mut Errors) {
    let text = source.str_at(&["path"]);
    if text.is_empty() {
        errors.required(path.child("path"), "");
    }
    no_backsteps(text, &path.child("path"), errors);
}

fn flocker(source: &Value, path: &Path, errors: &mut Errors) {
    let (name, id) = (
        source.str_at(&["datasetName"]),
        source.str_at(&["datasetUUID"]),
    );
    match (name.is_empty(), id.is_empty()) {
        (true, true) => {
            let why = "one of datasetName and datasetUUID is required";
            errors.required(path.clone(), why);
        }
        (false, false) => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            errors.invalid(path.clone(), "resource", why);
        }
        _ => {}
    }
    if name.contains('/') {
        errors.invalid(path.child("datasetName"), name, "must not contain '/'");
    }
}

fn quobyte(source: &Value, path: &Path, errors: &mut Errors) {
    let why = "must be a host:port pair or multiple pairs separated by commas";
    let registry = source.str_at(&["registry"]);
    if registry.is_empty() {
        errors.required(path.child("registry"), why);
    } else {
        let is_pair = |text: &&str| text.matches(':').count() == 1;
        for _ in registry.split(',').filter(|text| !is_pair(text)) {
            errors.invalid(path.child("registry"), registry, why);
        }
    }
    if source.str_at(&["tenant"]).len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(path.child("tenant"), why);
    }
    if source.str_at(&["volume"]).is_empty() {
        errors.required(path.child("volume"), "");
    }
}

/// A secret, if there is one, must be named with its namespace.
fn secret(source: &Value, path: &Path, errors: &mut Errors) {
    if let Some(secret) = given(source, "secretRef") {
        for field in ["name", "namespace"] {
            if secret.str_at(&[field]).is_empty() {
                errors.required(path.child("secretRef").child(field), "");
            }
        }
    }
}

/// Whether it is the name of an iSCSI node; `None` when it is of no known kind.
fn is_iscsi_name(text: &str) -> Option<bool> {
    let id = |length: usize| {
        let digits = text.get(4..).unwrap_or_default();
        digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    match text.get(..3)? {
        // `iqn.2001-04.com.example:disk1`
        "iqn" => {
            let (date, rest) = text.get(4..)?.split_once('.').unwrap_or_default();
            let (authority, unit) = rest.split_once(':').unwrap_or_default();
            let is_date = date.len() == 7
                && date.bytes().enumerate().all(|(at, byte)| match at {
                    4 => byte == b'-',
                    _ => byte.is_ascii_digit(),
                });
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
            let is_unit = |byte: char| !",;*&$|".contains(byte) && !byte.is_whitespace();
            Some(
                is_date
                    && !authority.is_empty()
                    && authority.bytes().all(is_host)
                    && !unit.is_empty()
                    && unit.chars().all(is_unit),
            )
        }
        "eui" => Some(id(16)),
        "naa" => Some(id(32)),
        _ => None,
    }
}

fn iscsi(source: &Value, volume: &str, path: &Path, errors: &mut Errors) {
    let target = source.str_at(&["iqn"]);
    if target.is_empty() {
        errors.required(path.child("iqn"), "");
    } else {
        match is_iscsi_name(target) {
            Some(true) => {}
            Some(false) => errors.invalid(path.child("iqn"), target, "must be valid format"),
            None => errors.invalid(
                path.child("iqn"),
                target,
                "must be valid format starting with iqn, eui, or naa",
            ),
        }
    }
    let unit = source.i64_at(&["lun"]).unwrap_or(0);
    if !(0..=255).contains(&unit) {
        let why = "must be between 0 and 255, inclusive";
        errors.invalid(path.child("lun"), unit, why);
    }
    let asks = |field: &str| source.bool_at(&[field]) == Some(true);
    let secret = given(source, "secretRef");
    if (asks("chapAuthDiscovery") || asks("chapAuthSession")) && secret.is_none() {
        errors.required(path.child("secretRef"), "");
    }
    if secret.is_some_and(|secret| secret.str_at(&["name"]).is_empty()) {
        errors.required(path.child("secretRef").child("name"), "");
    }
    let Some(initiator) = source.get("initiatorName").and_then(Value::as_str) else {
        return;
    };
    if is_iscsi_name(initiator) != Some(true) {
        let why = "must be valid format";
        errors.invalid(path.child("initiatorname"), initiator, why);
    }
    let portal = source.str_at(&["targetPortal"]);
    if volume.len() + 1 + portal.len() > 64 {
        let why = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
        errors.invalid(path.child("targetportal"), portal, why);
    }
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut Errors) {
    let targets = source.list_at(&["targetWWNs"]);
    let at = || path.child("targetWWNs");
    match (targets.is_empty(), source.list_at(&["wwids"]).is_empty()) {
        (true, true) => {
            let why = "must specify either targetWWNs or wwids, but not both";
            errors.required(at(), why);
        }
        (false, false) => {
            let why = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(at(), targets.to_vec(), why);
        }
        _ => {}
    }
    if !targets.is_empty() {
        match source.i64_at(&["lun"]) {
            None => errors.required(
                path.child("lun"),
                "lun is required if targetWWNs is specified",
            ),
            Some(0..=255) => {}
            Some(unit) => errors.invalid(
                path.child("lun"),
                unit,
                "must be between 0 and 255, inclusive",
            ),
        }
    }
}

fn storage_os(source: &Value, path: &Path, errors: &mut Errors) {
    for (field, required) in [("volumeName", true), ("volumeNamespace", false)] {
        let text = source.str_at(&[field]);
        if !text.is_empty() {
            check::problems(text, name::dns_label(text), &path.child(field), errors);
        } else if required {
            errors.required(path.child(field), "");
        }
    }
    secret(source, path, errors);
}

/// Whether the field is there and says nothing.
fn is_blank(source: &Value, field: &str) -> bool {
    source.get(field).and_then(Value::as_str) == Some("")
}

type Rule = fn(&str) -> Vec<String>;

fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    storage::driver_name(source.str_at(&["driver"]), &path.child("driver"), errors);
    if source.str_at(&["volumeHandle"]).is_empty() {
        errors.required(path.child("volumeHandle"), "");
    }
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let Some(secret) = given(source, field) else {
            continue;
        };
        let rules: [(&str, Rule); 2] = [
            ("name", name::dns_subdomain),
            ("namespace", name::dns_label),
        ];
        for (part, rule) in rules {
            let (text, at) = (secret.str_at(&[part]), path.child(field).child(part));
            if text.is_empty() {
                errors.required(at, "");
            } else {
                check::problems(text, rule(text), &at, errors);
            }
        }
    }
}
