//! The quality of service of a pod, which follows from the requests and limits of its containers.

use serde_json::Value;

use crate::object::{Document, Quantity};

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(spec: &Value) -> &'static str {
    let amount = |resources: &Value, kind: &str, name: &str| {
        Quantity::parse(resources.str_at(&[kind, name]))
            .ok()
            .filter(|quantity| !quantity.is_zero())
    };
    let has_pod_level = spec
        .at(&["resources"])
        .is_some_and(|resources| !resources.list_or_map_is_empty());
    let containers: Vec<&Value> = if has_pod_level {
        vec![spec]
    } else {
        ["initContainers", "containers"]
            .iter()
            .flat_map(|list| spec.list_at(&[list]))
            .collect()
    };
    let (mut any, mut all) = (false, !containers.is_empty());
    for container in containers {
        let resources = container.get("resources").unwrap_or(&Value::Null);
        for name in ["cpu", "memory"] {
            let (request, limit) = (
                amount(resources, "requests", name),
                amount(resources, "limits", name),
            );
            any |= request.is_some() || limit.is_some();
            all &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

trait Emptiness {
    fn list_or_map_is_empty(&self) -> bool;
}

impl Emptiness for Value {
    fn list_or_map_is_empty(&self) -> bool {
        self.as_object().is_none_or(|map| {
            map.values()
                .all(|value| value.as_object().is_none_or(serde_json::Map::is_empty))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        for (resources, class_wanted) in [
            (vec![json!({})], "BestEffort"),
            (vec![full.clone()], "Guaranteed"),
            (vec![full.clone(), json!({})], "Burstable"),
            (vec![json!({"requests": {"cpu": "1"}})], "Burstable"),
            (
                vec![json!({"limits": {"cpu": "1", "memory": "1Gi"}})],
                "Guaranteed",
            ),
        ] {
            let containers: Vec<_> = resources
                .iter()
                .map(|resources| json!({"resources": resources}))
                .collect();
            assert_eq!(
                class(&json!({"containers": containers})),
                class_wanted,
                "{resources:?}"
            );
        }
    }
}
