//! Who wrote what: told to an observer for every committed write, without any object's content.
use crate::apiserver::handler::call::Call;
use crate::store::Revision;
use jiff::Timestamp;
use std::fmt::Debug;

/// One committed write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Write<'a> {
    /// The user who asked for it.
    pub user: &'a str,
    /// The `User-Agent` that asked for it; in-process components have one each.
    pub user_agent: &'a str,
    /// `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// The API group, `""` for the core group.
    pub group: &'a str,
    /// The resource (plural).
    pub resource: &'a str,
    /// `status`, `scale`, …
    pub subresource: Option<&'a str>,
    /// The namespace, `""` for cluster-scoped objects.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// The revision of the write in the store.
    pub revision: Revision,
    /// When it was committed, by the server's clock.
    pub time: Timestamp,
}

/// Is told of every committed write, in the order in which the server learns of the commits. It is called on the path of the
/// request: it must not block.
pub trait WriteObserver: Debug + Send + Sync + 'static {
    /// A write was committed.
    fn wrote(&self, write: &Write<'_>);
}

impl<'a> Write<'a> {
    /// A write of `name` by `call`.
    pub(crate) fn of(call: &'a Call<'_>, name: &'a str, revision: Revision) -> Self {
        Self {
            user: &call.request.user.name,
            user_agent: &call.request.user_agent,
            verb: call.request.verb.as_str(),
            group: &call.resource.gvk.group,
            resource: &call.resource.plural,
            subresource: call.subresource,
            namespace: call.namespace,
            name,
            revision,
            time: call.shared.clock.now(),
        }
    }
}
