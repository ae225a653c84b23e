//! Discovery: which groups, versions and resources there are, from the registry as it is at the time of the request.
mod documents;
pub(crate) mod sha256;

pub(crate) use documents::git_version;

use super::registry::{Registry, Resource};
use super::request::negotiate::{self, Endpoint};
use super::response::{self, Response};
use crate::object::Status;
use bytes::Bytes;
use http::header::{ETAG, HeaderName, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;

/// The media type of the aggregated documents.
const AGGREGATED: HeaderValue = HeaderValue::from_static(
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
);

/// The paths besides those of groups and versions that the root document lists.
const PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/apis/",
    "/flagz",
    "/healthz",
    "/livez",
    "/metrics",
    "/metrics/slis",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/readyz",
    "/statusz",
    "/version",
];

/// The paths besides those of groups and versions.
pub(crate) fn paths() -> &'static [&'static str] {
    PATHS
}

/// The aggregated documents, encoded for as long as the registry holds the same resources.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Option<Encoded>>);

#[derive(Clone, Debug)]
struct Encoded {
    of: Vec<(Arc<Resource>, bool)>,
    /// `/api` and `/apis`.
    documents: [(Bytes, HeaderValue); 2],
}

/// Answers `/`, `/version`, `/api`, `/apis` and what is below them down to the list of a version's resources. `None`: the path
/// is something else, or of a group that is not served.
pub(crate) fn answer(
    registry: &Registry,
    path: &str,
    headers: &HeaderMap,
) -> Option<Result<Response, Status>> {
    let accept = headers
        .get(http::header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let parts: Vec<&str> = path
        .trim_start_matches('/')
        .trim_end_matches('/')
        .split('/')
        .collect();
    let legacy = |document: Value| {
        Some(match form(accept, false) {
            Ok(_) => Ok(response::document(StatusCode::OK, &document)),
            Err(status) => Err(status),
        })
    };
    let resources = || registry.all();
    match parts[..] {
        [""] => legacy(root(&resources())),
        ["version"] => legacy(documents::version()),
        [root @ ("api" | "apis")] => Some(form(accept, true).map(|aggregated| {
            if aggregated {
                self::aggregated(registry, root == "apis", headers)
            } else if root == "api" {
                response::document(StatusCode::OK, &documents::core_versions())
            } else {
                response::document(StatusCode::OK, &documents::groups(&resources()))
            }
        })),
        ["apis", group] => documents::group(&resources(), group).and_then(legacy),
        ["api", version] => {
            legacy_or_missing(documents::resources(&resources(), "", version), legacy)
        }
        ["apis", group, version] => {
            let all = resources();
            documents::group(&all, group)?;
            legacy_or_missing(documents::resources(&all, group, version), legacy)
        }
        _ => None,
    }
}

fn legacy_or_missing(
    document: Option<Value>,
    legacy: impl Fn(Value) -> Option<Result<Response, Status>>,
) -> Option<Result<Response, Status>> {
    document.map_or_else(|| Some(Err(Status::no_such_path())), legacy)
}

/// Whether the client wants the aggregated document, of those it can have.
fn form(accept: &str, can_aggregate: bool) -> Result<bool, Status> {
    for clause in accept.split(',') {
        let has = |parameter: &str| clause.split(';').any(|part| part.trim() == parameter);
        if can_aggregate
            && has("application/json")
            && has("as=APIGroupDiscoveryList")
            && has("g=apidiscovery.k8s.io")
            && has("v=v2")
        {
            return Ok(true);
        }
        if negotiate::output(clause.trim(), Endpoint::Discovery).is_ok() {
            return Ok(false);
        }
    }
    negotiate::output(accept, Endpoint::Discovery).map(|_| false)
}

fn root(resources: &[Arc<Resource>]) -> Value {
    let mut paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    for resource in resources {
        let gvk = &resource.gvk;
        if gvk.group.is_empty() {
            paths.push(format!("/api/{}", gvk.version));
        } else {
            paths.push(format!("/apis/{}", gvk.group));
            paths.push(format!("/apis/{}/{}", gvk.group, gvk.version));
        }
    }
    paths.sort_unstable();
    paths.dedup();
    serde_json::json!({ "paths": paths })
}

fn aggregated(registry: &Registry, groups: bool, headers: &HeaderMap) -> Response {
    let encoded = registry.discovery.encoded(&registry.all());
    let (document, tag) = &encoded.documents[usize::from(groups)];
    let known = headers.get(IF_NONE_MATCH).is_some_and(|known| known == tag);
    let mut response = if known {
        response::content(
            StatusCode::NOT_MODIFIED,
            AGGREGATED,
            response::full(Bytes::new()),
        )
    } else {
        response::content(StatusCode::OK, AGGREGATED, response::full(document.clone()))
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.clone());
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(
        HeaderName::from_static("cache-control"),
        HeaderValue::from_static("public"),
    );
    response
}

impl Cache {
    fn encoded(&self, resources: &[Arc<Resource>]) -> Encoded {
        let mut cached = self.0.lock();
        let same = |encoded: &&Encoded| {
            encoded.of.len() == resources.len()
                && encoded
                    .of
                    .iter()
                    .zip(resources)
                    .all(|((one, going), other)| {
                        Arc::ptr_eq(one, other) && *going == other.is_terminating()
                    })
        };
        if let Some(encoded) = cached.as_ref().filter(same) {
            return encoded.clone();
        }
        let encode = |groups: bool| {
            let document = documents::aggregated(resources, groups).to_string();
            let mut tag = String::from("\"");
            for byte in sha256::digest(document.as_bytes()) {
                // Writing to a string cannot fail.
                let _ = write!(tag, "{byte:02X}");
            }
            tag.push('"');
            let tag =
                HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
            (Bytes::from(document), tag)
        };
        let encoded = Encoded {
            of: resources
                .iter()
                .map(|resource| (resource.clone(), resource.is_terminating()))
                .collect(),
            documents: [encode(false), encode(true)],
        };
        *cached = Some(encoded.clone());
        encoded
    }
}

#[cfg(test)]
mod tests;
