//! OpenAPI: what the API's paths take and what its objects look like, for clients that validate, explain and merge.
//!
//! v3 has one document a group and version (`/openapi/v3`, `/openapi/v3/apis/{group}/{version}`), v2 one for all (`/openapi/v2`).
//! All are made when first asked for and kept as bytes for as long as what they are made of stays the same.
mod docs;
mod documents;
mod enums;
mod operations;
mod parameters;
mod proto;
mod schemas;
mod v2;

use super::discovery::sha256;
use super::registry::{Registry, Resource};
use super::request::Query;
use super::request::negotiate;
use super::response::{self, Response};
use bytes::Bytes;
use documents::About;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Under this path the v2 document is kept.
const V2: &str = "v2";

/// The documents made so far.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Of these resources are the hashes.
    of: Vec<Arc<Resource>>,
    /// By path.
    index: BTreeMap<String, Entry>,
    /// The encoded documents with the hash of what they were made of, by path and form.
    documents: BTreeMap<(String, Form), (String, Bytes)>,
}

#[derive(Clone, Debug)]
struct Entry {
    about: About,
    hash: String,
}

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Json,
    Protobuf,
}

/// The versions of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V2,
    V3,
}

impl Form {
    fn content_type(self, version: Version) -> HeaderValue {
        HeaderValue::from_static(match (self, version) {
            (Self::Json, _) => "application/json",
            (Self::Protobuf, Version::V2) => {
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            }
            (Self::Protobuf, Version::V3) => {
                "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
            }
        })
    }
    /// The best form of those that the client takes.
    fn of(headers: &HeaderMap, version: Version) -> Option<Self> {
        let accept = headers
            .get(http::header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .unwrap_or_default();
        if accept.is_empty() {
            return Some(Self::Json);
        }
        let protobuf = match version {
            Version::V2 => "application/com.github.proto-openapi.spec.v2",
            Version::V3 => "application/com.github.proto-openapi.spec.v3",
        };
        negotiate::preferences(accept).find_map(|media| match media.as_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            media => {
                let rest = media.strip_prefix(protobuf)?;
                matches!(rest, "@v1.0+protobuf" | ".v1.0+protobuf").then_some(Self::Protobuf)
            }
        })
    }
}

/// Answers `/openapi/v2`, `/openapi/v3` and what is below it. `None`: the path is something else.
pub(crate) fn answer(
    registry: &Registry,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Option<Response> {
    let below = path.strip_prefix("/openapi/")?;
    let resources = registry.all();
    let mut state = registry.openapi.0.lock();
    state.refresh(&resources);
    if below.trim_end_matches('/') == "v2" {
        return Some(state.answer_v2(headers));
    }
    let below = below.strip_prefix("v3")?;
    if matches!(below, "" | "/") {
        return Some(state.index());
    }
    let path = below.strip_prefix('/')?.trim_end_matches('/');
    let Some(entry) = state.index.get(path).cloned() else {
        return Some(empty(StatusCode::NOT_FOUND));
    };
    let Some(form) = Form::of(headers, Version::V3) else {
        return Some(empty(StatusCode::NOT_ACCEPTABLE));
    };
    let asked = query.get("hash").unwrap_or_default();
    if !asked.is_empty() && asked != entry.hash {
        return Some(moved(path, &entry.hash));
    }
    let document = state.document(path, &entry.hash, form, |resources| {
        let document = documents::make(&entry.about, resources);
        match form {
            Form::Json => document.to_string().into(),
            Form::Protobuf => proto::v3(&document).into(),
        }
    });
    let media = form.content_type(Version::V3);
    let mut response = tagged(document, media, &entry.hash, headers);
    if !asked.is_empty() {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        // The hash is of the content: it never changes.
        headers.insert(
            EXPIRES,
            HeaderValue::from_static("Fri, 31 Dec 2100 23:59:59 GMT"),
        );
    }
    Some(response)
}

impl State {
    /// Forgets what is no longer served.
    fn refresh(&mut self, resources: &[Arc<Resource>]) {
        let same = self.of.len() == resources.len()
            && self
                .of
                .iter()
                .zip(resources)
                .all(|(one, other)| Arc::ptr_eq(one, other));
        if same && !self.index.is_empty() {
            return;
        }
        self.of = resources.to_vec();
        let entry = |about: About| Entry {
            hash: hash(&documents::inputs(&about, resources)),
            about,
        };
        let all = documents::all(resources).into_iter();
        self.index = all.map(|(path, about)| (path, entry(about))).collect();
        let index = &self.index;
        self.documents.retain(|(path, _), (hash, _)| {
            path == V2 || index.get(path).is_some_and(|entry| entry.hash == *hash)
        });
    }

    fn index(&self) -> Response {
        let paths = self.index.iter().map(|(path, entry)| {
            let url = format!("/openapi/v3/{path}?hash={}", entry.hash);
            (path.clone(), json!({ "serverRelativeURL": url }))
        });
        let paths: serde_json::Map<String, Value> = paths.collect();
        // The real server leaves the type to be guessed.
        response::text(StatusCode::OK, json!({ "paths": paths }).to_string())
    }

    fn answer_v2(&mut self, headers: &HeaderMap) -> Response {
        let Some(form) = Form::of(headers, Version::V2) else {
            return empty(StatusCode::NOT_ACCEPTABLE);
        };
        let hashes: String = self.index.values().map(|entry| &*entry.hash).collect();
        let hash = hash(&hashes);
        let abouts: Vec<About> = self
            .index
            .values()
            .map(|entry| entry.about.clone())
            .collect();
        let document = self.document(V2, &hash, form, |resources| {
            let documents = abouts.iter().map(|about| documents::make(about, resources));
            let document = v2::document(documents);
            match form {
                Form::Json => document.to_string().into(),
                Form::Protobuf => proto::v2(&document).into(),
            }
        });
        tagged(document, form.content_type(Version::V2), &hash, headers)
    }

    /// The document of this path and hash: as it was made before, or made now.
    fn document(
        &mut self,
        path: &str,
        hash: &str,
        form: Form,
        make: impl FnOnce(&[Arc<Resource>]) -> Bytes,
    ) -> Bytes {
        let key = (path.to_owned(), form);
        if let Some((of, document)) = self.documents.get(&key)
            && of == hash
        {
            return document.clone();
        }
        let document = make(&self.of);
        self.documents
            .insert(key, (hash.to_owned(), document.clone()));
        document
    }
}

fn hash(text: &str) -> String {
    let mut hash = String::with_capacity(64);
    for byte in sha256::digest(text.as_bytes()) {
        // Writing to a string cannot fail.
        let _ = write!(hash, "{byte:02X}");
    }
    hash
}

/// A document, or 304 when the client has it.
fn tagged(document: Bytes, media: HeaderValue, hash: &str, headers: &HeaderMap) -> Response {
    let tag = HeaderValue::try_from(format!("\"{hash}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    let known = headers.get(IF_NONE_MATCH) == Some(&tag);
    let mut response = if known {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        response::content(StatusCode::OK, media, response::full(document))
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, tag);
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

/// To the document as it is now.
fn moved(path: &str, hash: &str) -> Response {
    let mut response = empty(StatusCode::MOVED_PERMANENTLY);
    if let Ok(url) = HeaderValue::try_from(format!("/openapi/v3/{path}?hash={hash}")) {
        response.headers_mut().insert(LOCATION, url);
    }
    response
}

fn empty(code: StatusCode) -> Response {
    let mut response = response::text(code, Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}
