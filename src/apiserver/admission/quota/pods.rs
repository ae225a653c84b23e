//! How pods count.
use super::evaluator::{Usage, one, selects};
use crate::apiserver::admission::pod_resources::{Side, add, of_container, of_pod};
use crate::object::Document;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const COUNTED: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// A quota of these wants each container to say how much it asks for.
const REQUIRED: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];
const HUGE: &str = "hugepages-";

/// Whether pods count under this name.
pub(super) fn counts(name: &str) -> bool {
    let requested = name.strip_prefix("requests.");
    COUNTED.contains(&name)
        || name.starts_with(HUGE)
        || requested.is_some_and(|name| name.starts_with(HUGE) || is_extended(name))
}

/// Whether it is a resource that somebody's device plugin defines.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// Whether a quota with this scope is for the pod.
pub(super) fn matches(scope: &str, operator: &str, values: &[&str], pod: &Value) -> bool {
    let terminates = pod
        .i64_at(&["spec", "activeDeadlineSeconds"])
        .is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => terminates,
        "NotTerminating" => !terminates,
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => selects(operator, values, pod.str_at(&["spec", "priorityClassName"])),
        "CrossNamespacePodAffinity" => crosses_namespaces(pod),
        _ => false,
    }
}

fn is_best_effort(pod: &Value) -> bool {
    let sides = [Side::Requests, Side::Limits];
    let asks = |container: &Value| {
        sides.iter().any(|side| {
            let amounts = of_container(container, *side);
            ["cpu", "memory"]
                .iter()
                .any(|name| amounts.get(*name).is_some_and(|amount| !amount.is_zero()))
        })
    };
    let containers = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod.list_at(&["spec", list]));
    let own = pod.at(&["spec"]).is_some_and(asks);
    !own && !containers.into_iter().any(asks)
}

fn crosses_namespaces(pod: &Value) -> bool {
    let crosses = |term: &Value| {
        !term.list_at(&["namespaces"]).is_empty()
            || term
                .get("namespaceSelector")
                .is_some_and(|selector| !selector.is_null())
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let path = |list| ["spec", "affinity", kind, list];
        let required = pod.list_at(&path("requiredDuringSchedulingIgnoredDuringExecution"));
        let preferred = pod.list_at(&path("preferredDuringSchedulingIgnoredDuringExecution"));
        required.iter().any(crosses)
            || preferred
                .iter()
                .filter_map(|term| term.get("podAffinityTerm"))
                .any(crosses)
    })
}

/// Each container says how much it asks for of what a quota restricts.
///
/// # Errors
/// Who does not say what.
pub(super) fn check(restricted: &[&str], pod: &Value) -> Result<(), String> {
    let wanted: Vec<&str> = restricted
        .iter()
        .copied()
        .filter(|name| REQUIRED.contains(name))
        .collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    // What the pod asks for as a whole need not be said again by each container.
    let own = pod.at(&["spec"]).map(compute).unwrap_or_default();
    for list in ["containers", "initContainers"] {
        for container in pod.list_at(&["spec", list]) {
            let said = compute(container);
            for name in &wanted {
                if !said.contains_key(*name) && !own.contains_key(*name) {
                    let names = missing.entry(name).or_default();
                    names.insert(container.str_at(&["name"]));
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing
        .into_iter()
        .map(|(name, containers)| {
            let containers: Vec<&str> = containers.into_iter().collect();
            format!("{name} for: {}", containers.join(","))
        })
        .collect();
    Err(format!("must specify {}", texts.join("; ")))
}

/// What one container asks for, by the names of quotas.
fn compute(container: &Value) -> Usage {
    named(
        &of_container(container, Side::Requests),
        &of_container(container, Side::Limits),
    )
}

fn named(requests: &Usage, limits: &Usage) -> Usage {
    let mut usage = Usage::new();
    usage.insert("pods".into(), one());
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = requests.get(name) {
            usage.insert(name.into(), *amount);
            usage.insert(format!("requests.{name}"), *amount);
        }
        if let Some(amount) = limits.get(name) {
            usage.insert(format!("limits.{name}"), *amount);
        }
    }
    for (name, amount) in requests {
        if name.starts_with(HUGE) {
            usage.insert(name.clone(), *amount);
        }
        if name.starts_with(HUGE) || is_extended(name) {
            usage.insert(format!("requests.{name}"), *amount);
        }
    }
    usage
}

/// What a pod uses: nothing but its number once it has ended.
pub(super) fn usage(pod: &Value, now: Option<Timestamp>) -> Usage {
    let mut usage = Usage::new();
    usage.insert("count/pods".into(), one());
    if !has_ended(pod, now) {
        let requests = of_pod(pod, Side::Requests, true);
        let limits = of_pod(pod, Side::Limits, true);
        add(&mut usage, &named(&requests, &limits));
    }
    usage
}

fn has_ended(pod: &Value, now: Option<Timestamp>) -> bool {
    if matches!(pod.str_at(&["status", "phase"]), "Failed" | "Succeeded") {
        return true;
    }
    let Some(deleted) = pod.deletion_timestamp() else {
        return false;
    };
    let grace = pod.i64_at(&["metadata", "deletionGracePeriodSeconds"]);
    match (deleted.parse::<Timestamp>(), now, grace) {
        (Ok(deleted), Some(now), Some(_)) => now > deleted,
        _ => false,
    }
}
