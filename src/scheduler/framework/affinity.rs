//! Pod affinity and anti-affinity, parsed once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, WeightedPodAffinityTerm};

use super::{PodInfo, Snapshot};
use crate::object::LabelSelector;
use crate::object::selector::{Operator, Requirement};

/// Which pods a term is about, and how near they are: on nodes with the same value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTerm {
    /// `None` selects no pod.
    selector: Option<LabelSelector>,
    namespaces: BTreeSet<String>,
    /// `None` selects no namespace.
    namespace_selector: Option<LabelSelector>,
    /// The label of nodes.
    pub topology_key: Arc<str>,
}

impl PodTerm {
    fn new(pod: &Pod, term: &PodAffinityTerm) -> Self {
        let none = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let selector = term
            .label_selector
            .as_ref()
            .and_then(|selector| LabelSelector::from_typed(selector).ok());
        let keys = |keys: &Option<Vec<String>>, operator: Operator| -> Vec<Requirement> {
            let named = keys.iter().flatten();
            let own = named.filter_map(|key| Some((key, labels.get(key)?)));
            own.map(|(key, value)| Requirement {
                key: key.clone(),
                operator,
                values: vec![value.clone()],
            })
            .collect()
        };
        let own = keys(&term.match_label_keys, Operator::In)
            .into_iter()
            .chain(keys(&term.mismatch_label_keys, Operator::NotIn));
        let selector = selector.map(|selector| {
            let all = selector.requirements().iter().cloned().chain(own);
            LabelSelector::new(all.collect())
        });
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(pod.metadata.namespace.clone().unwrap_or_default());
        }
        let namespace_selector = term
            .namespace_selector
            .as_ref()
            .and_then(|selector| LabelSelector::from_typed(selector).ok());
        Self {
            selector,
            namespaces,
            namespace_selector,
            topology_key: term.topology_key.as_str().into(),
        }
    }

    /// Whether the labels of namespaces make a difference to it.
    pub(crate) fn heeds_namespaces(&self) -> bool {
        let selector = self.namespace_selector.as_ref();
        selector.is_some_and(|selector| !selector.is_empty())
    }

    /// Whether the term is about `pod`.
    #[must_use]
    pub fn matches(&self, pod: &PodInfo, snapshot: &Snapshot) -> bool {
        let namespace = &*pod.key.namespace;
        let in_namespace = self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| {
                selector.matches_optional(snapshot.namespace_labels(namespace))
            });
        in_namespace
            && self
                .selector
                .as_ref()
                .is_some_and(|selector| selector.matches_optional(pod.labels()))
    }
}

/// What a pod wants of the pods near it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodAffinity {
    /// All of these must be near.
    pub required: Vec<PodTerm>,
    /// None of these may be.
    pub required_anti: Vec<PodTerm>,
    /// Better near, by weight.
    pub preferred: Vec<(i64, PodTerm)>,
    /// Better far, by weight.
    pub preferred_anti: Vec<(i64, PodTerm)>,
}

impl PodAffinity {
    pub(crate) fn of(pod: &Pod) -> Self {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let Some(affinity) = affinity else {
            return Self::default();
        };
        let (near, far) = (&affinity.pod_affinity, &affinity.pod_anti_affinity);
        let term = |term: &PodAffinityTerm| PodTerm::new(pod, term);
        let required = near.as_ref().and_then(|near| {
            near.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let required_anti = far.as_ref().and_then(|far| {
            far.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let preferred = near.as_ref().and_then(|near| {
            near.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let preferred_anti = far.as_ref().and_then(|far| {
            far.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let terms =
            |terms: Option<&Vec<PodAffinityTerm>>| terms.into_iter().flatten().map(term).collect();
        let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>| {
            let terms = terms.into_iter().flatten();
            terms
                .map(|weighted| {
                    (
                        i64::from(weighted.weight),
                        term(&weighted.pod_affinity_term),
                    )
                })
                .collect()
        };
        Self {
            required: terms(required),
            required_anti: terms(required_anti),
            preferred: weighted(preferred),
            preferred_anti: weighted(preferred_anti),
        }
    }

    /// Whether there is anything.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}
