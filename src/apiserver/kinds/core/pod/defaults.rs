//! What is filled in where a pod's spec says nothing.

use serde_json::{Value, json};

use super::CONTAINER_LISTS;
use crate::object::{Document, Quantity};

/// The defaults of a pod's spec, in a pod or in a template.
pub(in crate::apiserver::kinds) fn default_spec(spec: &mut Value) {
    spec.default_at(&["dnsPolicy"], "ClusterFirst");
    spec.default_at(&["restartPolicy"], "Always");
    spec.default_at(&["securityContext"], json!({}));
    spec.default_at(&["terminationGracePeriodSeconds"], 30);
    spec.default_at(&["schedulerName"], "default-scheduler");
    let host_network = spec.bool_at(&["hostNetwork"]) == Some(true);
    for list in CONTAINER_LISTS {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            default_container(container, list == "ephemeralContainers", host_network);
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

fn default_container(container: &mut Value, ephemeral: bool, host_network: bool) {
    let image = container.str_at(&["image"]);
    // An image without a tag, or tagged `latest`, may change under its name.
    let name = image.rsplit('/').next().unwrap_or_default();
    let floats = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    let policy = if floats { "Always" } else { "IfNotPresent" };
    container.default_at(&["imagePullPolicy"], policy);
    container.default_at(&["terminationMessagePath"], "/dev/termination-log");
    container.default_at(&["terminationMessagePolicy"], "File");
    if !ephemeral {
        container.default_at(&["resources"], json!({}));
    }
    for port in container
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        port.default_at(&["protocol"], "TCP");
        if host_network {
            let number = port.get("containerPort").cloned().unwrap_or(Value::Null);
            port.default_at(&["hostPort"], number);
        }
    }
    for variable in container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if variable.at(&["valueFrom", "fieldRef"]).is_some() {
            variable.default_at(&["valueFrom", "fieldRef", "apiVersion"], "v1");
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
    for list in ["limits", "requests"] {
        for (_, quantity) in container
            .at_mut(&["resources", list])
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            let rounded = quantity
                .as_str()
                .and_then(|text| Quantity::parse(text).ok())
                .filter(|parsed| parsed.round_to_milli() != *parsed);
            if let Some(rounded) = rounded {
                *quantity = rounded.round_to_milli().to_string().into();
            }
        }
    }
}

fn default_probe(probe: &mut Value) {
    probe.default_at(&["timeoutSeconds"], 1);
    probe.default_at(&["periodSeconds"], 10);
    probe.default_at(&["successThreshold"], 1);
    probe.default_at(&["failureThreshold"], 3);
    if let Some(get) = probe.get_mut("httpGet").filter(|get| get.is_object()) {
        default_http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc").filter(|grpc| grpc.is_object()) {
        grpc.default_at(&["service"], "");
    }
}

fn default_http_get(get: &mut Value) {
    if get.str_at(&["path"]).is_empty() {
        get["path"] = "/".into();
    }
    get.default_at(&["scheme"], "HTTP");
}

fn default_volume(volume: &mut Value) {
    let mode = |volume: &mut Value, kind: &str| {
        if volume.get(kind).is_some_and(Value::is_object) {
            volume.default_at(&[kind, "defaultMode"], 0o644);
        }
    };
    for kind in ["secret", "configMap", "downwardAPI", "projected"] {
        mode(volume, kind);
    }
    if volume.get("hostPath").is_some_and(Value::is_object) {
        volume.default_at(&["hostPath", "type"], "");
    }
    for source in volume
        .at_mut(&["projected", "sources"])
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if source
            .get("serviceAccountToken")
            .is_some_and(Value::is_object)
        {
            source.default_at(&["serviceAccountToken", "expirationSeconds"], 3600);
        }
        default_field_refs(source);
    }
    default_field_refs(volume);
    let sources = volume.as_object().map_or(0, |volume| {
        volume
            .iter()
            .filter(|(key, value)| *key != "name" && !value.is_null())
            .count()
    });
    if sources == 0 {
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
            item.default_at(&["fieldRef", "apiVersion"], "v1");
        }
        if item.get("resourceFieldRef").is_some_and(Value::is_object) {
            item.default_at(&["resourceFieldRef", "divisor"], "0");
        }
    }
}

/// A limit without a request is the request too. Only in pods: a template keeps what was written.
pub(super) fn default_requests(spec: &mut Value) {
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
