//! Policies tell what their parameters hold, so that only who may read those may name them
//! (`k8s.io/kubernetes/pkg/registry/admissionregistration`).
use crate::apiserver::admission::View;
use crate::apiserver::auth::Attributes;
use crate::apiserver::handler::call::Call;
use crate::apiserver::request::User;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupVersion, Status};
use serde_json::Value;

const GROUP: &str = "admissionregistration.k8s.io";

/// What is wrong when the policy, or the binding of one, names parameters that its writer may not read. What was named before may stay.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn check(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Errors, Status> {
    let mut errors = Errors::new();
    let resource = call.resource;
    if &*resource.gvk.group != GROUP || call.subresource.is_some() || call.request.user.is_master()
    {
        return Ok(errors);
    }
    let policies = match &*resource.plural {
        "validatingadmissionpolicies" | "mutatingadmissionpolicies" => None,
        "validatingadmissionpolicybindings" => Some("validatingadmissionpolicies"),
        "mutatingadmissionpolicybindings" => Some("mutatingadmissionpolicies"),
        _ => return Ok(errors),
    };
    let field = if policies.is_some() {
        "paramRef"
    } else {
        "paramKind"
    };
    let Some(named) = set(object, field) else {
        return Ok(errors);
    };
    let policy = object.str_at(&["spec", "policyName"]);
    if let Some(old) = old
        && set(old, field) == Some(named)
        && old.str_at(&["spec", "policyName"]) == policy
    {
        return Ok(errors);
    }
    let refusal = match policies {
        None => of_kind(call, named).await?,
        Some(policies) => of_reference(call, named, policies, policy).await?,
    };
    if let Some(why) = refusal {
        errors.forbidden(Path::new("spec").child(field), &why);
    }
    Ok(errors)
}

fn set<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.at(&["spec", field]).filter(|it| !it.is_null())
}

/// Why the caller may not use parameters of this kind.
async fn of_kind(call: &Call<'_>, kind: &Value) -> Result<Option<String>, Status> {
    let (asked, _) = question(call, kind);
    let asked = Attributes {
        name: "*".to_owned(),
        namespace: "*".to_owned(),
        ..asked
    };
    if may(call, &asked).await? {
        return Ok(None);
    }
    Ok(Some(format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        shown(&call.request.user),
        kind.kind(),
        kind.api_version()
    )))
}

/// Why the caller may not use these parameters for the policy. Of a kind that is not known he needs to be able to read everything.
async fn of_reference(
    call: &Call<'_>,
    reference: &Value,
    policies: &str,
    policy: &str,
) -> Result<Option<String>, Status> {
    let view = View::of(call.shared);
    let found = view.get(GROUP, "v1", policies, "", policy).await?;
    let unknown = found.is_none().then(|| format!("get policy {policy}"));
    let (asked, unresolved) = match found.as_ref().and_then(|it| set(it, "paramKind")) {
        Some(kind) => question(call, kind),
        None => (anything(), None),
    };
    let name = reference.str_at(&["name"]);
    let verb = if name.is_empty() { "list" } else { "get" };
    let asked = Attributes {
        verb: verb.to_owned(),
        name: name.to_owned(),
        namespace: reference.str_at(&["namespace"]).to_owned(),
        ..asked
    };
    if may(call, &asked).await? {
        return Ok(None);
    }
    let user = shown(&call.request.user);
    Ok(Some(match unknown.or(unresolved) {
        Some(step) => format!(
            "unable to {step} to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
        ),
        None => format!(
            "user {user} does not have \"{verb}\" permission on the object referenced by paramRef"
        ),
    }))
}

/// Whether one may get objects of this kind; and which step did not tell what exactly is to be read.
fn question(call: &Call<'_>, kind: &Value) -> (Attributes, Option<String>) {
    let shown = format!("paramKind &{{{} {}}}", kind.api_version(), kind.kind());
    let Ok(version) = GroupVersion::parse(kind.api_version()) else {
        return (anything(), Some(format!("parse {shown}")));
    };
    let resource = View::of(call.shared).resource_of(&version, kind.kind());
    let unresolved = resource.is_none().then(|| format!("resolve {shown}"));
    let asked = Attributes {
        group: version.group,
        version: version.version,
        resource: resource.map_or_else(|| "*".to_owned(), |it| it.plural.clone()),
        ..anything()
    };
    (asked, unresolved)
}

fn anything() -> Attributes {
    Attributes {
        verb: "get".to_owned(),
        resource_request: true,
        group: "*".to_owned(),
        version: "*".to_owned(),
        resource: "*".to_owned(),
        ..Attributes::default()
    }
}

async fn may(call: &Call<'_>, asked: &Attributes) -> Result<bool, Status> {
    let (shared, user) = (call.shared, &call.request.user);
    let decision = shared.authorizer.authorize(shared, user, asked).await?;
    Ok(decision.is_allowed())
}

/// A user as Go shows one.
fn shown(user: &User) -> String {
    let extra = user.extra.iter();
    let extra: Vec<String> = extra
        .map(|(key, values)| format!("{key}:[{}]", values.join(" ")))
        .collect();
    format!(
        "&{{{} {} [{}] map[{}]}}",
        user.name,
        user.uid,
        user.groups.join(" "),
        extra.join(" ")
    )
}
