//! The OpenAPI v3 documents: one for each group and version, and small ones for what leads there.
use super::operations::{self, Paths};
use crate::apiserver::registry::Resource;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// What a document is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// `/api`
    Core,
    /// `/apis`
    Groups,
    /// `/apis/{group}`
    Group(String),
    /// `/api/{version}`, `/apis/{group}/{version}`
    Version(String, String),
    /// `/version`
    ServerVersion,
    /// `/.well-known/openid-configuration`
    Issuer,
    /// `/openid/v1/jwks`
    Keys,
}

impl About {
    /// Its path below `/openapi/v3/`.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Core => "api".into(),
            Self::Groups => "apis".into(),
            Self::Group(group) => format!("apis/{group}"),
            Self::Version(group, version) if group.is_empty() => format!("api/{version}"),
            Self::Version(group, version) => format!("apis/{group}/{version}"),
            Self::ServerVersion => "version".into(),
            Self::Issuer => ".well-known/openid-configuration".into(),
            Self::Keys => "openid/v1/jwks".into(),
        }
    }
    /// Its resources, of all.
    pub(super) fn resources<'a>(&self, all: &'a [Arc<Resource>]) -> Vec<&'a Resource> {
        let Self::Version(group, version) = self else {
            return Vec::new();
        };
        all.iter()
            .map(AsRef::as_ref)
            .filter(|resource| (&resource.gvk.group, &resource.gvk.version) == (group, version))
            .collect()
    }
}

/// All documents there are, by path.
pub(super) fn all(resources: &[Arc<Resource>]) -> BTreeMap<String, About> {
    let mut all = vec![
        About::Core,
        About::Groups,
        About::ServerVersion,
        About::Issuer,
        About::Keys,
    ];
    for resource in resources {
        let gvk = &resource.gvk;
        // Groups of custom resources have no document of their own.
        if !gvk.group.is_empty() && !resource.strategy.custom() {
            all.push(About::Group(gvk.group.clone()));
        }
        all.push(About::Version(gvk.group.clone(), gvk.version.clone()));
    }
    all.into_iter().map(|about| (about.path(), about)).collect()
}

/// Makes a document.
pub(super) fn make(about: &About, resources: &[Arc<Resource>]) -> Value {
    let mut paths = Paths::default();
    let path = format!("/{}/", about.path());
    match about {
        About::Core => paths.index(
            &path,
            "getCoreAPIVersions",
            "core",
            "get available API versions",
            "APIVersions",
        ),
        About::Groups => paths.index(
            &path,
            "getAPIVersions",
            "apis",
            "get available API versions",
            "APIGroupList",
        ),
        About::Group(group) => paths.index(
            &path,
            &format!("get{}APIGroup", operations::id_of(group, "")),
            &operations::tag(group, ""),
            "get information of a group",
            "APIGroup",
        ),
        About::Version(group, version) => {
            let served = about.resources(resources);
            if !served.iter().all(|resource| resource.strategy.custom()) {
                paths.index(
                    &path,
                    &format!("get{}APIResources", operations::id_of(group, version)),
                    &operations::tag(group, version),
                    "get available resources",
                    "APIResourceList",
                );
            }
            for resource in served {
                paths.resource(resource);
            }
        }
        About::ServerVersion => paths.plain(
            &path,
            "getCodeVersion",
            "version",
            "get the version information for this server",
            &["application/json"],
            Some("io.k8s.apimachinery.pkg.version.Info"),
        ),
        About::Issuer => paths.plain(
            &path,
            "getServiceAccountIssuerOpenIDConfiguration",
            "WellKnown",
            "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
            &["application/json"],
            None,
        ),
        About::Keys => paths.plain(
            &path,
            "getServiceAccountIssuerOpenIDKeyset",
            "openid",
            "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
            &["application/jwk-set+json"],
            None,
        ),
    }
    let definitions = std::mem::take(&mut paths.definitions).into_value();
    let security = json!({
        "type": "apiKey", "description": "Bearer Token authentication", "in": "header", "name": "authorization",
    });
    let mut document = json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": crate::apiserver::discovery::git_version() },
        "paths": paths.into_value(),
        "components": { "schemas": definitions, "securitySchemes": { "BearerToken": security } },
    });
    if document["components"]["schemas"] == json!({}) {
        document["components"]
            .as_object_mut()
            .map(|components| components.remove("schemas"));
    }
    document
}

/// What a document depends on, as text that is hashed.
pub(super) fn inputs(about: &About, resources: &[Arc<Resource>]) -> String {
    let mut text = format!("{} {}", env!("CARGO_PKG_VERSION"), about.path());
    for resource in about.resources(resources) {
        let entry = (
            &resource.gvk,
            &resource.list_kind,
            &resource.plural,
            resource.namespaced,
            &resource.verbs,
            &resource.subresources,
        );
        // Writing to a string cannot fail.
        let _ = write!(text, "{entry:?}");
        if let Some(schema) = &resource.open_api {
            text.push_str(&schema.to_string());
        }
    }
    text
}
