//! What counts against a quota: pods by what they ask for, services by their kind, claims by their size, everything by number.
use super::pods;
use crate::apiserver::admission::pod_resources::{Amounts, amounts};
use crate::apiserver::admission::{AdmissionRequest, Operation};
use crate::object::{Document, Quantity};
use serde_json::Value;

/// Amounts by the names that quotas use.
pub(super) type Usage = Amounts;

const STORAGE: &str = "requests.storage";
/// Kinds that are counted under their own name too.
const NAMED: [&str; 4] = [
    "configmaps",
    "resourcequotas",
    "replicationcontrollers",
    "secrets",
];

/// How a resource counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Evaluator {
    Pods,
    Services,
    Claims,
    /// By number only: the name of the quota and, for some kinds, an older one.
    Number(String, Option<&'static str>),
}

pub(super) fn one() -> Quantity {
    Quantity::from_milli(1000)
}

impl Evaluator {
    /// How the request counts; `None`: not at all.
    pub(super) fn of(request: &AdmissionRequest<'_>) -> Option<Self> {
        let create = request.operation == Operation::Create;
        let update = request.operation == Operation::Update;
        let resource = &request.resource;
        let namespaces = request.is_for("", "namespaces");
        let events = resource.resource == "events"
            && matches!(resource.group.as_str(), "" | "events.k8s.io");
        if request.namespace.is_empty() || namespaces || events {
            return None;
        }
        let (evaluator, counts) = match (resource.group.as_str(), resource.resource.as_str()) {
            ("", "pods") => {
                let resize = update && request.subresource == "resize";
                (
                    Self::Pods,
                    resize || (create && request.subresource.is_empty()),
                )
            }
            ("", "services") => (
                Self::Services,
                (create || update) && request.subresource.is_empty(),
            ),
            ("", "persistentvolumeclaims") => (
                Self::Claims,
                (create && request.subresource.is_empty())
                    || (update && matches!(request.subresource, "" | "status")),
            ),
            (group, name) => {
                let whole = if group.is_empty() {
                    format!("count/{name}")
                } else {
                    format!("count/{name}.{group}")
                };
                let older = NAMED
                    .iter()
                    .find(|older| group.is_empty() && **older == name);
                (
                    Self::Number(whole, older.copied()),
                    create && request.subresource.is_empty(),
                )
            }
        };
        counts.then_some(evaluator)
    }

    /// Whether it counts under this name.
    pub(super) fn counts(&self, name: &str) -> bool {
        match self {
            Self::Pods => pods::counts(name),
            Self::Services => matches!(
                name,
                "count/services" | "services" | "services.nodeports" | "services.loadbalancers"
            ),
            Self::Claims => {
                matches!(
                    name,
                    "count/persistentvolumeclaims" | "persistentvolumeclaims" | STORAGE
                ) || name.contains(".storageclass.storage.k8s.io/")
            }
            Self::Number(whole, older) => name == whole || Some(name) == *older,
        }
    }

    /// Whether a quota is for such an object.
    pub(super) fn is_in_scope(&self, quota: &Value, object: &Value) -> bool {
        let scopes = quota.list_at(&["spec", "scopes"]).iter();
        let all = scopes
            .filter_map(Value::as_str)
            .all(|scope| self.matches(scope, "Exists", &[], object));
        all && quota
            .list_at(&["spec", "scopeSelector", "matchExpressions"])
            .iter()
            .all(|expression| {
                let values: Vec<&str> = expression
                    .list_at(&["values"])
                    .iter()
                    .filter_map(Value::as_str)
                    .collect();
                let scope = expression.str_at(&["scopeName"]);
                self.matches(scope, expression.str_at(&["operator"]), &values, object)
            })
    }

    fn matches(&self, scope: &str, operator: &str, values: &[&str], object: &Value) -> bool {
        match self {
            Self::Pods => pods::matches(scope, operator, values, object),
            Self::Claims if scope == "VolumeAttributesClass" => {
                let class = object.str_at(&["spec", "volumeAttributesClassName"]);
                selects(operator, values, class)
            }
            _ => false,
        }
    }

    /// What a quota wants to be said that is not.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn check(&self, restricted: &[&str], object: &Value) -> Result<(), String> {
        match self {
            Self::Pods => pods::check(restricted, object),
            _ => Ok(()),
        }
    }

    /// What the object uses.
    pub(super) fn usage(&self, object: &Value, request: &AdmissionRequest<'_>) -> Usage {
        let mut usage = Usage::new();
        match self {
            Self::Pods => {
                let now = request.view.shared().map(|shared| shared.clock.now());
                return pods::usage(object, now);
            }
            Self::Services => services(object, &mut usage),
            Self::Claims => claims(object, &mut usage),
            Self::Number(whole, older) => {
                usage.insert(whole.clone(), one());
                if let Some(older) = older {
                    usage.insert((*older).to_owned(), one());
                }
            }
        }
        usage
    }
}

/// Whether a scope selector selects the name of a class.
pub(super) fn selects(operator: &str, values: &[&str], class: &str) -> bool {
    match operator {
        "Exists" => !class.is_empty(),
        "DoesNotExist" => class.is_empty(),
        "In" => !class.is_empty() && values.contains(&class),
        "NotIn" => class.is_empty() || !values.contains(&class),
        _ => false,
    }
}

fn services(service: &Value, usage: &mut Usage) {
    usage.insert("count/services".into(), one());
    usage.insert("services".into(), one());
    let ports = service.list_at(&["spec", "ports"]);
    let units = |count: usize| {
        Quantity::from_milli(
            i64::try_from(count)
                .unwrap_or(i64::MAX)
                .saturating_mul(1000),
        )
    };
    let node_ports = match service.str_at(&["spec", "type"]) {
        "NodePort" => ports.len(),
        "LoadBalancer" => {
            usage.insert("services.loadbalancers".into(), one());
            // Without node ports of its own only those that are set count.
            if service.bool_at(&["spec", "allocateLoadBalancerNodePorts"]) == Some(false) {
                let set = |port: &&Value| port.i64_at(&["nodePort"]).is_some_and(|port| port != 0);
                ports.iter().filter(set).count()
            } else {
                ports.len()
            }
        }
        _ => 0,
    };
    usage.entry("services.loadbalancers".into()).or_default();
    usage.insert("services.nodeports".into(), units(node_ports));
}

fn claims(claim: &Value, usage: &mut Usage) {
    usage.insert("count/persistentvolumeclaims".into(), one());
    usage.insert("persistentvolumeclaims".into(), one());
    let class = claim
        .annotation("volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| claim.str_at(&["spec", "storageClassName"]));
    let of_class = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
    if !class.is_empty() {
        usage.insert(of_class("persistentvolumeclaims"), one());
    }
    let storage = |path: &[&str]| amounts(claim.at(path)).get("storage").copied();
    let requested = storage(&["spec", "resources", "requests"]);
    // While it grows the larger of what is asked for and what is given counts.
    let allocated = storage(&["status", "allocatedResources"]);
    if let Some(size) = requested.max(allocated) {
        usage.insert(STORAGE.into(), size);
        if !class.is_empty() {
            usage.insert(of_class(STORAGE), size);
        }
    }
}
