//! Requests and limits: of containers, of pods as a whole, and the overhead of a runtime.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Scope;
use crate::apiserver::kinds::check;
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, Quantity, name};

/// Resources that are counted in wholes.
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources that are no counts and need no domain.
const STANDARD: [&str; 11] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "storage",
    "requests.storage",
];

/// Whose resources they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Container,
    Pod,
}

pub(super) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether the name belongs to Kubernetes.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && name::qualified(&format!("requests.{name}")).is_empty()
}

/// Whether more may be promised of it than there is.
pub(super) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Whether it can be given to a pod as a whole.
pub(super) fn is_for_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// The resources of a container.
pub(super) fn of_container(resources: &Value, scope: &Scope<'_>, path: &Path, errors: &mut Errors) {
    requirements(resources, Holder::Container, path, errors);
    claims(
        resources.list_at(&["claims"]),
        &scope.claims,
        &path.child("claims"),
        errors,
    );
}

/// What a runtime needs beside the containers: checked as if it were limits.
pub(in crate::apiserver::kinds) fn overhead(overhead: &Value, path: &Path, errors: &mut Errors) {
    let limits = serde_json::json!({ "limits": overhead });
    requirements(&limits, Holder::Container, path, errors);
}

/// The resources of a pod as a whole.
pub(super) fn of_pod(spec: &Value, resources: &Value, path: &Path, errors: &mut Errors) {
    if spec.str_at(&["os", "name"]) == "windows" {
        errors.forbidden(path.clone(), "may not be set for a windows pod");
        return;
    }
    if check::given(resources, "claims").is_some() {
        errors.forbidden(
            path.child("claims"),
            "claims may not be set for Resources at pod-level",
        );
    }
    requirements(resources, Holder::Pod, path, errors);
    let requests = super::totals::requests(spec);
    covers(resources, "requests", requests, path, errors);
    // Nobody may promise more huge pages than there are, so their limits add up as well.
    let mut limits = super::totals::limits(spec);
    limits.retain(|name, _| is_huge_page(name));
    covers(resources, "limits", limits, path, errors);
    for (index, container) in spec.list_at(&["containers"]).iter().enumerate() {
        let limits = check::map_at(container, &["resources", "limits"]);
        for (name, limit) in limits.into_iter().flatten() {
            let whole = resources.at(&["limits", name]).and_then(quantity);
            let (Some(limit), Some(whole)) = (quantity(limit), whole) else {
                continue;
            };
            if limit > whole {
                errors.invalid(
                    path.child("containers")
                        .index(index)
                        .key(name)
                        .child("limits"),
                    limit.to_string(),
                    &format!("must be less than or equal to pod limits of {whole}"),
                );
            }
        }
    }
}

/// What the pod has as a whole is enough for what its containers have together.
fn covers(
    resources: &Value,
    list: &str,
    sums: super::totals::Amounts,
    path: &Path,
    errors: &mut Errors,
) {
    for (name, sum) in sums {
        let own = resources.at(&[list, &name]).and_then(quantity);
        if let Some(own) = own.filter(|own| sum > *own) {
            errors.invalid(
                path.child(list).key(&name),
                own.to_string(),
                &format!("must be greater than or equal to aggregate container {list} of {sum}"),
            );
        }
    }
}

fn requirements(resources: &Value, holder: Holder, path: &Path, errors: &mut Errors) {
    let (mut has_huge_pages, mut has_compute) = (false, false);
    for list in ["limits", "requests"] {
        for (name, value) in check::map_at(resources, &[list]).into_iter().flatten() {
            let at = || path.child(list).key(name);
            match holder {
                Holder::Container => container_resource(name, &at(), errors),
                Holder::Pod => pod_resource(name, &at(), errors),
            }
            let Some(amount) = quantity(value) else {
                continue;
            };
            amount_of(name, amount, &at(), errors);
            if list == "requests" {
                within_limit(resources, name, amount, path, errors);
            }
            if is_huge_page(name) {
                has_huge_pages = true;
                if !is_multiple_of_page(name, amount) {
                    let why = format!("{amount} is not positive integer multiple of {name}");
                    errors.invalid(at(), amount.to_string(), &why);
                }
            }
            has_compute |= matches!(name.as_str(), "cpu" | "memory");
        }
    }
    if has_huge_pages && !has_compute {
        errors.forbidden(path.clone(), "HugePages require cpu or memory");
    }
}

/// An amount of a resource: not negative, and whole where it is counted.
fn amount_of(name: &str, amount: Quantity, path: &Path, errors: &mut Errors) {
    if amount.is_negative() {
        errors.invalid(
            path.clone(),
            amount.to_string(),
            "must be greater than or equal to 0",
        );
    }
    if (COUNTS.contains(&name) || is_extended(name)) && !amount.is_whole() {
        errors.invalid(path.clone(), amount.to_string(), "must be an integer");
    }
}

fn within_limit(
    resources: &Value,
    name: &str,
    request: Quantity,
    path: &Path,
    errors: &mut Errors,
) {
    let Some(limit) = resources.at(&["limits", name]).and_then(quantity) else {
        if !may_overcommit(name) {
            errors.required(
                path.child("limits"),
                "Limit must be set for non overcommitable resources",
            );
        }
        return;
    };
    let relation = if request != limit && !may_overcommit(name) {
        "equal to"
    } else if request > limit {
        "less than or equal to"
    } else {
        return;
    };
    errors.invalid(
        path.child("requests"),
        request.to_string(),
        &format!("must be {relation} {name} limit of {limit}"),
    );
}

fn is_multiple_of_page(name: &str, amount: Quantity) -> bool {
    let size = name
        .strip_prefix("hugepages-")
        .and_then(|size| Quantity::parse(size).ok());
    size.filter(|size| size.is_whole() && size.value() > 0)
        .is_some_and(|size| amount.value() % size.value() == 0)
}

/// Whether it is qualified or standard; whether it is, apart from what is said of it.
fn resource(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let problems = name::qualified(name);
    if !problems.is_empty() {
        check::problems(name, problems, path, errors);
        return false;
    }
    let standard = STANDARD.contains(&name)
        || COUNTS.contains(&name)
        || is_huge_page(name)
        || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !standard {
        errors.invalid(
            path.clone(),
            name,
            "must be a standard resource type or fully qualified",
        );
        return false;
    }
    true
}

fn container_resource(name: &str, path: &Path, errors: &mut Errors) {
    resource(name, path, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
            errors.invalid(
                path.clone(),
                name,
                "must be a standard resource for containers",
            );
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(
            path.clone(),
            name,
            "doesn't follow extended resource name standard",
        );
    }
}

fn pod_resource(name: &str, path: &Path, errors: &mut Errors) {
    if resource(name, path, errors) && !is_for_pods(name) {
        errors.not_supported(path.clone(), name, &["cpu", "hugepages-", "memory"]);
    }
}

/// References to resource claims of the pod: each once, whole or by request.
fn claims(claims: &[Value], known: &BTreeSet<&str>, path: &Path, errors: &mut Errors) {
    let mut seen: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let at = || path.index(index);
        let (name, request) = (claim.str_at(&["name"]), claim.str_at(&["request"]));
        if name.is_empty() {
            errors.required(at(), "");
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.duplicate(at(), name);
        } else if request.is_empty() {
            for _ in seen.iter().filter(|(seen, _)| *seen == name) {
                errors.duplicate(at(), name);
            }
            seen.insert((name, ""));
        } else {
            check::dns_label(request, &at().child("request"), errors);
            if !seen.insert((name, request)) {
                errors.duplicate(at(), format!("{name}/{request}"));
            }
        }
        if !known.contains(name) {
            let names: Vec<&str> = known.iter().copied().collect();
            let known = match names[..] {
                [] => " which is empty".to_owned(),
                _ => format!(": {}", names.join(", ")),
            };
            let why = format!(
                "Not found: {name:?}: must be one of the names in pod.spec.resourceClaims{known}"
            );
            errors.push(ErrorKind::NotFound, at(), why);
        }
    }
}

/// What happens to a container when its resources change: once for a resource.
pub(super) fn resize_policies(
    policies: &[Value],
    restart_policy: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let name = policy.str_at(&["resourceName"]);
        if seen.contains(&name) {
            errors.duplicate(path.index(index), name);
        }
        seen.push(name);
        required_of(name, &["cpu", "memory"], path, errors);
        let restart = policy.str_at(&["restartPolicy"]);
        required_of(restart, &["NotRequired", "RestartContainer"], path, errors);
        if restart_policy == "Never" && restart != "NotRequired" {
            errors.invalid(
                path.clone(),
                restart,
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            );
        }
    }
}

fn required_of(text: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        errors.required(path.clone(), "");
    } else if !supported.contains(&text) {
        errors.not_supported(path.clone(), text, supported);
    }
}
