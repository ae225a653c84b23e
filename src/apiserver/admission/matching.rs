//! Which requests webhooks and policies are asked about: rules, selectors of namespaces and objects, and other versions of the
//! same resource (`k8s.io/apiserver/pkg/admission/plugin/webhook/predicates`).
use super::{AdmissionRequest, Operation};
use crate::apiserver::handler::call::{to_request, to_storage};
use crate::apiserver::registry::Resource;
use crate::apiserver::schema::{self, Schema};
use crate::object::{Document, GroupVersionKind, LabelSelector, Status};
use serde_json::Value;
use std::sync::Arc;

/// As what a request matched: the resource as it is, or another version of it.
#[derive(Clone, Debug)]
pub(super) struct Match {
    pub kind: GroupVersionKind,
    pub group: String,
    pub version: String,
    /// The served resource, to convert objects; `None` for what is not stored.
    resource: Option<Arc<Resource>>,
}

impl Match {
    /// The request as it is.
    pub(super) fn exact(request: &AdmissionRequest<'_>) -> Self {
        let (group, plural) = (&request.resource.group, &request.resource.resource);
        Self {
            kind: request.kind.clone(),
            group: group.clone(),
            version: request.version.to_owned(),
            resource: request.view.registry().get(group, request.version, plural),
        }
    }

    /// An object of the storage version in the version that was matched.
    pub(super) fn convert(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if let Some(resource) = self.own() {
            to_request(resource, &mut object);
        }
        object
    }

    /// An object of the matched version in the storage version, with its defaults.
    pub(super) fn restore(&self, object: &mut Value) {
        if let Some(resource) = self.own() {
            to_storage(resource, object);
        }
    }

    /// What the object looks like.
    pub(super) fn schema(&self) -> Option<Arc<Schema>> {
        match self.own() {
            Some(resource) => resource.schema.clone(),
            None => schema::builtin(&self.kind),
        }
    }

    /// The served resource, when the object is one of its own: actions, scales and the options of connections are not.
    fn own(&self) -> Option<&Arc<Resource>> {
        let resource = self.resource.as_ref();
        resource.filter(|resource| resource.gvk == self.kind)
    }
}

/// Whether webhooks and policies are kept from what configures them, so that nobody locks themselves out.
pub(super) fn is_exempt(request: &AdmissionRequest<'_>) -> bool {
    request.resource.group == "admissionregistration.k8s.io"
        && matches!(
            request.resource.resource.as_str(),
            "validatingwebhookconfigurations"
                | "mutatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        )
}

/// As what the request matches one of the rules; `equivalent`: other versions of the resource count too.
pub(super) fn by_rules(
    request: &AdmissionRequest<'_>,
    rules: &[Value],
    equivalent: bool,
) -> Option<Match> {
    let own = Match::exact(request);
    let matches =
        |rule: &Value, found: &Match| rule_matches(request, rule, &found.group, &found.version);
    if rules.iter().any(|rule| matches(rule, &own)) {
        return Some(own);
    }
    if !equivalent {
        return None;
    }
    let others = equivalents(request, &own);
    // Rules that come first count first.
    for rule in rules {
        if let Some(found) = others.iter().find(|found| matches(rule, found)) {
            return Some(found.clone());
        }
    }
    None
}

/// The other versions and groups under which the same objects are served.
fn equivalents(request: &AdmissionRequest<'_>, own: &Match) -> Vec<Match> {
    let Some(resource) = &own.resource else {
        return Vec::new();
    };
    let all = request.view.registry().all();
    let same = |other: &&Arc<Resource>| {
        other.key_prefix == resource.key_prefix
            && other.storage_group == resource.storage_group
            && other.gvk != resource.gvk
    };
    all.iter()
        .filter(same)
        .map(|other| Match {
            kind: if request.subresource.is_empty() || request.kind == resource.gvk {
                other.gvk.clone()
            } else {
                request.kind.clone()
            },
            group: other.gvk.group.clone(),
            version: other.gvk.version.clone(),
            resource: Some(other.clone()),
        })
        .collect()
}

fn rule_matches(request: &AdmissionRequest<'_>, rule: &Value, group: &str, version: &str) -> bool {
    let has = |field: &str, wanted: &str| {
        let items = rule.list_at(&[field]).iter().filter_map(Value::as_str);
        items.into_iter().any(|item| item == "*" || item == wanted)
    };
    let namespaces = request.is_for("", "namespaces");
    let scope = match rule.str_at(&["scope"]) {
        "Namespaced" => !request.namespace.is_empty() && !namespaces,
        "Cluster" => request.namespace.is_empty() || namespaces,
        _ => true,
    };
    let names = rule.list_at(&["resourceNames"]);
    scope
        && has("operations", operation(request.operation))
        && has("apiGroups", group)
        && has("apiVersions", version)
        && is_named(request, rule)
        && (names.is_empty() || names.iter().any(|name| name == request.name))
}

fn is_named(request: &AdmissionRequest<'_>, rule: &Value) -> bool {
    let resources = rule.list_at(&["resources"]).iter();
    resources.filter_map(Value::as_str).any(|text| {
        let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
        (resource == "*" || resource == request.resource.resource)
            && (subresource == "*" || subresource == request.subresource)
    })
}

/// As webhooks and policies call it.
pub(super) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

fn selector(owner: &Value, field: &str) -> Result<LabelSelector, Status> {
    let selector = owner.get(field).filter(|selector| !selector.is_null());
    selector.map_or_else(
        || Ok(LabelSelector::default()),
        |selector| LabelSelector::from_value(selector).map_err(|why| Status::internal(&why)),
    )
}

/// Whether the namespace of the request is selected. What is in no namespace always is.
///
/// # Errors
/// 404 when the namespace does not exist.
pub(super) async fn by_namespace(
    request: &AdmissionRequest<'_>,
    owner: &Value,
    object: Option<&Value>,
) -> Result<bool, Status> {
    let selector = selector(owner, "namespaceSelector")?;
    let namespaces = request.is_for("", "namespaces");
    if selector.is_empty() || (request.namespace.is_empty() && !namespaces) {
        return Ok(true);
    }
    let selects = |namespace: &Value| selector.matches_with(|key| namespace.label(key));
    // A namespace that is written is judged by its labels to be.
    if namespaces && request.subresource.is_empty() {
        return Ok(object.or(request.old).is_none_or(selects));
    }
    let name = if namespaces {
        request.name
    } else {
        request.namespace
    };
    let Some(namespace) = namespace(request, name).await? else {
        let resource = crate::object::GroupResource::new("", "namespaces");
        return Err(Status::not_found(&resource, name));
    };
    Ok(selects(&namespace))
}

/// The namespace of this name.
pub(super) async fn namespace(
    request: &AdmissionRequest<'_>,
    name: &str,
) -> Result<Option<Value>, Status> {
    request.view.get("", "v1", "namespaces", "", name).await
}

/// Whether the object, as it was or as it will be, is selected.
///
/// # Errors
/// When the selector cannot be read.
pub(super) fn by_object(
    request: &AdmissionRequest<'_>,
    owner: &Value,
    object: Option<&Value>,
) -> Result<bool, Status> {
    let selector = selector(owner, "objectSelector")?;
    let selects = |object: &Value| selector.matches_with(|key| object.label(key));
    Ok(selector.is_empty() || object.is_some_and(selects) || request.old.is_some_and(selects))
}
