//! What an API server serves, by aggregated discovery where it has that, by the legacy one otherwise.

use std::collections::BTreeSet;

use http::Request;
use kube::Client;
use serde::Deserialize;

/// A resource that an API server serves, in the version it prefers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServedResource {
    /// The group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural name in paths.
    pub plural: String,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with them, as in discovery: `get`, `list`, …
    pub verbs: Vec<String>,
}

impl ServedResource {
    /// Whether all of `verbs` are served.
    #[must_use]
    pub fn supports(&self, verbs: &[&str]) -> bool {
        verbs
            .iter()
            .all(|verb| self.verbs.iter().any(|served| served == verb))
    }

    /// The `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of its collection: in `namespace`, or across all of them when that is empty.
    #[must_use]
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            "/api"
        } else {
            "/apis"
        };
        let scope = if namespace.is_empty() {
            String::new()
        } else {
            format!("namespaces/{namespace}/")
        };
        format!("{root}/{}/{scope}{}", self.api_version(), self.plural)
    }
}

/// Everything that is served, each resource once, in its group's preferred version. Ordered by group and name.
///
/// # Errors
/// When the server cannot be asked. A group whose answer fails is left out, as kubectl does.
pub async fn served_resources(client: &Client) -> Result<Vec<ServedResource>, kube::Error> {
    let mut known = BTreeSet::new();
    let mut resources = served_versions(client).await?;
    // The versions come in order of preference; a resource counts in the first that has it.
    resources.retain(|resource| known.insert((resource.group.clone(), resource.plural.clone())));
    resources.sort();
    Ok(resources)
}

/// Everything that is served, in each version that has it; of a group, the versions come in the server's order of preference.
///
/// # Errors
/// When the server cannot be asked. A group whose answer fails is left out, as kubectl does.
pub async fn served_versions(client: &Client) -> Result<Vec<ServedResource>, kube::Error> {
    let mut resources = Vec::new();
    for root in ["/api", "/apis"] {
        let request = Request::get(root)
            .header(http::header::ACCEPT, AGGREGATED)
            .body(Vec::new());
        let request = request.map_err(kube::Error::HttpError)?;
        let text = client.request_text(request).await?;
        let answer: Root = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        match answer {
            Root::Aggregated { items } => items
                .into_iter()
                .for_each(|group| group.collect(&mut resources)),
            Root::Groups { groups } => {
                for version in groups.iter().flat_map(|group| &group.versions) {
                    legacy(client, &version.group_version, &mut resources).await?;
                }
            }
            Root::Versions { versions } => {
                for version in versions {
                    legacy(client, &version, &mut resources).await?;
                }
            }
        }
    }
    Ok(resources)
}

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

async fn legacy(
    client: &Client,
    group_version: &str,
    resources: &mut Vec<ServedResource>,
) -> Result<(), kube::Error> {
    let list = if group_version.contains('/') {
        client.list_api_group_resources(group_version).await?
    } else {
        client.list_core_api_resources(group_version).await?
    };
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    resources.extend(
        list.resources
            .into_iter()
            .filter(|resource| !resource.name.contains('/'))
            .map(|resource| ServedResource {
                group: group.to_owned(),
                version: version.to_owned(),
                plural: resource.name,
                kind: resource.kind,
                namespaced: resource.namespaced,
                verbs: resource.verbs,
            }),
    );
    Ok(())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Root {
    Aggregated { items: Vec<Group> },
    Groups { groups: Vec<LegacyGroup> },
    Versions { versions: Vec<String> },
}

#[derive(Deserialize)]
struct LegacyGroup {
    versions: Vec<LegacyVersion>,
}

#[derive(Deserialize)]
struct LegacyVersion {
    #[serde(rename = "groupVersion")]
    group_version: String,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    response_kind: Kind,
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

impl Group {
    fn collect(self, resources: &mut Vec<ServedResource>) {
        for version in self.versions {
            let found = version.resources.into_iter();
            resources.extend(found.map(|resource| ServedResource {
                group: self.metadata.name.clone(),
                version: version.version.clone(),
                plural: resource.resource,
                kind: resource.response_kind.kind,
                namespaced: resource.scope == "Namespaced",
                verbs: resource.verbs,
            }));
        }
    }
}
