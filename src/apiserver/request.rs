//! A request to the API, parsed: which resource, which verb, which options (`k8s.io/apiserver/pkg/endpoints/request.RequestInfo`).
pub(crate) mod list;
pub(crate) mod negotiate;
pub(crate) mod options;
pub(crate) mod query;
pub(crate) mod route;

use super::filter::identity::{MASTERS, in_process};
use super::registry::Resource;
use super::response::Warnings;
use crate::object::{FieldSelector, LabelSelector};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is asked of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    Connect,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// What the one who knows the user says besides, e.g. the id of the token.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whether the user may do everything.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// A request for a resource, after routing and before decoding its body.
#[derive(Clone, Debug)]
pub(crate) struct ResourceRequest {
    pub verb: Verb,
    pub resource: Arc<Resource>,
    /// `""` for cluster-scoped resources and for requests across all namespaces.
    pub namespace: String,
    /// `""` for collections.
    pub name: String,
    /// `status`, `scale`, `binding`, …
    pub subresource: Option<String>,
    /// The query parameters, percent-decoded, in order.
    pub query: Query,
    pub user: Arc<User>,
    pub user_agent: String,
    /// The `Accept` header, `""` when absent.
    pub accept: String,
    /// The `Content-Type` header, `""` when absent.
    pub content_type: String,
    pub body: Bytes,
    /// What the client is to be warned of.
    pub warnings: Warnings,
    /// Whether the audit log keeps the answer: it is JSON then until the log has it, whatever the client wants.
    pub logged: bool,
}

impl ResourceRequest {
    /// A request of the server itself. It has no body: the writer has the object at hand.
    pub(crate) fn own(resource: Arc<Resource>, verb: Verb, namespace: &str, name: &str) -> Self {
        Self {
            verb,
            resource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: None,
            query: Query::default(),
            user: in_process("system:apiserver"),
            user_agent: "kube-apiserver".into(),
            accept: String::new(),
            content_type: String::new(),
            body: Bytes::new(),
            warnings: Warnings::default(),
            logged: false,
        }
    }
}

/// The query parameters, percent-decoded, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(pub Vec<(String, String)>);

impl Query {
    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
    /// All values of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// `metav1.ListOptions`, parsed from the query by `ListOptions::parse` (which answers 400/422 as the real server does).
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    pub limit: Option<usize>,
    pub continue_: Option<String>,
    pub resource_version: Option<String>,
    pub resource_version_match: Option<String>,
    /// When a watch ends; `None`: the server chooses.
    pub timeout: Option<Duration>,
    pub allow_watch_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}
