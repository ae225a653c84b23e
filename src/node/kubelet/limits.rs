//! What containers may use: requests and limits as the kernel's control groups take them. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec, ResourceRequirements};

use super::plan;
use crate::cri::LinuxResources;
use crate::object::{Quantity, Resources};

/// The period of CPU quotas, in microseconds.
const PERIOD: i64 = 100_000;
/// The least quota that the kernel takes.
const LEAST_QUOTA: i64 = 1_000;
/// The least and the greatest weight.
const SHARES: (i64, i64) = (2, 262_144);
/// How little a guaranteed or critical container is in danger when memory runs out.
const SAFE: i64 = -997;
/// The priority from which pods are critical.
pub(super) const CRITICAL: i32 = 2_000_000_000;

/// What huge pages are called as a resource, before their size.
pub(super) const HUGE_PAGES: &str = "hugepages-";

/// What a container may use, on a node that has that much.
pub(super) fn of(pod: &Pod, container: &Spec, capacity: &Resources) -> LinuxResources {
    let resources = container.resources.as_ref();
    let limits = Resources::of(resources.and_then(|resources| resources.limits.as_ref()));
    let requests = Resources::of(resources.and_then(|resources| resources.requests.as_ref()));
    let requested = if requests.milli_cpu > 0 {
        requests.milli_cpu
    } else {
        limits.milli_cpu
    };
    LinuxResources {
        cpu_period: PERIOD,
        cpu_quota: quota(limits.milli_cpu),
        cpu_shares: shares(requested),
        memory_limit: limits.memory,
        oom_score_adj: danger(pod, requests.memory, capacity.memory),
        hugepage_limits: huge_pages(&limits, capacity),
        ..LinuxResources::default()
    }
}

/// Of each size of pages that the node has, so many bytes: who asks for none gets none.
fn huge_pages(limits: &Resources, capacity: &Resources) -> BTreeMap<String, u64> {
    let names = capacity.scalars.keys().chain(limits.scalars.keys());
    let sizes = names.filter_map(|name| Some((name, page_size(name.strip_prefix(HUGE_PAGES)?)?)));
    let limit = |name: &String| limits.scalars.get(name).copied().unwrap_or(0);
    sizes
        .map(|(name, bytes)| (kernel_size(bytes), u64::try_from(limit(name)).unwrap_or(0)))
        .collect()
}

/// A size of pages, in bytes: `2Mi`.
pub(super) fn page_size(text: &str) -> Option<u64> {
    let size = Quantity::parse(text).ok()?.value();
    u64::try_from(size).ok().filter(|size| *size > 0)
}

/// The same as control groups name it: `2MB`.
fn kernel_size(bytes: u64) -> String {
    let units = [(30, "GB"), (20, "MB"), (10, "KB")];
    let unit = units
        .iter()
        .find(|(shift, _)| bytes.trailing_zeros() >= *shift);
    unit.map_or_else(
        || format!("{bytes}B"),
        |(shift, unit)| format!("{}{unit}", bytes >> shift),
    )
}

/// What running a pod costs besides its containers.
pub(super) fn overhead(spec: &PodSpec) -> Option<LinuxResources> {
    let costs = Resources::of(Some(spec.overhead.as_ref()?));
    Some(LinuxResources {
        cpu_period: PERIOD,
        cpu_quota: quota(costs.milli_cpu),
        cpu_shares: shares(costs.milli_cpu),
        memory_limit: costs.memory,
        ..LinuxResources::default()
    })
}

/// A weight from thousandths of a CPU.
fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(SHARES.0, SHARES.1)
}

/// A quota from thousandths of a CPU; zero: none.
fn quota(milli: i64) -> i64 {
    if milli <= 0 {
        0
    } else {
        (milli.saturating_mul(PERIOD) / 1000).max(LEAST_QUOTA)
    }
}

/// How soon the kernel kills a container when memory runs out: the sooner the less it asked for.
fn danger(pod: &Pod, requested: i64, capacity: i64) -> i64 {
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    if priority.is_some_and(|priority| priority >= CRITICAL) {
        return SAFE;
    }
    match qos(pod) {
        "Guaranteed" => SAFE,
        "Burstable" => {
            let share = requested.saturating_mul(1000) / capacity.max(1);
            // Between the guaranteed ones and those that asked for nothing.
            (1000 - share).clamp(1000 + SAFE, 999)
        }
        _ => 1000,
    }
}

/// The class that the API server gave the pod, or would give it: a pod of the node's own may be known to nobody else.
pub(super) fn qos(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    let class = status.and_then(|status| status.qos_class.as_deref());
    class.unwrap_or_else(|| pod.spec.as_ref().map_or("BestEffort", class_of))
}

/// The class of a pod: it follows from the requests and limits of its containers, or from its own where it has such.
fn class_of(spec: &PodSpec) -> &'static str {
    let of_pod = spec.resources.as_ref();
    let of_pod = of_pod.filter(|own| own.requests.is_some() || own.limits.is_some());
    let each: Vec<Option<&ResourceRequirements>> = match of_pod {
        Some(own) => vec![Some(own)],
        None => plan::all(spec)
            .map(|container| container.resources.as_ref())
            .collect(),
    };
    let (mut any, mut all) = (false, !each.is_empty());
    for resources in each {
        let limits = Resources::of(resources.and_then(|own| own.limits.as_ref()));
        let requests = Resources::of(resources.and_then(|own| own.requests.as_ref()));
        for (limit, request) in [
            (limits.milli_cpu, requests.milli_cpu),
            (limits.memory, requests.memory),
        ] {
            any |= limit > 0 || request > 0;
            all &= limit > 0 && (request == 0 || request == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The control group of a pod, by its class.
pub(super) fn cgroup(root: &str, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let class = match qos(pod) {
        "Guaranteed" => "",
        "Burstable" => "/burstable",
        _ => "/besteffort",
    };
    format!("{root}/kubepods{class}/pod{uid}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(qos: &str, resources: &Value) -> LinuxResources {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"uid": "u"}, "status": {"qosClass": qos},
            "spec": {"containers": [{"name": "c", "resources": resources}]},
        }))
        .unwrap();
        let pages = ["hugepages-2Mi", "hugepages-1Gi"].map(|name| (name.to_owned(), 4 << 30));
        let capacity = Resources {
            memory: 1 << 30,
            scalars: pages.into(),
            ..Resources::default()
        };
        of(&pod, &pod.spec.as_ref().unwrap().containers[0], &capacity)
    }

    #[test]
    fn huge_pages_are_for_those_who_ask() {
        for (limits, small, large) in [
            (json!({}), 0, 0),
            (json!({"cpu": "1", "hugepages-2Mi": "8Mi"}), 8 << 20, 0),
            (
                json!({"hugepages-1Gi": "1Gi", "hugepages-2Mi": "2Mi"}),
                2 << 20,
                1 << 30,
            ),
        ] {
            let made = made("Burstable", &json!({"limits": limits}));
            let expected =
                [("1GB", large), ("2MB", small)].map(|(size, limit)| (size.to_owned(), limit));
            assert_eq!(made.hugepage_limits, BTreeMap::from(expected), "{limits}");
        }
        let sizes = [
            ("64Ki", "64KB"),
            ("2Mi", "2MB"),
            ("1Gi", "1GB"),
            ("512Mi", "512MB"),
        ];
        for (text, expected) in sizes {
            assert_eq!(page_size(text).map(kernel_size).as_deref(), Some(expected));
        }
        assert_eq!(page_size("many"), None);
    }

    #[test]
    fn requests_and_limits() {
        for (qos, resources, shares, quota, memory, danger) in [
            ("BestEffort", json!({}), 2, 0, 0, 1000),
            (
                "Burstable",
                json!({"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}),
                256,
                0,
                512 << 20,
                750,
            ),
            (
                "Guaranteed",
                json!({"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "1Gi"}}),
                2048,
                200_000,
                1 << 30,
                -997,
            ),
            (
                "Burstable",
                json!({"limits": {"cpu": "1m"}}),
                2,
                1000,
                0,
                999,
            ),
        ] {
            let made = made(qos, &resources);
            assert_eq!(
                (
                    made.cpu_shares,
                    made.cpu_quota,
                    made.memory_limit,
                    made.oom_score_adj
                ),
                (shares, quota, memory, danger),
                "{resources}"
            );
        }
    }

    #[test]
    fn classes_without_an_api_server() {
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1Gi"}});
        let of = |containers: &[&Value], own: &Value| {
            let containers: Vec<Value> = containers
                .iter()
                .map(|resources| json!({"name": "c", "resources": resources}))
                .collect();
            let spec = json!({"containers": containers, "resources": own});
            class_of(&serde_json::from_value(spec).unwrap())
        };
        let none = json!({});
        assert_eq!(of(&[&none], &Value::Null), "BestEffort");
        assert_eq!(of(&[&full], &Value::Null), "Guaranteed");
        assert_eq!(of(&[&full, &none], &Value::Null), "Burstable");
        assert_eq!(of(&[&none], &full), "Guaranteed");
        let requests = json!({"requests": {"cpu": "1"}});
        assert_eq!(of(&[&requests], &Value::Null), "Burstable");
    }

    #[test]
    fn groups_by_class() {
        for (qos, expected) in [
            ("Guaranteed", "/r/kubepods/podu"),
            ("Burstable", "/r/kubepods/burstable/podu"),
            ("BestEffort", "/r/kubepods/besteffort/podu"),
        ] {
            let pod: Pod = serde_json::from_value(
                json!({"metadata": {"uid": "u"}, "status": {"qosClass": qos}}),
            )
            .unwrap();
            assert_eq!(cgroup("/r", &pod), expected);
        }
    }
}
