//! Who asks, and whether they may.
//!
//! A caller in this process is what its request extension says, and all-powerful: whoever can call the service owns the
//! process. Authentication of callers from outside and authorization take their place here, in front of the handlers.
use crate::apiserver::request::User;
use http::Extensions;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";

static ADMIN: LazyLock<Arc<User>> = LazyLock::new(|| in_process("kubernetes-admin"));

/// A caller in this process.
#[derive(Clone, Debug)]
pub(crate) struct Identity(pub Arc<User>);

/// A caller from outside this process, as the connection knows it; an extension of each of its requests. Without one, a
/// request comes from this process.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it calls from.
    pub address: SocketAddr,
    /// What its certificate says, when it showed one that the server's client authority signed.
    pub certificate: Option<ClientCertificate>,
}

/// The subject of a verified client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name: the user.
    pub common_name: String,
    /// The organizations: the groups.
    pub organizations: Vec<String>,
}

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
    if let Some(identity) = extensions.get::<Identity>() {
        return identity.0.clone();
    }
    match extensions.get::<Remote>() {
        None => ADMIN.clone(),
        Some(remote) => Arc::new(match &remote.certificate {
            Some(certificate) => User {
                name: certificate.common_name.clone(),
                uid: String::new(),
                groups: [
                    &certificate.organizations[..],
                    &["system:authenticated".to_owned()],
                ]
                .concat(),
            },
            None => User {
                name: "system:anonymous".to_owned(),
                uid: String::new(),
                groups: vec!["system:unauthenticated".to_owned()],
            },
        }),
    }
}
