//! The documents of discovery.
use super::sha256;
use crate::apiserver::registry::{Resource, Subresource};
use crate::object::{GroupVersion, GroupVersionKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The Kubernetes version whose API is served.
const VERSION: (&str, &str, &str) = ("1", "36", "v1.36.0+homeostat");

/// The order of the built-in groups; others follow by name.
const GROUPS: &[&str] = &[
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// The version in full.
pub(crate) fn git_version() -> &'static str {
    VERSION.2
}

/// `/version`.
pub(super) fn version() -> Value {
    let (major, minor, git) = VERSION;
    json!({
        "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor, "minCompatibilityMajor": major,
        "minCompatibilityMinor": "35", "gitVersion": git, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
pub(super) fn core_versions() -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": "" }],
    })
}

/// `/apis`.
pub(super) fn groups(resources: &[Arc<Resource>]) -> Value {
    let groups: Vec<Value> = by_group(resources)
        .into_iter()
        .map(|(group, versions)| group_entry(group, &versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/{group}`; `None` when it is not served.
pub(super) fn group(resources: &[Arc<Resource>], group: &str) -> Option<Value> {
    let (_, versions) = by_group(resources)
        .into_iter()
        .find(|(name, _)| *name == group)?;
    let mut entry = group_entry(group, &versions);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

fn group_entry(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({ "groupVersion": GroupVersion::new(group, *version).to_string(), "version": version });
    json!({ "name": group, "versions": versions.iter().map(entry).collect::<Vec<_>>(), "preferredVersion": versions.first().map(entry) })
}

/// `/api/{version}` and `/apis/{group}/{version}`; `None` when it is not served.
pub(super) fn resources(resources: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let served = of_version(resources, group, version);
    if served.is_empty() {
        return None;
    }
    let mut entries = Vec::new();
    for resource in served {
        entries.push(resource_entry(resource));
        entries.extend(
            sorted(&resource.subresources)
                .into_iter()
                .map(|sub| subresource_entry(resource, sub)),
        );
    }
    let group_version = GroupVersion::new(group, version).to_string();
    let mut document =
        json!({ "kind": "APIResourceList", "groupVersion": group_version, "resources": entries });
    if !group.is_empty() {
        document["apiVersion"] = "v1".into();
    }
    Some(document)
}

fn resource_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.gvk.kind,
        "verbs": resource.discovered_verbs(),
    });
    list(&mut entry, "shortNames", &resource.short_names);
    list(&mut entry, "categories", &resource.categories);
    if resource.verbs.iter().any(|verb| verb == "watch") {
        entry["storageVersionHash"] = storage_version_hash(resource).into();
    }
    entry
}

fn subresource_entry(resource: &Resource, sub: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.namespaced,
        "kind": sub.gvk.kind, "verbs": sub.verbs,
    });
    if is_foreign(resource, &sub.gvk) {
        entry["group"] = sub.gvk.group.as_str().into();
        entry["version"] = sub.gvk.version.as_str().into();
    }
    entry
}

/// By which clients see that a kind is stored in another version than before.
fn storage_version_hash(resource: &Resource) -> String {
    let version = match (&*resource.storage_group, &*resource.plural) {
        // The real server stores definitions in a version that it serves no more.
        ("apiextensions.k8s.io", "customresourcedefinitions") => "v1beta1",
        _ => &resource.storage_version,
    };
    let stored = format!("{}/{version}/{}", resource.storage_group, resource.gvk.kind);
    let digest = sha256::digest(stored.as_bytes());
    STANDARD.encode(&digest[..8])
}

/// The aggregated document of the core group, or of all others.
pub(super) fn aggregated(resources: &[Arc<Resource>], groups: bool) -> Value {
    let served = if groups {
        by_group(resources)
    } else {
        vec![("", vec!["v1"])]
    };
    let items = served.into_iter().map(|(group, versions)| {
        let versions = versions.into_iter().map(|version| {
            let served = of_version(resources, group, version);
            let entries: Vec<Value> = served.into_iter().map(aggregated_resource).collect();
            json!({ "version": version, "freshness": "Current", "resources": entries })
        });
        let meta = if group.is_empty() {
            json!({})
        } else {
            json!({ "name": group })
        };
        json!({ "metadata": meta, "versions": versions.collect::<Vec<_>>() })
    });
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items.collect::<Vec<_>>() })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural, "responseKind": response_kind(resource, &resource.gvk), "singularResource": resource.singular,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "verbs": resource.discovered_verbs(),
    });
    list(&mut entry, "shortNames", &resource.short_names);
    list(&mut entry, "categories", &resource.categories);
    let subs = sorted(&resource.subresources).into_iter().map(|sub| {
        json!({ "subresource": sub.name, "responseKind": response_kind(resource, &sub.gvk), "verbs": sub.verbs })
    });
    let subs: Vec<Value> = subs.collect();
    if !subs.is_empty() {
        entry["subresources"] = subs.into();
    }
    entry
}

/// Built-in kinds leave out the group and version that the entry is listed under.
fn response_kind(resource: &Resource, gvk: &GroupVersionKind) -> Value {
    let named = resource.strategy.custom() || is_foreign(resource, gvk);
    let (group, version) = if named {
        (&*gvk.group, &*gvk.version)
    } else {
        ("", "")
    };
    json!({ "group": group, "version": version, "kind": gvk.kind })
}

fn is_foreign(resource: &Resource, gvk: &GroupVersionKind) -> bool {
    (&gvk.group, &gvk.version) != (&resource.gvk.group, &resource.gvk.version)
}

fn list(entry: &mut Value, field: &str, values: &[String]) {
    if !values.is_empty() {
        entry[field] = values.into();
    }
}

fn sorted(subresources: &[Subresource]) -> Vec<&Subresource> {
    let mut sorted: Vec<&Subresource> = subresources.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    sorted
}

/// The resources of one version, by name (the registry's order).
fn of_version<'a>(resources: &'a [Arc<Resource>], group: &str, version: &str) -> Vec<&'a Resource> {
    let served = resources
        .iter()
        .filter(|resource| resource.gvk.group == group && resource.gvk.version == version);
    served.map(AsRef::as_ref).collect()
}

/// The named groups in discovery's order, each with its versions, the preferred first.
fn by_group(resources: &[Arc<Resource>]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: BTreeMap<(usize, &str), Vec<&str>> = BTreeMap::new();
    for resource in resources
        .iter()
        .filter(|resource| !resource.gvk.group.is_empty())
    {
        let group = resource.gvk.group.as_str();
        let rank = GROUPS
            .iter()
            .position(|known| *known == group)
            .unwrap_or(GROUPS.len());
        let versions = groups.entry((rank, group)).or_default();
        if !versions.contains(&resource.gvk.version.as_str()) {
            versions.push(&resource.gvk.version);
        }
    }
    let ordered = groups.into_iter().map(|((_, group), mut versions)| {
        versions.sort_by_key(|version| version_rank(version));
        (group, versions)
    });
    ordered.collect()
}

/// Stable before beta before alpha, newer before older, and what is no Kubernetes version last, by name.
fn version_rank(version: &str) -> (u8, Reverse<(u64, u64)>, &str) {
    let other = (3, Reverse((0, 0)), version);
    let Some(rest) = version.strip_prefix('v') else {
        return other;
    };
    let digits = rest.len()
        - rest
            .trim_start_matches(|character: char| character.is_ascii_digit())
            .len();
    let (major, rest) = rest.split_at(digits);
    let Ok(major) = major.parse() else {
        return other;
    };
    let stage = |stage, text: &str| {
        text.parse()
            .map_or(other, |minor| (stage, Reverse((major, minor)), ""))
    };
    if rest.is_empty() {
        (0, Reverse((major, 0)), "")
    } else if let Some(minor) = rest.strip_prefix("beta") {
        stage(1, minor)
    } else if let Some(minor) = rest.strip_prefix("alpha") {
        stage(2, minor)
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_stability_then_age() {
        let mut versions = vec![
            "foo1",
            "v1alpha2",
            "v2beta1",
            "v1",
            "v11",
            "v2",
            "v1beta1",
            "v12alpha1",
        ];
        versions.sort_by_key(|version| version_rank(version));
        assert_eq!(
            versions,
            [
                "v11",
                "v2",
                "v1",
                "v2beta1",
                "v1beta1",
                "v12alpha1",
                "v1alpha2",
                "foo1"
            ]
        );
    }
}
