//! What is filled in where a pod's spec says nothing.

use serde_json::{Value, json};

use super::{CONTAINER_LISTS, totals};
use crate::object::{Document, Quantity};

/// The defaults of a pod's spec, in a pod or in a template.
pub(in crate::apiserver::kinds) fn default_spec(spec: &mut Value) {
    default_text(spec, &["dnsPolicy"], "ClusterFirst");
    default_text(spec, &["restartPolicy"], "Always");
    spec.default_at(&["securityContext"], json!({}));
    spec.default_at(&["terminationGracePeriodSeconds"], 30);
    default_text(spec, &["schedulerName"], "default-scheduler");
    round_amounts(spec, "overhead");
    if let Some(resources) = spec.get_mut("resources").filter(|own| own.is_object()) {
        round_amounts(resources, "limits");
        round_amounts(resources, "requests");
    }
    for list in CONTAINER_LISTS {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            default_container(container, list == "ephemeralContainers");
        }
    }
    for volume in spec
        .get_mut("volumes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        default_volume(volume);
    }
    // The two names of one field.
    let account = spec.str_at(&["serviceAccountName"]).to_owned();
    let deprecated = spec.str_at(&["serviceAccount"]).to_owned();
    let account = if account.is_empty() {
        deprecated
    } else {
        account
    };
    if !account.is_empty() {
        spec["serviceAccountName"] = account.as_str().into();
        spec["serviceAccount"] = account.into();
    }
}

/// How an image is pulled when nobody says: one without a tag, or tagged `latest`, may change under its name.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let (name, digest) = match name.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (name, None),
    };
    let tag = name.split_once(':').map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) => "Always",
        // What cannot be parsed has no tag for the real server, not even the implied one.
        (None, None) if is_reference(image) => "Always",
        _ => "IfNotPresent",
    }
}

/// Whether it looks like a reference to an image.
fn is_reference(image: &str) -> bool {
    let part = |part: &str| {
        let ends = part.bytes().next().zip(part.bytes().last());
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        ends.is_some_and(|(first, last)| word(first) && word(last))
            && part
                .bytes()
                .all(|byte| word(byte) || matches!(byte, b'.' | b'_' | b'-'))
    };
    let (host, path) = match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            (Some(host), path)
        }
        _ => (None, image),
    };
    let host_fits = host.is_none_or(|host| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b':' | b'-'))
    });
    host_fits && path.split('/').all(part)
}

fn default_container(container: &mut Value, ephemeral: bool) {
    let policy = pull_policy(container.str_at(&["image"]));
    default_text(container, &["imagePullPolicy"], policy);
    default_text(
        container,
        &["terminationMessagePath"],
        "/dev/termination-log",
    );
    default_text(container, &["terminationMessagePolicy"], "File");
    if !ephemeral {
        container.default_at(&["resources"], json!({}));
    }
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        default_text(port, &["protocol"], "TCP");
    }
    for variable in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if variable.at(&["valueFrom", "fieldRef"]).is_some() {
            default_text(variable, &["valueFrom", "fieldRef", "apiVersion"], "v1");
        }
        if variable.at(&["valueFrom", "resourceFieldRef"]).is_some() {
            variable.default_at(&["valueFrom", "resourceFieldRef", "divisor"], "0");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = container
            .at_mut(&["lifecycle", hook, "httpGet"])
            .filter(|get| get.is_object())
        {
            default_http_get(get);
        }
    }
    if let Some(resources) = container.get_mut("resources") {
        round_amounts(resources, "limits");
        round_amounts(resources, "requests");
    }
}

/// Sets a text where there is none, or an empty one.
fn default_text(object: &mut Value, path: &[&str], text: &str) {
    if object.str_at(path).is_empty() {
        object.set_at(path, text);
    }
}

/// Sets a number where there is none, or zero.
fn default_number(object: &mut Value, field: &str, number: i64) {
    if object.i64_at(&[field]).unwrap_or(0) == 0 {
        object.set_at(&[field], number);
    }
}

/// Amounts are kept in thousandths.
fn round_amounts(holder: &mut Value, list: &str) {
    let amounts = holder.get_mut(list).and_then(Value::as_object_mut);
    for (_, quantity) in amounts.into_iter().flatten() {
        let rounded = quantity
            .as_str()
            .and_then(|text| Quantity::parse(text).ok())
            .filter(|parsed| parsed.round_to_milli() != *parsed);
        if let Some(rounded) = rounded {
            *quantity = rounded.round_to_milli().to_string().into();
        }
    }
}

fn default_probe(probe: &mut Value) {
    default_number(probe, "timeoutSeconds", 1);
    default_number(probe, "periodSeconds", 10);
    default_number(probe, "successThreshold", 1);
    default_number(probe, "failureThreshold", 3);
    if let Some(get) = probe.get_mut("httpGet").filter(|get| get.is_object()) {
        default_http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc").filter(|grpc| grpc.is_object()) {
        grpc.default_at(&["service"], "");
    }
}

fn default_http_get(get: &mut Value) {
    default_text(get, &["path"], "/");
    default_text(get, &["scheme"], "HTTP");
}

/// Defaults of single sources, where they are given: the field and what is there otherwise.
const SOURCE_TEXTS: [(&str, &str, &str); 9] = [
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "kind", "Shared"),
    ("azureDisk", "fsType", "ext4"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
];

fn default_volume(volume: &mut Value) {
    let has = |volume: &Value, kind: &str| volume.get(kind).is_some_and(Value::is_object);
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        if has(volume, kind) {
            volume.default_at(&[kind, "defaultMode"], 0o644);
        }
    }
    for (kind, field, text) in SOURCE_TEXTS {
        if has(volume, kind) {
            // Of a disk of Azure the fields are pointers: an empty text stays.
            if kind == "azureDisk" {
                volume.default_at(&[kind, field], text);
            } else {
                default_text(volume, &[kind, field], text);
            }
        }
    }
    if has(volume, "azureDisk") {
        volume.default_at(&["azureDisk", "readOnly"], false);
    }
    if has(volume, "hostPath") {
        volume.default_at(&["hostPath", "type"], "");
    }
    if has(volume, "image") {
        let policy = pull_policy(volume.str_at(&["image", "reference"]));
        default_text(volume, &["image", "pullPolicy"], policy);
    }
    if let Some(claim) = volume
        .at_mut(&["ephemeral", "volumeClaimTemplate", "spec"])
        .filter(|claim| claim.is_object())
    {
        claim.default_at(&["volumeMode"], "Filesystem");
    }
    for source in volume
        .at_mut(&["projected", "sources"])
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if has(source, "serviceAccountToken") {
            source.default_at(&["serviceAccountToken", "expirationSeconds"], 3600);
        }
        default_field_refs(source);
    }
    default_field_refs(volume);
    let has_source = volume.as_object().is_some_and(|volume| {
        volume
            .iter()
            .any(|(key, value)| key != "name" && !value.is_null())
    });
    if !has_source {
        volume["emptyDir"] = json!({});
    }
}

fn default_field_refs(holder: &mut Value) {
    for item in holder
        .at_mut(&["downwardAPI", "items"])
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if item.get("fieldRef").is_some_and(Value::is_object) {
            default_text(item, &["fieldRef", "apiVersion"], "v1");
        }
        if item.get("resourceFieldRef").is_some_and(Value::is_object) {
            item.default_at(&["resourceFieldRef", "divisor"], "0");
        }
    }
}

/// What is filled in for pods but not for templates, which keep what was written.
pub(super) fn default_pod(spec: &mut Value) {
    // A grace below zero has always meant one second; in a template it stays, and clients are warned of it.
    if spec
        .i64_at(&["terminationGracePeriodSeconds"])
        .is_some_and(|grace| grace < 0)
    {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
    default_requests(spec);
    if spec.get("resources").is_some_and(Value::is_object) {
        default_own_resources(spec);
    }
    spec.default_at(&["enableServiceLinks"], true);
    if spec.bool_at(&["hostNetwork"]) == Some(true) {
        host_ports(spec);
    }
}

/// On the host's network the ports of containers are those of the host.
fn host_ports(spec: &mut Value) {
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let ports = container.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                let number = port.i64_at(&["containerPort"]).unwrap_or(0);
                if number != 0 {
                    default_number(port, "hostPort", number);
                }
            }
        }
    }
}

/// The resources of a pod as a whole follow from its containers where it says only half.
fn default_own_resources(spec: &mut Value) {
    let given = |spec: &Value, list: &str| {
        let amounts = spec.at(&["resources", list]).and_then(Value::as_object);
        amounts.is_some_and(|amounts| !amounts.is_empty())
    };
    if given(spec, "limits") || given(spec, "requests") {
        for (name, amount) in totals::limits(spec) {
            let requested = spec.at(&["resources", "requests", &name]).is_some();
            if super::resources::is_huge_page(&name) && !requested {
                spec.default_at(&["resources", "limits", &name], amount.to_string());
            }
        }
    }
    if given(spec, "limits") {
        for (name, amount) in totals::requests(spec) {
            if super::resources::is_for_pods(&name) && super::resources::may_overcommit(&name) {
                spec.default_at(&["resources", "requests", &name], amount.to_string());
            }
        }
        let limits = spec.at(&["resources", "limits"]).and_then(Value::as_object);
        for (name, limit) in limits.cloned().into_iter().flatten() {
            if super::resources::is_for_pods(&name) {
                spec.default_at(&["resources", "requests", &name], limit);
            }
        }
    } else if given(spec, "requests") {
        for (name, amount) in totals::implied_limits(spec) {
            spec.default_at(&["resources", "limits", &name], amount.to_string());
        }
    }
}

/// A limit without a request is the request too.
fn default_requests(spec: &mut Value) {
    for list in ["initContainers", "containers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(limits) = container
                .at(&["resources", "limits"])
                .and_then(Value::as_object)
                .cloned()
            else {
                continue;
            };
            for (name, limit) in limits {
                container.default_at(&["resources", "requests", &name], limit);
            }
        }
    }
}
