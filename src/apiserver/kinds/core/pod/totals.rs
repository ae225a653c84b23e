//! What the containers of a pod need together (`k8s.io/component-helpers/resource`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::resources::quantity;
use crate::apiserver::kinds::check;
use crate::object::{Document, Quantity};

/// Amounts by the name of the resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// The requests of all containers.
pub(super) fn requests(spec: &Value) -> Amounts {
    of(spec, "requests")
}

/// The limits of all containers.
pub(super) fn limits(spec: &Value) -> Amounts {
    of(spec, "limits")
}

/// The limits of a whole pod that those of its containers imply: of what they all limit.
pub(super) fn implied_limits(spec: &Value) -> Amounts {
    let all_have = |name: &str| {
        ["initContainers", "containers"].iter().all(|list| {
            let mut containers = spec.list_at(&[list]).iter();
            containers.all(|container| container.at(&["resources", "limits", name]).is_some())
        })
    };
    let mut limits = limits(spec);
    limits.retain(|name, _| matches!(name.as_str(), "cpu" | "memory") && all_have(name));
    limits
}

/// The larger of what runs at once in the end and what each init container needs with the sidecars before it.
fn of(spec: &Value, list: &str) -> Amounts {
    let mut total = Amounts::new();
    for container in spec.list_at(&["containers"]) {
        add(&mut total, &amounts(container, list));
    }
    let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
    for container in spec.list_at(&["initContainers"]) {
        let mut needed = amounts(container, list);
        if container.str_at(&["restartPolicy"]) == "Always" {
            add(&mut total, &needed);
            add(&mut sidecars, &needed);
            needed.clone_from(&sidecars);
        } else {
            add(&mut needed, &sidecars);
        }
        raise(&mut most, &needed);
    }
    raise(&mut total, &most);
    total
}

fn amounts(container: &Value, list: &str) -> Amounts {
    check::map_at(container, &["resources", list])
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), quantity(value)?)))
        .collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let have = to.entry(name.clone()).or_insert(*amount);
        if *amount > *have {
            *have = *amount;
        }
    }
}
