//! The parameters of a policy that a binding names.
use crate::apiserver::admission::AdmissionRequest;
use crate::object::{Document, GroupVersion, LabelSelector};
use serde_json::Value;

/// Why there are no parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The policy itself is wrong.
    Policy(String),
    /// The binding is wrong.
    Binding(String),
}

/// The parameters with which a policy is evaluated, once with each; `[None]`: once without.
pub(super) async fn collect(
    request: &AdmissionRequest<'_>,
    policy: &Value,
    binding: &Value,
) -> Result<Vec<Option<Value>>, Problem> {
    let kind = policy.get("paramKind").filter(|kind| !kind.is_null());
    let reference = binding
        .get("paramRef")
        .filter(|reference| !reference.is_null());
    let Some(kind) = kind else {
        return Ok(vec![None]);
    };
    let version = GroupVersion::parse(kind.api_version()).unwrap_or_default();
    let Some(resource) = request.view.resource_of(&version, kind.kind()) else {
        return Err(Problem::Policy(format!(
            "failed to find resource referenced by paramKind: '{}, Kind={}'",
            if version.group.is_empty() {
                format!("/{}", version.version)
            } else {
                version.to_string()
            },
            kind.kind()
        )));
    };
    let Some(reference) = reference else {
        return Ok(vec![None]);
    };
    let problem = |text: &str| Err(Problem::Binding(text.to_owned()));
    let mut namespace = reference.str_at(&["namespace"]);
    if resource.namespaced {
        if namespace.is_empty() {
            namespace = request.namespace;
        }
        if namespace.is_empty() {
            return problem(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            );
        }
    } else if !namespace.is_empty() {
        return problem("paramRef.namespace must not be provided for a cluster-scoped `paramKind`");
    }
    let (view, gvk) = (&request.view, &resource.gvk);
    let name = reference.str_at(&["name"]);
    let found = if name.is_empty() {
        let selector = reference.get("selector").unwrap_or(&Value::Null);
        let selector = LabelSelector::from_value(selector).map_err(Problem::Binding)?;
        let list = view.list(
            &gvk.group,
            &gvk.version,
            &resource.plural,
            namespace,
            &selector,
        );
        let list = list
            .await
            .map_err(|status| Problem::Binding(status.message))?;
        list.into_iter().map(Some).collect()
    } else {
        let get = view.get(&gvk.group, &gvk.version, &resource.plural, namespace, name);
        let found = get
            .await
            .map_err(|status| Problem::Binding(status.message))?;
        found.map(Some).into_iter().collect::<Vec<_>>()
    };
    if found.is_empty() && reference.str_at(&["parameterNotFoundAction"]) == "Deny" {
        return problem("no params found for policy binding with `Deny` parameterNotFoundAction");
    }
    Ok(found)
}
