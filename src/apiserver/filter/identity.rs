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

/// By what callers are known, among what is said of them besides.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

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
    /// What its certificate says, when it showed one that the server's client authority signed. Who shows one that cannot
    /// be believed needs a token: nobody is anonymous by mistake.
    pub certificate: Option<Result<ClientCertificate, CertificateError>>,
}

/// Why a client certificate is not believed, though it was signed by whom it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate is not believed: {0}")]
pub struct CertificateError(pub &'static str);

/// What a verified client certificate says of its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The common name: the user.
    pub common_name: String,
    /// The organizations: the groups.
    pub organizations: Vec<String>,
    /// The user's uid, from the attribute `1.3.6.1.4.1.57683.2` of the subject. `""`: there is none.
    pub uid: String,
    /// The SHA-256 digest of the certificate, in hexadecimal digits; who asks is told apart by it. `""`: it is not known.
    pub fingerprint: String,
}

impl ClientCertificate {
    fn user(&self) -> User {
        let mut user = User {
            name: self.common_name.clone(),
            uid: self.uid.clone(),
            groups: self.organizations.clone(),
            ..User::default()
        };
        if !self.fingerprint.is_empty() {
            let credential = format!("X509SHA256={}", self.fingerprint);
            user.extra
                .insert(CREDENTIAL_ID.to_owned(), vec![credential]);
        }
        user
    }
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
/// 401 for a token or a certificate that is not believed, and for callers who show nothing when those are not served.
pub(crate) async fn authenticate(shared: &Arc<Shared>, parts: &Parts) -> Result<Arc<User>, Status> {
    if let Some(identity) = parts.extensions.get::<Identity>() {
        return Ok(identity.0.clone());
    }
    let Some(remote) = parts.extensions.get::<Remote>() else {
        return Ok(ADMIN.clone());
    };
    let mut nothing = true;
    match &remote.certificate {
        Some(Ok(certificate)) => return Ok(Arc::new(authenticated(certificate.user()))),
        Some(Err(error)) => {
            nothing = false;
            tracing::debug!(%error, "who calls is not known");
        }
        None => {}
    }
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

    #[test]
    fn certificates_are_told_apart() {
        let user = |fingerprint: &str| {
            let certificate = ClientCertificate {
                common_name: "u".into(),
                uid: "7".into(),
                fingerprint: fingerprint.into(),
                ..ClientCertificate::default()
            };
            certificate.user()
        };
        assert_eq!(
            user("ab").extra.into_iter().collect::<Vec<_>>(),
            [(CREDENTIAL_ID.to_owned(), vec!["X509SHA256=ab".to_owned()])]
        );
        assert_eq!(user("ab").uid, "7");
        assert!(user("").extra.is_empty());
    }
}
