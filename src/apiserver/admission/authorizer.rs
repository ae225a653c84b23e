//! Questions of plugins to the authorizer.
use super::{AdmissionRequest, UserInfo};
use crate::apiserver::auth::{Attributes, Decision};
use crate::apiserver::request::User;
#[cfg(feature = "cel")]
use crate::cel::{Permission, Verdict};
#[cfg(feature = "cel")]
use crate::object::FieldSelector;
use crate::object::Status;

/// The user of a request, as the authorizer knows users.
pub(super) fn user(info: &UserInfo) -> User {
    User {
        name: info.name.clone(),
        uid: info.uid.clone(),
        groups: info.groups.clone(),
        extra: info.extra.clone(),
    }
}

/// Whether the user of the request may do what is asked. Where there is no server, everybody may.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn allows(
    request: &AdmissionRequest<'_>,
    asked: &Attributes,
) -> Result<bool, Status> {
    let decision = decide(request, &user(request.user), asked).await?;
    Ok(decision.is_allowed())
}

async fn decide(
    request: &AdmissionRequest<'_>,
    user: &User,
    asked: &Attributes,
) -> Result<Decision, Status> {
    match request.view.shared() {
        Some(shared) => shared.authorizer.authorize(shared, user, asked).await,
        None => Ok(Decision::Allow(String::new())),
    }
}

/// What the authorizer says to a question of an expression (`k8s.io/apiserver/pkg/cel/library/authz.go`).
#[cfg(feature = "cel")]
pub(super) async fn verdict(request: &AdmissionRequest<'_>, permission: &Permission) -> Verdict {
    let (namespace, account) = &permission.service_account;
    let user = if account.is_empty() {
        user(request.user)
    } else {
        User {
            name: format!("system:serviceaccount:{namespace}:{account}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
            ..User::default()
        }
    };
    let asked = if let Some(path) = &permission.path {
        Attributes {
            verb: permission.verb.clone(),
            path: path.clone(),
            ..Attributes::default()
        }
    } else {
        let mut asked = about(&permission.verb, &permission.group, &permission.resource);
        asked.subresource.clone_from(&permission.subresource);
        asked.namespace.clone_from(&permission.namespace);
        asked.name.clone_from(&permission.name);
        // One that cannot be read restricts nothing.
        if let Ok(fields) = FieldSelector::parse(&permission.field_selector) {
            asked.restrict(&fields);
        }
        asked
    };
    match decide(request, &user, &asked).await {
        Ok(Decision::Allow(reason)) => Verdict {
            allowed: true,
            reason,
            error: String::new(),
        },
        Ok(Decision::NoOpinion(reason)) => Verdict {
            reason,
            ..Verdict::default()
        },
        Err(status) => Verdict {
            error: status.message,
            ..Verdict::default()
        },
    }
}

/// A question about a resource.
pub(super) fn about(verb: &str, group: &str, resource: &str) -> Attributes {
    Attributes {
        verb: verb.to_owned(),
        resource_request: true,
        group: group.to_owned(),
        version: "*".to_owned(),
        resource: resource.to_owned(),
        ..Attributes::default()
    }
}
