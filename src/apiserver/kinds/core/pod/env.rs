//! The environment of a container.

use serde_json::Value;

use crate::apiserver::kinds::{check, names};
use crate::object::field::{Errors, Path};
use crate::object::{Document, Quantity, name};

/// Fields of the pod that a variable may hold, besides single labels and annotations.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of the pod that a file may hold, besides single labels and annotations.
const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// Fields of the pod that the downward API knows at all.
const KNOWN_FIELDS: [&str; 15] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "spec.host",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The variables.
pub(super) fn variables(variables: &[Value], path: &Path, errors: &mut Errors) {
    for (index, variable) in variables.iter().enumerate() {
        let at = || path.index(index);
        let name = variable.str_at(&["name"]);
        if name.is_empty() {
            errors.required(at().child("name"), "");
        } else {
            let problems = name::environment_variable(name);
            check::problems(name, problems, &at().child("name"), errors);
        }
        if let Some(from) = check::given(variable, "valueFrom") {
            let has_value = !variable.str_at(&["value"]).is_empty();
            value_from(from, has_value, &at().child("valueFrom"), errors);
        }
    }
}

fn value_from(from: &Value, has_value: bool, path: &Path, errors: &mut Errors) {
    type Check = fn(&Value, &Path, &mut Errors);
    const SOURCES: [(&str, Check); 5] = [
        ("fieldRef", field_of_variable),
        ("resourceFieldRef", resource_of_variable),
        ("configMapKeyRef", key_of_object),
        ("secretKeyRef", key_of_object),
        ("fileKeyRef", key_of_file),
    ];
    let mut sources = 0;
    for (field, check) in SOURCES {
        if let Some(source) = check::given(from, field) {
            sources += 1;
            check(source, &path.child(field), errors);
        }
    }
    let why = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if has_value => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.invalid(path.clone(), "", why);
}

fn field_of_variable(source: &Value, path: &Path, errors: &mut Errors) {
    pod_field(source, &ENV_FIELDS, path, errors);
}

fn resource_of_variable(source: &Value, path: &Path, errors: &mut Errors) {
    container_resource(source, false, path, errors);
}

/// A field of the pod, in a file of a volume.
pub(super) fn field_of_file(source: &Value, path: &Path, errors: &mut Errors) {
    pod_field(source, &FILE_FIELDS, path, errors);
}

fn pod_field(source: &Value, allowed: &[&str], path: &Path, errors: &mut Errors) {
    if !check::required(source, "apiVersion", path, errors)
        || !check::required(source, "fieldPath", path, errors)
    {
        return;
    }
    let (version, field) = (
        source.str_at(&["apiVersion"]),
        source.str_at(&["fieldPath"]),
    );
    let at = || path.child("fieldPath");
    let unknown = |errors: &mut Errors, why: &str| {
        let why = format!("error converting fieldPath: {why}");
        errors.invalid(at(), field, &why);
    };
    if version != "v1" {
        return unknown(errors, &format!("unsupported pod version: {version}"));
    }
    let subscripted = field
        .strip_suffix("']")
        .and_then(|start| start.split_once("['"))
        .filter(|(start, _)| !start.is_empty());
    match subscripted {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            check::problems(&key, name::qualified(&key), path, errors);
        }
        Some(("metadata.labels", key)) => {
            check::problems(key, name::qualified(key), path, errors);
        }
        Some(_) => unknown(
            errors,
            &format!("field label does not support subscript: {field}"),
        ),
        None if !KNOWN_FIELDS.contains(&field) => {
            unknown(errors, &format!("field label not supported: {field}"));
        }
        None => {
            let field = if field == "spec.host" {
                "spec.nodeName"
            } else {
                field
            };
            if !allowed.contains(&field) {
                errors.not_supported(at(), field, allowed);
            }
        }
    }
}

/// A request or limit of a container.
pub(super) fn container_resource(source: &Value, in_file: bool, path: &Path, errors: &mut Errors) {
    let resource = source.str_at(&["resource"]);
    let is_huge = |name: &str| {
        name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-")
    };
    if in_file && source.str_at(&["containerName"]).is_empty() {
        errors.required(path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !is_huge(resource) {
        errors.not_supported(path.child("resource"), resource, &RESOURCES);
    }
    let divisor = source
        .get("divisor")
        .and_then(super::resources::quantity)
        .filter(|divisor| !divisor.is_zero());
    let Some(divisor) = divisor else { return };
    let what = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => "cpu",
        Some("memory") => "memory",
        Some("ephemeral-storage") => "local ephemeral storage",
        Some(name) if name.starts_with("hugepages-") => "hugepages",
        _ => return,
    };
    let at = || path.child("divisor");
    if what == "cpu" {
        if !matches!(divisor.to_string().as_str(), "1m" | "1") {
            let why = "only divisor's values 1m and 1 are supported with the cpu resource";
            errors.invalid(at(), resource, why);
        }
    } else if !is_byte_unit(divisor) {
        let why = format!(
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the {what} resource"
        );
        errors.invalid(at(), resource, &why);
    }
}

fn is_byte_unit(divisor: Quantity) -> bool {
    let text = divisor.to_string();
    text.strip_prefix('1').is_some_and(|unit| {
        let units = [
            "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
        ];
        units.contains(&unit)
    })
}

fn key_of_object(source: &Value, path: &Path, errors: &mut Errors) {
    let key = source.str_at(&["key"]);
    check::dns_subdomain(source.str_at(&["name"]), &path.child("name"), errors);
    if check::required(source, "key", path, errors) {
        check::config_key(key, &path.child("key"), errors);
    }
}

fn key_of_file(source: &Value, path: &Path, errors: &mut Errors) {
    let (key, file) = (source.str_at(&["key"]), source.str_at(&["path"]));
    if check::required(source, "key", path, errors) {
        let problems = name::environment_variable(key);
        check::problems(key, problems, &path.child("key"), errors);
    }
    if check::required(source, "volumeName", path, errors) {
        let volume = source.str_at(&["volumeName"]);
        check::dns_label(volume, &path.child("volumeName"), errors);
    }
    if check::required(source, "path", path, errors) {
        check::no_backsteps(file, &path.child("path"), errors);
    }
}

/// The files that hold variables are in volumes that are empty at first.
pub(super) fn files(spec: &Value, path: &Path, errors: &mut Errors) {
    let volumes = spec.list_at(&["volumes"]);
    super::each_container(spec, path, &mut |container, at| {
        for (index, variable) in container.list_at(&["env"]).iter().enumerate() {
            let Some(source) = variable.at(&["valueFrom", "fileKeyRef"]) else {
                continue;
            };
            let name = source.str_at(&["volumeName"]);
            let at = at.child("env").index(index).child("valueFrom");
            let at = at.child("fileKeyRef").child("volumeName");
            let volume = volumes
                .iter()
                .rev()
                .find(|volume| volume.str_at(&["name"]) == name);
            match volume {
                None => errors.not_found(at, name),
                Some(volume) if check::given(volume, "emptyDir").is_none() => {
                    let why = "referenced volume must be of type emptyDir";
                    errors.invalid(at, name, why);
                }
                Some(_) => {}
            }
        }
    });
}

/// The config maps and secrets whose keys all become variables.
pub(super) fn sources(sources: &[Value], path: &Path, errors: &mut Errors) {
    for (index, source) in sources.iter().enumerate() {
        let at = || path.index(index);
        let prefix = source.str_at(&["prefix"]);
        if !prefix.is_empty() {
            let problems = name::environment_variable(prefix);
            check::problems(prefix, problems, &at().child("prefix"), errors);
        }
        let mut given = 0;
        for kind in ["configMapRef", "secretRef"] {
            let Some(reference) = check::given(source, kind) else {
                continue;
            };
            given += 1;
            let name = reference.str_at(&["name"]);
            if check::required(reference, "name", &at().child(kind), errors) {
                let problems = names::dns_subdomain(name, true);
                check::problems(name, problems, &at().child(kind).child("name"), errors);
            }
        }
        let why = match given {
            0 => "must specify one of: `configMapRef` or `secretRef`",
            1 => continue,
            _ => "may not have more than one field specified at a time",
        };
        errors.invalid(path.clone(), "", why);
    }
}
