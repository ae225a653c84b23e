//! Taints and tolerations.

use k8s_openapi::api::core::v1::Toleration;

/// Whether a toleration covers the taint with this key, value and effect (`v1.Toleration.ToleratesTaint`; the numeric
/// operators are of KEP-5471).
#[must_use]
pub fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let fits = |own: &Option<String>, of_taint: &str| {
        own.as_deref()
            .is_none_or(|own| own.is_empty() || own == of_taint)
    };
    if !fits(&toleration.effect, effect) || !fits(&toleration.key, key) {
        return false;
    }
    let wanted = toleration.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => wanted == value,
        "Exists" => true,
        operator @ ("Lt" | "Gt") => {
            let numbers = value.parse::<i64>().ok().zip(wanted.parse::<i64>().ok());
            numbers.is_some_and(|(taint, bound)| {
                if operator == "Lt" {
                    taint < bound
                } else {
                    taint > bound
                }
            })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for (toleration, covers) in [
            (serde_json::json!({"operator": "Exists"}), true),
            (serde_json::json!({"key": "k", "operator": "Exists"}), true),
            (
                serde_json::json!({"key": "other", "operator": "Exists"}),
                false,
            ),
            (serde_json::json!({"key": "k", "value": "5"}), true),
            (serde_json::json!({"key": "k", "value": "6"}), false),
            (
                serde_json::json!({"key": "k", "operator": "Equal", "value": "5", "effect": "NoSchedule"}),
                true,
            ),
            (
                serde_json::json!({"key": "k", "operator": "Equal", "value": "5", "effect": "NoExecute"}),
                false,
            ),
            (
                serde_json::json!({"key": "k", "operator": "Lt", "value": "6"}),
                true,
            ),
            (
                serde_json::json!({"key": "k", "operator": "Gt", "value": "6"}),
                false,
            ),
            (
                serde_json::json!({"key": "k", "operator": "Near", "value": "5"}),
                false,
            ),
        ] {
            let parsed: Toleration = serde_json::from_value(toleration.clone()).unwrap();
            assert_eq!(
                tolerates(&parsed, "k", "5", "NoSchedule"),
                covers,
                "{toleration}"
            );
        }
    }
}
