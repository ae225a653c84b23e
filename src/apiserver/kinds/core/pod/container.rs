//! What containers must be.

use serde_json::{Value, json};

use crate::apiserver::kinds::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, Quantity, name};

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const REFERENCES: [&str; 5] = [
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fileKeyRef",
];

/// Checks all containers of a pod; `volumes` are the names of its volumes.
pub(super) fn validate_all(spec: &Value, volumes: &[&str], path: &Path, errors: &mut Errors) {
    if spec.list_at(&["containers"]).is_empty() {
        errors.required(path.child("containers"), "");
    }
    let mut names: Vec<&str> = Vec::new();
    let mut host_ports: Vec<(i64, &str, &str)> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in spec.list_at(&[list]).iter().enumerate() {
            let at = path.child(list).index(index);
            let name = container.str_at(&["name"]);
            if name.is_empty() {
                errors.required(at.child("name"), "");
            } else {
                check::problems(name, name::dns_label(name), &at.child("name"), errors);
                if names.contains(&name) {
                    errors.duplicate(at.child("name"), name);
                }
                names.push(name);
            }
            validate(container, volumes, &at, errors);
            ports(
                container.list_at(&["ports"]),
                list == "containers",
                &mut host_ports,
                &at.child("ports"),
                errors,
            );
            let sidecar = container.str_at(&["restartPolicy"]) == "Always";
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                let Some(value) = container.get(probe).filter(|value| value.is_object()) else {
                    continue;
                };
                if list == "initContainers" && !sidecar {
                    errors.forbidden(
                        at.child(probe),
                        "may not be set for init containers without restartPolicy=Always",
                    );
                } else {
                    validate_probe(value, probe, &at.child(probe), errors);
                }
            }
            if container.at(&["lifecycle"]).is_some() && list == "initContainers" && !sidecar {
                errors.forbidden(
                    at.child("lifecycle"),
                    "may not be set for init containers without restartPolicy=Always",
                );
            }
        }
    }
}

fn validate(container: &Value, volumes: &[&str], path: &Path, errors: &mut Errors) {
    let image = container.str_at(&["image"]);
    if image.is_empty() {
        errors.required(path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(
            path.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
    check::required_one_of(container, "imagePullPolicy", &PULL_POLICIES, path, errors);
    check::required_one_of(
        container,
        "terminationMessagePolicy",
        &["FallbackToLogsOnError", "File"],
        path,
        errors,
    );
    environment(container, path, errors);
    let mut mounts: Vec<&str> = Vec::new();
    for (index, mount) in container.list_at(&["volumeMounts"]).iter().enumerate() {
        let at = || path.child("volumeMounts").index(index);
        let (volume, target) = (mount.str_at(&["name"]), mount.str_at(&["mountPath"]));
        if volume.is_empty() {
            errors.required(at().child("name"), "");
        } else if !volumes.contains(&volume) {
            errors.not_found(at().child("name"), volume);
        }
        if target.is_empty() {
            errors.required(at().child("mountPath"), "");
        }
        if mounts.contains(&target) {
            errors.invalid(at().child("mountPath"), target, "must be unique");
        }
        mounts.push(target);
    }
    resources(
        container.get("resources").unwrap_or(&Value::Null),
        &path.child("resources"),
        errors,
    );
    for hook in ["postStart", "preStop"] {
        let Some(value) = container
            .at(&["lifecycle", hook])
            .filter(|value| value.is_object())
        else {
            continue;
        };
        handler(
            value,
            &["exec", "httpGet", "tcpSocket", "sleep"],
            &path.child("lifecycle").child(hook),
            errors,
        );
    }
}

fn ports<'a>(
    ports: &'a [Value],
    exclusive: bool,
    host_ports: &mut Vec<(i64, &'a str, &'a str)>,
    path: &Path,
    errors: &mut Errors,
) {
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = || path.index(index);
        let name = port.str_at(&["name"]);
        if !name.is_empty() {
            check::problems(name, name::port(name), &at().child("name"), errors);
            if names.contains(&name) {
                errors.duplicate(at().child("name"), name);
            }
            names.push(name);
        }
        match port.i64_at(&["containerPort"]).unwrap_or(0) {
            0 => errors.required(at().child("containerPort"), ""),
            number => check::port(Some(number), &at().child("containerPort"), errors),
        }
        let host = port.i64_at(&["hostPort"]).filter(|port| *port != 0);
        check::port(host, &at().child("hostPort"), errors);
        check::required_one_of(port, "protocol", &PROTOCOLS, &at(), errors);
        if let Some(host) = host.filter(|_| exclusive) {
            let taken = (host, port.str_at(&["protocol"]), port.str_at(&["hostIP"]));
            if host_ports.contains(&taken) {
                let shown = format!("{}/{}/{}", taken.1, taken.2, host);
                errors.duplicate(at().child("hostPort"), shown);
            }
            host_ports.push(taken);
        }
    }
}

fn environment(container: &Value, path: &Path, errors: &mut Errors) {
    for (index, variable) in container.list_at(&["env"]).iter().enumerate() {
        let at = || path.child("env").index(index);
        let name = variable.str_at(&["name"]);
        if name.is_empty() {
            errors.required(at().child("name"), "");
        } else if !name
            .bytes()
            .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=')
        {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.invalid(at().child("name"), name, why);
        }
        let Some(from) = variable.get("valueFrom").filter(|from| from.is_object()) else {
            continue;
        };
        let given = REFERENCES
            .iter()
            .filter(|reference| from.get(**reference).is_some_and(Value::is_object))
            .count();
        let at = at().child("valueFrom");
        if given == 0 {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.invalid(at, "", why);
        } else if !variable.str_at(&["value"]).is_empty() {
            errors.invalid(at, "", "may not be specified when `value` is not empty");
        } else if given > 1 {
            errors.invalid(
                at,
                "",
                "may not have more than one field specified at a time",
            );
        } else {
            for reference in ["configMapKeyRef", "secretKeyRef"] {
                let Some(value) = from.get(reference).filter(|value| value.is_object()) else {
                    continue;
                };
                key_reference(value, &at.child(reference), errors);
            }
        }
    }
    for (index, source) in container.list_at(&["envFrom"]).iter().enumerate() {
        let at = path.child("envFrom");
        let given: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|kind| source.get(*kind).is_some_and(Value::is_object))
            .collect();
        match given[..] {
            [] => errors.invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"),
            [kind] => {
                let name = source.str_at(&[kind, "name"]);
                check::problems(
                    name,
                    name::dns_subdomain(name),
                    &at.index(index).child(kind).child("name"),
                    errors,
                );
            }
            _ => errors.invalid(
                at,
                "",
                "may not have more than one field specified at a time",
            ),
        }
    }
}

fn key_reference(reference: &Value, path: &Path, errors: &mut Errors) {
    let (name, key) = (reference.str_at(&["name"]), reference.str_at(&["key"]));
    check::problems(name, name::dns_subdomain(name), &path.child("name"), errors);
    if key.is_empty() {
        errors.required(path.child("key"), "");
    } else {
        check::config_key(key, &path.child("key"), errors);
    }
}

/// Requests and limits: known resources, not negative, requests within limits.
fn resources(resources: &Value, path: &Path, errors: &mut Errors) {
    let parse = |value: &Value| value.as_str().and_then(|text| Quantity::parse(text).ok());
    let mut requests_checked: Vec<(&str, &str)> = Vec::new();
    for list in ["limits", "requests"] {
        for (name, value) in check::map_at(resources, &[list]).into_iter().flatten() {
            let at = || path.child(list).key(name);
            resource_name(name, &at(), errors);
            let Some(quantity) = parse(value) else {
                continue;
            };
            let text = value.as_str().unwrap_or_default();
            if quantity.is_negative() {
                errors.invalid(at(), text, "must be greater than or equal to 0");
            }
            if name.contains('/') && !quantity.is_whole() {
                errors.invalid(at(), text, "must be an integer");
            }
            if list == "requests" {
                requests_checked.push((name, text));
            }
        }
    }
    for (name, text) in requests_checked {
        let limit = resources.at(&["limits", name]);
        let (Some(request), Some(limit_quantity)) =
            (Quantity::parse(text).ok(), limit.and_then(parse))
        else {
            if name.contains('/') && limit.is_none() {
                errors.required(
                    path.child("limits"),
                    "Limit must be set for non overcommitable resources",
                );
            }
            continue;
        };
        let shown = limit.and_then(Value::as_str).unwrap_or_default();
        if name.contains('/') && request != limit_quantity {
            errors.invalid(
                path.child("requests"),
                text,
                &format!("must be equal to {name} limit of {shown}"),
            );
        } else if request > limit_quantity {
            errors.invalid(
                path.child("requests"),
                text,
                &format!("must be less than or equal to {name} limit of {shown}"),
            );
        }
    }
}

fn resource_name(name: &str, path: &Path, errors: &mut Errors) {
    let problems = name::qualified(name);
    if !problems.is_empty() {
        check::problems(name, problems, path, errors);
        return;
    }
    let standard =
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        errors.invalid(
            path.clone(),
            name,
            "must be a standard resource for containers",
        );
        errors.invalid(
            path.clone(),
            name,
            "must be a standard resource type or fully qualified",
        );
    }
}

fn validate_probe(probe: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    handler(probe, &HANDLERS, path, errors);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        check::not_negative(probe, field, path, errors);
    }
    if kind == "readinessProbe" {
        if let Some(seconds) = probe.i64_at(&["terminationGracePeriodSeconds"]) {
            errors.invalid(
                path.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            );
        }
    } else {
        if let Some(threshold) = probe
            .i64_at(&["successThreshold"])
            .filter(|threshold| *threshold != 1 && *threshold >= 0)
        {
            errors.invalid(path.child("successThreshold"), threshold, "must be 1");
        }
        if let Some(seconds) = probe
            .i64_at(&["terminationGracePeriodSeconds"])
            .filter(|seconds| *seconds <= 0)
        {
            errors.invalid(
                path.child("terminationGracePeriodSeconds"),
                seconds,
                "must be greater than 0",
            );
        }
    }
}

/// Exactly one handler, and that one whole.
fn handler(holder: &Value, kinds: &[&str], path: &Path, errors: &mut Errors) {
    let given: Vec<&str> = kinds
        .iter()
        .copied()
        .filter(|kind| holder.get(*kind).is_some_and(Value::is_object))
        .collect();
    let Some(first) = given.first() else {
        errors.required(path.clone(), "must specify a handler type");
        return;
    };
    for extra in &given[1..] {
        errors.forbidden(
            path.child(extra),
            "may not specify more than 1 handler type",
        );
    }
    let (value, at) = (&holder[*first], path.child(first));
    match *first {
        "exec" if value.list_at(&["command"]).is_empty() => {
            errors.required(at.child("command"), "");
        }
        "httpGet" => {
            if value.str_at(&["path"]).is_empty() {
                errors.required(at.child("path"), "");
            }
            port_or_name(value, &at, errors);
            check::one_of(value, "scheme", &["HTTP", "HTTPS"], &at, errors);
        }
        "tcpSocket" => port_or_name(value, &at, errors),
        "grpc" => check::port(
            Some(value.i64_at(&["port"]).unwrap_or(0)),
            &at.child("port"),
            errors,
        ),
        _ => {}
    }
}

fn port_or_name(value: &Value, path: &Path, errors: &mut Errors) {
    match value.get("port") {
        Some(Value::String(name)) => {
            check::problems(name, name::port(name), &path.child("port"), errors);
        }
        Some(number) => check::port(number.as_i64(), &path.child("port"), errors),
        None => errors.invalid(
            path.child("port"),
            json!(0),
            "must be between 1 and 65535, inclusive",
        ),
    }
}
