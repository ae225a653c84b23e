//! The `APIService` of each version of a group that this server itself serves, which say how groups and versions are ordered.
use crate::apiserver::registry::Resource;
use crate::object::GroupVersion;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How important each group is, and each of its versions.
const PRIORITIES: [(&str, &str, i64, i64); 21] = [
    ("", "v1", 18_000, 1),
    ("apps", "v1", 17_800, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("resource.k8s.io", "v1", 16_200, 20),
    ("flowcontrol.apiserver.k8s.io", "v1", 16_100, 21),
];

/// Says who made the object, and so who may remove it.
pub(crate) const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Those of the built-in groups that are served.
pub(super) fn builtin(served: &[Arc<Resource>]) -> Vec<Value> {
    let served: BTreeSet<(&str, &str)> = served
        .iter()
        .map(|resource| (&*resource.gvk.group, &*resource.gvk.version))
        .collect();
    PRIORITIES
        .iter()
        .filter(|(group, version, ..)| served.contains(&(*group, *version)))
        .map(|(group, version, of_group, of_version)| {
            object(
                &GroupVersion::new(*group, *version),
                (*of_group, *of_version),
                "onstart",
            )
        })
        .collect()
}

/// That of a version of a custom group.
pub(crate) fn custom(version: &GroupVersion) -> Value {
    object(version, (1000, 100), "true")
}

fn object(served: &GroupVersion, (group, version): (i64, i64), managed: &str) -> Value {
    let mut spec = json!({
        "version": served.version, "groupPriorityMinimum": group, "versionPriority": version,
    });
    if !served.group.is_empty() {
        spec["group"] = served.group.as_str().into();
    }
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": format!("{}.{}", served.version, served.group), "labels": { MANAGED: managed } },
        "spec": spec,
    })
}
