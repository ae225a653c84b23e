//! The volumes of a pod: one source each, and that one whole.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use super::{claim_template, projected};
use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use crate::object::name;

type Check = fn(&Value, &Path, &mut Errors);

/// Every source: its field, how errors in it and errors of its being there name it (not always as it is named), its check.
const SOURCES: [(&str, &str, &str, Check); 30] = [
    ("emptyDir", "emptyDir", "emptyDir", empty_dir),
    ("hostPath", "hostPath", "hostPath", host_path),
    ("gitRepo", "gitRepo", "gitRepo", git_repo),
    (
        "gcePersistentDisk",
        "persistentDisk",
        "gcePersistentDisk",
        gce_disk,
    ),
    (
        "awsElasticBlockStore",
        "awsElasticBlockStore",
        "awsElasticBlockStore",
        aws_disk,
    ),
    ("secret", "secret", "secret", secret),
    ("nfs", "nfs", "nfs", nfs),
    ("iscsi", "iscsi", "iscsi", iscsi),
    ("glusterfs", "glusterfs", "glusterfs", glusterfs),
    ("flocker", "flocker", "flocker", flocker),
    (
        "persistentVolumeClaim",
        "persistentVolumeClaim",
        "persistentVolumeClaim",
        claim,
    ),
    ("rbd", "rbd", "rbd", rbd),
    ("cinder", "cinder", "cinder", cinder),
    ("cephfs", "cephfs", "cephFS", cephfs),
    ("quobyte", "quobyte", "quobyte", quobyte),
    (
        "downwardAPI",
        "downwardAPI",
        "downwarAPI",
        projected::downward_api,
    ),
    ("fc", "fc", "fc", fibre_channel),
    ("flexVolume", "flexVolume", "flexVolume", flex),
    ("configMap", "configMap", "configMap", config_map),
    ("azureFile", "azureFile", "azureFile", azure_file),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", vsphere),
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "photonPersistentDisk",
        photon,
    ),
    (
        "portworxVolume",
        "portworxVolume",
        "portworxVolume",
        portworx,
    ),
    ("azureDisk", "azureDisk", "azureDisk", azure_disk),
    ("storageos", "storageos", "storageos", storage_os),
    ("projected", "projected", "projected", projected::sources),
    ("scaleIO", "scaleIO", "scaleIO", scale_io),
    ("csi", "csi", "csi", csi),
    ("ephemeral", "ephemeral", "ephemeral", ephemeral),
    ("image", "image", "image", image),
];

/// Checks the volumes; gives those that are right, by name. `pod` is the pod's name, if it has one already.
pub(super) fn validate<'a>(
    volumes: &'a [Value],
    pod: &str,
    is_pod: bool,
    path: &Path,
    errors: &mut Errors,
) -> BTreeMap<&'a str, &'a Value> {
    let mut valid = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let at = path.index(index);
        let name = volume.str_at(&["name"]);
        let mut own = Errors::new();
        one_source(volume, name, pod, is_pod, &at, &mut own);
        if name.is_empty() {
            own.required(at.child("name"), "");
        } else {
            check::dns_label(name, &at.child("name"), &mut own);
        }
        if valid.contains_key(name) {
            own.duplicate(at.child("name"), name);
        }
        if own.is_empty() {
            valid.insert(name, volume);
        }
        errors.0.append(&mut own.0);
        let claim = volume.str_at(&["persistentVolumeClaim", "claimName"]);
        let made_here = !pod.is_empty()
            && volumes.iter().any(|other| {
                check::given(other, "ephemeral").is_some()
                    && claim == format!("{pod}-{}", other.str_at(&["name"]))
            });
        if made_here && !claim.is_empty() {
            errors.invalid(
                at.child("persistentVolumeClaim").child("claimName"),
                claim,
                "must not reference a PVC that gets created for an ephemeral volume",
            );
        }
    }
    valid
}

fn one_source(
    volume: &Value,
    name: &str,
    pod: &str,
    is_pod: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let mut found = false;
    for (field, inside, as_extra, check) in SOURCES {
        let Some(source) = check::given(volume, field) else {
            continue;
        };
        if std::mem::replace(&mut found, true) {
            errors.forbidden(
                path.child(as_extra),
                "may not specify more than 1 volume type",
            );
        } else {
            check(source, &path.child(inside), errors);
            if field == "ephemeral" && !pod.is_empty() && !name.is_empty() {
                let claim = format!("{pod}-{name}");
                for problem in name::dns_subdomain(&claim) {
                    let why = format!("PVC name {claim:?}: {problem}");
                    errors.invalid(path.child("name"), name, &why);
                }
            }
            if field == "image" && is_pod {
                check::required(source, "reference", &path.child(inside), errors);
            }
        }
        let portal = source.str_at(&["targetPortal"]);
        if field == "iscsi"
            && check::given(source, "initiatorName").is_some()
            && name.len() + 1 + portal.len() > 64
        {
            errors.invalid(
                path.child("name"),
                name,
                "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.",
            );
        }
    }
    if !found {
        errors.required(path.clone(), "must specify a volume type");
    }
}

/// Each of the fields is there.
fn all_required(source: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        check::required(source, field, path, errors);
    }
}

/// The named secret, if there is a reference to one.
fn secret_name(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(reference) = check::given(source, field) {
        check::required(reference, "name", &path.child(field), errors);
    }
}

/// The permissions of a file.
pub(super) fn mode(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let mode = source.i64_at(&[field]);
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(path.child(field), mode, why);
    }
}

fn range(source: &Value, field: &str, low: i64, path: &Path, errors: &mut Errors) {
    let number = source.i64_at(&[field]).unwrap_or(0);
    if !(0..=255).contains(&number) {
        let why = format!("must be between {low} and 255, inclusive");
        errors.invalid(path.child(field), number, &why);
    }
}

fn empty_dir(source: &Value, path: &Path, errors: &mut Errors) {
    let limit = source.get("sizeLimit").and_then(super::resources::quantity);
    if limit.is_some_and(|limit| limit.is_negative()) {
        errors.forbidden(
            path.child("sizeLimit"),
            "SizeLimit field must be a valid resource quantity",
        );
    }
}

/// A path on the node; persistent volumes have these too.
pub(in crate::apiserver::kinds) fn host_path(source: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 8] = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if !check::required(source, "path", path, errors) {
        return;
    }
    check::no_backsteps(source.str_at(&["path"]), &path.child("path"), errors);
    let kind = source.str_at(&["type"]);
    if !TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, &TYPES);
    }
}

fn git_repo(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "repository", path, errors);
    let directory = source.str_at(&["directory"]);
    check::descending_path(directory, &path.child("directory"), errors);
}

fn gce_disk(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "pdName", path, errors);
    range(source, "partition", 1, path, errors);
}

fn aws_disk(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "volumeID", path, errors);
    range(source, "partition", 1, path, errors);
}

/// The keys of a config map or secret that become files.
pub(super) fn items(source: &Value, path: &Path, errors: &mut Errors) {
    for (index, item) in source.list_at(&["items"]).iter().enumerate() {
        let at = || path.child("items").index(index);
        all_required(item, &["key", "path"], &at(), errors);
        check::local_path(item.str_at(&["path"]), &at().child("path"), errors);
        mode(item, "mode", &at(), errors);
    }
}

fn secret(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "secretName", path, errors);
    mode(source, "defaultMode", path, errors);
    items(source, path, errors);
}

fn config_map(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "name", path, errors);
    mode(source, "defaultMode", path, errors);
    items(source, path, errors);
}

fn nfs(source: &Value, path: &Path, errors: &mut Errors) {
    all_required(source, &["server", "path"], path, errors);
    let export = source.str_at(&["path"]);
    if !export.starts_with('/') {
        errors.invalid(path.child("path"), export, "must be an absolute path");
    }
}

fn iscsi(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "targetPortal", path, errors);
    if check::required(source, "iqn", path, errors) {
        iscsi_name(source.str_at(&["iqn"]), &path.child("iqn"), errors);
    }
    range(source, "lun", 0, path, errors);
    let authenticates = ["chapAuthDiscovery", "chapAuthSession"]
        .iter()
        .any(|field| source.bool_at(&[field]) == Some(true));
    if authenticates && check::given(source, "secretRef").is_none() {
        errors.required(path.child("secretRef"), "");
    }
    if check::given(source, "initiatorName").is_some() {
        let initiator = source.str_at(&["initiatorName"]);
        iscsi_name(initiator, &path.child("initiatorname"), errors);
    }
}

fn iscsi_name(text: &str, path: &Path, errors: &mut Errors) {
    static FORMATS: OnceLock<Vec<(&str, Option<Regex>)>> = OnceLock::new();
    let formats = FORMATS.get_or_init(|| {
        [
            (
                "iqn",
                r"iqn\.\d{4}-\d{2}\.([[:alnum:]\-.]+)(:[^,;*&$|\s]+)$",
            ),
            ("eui", "^eui.[[:alnum:]]{16}$"),
            ("naa", "^naa.[[:alnum:]]{32}$"),
        ]
        .map(|(start, format)| (start, Regex::new(format).ok()))
        .to_vec()
    });
    let format = formats.iter().find(|(start, _)| text.starts_with(start));
    let why = match format {
        None => "must be valid format starting with iqn, eui, or naa",
        Some((_, Some(format))) if !format.is_match(text) => "must be valid format",
        Some(_) => return,
    };
    errors.invalid(path.clone(), text, why);
}

fn glusterfs(source: &Value, path: &Path, errors: &mut Errors) {
    all_required(source, &["endpoints", "path"], path, errors);
}

fn flocker(source: &Value, path: &Path, errors: &mut Errors) {
    let (dataset, uuid) = (
        source.str_at(&["datasetName"]),
        source.str_at(&["datasetUUID"]),
    );
    if dataset.is_empty() && uuid.is_empty() {
        errors.required(
            path.clone(),
            "one of datasetName and datasetUUID is required",
        );
    }
    if !dataset.is_empty() && !uuid.is_empty() {
        errors.invalid(
            path.clone(),
            "resource",
            "datasetName and datasetUUID can not be specified simultaneously",
        );
    }
    if dataset.contains('/') {
        errors.invalid(path.child("datasetName"), dataset, "must not contain '/'");
    }
}

fn claim(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "claimName", path, errors);
}

fn rbd(source: &Value, path: &Path, errors: &mut Errors) {
    cephfs(source, path, errors);
    check::required(source, "image", path, errors);
}

fn cephfs(source: &Value, path: &Path, errors: &mut Errors) {
    if source.list_at(&["monitors"]).is_empty() {
        errors.required(path.child("monitors"), "");
    }
}

fn cinder(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "volumeID", path, errors);
    secret_name(source, "secretRef", path, errors);
}

fn quobyte(source: &Value, path: &Path, errors: &mut Errors) {
    const REGISTRY: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = source.str_at(&["registry"]);
    if registry.is_empty() {
        errors.required(path.child("registry"), REGISTRY);
    } else if source.str_at(&["tenant"]).len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(path.child("tenant"), why);
    } else {
        let is_pair = |pair: &&str| match pair.strip_prefix('[') {
            Some(rest) => rest.contains("]:"),
            None => pair.matches(':').count() == 1,
        };
        for _ in registry.split(',').filter(|pair| !is_pair(pair)) {
            errors.invalid(path.child("registry"), registry, REGISTRY);
        }
    }
    check::required(source, "volume", path, errors);
}

fn fibre_channel(source: &Value, path: &Path, errors: &mut Errors) {
    let names = source.list_at(&["targetWWNs"]);
    let ids = source.list_at(&["wwids"]);
    if names.is_empty() && ids.is_empty() {
        errors.required(
            path.child("targetWWNs"),
            "must specify either targetWWNs or wwids, but not both",
        );
    }
    if !names.is_empty() && !ids.is_empty() {
        errors.invalid(
            path.child("targetWWNs"),
            names.to_vec(),
            "targetWWNs and wwids can not be specified simultaneously",
        );
    }
    if names.is_empty() {
        return;
    }
    if check::given(source, "lun").is_none() {
        errors.required(
            path.child("lun"),
            "lun is required if targetWWNs is specified",
        );
    } else {
        range(source, "lun", 0, path, errors);
    }
}

fn flex(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "driver", path, errors);
    flex_options(source, path, errors);
}

/// The options of a flex volume are the driver's.
pub(in crate::apiserver::kinds::core) fn flex_options(
    source: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    for key in check::map_at(source, &["options"])
        .into_iter()
        .flat_map(|options| options.keys())
    {
        let domain = key
            .split_once('/')
            .map_or(key.as_str(), |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            errors.invalid(
                path.child("options").key(key),
                key.as_str(),
                "kubernetes.io and k8s.io namespaces are reserved",
            );
        }
    }
}

fn azure_file(source: &Value, path: &Path, errors: &mut Errors) {
    all_required(source, &["secretName", "shareName"], path, errors);
}

fn azure_disk(source: &Value, path: &Path, errors: &mut Errors) {
    all_required(source, &["diskName", "diskURI"], path, errors);
    azure_disk_kind(source, path, errors);
}

/// What kind of disk of Azure it is, and where that is.
pub(in crate::apiserver::kinds::core) fn azure_disk_kind(
    source: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    check::one_of(
        source,
        "cachingMode",
        &["None", "ReadOnly", "ReadWrite"],
        path,
        errors,
    );
    check::one_of(
        source,
        "kind",
        &["Dedicated", "Managed", "Shared"],
        path,
        errors,
    );
    let (kind, uri) = (source.str_at(&["kind"]), source.str_at(&["diskURI"]));
    let (start, form) = match kind {
        "" => return,
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        ),
    };
    if !uri.starts_with(start) {
        errors.not_supported(path.child("diskURI"), uri, &[form]);
    }
}

fn vsphere(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "volumePath", path, errors);
}

fn photon(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "pdID", path, errors);
}

fn portworx(source: &Value, path: &Path, errors: &mut Errors) {
    check::required(source, "volumeID", path, errors);
}

fn storage_os(source: &Value, path: &Path, errors: &mut Errors) {
    if check::required(source, "volumeName", path, errors) {
        let name = source.str_at(&["volumeName"]);
        check::dns_label(name, &path.child("volumeName"), errors);
    }
    let namespace = source.str_at(&["volumeNamespace"]);
    if !namespace.is_empty() {
        check::dns_label(namespace, &path.child("volumeNamespace"), errors);
    }
    secret_name(source, "secretRef", path, errors);
}

fn scale_io(source: &Value, path: &Path, errors: &mut Errors) {
    all_required(source, &["gateway", "system", "volumeName"], path, errors);
}

fn csi(source: &Value, path: &Path, errors: &mut Errors) {
    csi_driver(source.str_at(&["driver"]), &path.child("driver"), errors);
    let Some(secret) = check::given(source, "nodePublishSecretRef") else {
        return;
    };
    let at = path.child("nodePublishSecretRef");
    if check::required(secret, "name", &at, errors) {
        check::dns_subdomain(secret.str_at(&["name"]), &path.child("name"), errors);
    }
}

/// The name of a CSI driver.
fn csi_driver(driver: &str, path: &Path, errors: &mut Errors) {
    if driver.is_empty() {
        errors.required(path.clone(), "");
    }
    if driver.len() > 63 {
        errors.too_long(path.clone(), 63);
    }
    check::problems(
        driver,
        name::dns_subdomain(&driver.to_lowercase()),
        path,
        errors,
    );
}

fn ephemeral(source: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("volumeClaimTemplate");
    match check::given(source, "volumeClaimTemplate") {
        Some(template) => claim_template::validate(template, &at, errors),
        None => errors.required(at, ""),
    }
}

fn image(source: &Value, path: &Path, errors: &mut Errors) {
    check::required_one_of(
        source,
        "pullPolicy",
        &["Always", "IfNotPresent", "Never"],
        path,
        errors,
    );
}
