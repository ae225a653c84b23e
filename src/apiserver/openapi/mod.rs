//! OpenAPI: what the API's paths take and what its objects look like, for clients that validate, explain and merge.
//!
//! v3 has one document a group and version (`/openapi/v3`, `/openapi/v3/apis/{group}/{version}`), v2 one for all (`/openapi/v2`).
//! All are made when first asked for and kept as bytes for as long as what they are made of stays the same.
mod docs;
mod documents;
mod enums;
mod operations;
mod parameters;
mod schemas;

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
}

impl Form {
    fn content_type(self) -> HeaderValue {
        match self {
            Self::Json => response::JSON,
        }
    }
    /// The best form of those that the client takes.
    fn of(accept: &str) -> Option<Self> {
        if accept.is_empty() {
            return Some(Self::Json);
        }
        negotiate::preferences(accept).find_map(|media| match media.as_str() {
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            _ => None,
        })
    }
}

/// Answers `/openapi/v3` and what is below it. `None`: the path is something else.
pub(crate) fn answer(
    registry: &Registry,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Option<Response> {
    let below = path.strip_prefix("/openapi/v3")?;
    let resources = registry.all();
    let mut state = registry.openapi.0.lock();
    state.refresh(&resources);
    if matches!(below, "" | "/") {
        return Some(state.index());
    }
    let path = below.strip_prefix('/')?.trim_end_matches('/');
    let Some(entry) = state.index.get(path).cloned() else {
        return Some(empty(StatusCode::NOT_FOUND));
    };
    let accept = headers
        .get(http::header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let Some(form) = Form::of(accept) else {
        return Some(empty(StatusCode::NOT_ACCEPTABLE));
    };
    let asked = query.get("hash").unwrap_or_default();
    if !asked.is_empty() && asked != entry.hash {
        return Some(moved(path, &entry.hash));
    }
    let document = state.document(path, &entry, form, &resources);
    let mut response = tagged(document, form, &entry.hash, headers);
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
            index.get(path).is_some_and(|entry| entry.hash == *hash)
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

    fn document(
        &mut self,
        path: &str,
        entry: &Entry,
        form: Form,
        resources: &[Arc<Resource>],
    ) -> Bytes {
        let key = (path.to_owned(), form);
        if let Some((hash, document)) = self.documents.get(&key)
            && *hash == entry.hash
        {
            return document.clone();
        }
        let document = documents::make(&entry.about, resources);
        let bytes = Bytes::from(match form {
            Form::Json => document.to_string(),
        });
        self.documents
            .insert(key, (entry.hash.clone(), bytes.clone()));
        bytes
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
fn tagged(document: Bytes, form: Form, hash: &str, headers: &HeaderMap) -> Response {
    let tag = HeaderValue::try_from(format!("\"{hash}\""))
        .unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    let known = headers.get(IF_NONE_MATCH) == Some(&tag);
    let mut response = if known {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        response::content(
            StatusCode::OK,
            form.content_type(),
            response::full(document),
        )
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
