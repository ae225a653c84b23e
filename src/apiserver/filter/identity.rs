//! Who asks.
//!
//! A caller in this process is what its request extension says, and all-powerful without one: whoever can call the service
//! owns the process. A caller from outside shows a client certificate or a bearer token, or is anonymous. Each method is a
//! file; the first that knows the caller decides, and a token that nobody knows is refused whatever else would be allowed.
use super::bearer;
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::object::{Reason, Status};
use http::request::Parts;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The group of everybody who is known.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody else.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user that everybody else is.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

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
        groups: vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()],
        ..User::default()
    })
}

/// Who asks.
///
/// # Errors
/// 401 for a token that nobody knows, and for callers who show nothing when those are not served.
pub(crate) async fn authenticate(shared: &Arc<Shared>, parts: &Parts) -> Result<Arc<User>, Status> {
    if let Some(identity) = parts.extensions.get::<Identity>() {
        return Ok(identity.0.clone());
    }
    let Some(remote) = parts.extensions.get::<Remote>() else {
        return Ok(ADMIN.clone());
    };
    if let Some(certificate) = &remote.certificate {
        return Ok(Arc::new(authenticated(User {
            name: certificate.common_name.clone(),
            groups: certificate.organizations.clone(),
            ..User::default()
        })));
    }
    let mut nothing = true;
    for shown in bearer::shown(parts) {
        nothing = false;
        let believed = match shown {
            Ok(token) => bearer::authenticate(shared, token, &[]).await,
            Err(why) => Err(why.to_owned()),
        };
        match believed {
            Ok((user, _)) => return Ok(Arc::new(user)),
            Err(why) => tracing::debug!(why, "a bearer token is not believed"),
        }
    }
    if nothing && shared.anonymous {
        return Ok(Arc::new(User {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..User::default()
        }));
    }
    Err(unauthorized())
}

/// The user, in the group of those who are known.
pub(crate) fn authenticated(mut user: User) -> User {
    let special = user.name == ANONYMOUS
        || user
            .groups
            .iter()
            .any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
    if !special {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

fn unauthorized() -> Status {
    Status::new(401, Reason::Unauthorized, "Unauthorized")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_are_in_a_group() {
        let groups = |name: &str, groups: &[&str]| {
            authenticated(User {
                name: name.into(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                ..User::default()
            })
            .groups
        };
        assert_eq!(groups("a", &["g"]), ["g", AUTHENTICATED]);
        assert_eq!(groups("a", &[AUTHENTICATED]), [AUTHENTICATED]);
        assert_eq!(groups("a", &[UNAUTHENTICATED]), [UNAUTHENTICATED]);
        assert_eq!(groups(ANONYMOUS, &[]), Vec::<String>::new());
    }
}
