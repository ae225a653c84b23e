//! The containers of a pod: regular ones, those that run before, and those that are put in to look around.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Scope, env, handler, mount, resources, security};
use crate::apiserver::kinds::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

/// What a container cannot have that is put into a running pod.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Rules and exit codes of rules are limited.
const MOST_RULES: usize = 20;
const MOST_EXIT_CODES: usize = 255;

/// Checks all containers.
pub(super) fn validate_all(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    regular(scope, &path.child("containers"), errors);
    let list = |field: &str| !scope.spec.list_at(&[field]).is_empty();
    if list("initContainers") {
        initial(scope, &path.child("initContainers"), errors);
    }
    if list("ephemeralContainers") {
        ephemeral(scope, &path.child("ephemeralContainers"), errors);
    }
}

fn regular(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let containers = scope.spec.list_at(&["containers"]);
    if containers.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    let mut names = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = path.index(index);
        common(container, scope, &at, errors);
        let name = container.str_at(&["name"]);
        if !names.insert(name) {
            errors.duplicate(at.child("name"), name);
        }
        handler::of_container(container, scope.grace, &at, errors);
        restart_rules(container, &at, errors);
    }
    host_ports(containers, path, errors);
}

fn initial(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let mut names: BTreeSet<&str> = scope.names("containers").collect();
    for (index, container) in scope.spec.list_at(&["initContainers"]).iter().enumerate() {
        let at = path.index(index);
        common(container, scope, &at, errors);
        restart_rules(container, &at, errors);
        let name = container.str_at(&["name"]);
        if !names.insert(name) && !name.is_empty() {
            errors.duplicate(at.child("name"), name);
        }
        // They run one after the other, so each has the ports for itself.
        host_ports(std::slice::from_ref(container), path, errors);
        if container.str_at(&["restartPolicy"]) == "Always" {
            handler::of_container(container, scope.grace, &at, errors);
        } else {
            handler::none(container, &at, errors);
            not_restarted(container, &at.child("resizePolicy"), errors);
        }
    }
}

/// A container that ends before others start is not restarted for other resources.
fn not_restarted(container: &Value, path: &Path, errors: &mut Errors) {
    let policies = container.list_at(&["resizePolicy"]);
    for (index, policy) in policies.iter().enumerate() {
        let policy = policy.str_at(&["restartPolicy"]);
        if policy == "RestartContainer" {
            let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            errors.invalid(path.index(index).child("restartPolicy"), policy, why);
        }
    }
}

fn ephemeral(scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    let others: BTreeSet<&str> = scope
        .names("containers")
        .chain(scope.names("initContainers"))
        .collect();
    let mut names = others.clone();
    let containers = scope.spec.list_at(&["ephemeralContainers"]);
    for (index, container) in containers.iter().enumerate() {
        let at = path.index(index);
        common(container, scope, &at, errors);
        image_of_pod(container, &at, errors);
        let name = container.str_at(&["name"]);
        if !names.insert(name) {
            errors.duplicate(at.child("name"), name);
        }
        let target = container.str_at(&["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(at.child("targetContainerName"), target);
        }
        let why = "cannot be set for an Ephemeral Container";
        for field in NOT_EPHEMERAL {
            let set = match check::given(container, field) {
                Some(Value::Object(map)) if field == "resources" => !map.is_empty(),
                other => other.is_some(),
            };
            if set {
                errors.forbidden(at.child(field), why);
            }
        }
        for (index, mount) in container.list_at(&["volumeMounts"]).iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.str_at(&[field]).is_empty() {
                    let at = at.child("volumeMounts").index(index);
                    errors.forbidden(at.child(field), why);
                }
            }
        }
    }
}

/// What all containers have in common.
fn common(container: &Value, scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    if check::required(container, "name", path, errors) {
        check::dns_label(container.str_at(&["name"]), &path.child("name"), errors);
    }
    check::required(container, "image", path, errors);
    check::required_one_of(
        container,
        "terminationMessagePolicy",
        &["File", "FallbackToLogsOnError"],
        path,
        errors,
    );
    let list = |field: &str| {
        let list = container.list_at(&[field]);
        (!list.is_empty()).then_some(list)
    };
    if let Some(list) = list("ports") {
        ports(list, &path.child("ports"), errors);
    }
    if let Some(list) = list("env") {
        env::variables(list, &path.child("env"), errors);
    }
    if let Some(list) = list("envFrom") {
        env::sources(list, &path.child("envFrom"), errors);
    }
    mount::validate(container, scope, path, errors);
    check::required_one_of(
        container,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        path,
        errors,
    );
    if let Some(own) = check::given(container, "resources") {
        resources::of_container(own, scope, &path.child("resources"), errors);
    }
    if let Some(list) = list("resizePolicy") {
        let restarts = scope.spec.str_at(&["restartPolicy"]);
        resources::resize_policies(list, restarts, &path.child("resizePolicy"), errors);
    }
    if let Some(context) = check::given(container, "securityContext") {
        let at = path.child("securityContext");
        security::of_container(context, scope.host_users, &at, errors);
    }
}

/// In a pod, though not in a template, an image has no space around it.
pub(super) fn image_of_pod(container: &Value, path: &Path, errors: &mut Errors) {
    let image = container.str_at(&["image"]);
    if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.invalid(path.child("image"), image, why);
    }
}

fn ports(ports: &[Value], path: &Path, errors: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = || path.index(index);
        let name = port.str_at(&["name"]);
        if !name.is_empty() {
            let problems = name::port(name);
            if !problems.is_empty() {
                check::problems(name, problems, &at().child("name"), errors);
            } else if names.contains(&name) {
                errors.duplicate(at().child("name"), name);
            } else {
                names.push(name);
            }
        }
        match port.i64_at(&["containerPort"]).unwrap_or(0) {
            0 => errors.required(at().child("containerPort"), ""),
            number => check::port(Some(number), &at().child("containerPort"), errors),
        }
        let host = port.i64_at(&["hostPort"]).filter(|port| *port != 0);
        check::port(host, &at().child("hostPort"), errors);
        let protocols = ["SCTP", "TCP", "UDP"];
        check::required_one_of(port, "protocol", &protocols, &at(), errors);
    }
}

/// No two containers that run at the same time take the same port of the host.
fn host_ports(containers: &[Value], path: &Path, errors: &mut Errors) {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (number, port) in container.list_at(&["ports"]).iter().enumerate() {
            let host = port.i64_at(&["hostPort"]).unwrap_or(0);
            if host == 0 {
                continue;
            }
            let (protocol, ip) = (port.str_at(&["protocol"]), port.str_at(&["hostIP"]));
            let port = format!("{protocol}/{ip}/{host}");
            if taken.contains(&port) {
                let at = path.index(index).child("ports").index(number);
                errors.duplicate(at.child("hostPort"), port);
            } else {
                taken.insert(port);
            }
        }
    }
}

/// When a container restarts, where it differs from its pod.
fn restart_rules(container: &Value, path: &Path, errors: &mut Errors) {
    let rules = container.list_at(&["restartPolicyRules"]);
    match check::given(container, "restartPolicy") {
        None if !rules.is_empty() => errors.required(
            path.child("restartPolicy"),
            "must specify restartPolicy when restart rules are used",
        ),
        None => {}
        Some(policy) => {
            let policies = ["Always", "Never", "OnFailure"];
            if !policies.iter().any(|known| policy == known) {
                errors.not_supported(path.child("restartPolicy"), policy.clone(), &policies);
            }
        }
    }
    if rules.len() > MOST_RULES {
        let at = path.child("restartPolicyRules");
        errors.too_many(at, rules.len(), MOST_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = path.child("restartPolicyRules").index(index);
        let actions = ["Restart", "RestartAllContainers"];
        let action = rule.str_at(&["action"]);
        if !actions.contains(&action) {
            errors.not_supported(at.child("action"), action, &actions);
        }
        let Some(codes) = check::given(rule, "exitCodes") else {
            errors.required(at.child("exitCodes"), "must be specified");
            continue;
        };
        let operators = ["In", "NotIn"];
        let operator = codes.str_at(&["operator"]);
        if !operators.contains(&operator) {
            let at = at.child("exitCodes").child("operator");
            errors.not_supported(at, operator, &operators);
        }
        let values = codes.list_at(&["values"]).len();
        if values > MOST_EXIT_CODES {
            let at = at.child("exitCodes").child("values");
            errors.too_many(at, values, MOST_EXIT_CODES);
        }
    }
}
