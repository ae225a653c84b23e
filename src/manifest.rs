//! Manifests: YAML or JSON documents, applied in the order in which they need one another.

use kube::Client;
use serde_json::Value;

use crate::client::{self, ServedResource, served_resources};
use crate::object::Document;

/// Kinds that others need, in the order in which they are applied; all others come after them.
const FIRST: [&str; 14] = [
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
];

/// The field manager of what is applied here.
const MANAGER: &str = "homeostat";

/// Why a manifest cannot be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A document is no YAML.
    #[error("document {document}: {source}")]
    Syntax {
        /// Which document, from 1.
        document: usize,
        /// Where and why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A document is no object of the API.
    #[error("document {document}: {field} is missing")]
    NoObject {
        /// Which document, from 1.
        document: usize,
        /// The field it lacks.
        field: &'static str,
    },
    /// The server does not know the kind.
    #[error("no matches for kind {kind:?} in version {api_version:?}")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// The version.
        api_version: String,
    },
    /// The server refused an object.
    #[error("{object}: {message}")]
    Refused {
        /// Which object: `Deployment default/web`.
        object: String,
        /// The server's message.
        message: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server cannot be asked what it serves.
    #[error("discovery failed")]
    Discovery(#[source] Box<kube::Error>),
}

/// The objects of a manifest.
///
/// ```
/// use homeostat::manifest::Manifest;
/// let manifest = Manifest::parse("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n# nothing\n")?;
/// assert_eq!(manifest.objects().len(), 1);
/// # Ok::<(), homeostat::manifest::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    objects: Vec<Value>,
}

impl Manifest {
    /// Reads one or more YAML (or JSON) documents. Empty ones are skipped, and `List`s count as their items.
    ///
    /// # Errors
    /// When a document does not parse, or has no `apiVersion`, `kind` or `metadata.name`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut objects = Vec::new();
        for (index, document) in documents(text).into_iter().enumerate() {
            let document_number = index + 1;
            let value: Value =
                serde_saphyr::from_str_with_options(&document, options()).map_err(|source| {
                    Error::Syntax {
                        document: document_number,
                        source: Box::new(source),
                    }
                })?;
            if value.is_null() {
                continue;
            }
            let items = match value.get("items") {
                Some(Value::Array(items)) if value.kind().ends_with("List") => items.clone(),
                _ => vec![value],
            };
            for item in items {
                let has_name = !item.name().is_empty()
                    || !item.str_at(&["metadata", "generateName"]).is_empty();
                let fields = [
                    ("apiVersion", !item.api_version().is_empty()),
                    ("kind", !item.kind().is_empty()),
                    ("metadata.name", has_name),
                ];
                if let Some((field, _)) = fields.into_iter().find(|(_, present)| !present) {
                    return Err(Error::NoObject {
                        document: document_number,
                        field,
                    });
                }
                objects.push(item);
            }
        }
        objects.sort_by_key(|object| {
            FIRST
                .iter()
                .position(|kind| *kind == object.kind())
                .unwrap_or(FIRST.len())
        });
        Ok(Self { objects })
    }

    /// The objects, in the order in which they are applied.
    #[must_use]
    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// Applies all objects (server-side apply, taking over fields that others manage); objects without a namespace go
    /// to the client's default one.
    ///
    /// # Errors
    /// At the first object that the server refuses; those before it are applied.
    pub async fn apply(&self, client: &Client) -> Result<(), Error> {
        let mut resources = discover(client).await?;
        for object in &self.objects {
            let resource = if let Some(resource) = find(&resources, object) {
                resource.clone()
            } else {
                // A custom resource of this very manifest may be served by now.
                resources = discover(client).await?;
                find(&resources, object)
                    .cloned()
                    .ok_or_else(|| unknown(object))?
            };
            apply(client, &resource, object).await?;
        }
        Ok(())
    }
}

async fn discover(client: &Client) -> Result<Vec<ServedResource>, Error> {
    served_resources(client)
        .await
        .map_err(|error| Error::Discovery(Box::new(error)))
}

fn find<'a>(resources: &'a [ServedResource], object: &Value) -> Option<&'a ServedResource> {
    let api_version = object.api_version();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    resources
        .iter()
        .find(|resource| resource.group == group && resource.kind == object.kind())
}

fn unknown(object: &Value) -> Error {
    Error::UnknownKind {
        kind: object.kind().to_owned(),
        api_version: object.api_version().to_owned(),
    }
}

async fn apply(client: &Client, resource: &ServedResource, object: &Value) -> Result<(), Error> {
    let namespace = match (resource.namespaced, object.namespace()) {
        (false, _) => "",
        (true, "") => client.default_namespace(),
        (true, namespace) => namespace,
    };
    let version = object
        .api_version()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let path = ServedResource {
        version,
        ..resource.clone()
    }
    .path(namespace);
    let shown = match namespace {
        "" => format!("{} {}", object.kind(), object.name()),
        namespace => format!("{} {namespace}/{}", object.kind(), object.name()),
    };
    let body = serde_json::to_vec(object).unwrap_or_default();
    let request = if object.name().is_empty() {
        http::Request::post(format!(
            "{path}?fieldManager={MANAGER}&fieldValidation=Strict"
        ))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
    } else {
        let query = format!("fieldManager={MANAGER}&force=true&fieldValidation=Strict");
        http::Request::patch(format!("{path}/{}?{query}", object.name()))
            .header(http::header::CONTENT_TYPE, "application/apply-patch+yaml")
            .body(body)
    };
    let sent = match request.map_err(kube::Error::HttpError) {
        Ok(request) => client.request_text(request).await,
        Err(error) => Err(error),
    };
    let refused = |error: kube::Error| Error::Refused {
        object: shown,
        message: client::message(&error),
        source: Box::new(error),
    };
    sent.map(drop).map_err(refused)
}

/// Only `true` and `false` are booleans: a thing may be named `n`.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

/// Splits at lines that begin with `---`.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line.starts_with("---")
            && line[3..]
                .trim_start()
                .chars()
                .next()
                .is_none_or(|c| c == '#')
        {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    documents.retain(|document| document.lines().any(is_content));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_lists_and_order() {
        let text = "# comment\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\n\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: n}}\n";
        let kinds: Vec<_> = Manifest::parse(text)
            .unwrap()
            .objects
            .iter()
            .map(|object| object.kind().to_owned())
            .collect();
        assert_eq!(kinds, ["Namespace", "ConfigMap", "Deployment"]);
    }

    #[test]
    fn refusals_name_the_document() {
        assert!(matches!(
            Manifest::parse("a: [\n"),
            Err(Error::Syntax { document: 1, .. })
        ));
        let missing =
            Manifest::parse("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\nkind: Pod\n");
        assert!(matches!(
            missing,
            Err(Error::NoObject {
                document: 2,
                field: "apiVersion"
            })
        ));
        assert!(Manifest::parse("").unwrap().objects.is_empty());
    }
}
