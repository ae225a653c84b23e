//! Who asks, and whether they may.
//!
//! A caller in this process is what its request extension says, and all-powerful: whoever can call the service owns the
//! process. Authentication of callers from outside and authorization take their place here, in front of the handlers.
use crate::apiserver::request::User;
use http::Extensions;
use std::sync::{Arc, LazyLock};

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";

static ADMIN: LazyLock<Arc<User>> = LazyLock::new(|| in_process("kubernetes-admin"));

/// A caller in this process.
#[derive(Clone, Debug)]
pub(crate) struct Identity(pub Arc<User>);

/// An all-powerful user of this name.
pub(crate) fn in_process(name: &str) -> Arc<User> {
    Arc::new(User {
        name: name.to_owned(),
        uid: String::new(),
        groups: vec![MASTERS.to_owned(), "system:authenticated".to_owned()],
    })
}

/// Who asks.
pub(crate) fn of(extensions: &Extensions) -> Arc<User> {
    extensions
        .get::<Identity>()
        .map_or_else(|| ADMIN.clone(), |identity| identity.0.clone())
}
