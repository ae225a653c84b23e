//! From a definition to the resources that are served.
use super::cel::Rules;
use super::columns::CustomColumns;
use super::convert::Webhook;
use super::custom::Custom;
use super::definition::{Definition, Version};
use super::jsonpath::JsonPath;
use super::schema::Props;
use super::strategy::CustomResource;
use crate::apiserver::registry::{Resource, Subresource};
use crate::apiserver::schema::Schema;
use crate::object::{GroupVersion, GroupVersionKind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// In the order of discovery.
const VERBS: [&str; 8] = [
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// The resource of each version, whether it is served or not.
pub(crate) fn resources(definition: &Definition) -> Vec<(bool, Resource)> {
    let served = |version: &Version| version.served && definition.is_served();
    let webhook = Webhook::of(&definition.conversion).map(Arc::new);
    let versions = definition.versions.iter();
    versions
        .map(|version| {
            (
                served(version),
                resource(definition, version, webhook.clone()),
            )
        })
        .collect()
}

fn resource(definition: &Definition, version: &Version, webhook: Option<Arc<Webhook>>) -> Resource {
    let names = &definition.names;
    let group = definition.group.as_str();
    let gvk = GroupVersionKind::new(group, &*version.name, &*names.kind);
    let schema = Arc::new(Schema::structural(&version.schema));
    let props = Props::parse(&version.schema);
    let selectable: Vec<(String, Option<JsonPath>)> = version
        .selectable
        .iter()
        .map(|path| {
            let name = path.trim_start_matches('.').to_owned();
            (name, JsonPath::parse(path))
        })
        .collect();
    let custom = Custom {
        columns: CustomColumns::of(&version.columns),
        selectable: selectable.iter().map(|(name, _)| name.clone()).collect(),
        shown: gvk.api_version(),
        stored: GroupVersion::new(group, definition.storage_version()).to_string(),
        webhook,
        schema: schema.clone(),
        terminating: AtomicBool::new(definition.terminating),
    };
    let strategy = CustomResource {
        rules: Rules::compile(&props),
        props,
        schema: schema.clone(),
        has_status: version.has_status,
        scale: version.scale.clone(),
        selectable,
        deprecation: version.deprecation.clone(),
    };
    Resource {
        list_kind: names.list_kind.clone(),
        plural: names.plural.clone(),
        singular: names.singular.clone(),
        namespaced: definition.namespaced,
        short_names: names.short_names.clone(),
        categories: names.categories.clone(),
        verbs: VERBS.map(str::to_owned).to_vec(),
        subresources: subresources(version, &gvk),
        storage_version: definition.storage_version().to_owned(),
        storage_group: group.to_owned(),
        key_prefix: format!("/registry/{group}/{}", names.plural),
        schema: Some(schema),
        strategy: Arc::new(strategy),
        open_api: version
            .schema
            .is_object()
            .then(|| Arc::new(version.schema.clone())),
        custom: Some(Arc::new(custom)),
        gvk,
    }
}

fn subresources(version: &Version, gvk: &GroupVersionKind) -> Vec<Subresource> {
    let verbs = ["get", "patch", "update"].map(str::to_owned).to_vec();
    let mut subresources = Vec::new();
    if version.has_status {
        subresources.push(Subresource {
            name: "status".into(),
            gvk: gvk.clone(),
            verbs: verbs.clone(),
        });
    }
    if version.scale.is_some() {
        subresources.push(Subresource {
            name: "scale".into(),
            gvk: GroupVersionKind::new("autoscaling", "v1", "Scale"),
            verbs,
        });
    }
    subresources
}
