//! Node selectors: `nodeSelectorTerms` of node affinity and of volumes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

/// One term of node affinity, all of whose requirements must hold.
#[derive(Clone, Debug, Default)]
pub struct NodeTerm {
    expressions: Vec<NodeSelectorRequirement>,
    fields: Vec<NodeSelectorRequirement>,
}

impl NodeTerm {
    /// Reads a term.
    #[must_use]
    pub fn new(term: &NodeSelectorTerm) -> Self {
        Self {
            expressions: term.match_expressions.clone().unwrap_or_default(),
            fields: term.match_fields.clone().unwrap_or_default(),
        }
    }

    /// Whether a node fits. A term without requirements fits none.
    #[must_use]
    pub fn matches(&self, name: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        if self.expressions.is_empty() && self.fields.is_empty() {
            return false;
        }
        let field = |key: &str| (key == "metadata.name").then_some(name);
        let label = |key: &str| labels?.get(key).map(String::as_str);
        self.expressions
            .iter()
            .all(|requirement| holds(requirement, label(&requirement.key)))
            && self
                .fields
                .iter()
                .all(|requirement| holds(requirement, field(&requirement.key)))
    }
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_one = |value: &str| values.iter().any(|wanted| wanted == value);
    let numbers = || {
        Some((
            value?.parse::<i64>().ok()?,
            values.first()?.parse::<i64>().ok()?,
        ))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(is_one),
        "NotIn" => !value.is_some_and(is_one),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}
