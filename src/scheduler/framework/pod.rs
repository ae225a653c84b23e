//! Pods as the scheduler sees them: what they ask for, parsed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

use super::PodAffinity;
use crate::object::selector::NodeTerm;
use crate::object::{HostPort, Resources};
use crate::reconcile::Key;

/// What scoring assumes of a container that requests no cpu: 0.1 cores.
const DEFAULT_MILLI_CPU: i64 = 100;
/// What scoring assumes of a container that requests no memory: 200 MB.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// A pod with what scheduling needs of it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Its key.
    pub key: Key,
    /// The pod.
    pub pod: Arc<Pod>,
    /// What it requests.
    pub requests: Resources,
    /// cpu (thousandths) and memory, with defaults for containers that request none.
    pub non_zero: (i64, i64),
    /// Higher goes first.
    pub priority: i32,
    /// The ports it takes of its node.
    pub host_ports: Vec<HostPort>,
    /// Terms of required node affinity, of which one must hold; `None`: any node does.
    pub required: Option<Vec<NodeTerm>>,
    /// Terms of preferred node affinity and their weights.
    pub preferred: Vec<(i64, NodeTerm)>,
    /// What it wants of the pods near it.
    pub affinity: PodAffinity,
}

impl PodInfo {
    /// Reads a pod.
    #[must_use]
    pub fn new(pod: Arc<Pod>) -> Self {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        let spec = pod.spec.as_ref().unwrap_or(&EMPTY);
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let preferred = affinity.and_then(|affinity| {
            affinity
                .preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        Self {
            key: Key::of(&*pod),
            requests: Resources::of_placed(&pod),
            non_zero: non_zero(&pod),
            priority: spec.priority.unwrap_or(0),
            host_ports: HostPort::of_pod(spec).collect(),
            required: required.map(|required| {
                required
                    .node_selector_terms
                    .iter()
                    .map(NodeTerm::new)
                    .collect()
            }),
            preferred: preferred
                .into_iter()
                .flatten()
                .map(|term| (i64::from(term.weight), NodeTerm::new(&term.preference)))
                .collect(),
            affinity: PodAffinity::of(&pod),
            pod,
        }
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.pod.metadata.labels.as_ref()
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The spec; every stored pod has one.
    #[must_use]
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    pub(crate) fn has_same_volumes(&self, other: &Self) -> bool {
        let volumes = |spec: &PodSpec| spec.volumes.as_ref().is_none_or(Vec::is_empty);
        match (self.spec(), other.spec()) {
            (Some(old), Some(new)) => old.volumes == new.volumes,
            (old, new) => old.is_none_or(volumes) && new.is_none_or(volumes),
        }
    }

    /// Its `nodeSelector`.
    #[must_use]
    pub fn node_selector(&self) -> Option<&BTreeMap<String, String>> {
        self.spec()?.node_selector.as_ref()
    }

    /// Its tolerations.
    #[must_use]
    pub fn tolerations(&self) -> &[Toleration] {
        self.spec()
            .and_then(|spec| spec.tolerations.as_deref())
            .unwrap_or_default()
    }

    /// The node it is bound to, `""` when none.
    #[must_use]
    pub fn node_name(&self) -> &str {
        self.spec()
            .and_then(|spec| spec.node_name.as_deref())
            .unwrap_or_default()
    }

    /// Which scheduler it wants.
    #[must_use]
    pub fn scheduler_name(&self) -> &str {
        self.spec()
            .and_then(|spec| spec.scheduler_name.as_deref())
            .unwrap_or("default-scheduler")
    }
}

fn non_zero(pod: &Pod) -> (i64, i64) {
    let resources = Resources::of_placed_at_least(pod, DEFAULT_MILLI_CPU, DEFAULT_MEMORY);
    (resources.milli_cpu, resources.memory)
}
