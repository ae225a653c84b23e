//! What a pod asks for in all: of its containers together, of the largest init container, of the pod itself
//! (`k8s.io/component-helpers/resource`).
use crate::object::{Document, Quantity};
use serde_json::Value;
use std::collections::BTreeMap;

/// Amounts by the name of the resource.
pub(super) type Amounts = BTreeMap<String, Quantity>;

/// Requests or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Limits,
}

impl Side {
    fn field(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        }
    }
}

/// The amounts of a resource list; what cannot be read is left out.
pub(super) fn amounts(list: Option<&Value>) -> Amounts {
    let entries = list.and_then(Value::as_object).into_iter().flatten();
    entries
        .filter_map(|(name, value)| {
            let quantity = Quantity::parse(value.as_str()?).ok()?;
            Some((name.clone(), quantity))
        })
        .collect()
}

/// What one container asks for.
pub(super) fn of_container(container: &Value, side: Side) -> Amounts {
    amounts(container.at(&["resources", side.field()]))
}

/// What a pod asks for. `overhead`: with what its runtime needs.
pub(super) fn of_pod(pod: &Value, side: Side, overhead: bool) -> Amounts {
    let mut total = Amounts::new();
    for container in pod.list_at(&["spec", "containers"]) {
        add(&mut total, &of_container(container, side));
    }
    // Init containers run one after the other; those that are restarted stay beside all that come later.
    let (mut staying, mut largest) = (Amounts::new(), Amounts::new());
    for container in pod.list_at(&["spec", "initContainers"]) {
        let mut amounts = of_container(container, side);
        if container.str_at(&["restartPolicy"]) == "Always" {
            add(&mut total, &amounts);
            add(&mut staying, &amounts);
            amounts.clone_from(&staying);
        } else {
            add(&mut amounts, &staying);
        }
        most(&mut largest, &amounts);
    }
    most(&mut total, &largest);
    for (name, amount) in amounts(pod.at(&["spec", "resources", side.field()])) {
        total.insert(name, amount);
    }
    if overhead {
        for (name, amount) in amounts(pod.at(&["spec", "overhead"])) {
            let known = total.get(&name).copied();
            // A limit that is not set is not set by the overhead alone.
            if side == Side::Requests || known.is_some_and(|known| !known.is_zero()) {
                total.insert(name, known.unwrap_or_default() + amount);
            }
        }
    }
    total
}

/// Adds each amount.
pub(super) fn add(total: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = total.get(name).copied().unwrap_or_default() + *amount;
        total.insert(name.clone(), sum);
    }
}

fn most(total: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let known = total.get(name);
        if known.is_none_or(|known| known < amount) {
            total.insert(name.clone(), *amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_add_up_and_init_containers_do_not() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar =
            |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        for (spec, expected) in [
            (
                json!({"containers": [container("1"), container("500m")]}),
                "1500m",
            ),
            (
                json!({"containers": [container("1")], "initContainers": [container("3")]}),
                "3",
            ),
            (
                json!({"containers": [container("1")], "initContainers": [sidecar("2"), container("500m")]}),
                "3",
            ),
            (
                json!({"containers": [container("1")], "initContainers": [sidecar("2"), container("4")]}),
                "6",
            ),
            (
                json!({"containers": [container("1")], "overhead": {"cpu": "250m"}}),
                "1250m",
            ),
            (
                json!({"containers": [container("1")], "resources": {"requests": {"cpu": "5"}}}),
                "5",
            ),
        ] {
            let found = of_pod(&json!({ "spec": spec }), Side::Requests, true);
            assert_eq!(found["cpu"].to_string(), expected, "{spec}");
        }
    }
}
