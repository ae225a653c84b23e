//! Admission: cluster policy between validation of the request and the store.
//!
//! A plugin implements [`Admission`]. Mutating hooks of all plugins run in order before the object is validated, validating hooks
//! after. Architecture invariant: plugins see other objects through a read-only [`View`]; they write nothing.
mod attributes;
mod authorizer;
mod cached;
mod certificates;
mod chain;
#[cfg(feature = "cel")]
mod conditions;
mod default_storage_class;
#[cfg(feature = "cel")]
mod expression;
mod in_use;
mod ingress_class;
mod limit_ranger;
mod matching;
mod namespace;
mod node_restriction;
mod nodes;
mod owner_references;
mod pod_resize;
mod pod_resources;
mod pod_security;
#[cfg(feature = "cel")]
mod policy;
mod priority;
mod quota;
mod resize;
mod runtime_class;
mod service_account;
mod session;
mod tolerations;
mod topology_labels;
mod view;
pub mod webhook;

pub(crate) use self::chain::Chain;
pub(crate) use self::session::Session;
pub use self::view::View;
use super::request::User;
use crate::object::{GroupResource, GroupVersionKind, Status};
use async_trait::async_trait;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an object, by update or patch.
    Update,
    /// A deletion.
    Delete,
    /// A connection to an object: exec, attach, port-forward, proxy.
    Connect,
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserInfo {
    /// The user's name.
    pub name: String,
    /// The user's uid.
    pub uid: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// What the one who knows the user says besides.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl From<&User> for UserInfo {
    fn from(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        }
    }
}

/// What a plugin may know about a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdmissionRequest<'a> {
    /// What is done.
    pub operation: Operation,
    /// The kind of the object in the body.
    pub kind: GroupVersionKind,
    /// The resource that is written.
    pub resource: GroupResource,
    /// The version of the resource in the path of the request.
    pub version: &'a str,
    /// The subresource that is written, `""` for the object itself.
    pub subresource: &'a str,
    /// The namespace, `""` for cluster-scoped objects.
    pub namespace: &'a str,
    /// The name; `""` when the server is to generate it.
    pub name: &'a str,
    /// The object before the request; `None` for creations.
    pub old: Option<&'a Value>,
    /// The options in the request: `CreateOptions`, `UpdateOptions` or `DeleteOptions`; null for connections.
    pub options: &'a Value,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// Who asks.
    pub user: &'a UserInfo,
    /// Other objects.
    pub view: View<'a>,
    /// What plugins leave behind.
    pub(crate) session: &'a Session,
}

impl AdmissionRequest<'_> {
    /// Whether the object itself (and not a subresource) of the core-group or named resource is created or updated.
    #[must_use]
    pub fn writes(&self, group: &str, resource: &str) -> bool {
        matches!(self.operation, Operation::Create | Operation::Update)
            && self.subresource.is_empty()
            && (
                self.resource.group.as_str(),
                self.resource.resource.as_str(),
            ) == (group, resource)
    }

    /// Warns the client, whatever becomes of the request.
    pub fn warn(&self, text: impl Into<String>) {
        self.session.warn(text);
    }

    /// Whether the request is for `resource` of `group`, or for a subresource of it.
    #[must_use]
    pub fn is_for(&self, group: &str, resource: &str) -> bool {
        (
            self.resource.group.as_str(),
            self.resource.resource.as_str(),
        ) == (group, resource)
    }

    /// 403: `pods "x" is forbidden: why`, named as well as the request allows.
    #[must_use]
    pub fn forbidden(&self, object: Option<&Value>, why: &str) -> Status {
        let metadata = |field: &str| {
            let value = object.and_then(|object| object.get("metadata")?.get(field)?.as_str());
            value.filter(|value| !value.is_empty())
        };
        let named = Some(self.name).filter(|name| !name.is_empty());
        let name = named
            .or_else(|| metadata("name"))
            .or_else(|| metadata("generateName"));
        Status::forbidden(&self.resource, name.unwrap_or("Unknown"), why)
    }
}

/// A plugin that changes or refuses requests.
///
/// ```
/// use async_trait::async_trait;
/// use homeostat::apiserver::admission::{Admission, AdmissionRequest};
/// use homeostat::object::Status;
/// use serde_json::Value;
///
/// #[derive(Debug)]
/// struct NoLatest;
///
/// #[async_trait]
/// impl Admission for NoLatest {
///     fn name(&self) -> &str {
///         "NoLatest"
///     }
///     async fn validate(&self, request: &AdmissionRequest<'_>, object: Option<&Value>) -> Result<(), Status> {
///         let latest = object.is_some_and(|object| object.to_string().contains(":latest"));
///         if request.writes("", "pods") && latest {
///             return Err(request.forbidden(object, "images must have a fixed tag"));
///         }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Admission: Debug + Send + Sync + 'static {
    /// The plugin's name, as `--disable-admission-plugins` takes it.
    fn name(&self) -> &str;

    /// Changes the object of a creation or update, or what is asked of a connection (`PodExecOptions` and its like), or refuses the
    /// request.
    ///
    /// # Errors
    /// The answer to the client.
    async fn mutate(
        &self,
        _request: &AdmissionRequest<'_>,
        _object: &mut Value,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the request, or not. `object` is what will be stored, or what is asked of a connection; `None` for deletions.
    ///
    /// # Errors
    /// The answer to the client.
    async fn validate(
        &self,
        _request: &AdmissionRequest<'_>,
        _object: Option<&Value>,
    ) -> Result<(), Status> {
        Ok(())
    }
}

const _: () = {
    const fn is_object<T: ?Sized + Send + Sync>() {}
    is_object::<dyn Admission>();
};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
