//! The table of built-in resources, as discovery of Kubernetes 1.36 shows them: group, version, plural, singular, kind,
//! scope, verbs, short names, categories, subresources.

use crate::apiserver::registry::{Resource, Subresource};
use crate::apiserver::schema;
use crate::object::GroupVersionKind;

const TABLE: &str = include_str!("resources.tsv");

/// The verbs of a resource that can do everything; `*` in the table.
const ALL_VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// Kinds that are kept under another name than their own.
const KEYS: [(&str, &str); 5] = [
    ("nodes", "minions"),
    ("endpoints", "services/endpoints"),
    ("services", "services/specs"),
    ("ingresses", "ingress"),
    ("replicationcontrollers", "controllers"),
];

/// All built-in resources.
pub(super) fn resources() -> Vec<Resource> {
    TABLE.lines().filter_map(resource).collect()
}

/// The resources of the metrics API, which other servers serve for the real one.
pub(super) fn metrics() -> Vec<Resource> {
    const METRICS: [&str; 2] = [
        "metrics.k8s.io\tv1beta1\tnodes\t\tNodeMetrics\tC\tget,list\t\t\t",
        "metrics.k8s.io\tv1beta1\tpods\t\tPodMetrics\tN\tget,list\t\t\t",
    ];
    METRICS.into_iter().filter_map(resource).collect()
}

fn resource(line: &str) -> Option<Resource> {
    let columns: Vec<&str> = line.split('\t').collect();
    let &[
        group,
        version,
        plural,
        singular,
        kind,
        scope,
        verbs,
        short_names,
        categories,
        subresources,
    ] = &columns[..]
    else {
        return None;
    };
    let gvk = GroupVersionKind::new(group, version, kind);
    let subresources: Vec<Subresource> = words(subresources, ';').filter_map(subresource).collect();
    let (storage_group, storage_version) = match (group, plural) {
        ("events.k8s.io", _) => ("", "v1"),
        ("autoscaling", "horizontalpodautoscalers") => (group, "v2"),
        _ => (group, version),
    };
    Some(Resource {
        schema: schema::builtin(&gvk),
        open_api: None,
        strategy: super::strategy(group, plural),
        list_kind: format!("{kind}List"),
        plural: plural.to_owned(),
        singular: singular.to_owned(),
        namespaced: scope == "N",
        short_names: words(short_names, ',').map(str::to_owned).collect(),
        categories: words(categories, ',').map(str::to_owned).collect(),
        verbs: self::verbs(verbs),
        subresources,
        storage_version: storage_version.to_owned(),
        storage_group: storage_group.to_owned(),
        key_prefix: key_prefix(plural),
        custom: None,
        gvk,
    })
}

/// `name=group/version/Kind=verbs`
fn subresource(text: &str) -> Option<Subresource> {
    let mut parts = text.split('=');
    let (name, kind, verbs) = (parts.next()?, parts.next()?, parts.next()?);
    let mut kind = kind.split('/');
    let gvk = GroupVersionKind::new(kind.next()?, kind.next()?, kind.next()?);
    Some(Subresource {
        name: name.to_owned(),
        gvk,
        verbs: self::verbs(verbs),
    })
}

fn verbs(text: &str) -> Vec<String> {
    if text == "*" {
        ALL_VERBS.map(str::to_owned).to_vec()
    } else {
        words(text, ',').map(str::to_owned).collect()
    }
}

fn words(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).filter(|word| !word.is_empty())
}

/// Kubernetes keeps built-in kinds under their plural name without the group.
fn key_prefix(plural: &str) -> String {
    let kept = KEYS
        .iter()
        .find(|(name, _)| *name == plural)
        .map_or(plural, |(_, key)| key);
    format!("/registry/{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let resources = resources();
        assert_eq!(resources.len(), TABLE.lines().count());
        let pods = resources
            .iter()
            .find(|resource| resource.plural == "pods")
            .unwrap();
        assert_eq!(
            (
                pods.gvk.kind.as_str(),
                pods.list_kind.as_str(),
                pods.namespaced
            ),
            ("Pod", "PodList", true)
        );
        assert_eq!(pods.subresource("eviction").unwrap().gvk.group, "policy");
        assert_eq!(pods.key("default", "a"), "/registry/pods/default/a");
        assert_eq!(pods.verbs.len(), 8);
    }
}
