//! Nobody grants what he does not have himself, unless he may `escalate` roles or `bind` them.
use super::policy::{Policy, RoleRef, Unresolved, resolution_errors};
use super::rule::{Rule, compact, quoted, uncovered};
use super::{GROUP, KINDS};
use crate::apiserver::auth::Attributes;
use crate::apiserver::handler::call::Call;
use crate::apiserver::request::User;
use crate::object::{Document, Status};
use serde_json::Value;

/// Checks the write of a role or binding.
///
/// # Errors
/// 403 when it grants more than the user has, 404 when a binding grants a role that is not there.
pub(crate) async fn check(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let resource = &*call.resource.plural;
    if call.resource.gvk.group != GROUP || !KINDS.contains(&resource) {
        return Ok(());
    }
    let (shared, user) = (call.shared, &call.request.user);
    if user.is_master() || old.is_some_and(|old| only_lets_go(object, old)) {
        return Ok(());
    }
    let namespace = call.namespace;
    let may = async |verb: &str, resource: &str, name: &str| {
        let asked = Attributes {
            verb: verb.to_owned(),
            resource_request: true,
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        let decision = shared.authorizer.authorize(shared, user, &asked).await?;
        Ok::<_, Status>(decision.is_allowed())
    };
    let forbidden = |why: &str| {
        Err(Status::forbidden(
            &call.resource.group_resource(),
            object.name(),
            why,
        ))
    };
    if let Some(reference) = object.get("roleRef") {
        let reference: RoleRef = serde_json::from_value(reference.clone()).unwrap_or_default();
        let roles = match &*reference.kind {
            "Role" => Some("roles"),
            "ClusterRole" => Some("clusterroles"),
            _ => None,
        };
        if let Some(roles) = roles
            && reference.api_group == GROUP
            && may("bind", roles, &reference.name).await?
        {
            return Ok(());
        }
        let policy = shared.authorizer.policy(shared).await?;
        let rules = policy
            .rules(&reference, namespace)
            .map_err(|error| Unresolved::status(&error))?;
        return refusal(&policy, user, namespace, rules).map_or(Ok(()), |why| forbidden(&why));
    }
    if may("escalate", resource, &call.request.name).await? {
        return Ok(());
    }
    let policy = shared.authorizer.policy(shared).await?;
    let rules: Vec<Rule> = object
        .list_at(&["rules"])
        .iter()
        .filter_map(|rule| serde_json::from_value(rule.clone()).ok())
        .collect();
    if let Some(why) = refusal(&policy, user, namespace, &rules) {
        return forbidden(&why);
    }
    let gathers = |role: &Value| {
        !role
            .list_at(&["aggregationRule", "clusterRoleSelectors"])
            .is_empty()
    };
    if (gathers(object) || old.is_some_and(gathers))
        && refusal(&policy, user, namespace, &Rule::everything()).is_some()
    {
        return forbidden("must have cluster-admin privileges to use the aggregationRule");
    }
    Ok(())
}

/// Whether the update changes owners and finalizers only, as the garbage collector does.
fn only_lets_go(object: &Value, old: &Value) -> bool {
    let stripped = |object: &Value| {
        let mut object = object.clone();
        for field in ["ownerReferences", "finalizers", "managedFields"] {
            object.remove_at(&["metadata", field]);
        }
        object
    };
    stripped(object) == stripped(old)
}

/// Why `user` may not grant `rules` in `namespace`; `None`: he may.
fn refusal(policy: &Policy, user: &User, namespace: &str, rules: &[Rule]) -> Option<String> {
    let (owned, errors) = policy.rules_for(user, namespace);
    let missing = uncovered(&owned, rules);
    if missing.is_empty() {
        return None;
    }
    let mut shown: Vec<String> = compact(missing).iter().map(ToString::to_string).collect();
    shown.sort();
    shown.dedup();
    let mut why = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        shown.join("\n")
    );
    if !errors.is_empty() {
        why.push_str("; resolution errors: ");
        why.push_str(&resolution_errors(&errors));
    }
    Some(why)
}
