//! Pods as the scheduler sees them: what they ask for, parsed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

use super::Resources;
use super::node::NodeInfo;
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
    /// Host ports: protocol, address, port.
    pub host_ports: Vec<(String, String, i32)>,
    /// Terms of required node affinity, of which one must hold; `None`: any node does.
    pub required: Option<Vec<NodeTerm>>,
    /// Terms of preferred node affinity and their weights.
    pub preferred: Vec<(i64, NodeTerm)>,
}

/// One term of node affinity, all of whose requirements must hold.
#[derive(Clone, Debug, Default)]
pub struct NodeTerm {
    expressions: Vec<NodeSelectorRequirement>,
    fields: Vec<NodeSelectorRequirement>,
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
        let ports = spec
            .containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten());
        let host_ports = ports.filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let address = port.host_ip.clone().filter(|address| !address.is_empty());
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some((
                protocol,
                address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                number,
            ))
        });
        Self {
            key: Key::of(&*pod),
            requests: requests(spec),
            non_zero: non_zero(spec),
            priority: spec.priority.unwrap_or(0),
            host_ports: host_ports.collect(),
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
            pod,
        }
    }

    /// The spec; every stored pod has one.
    #[must_use]
    pub fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
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

impl NodeTerm {
    fn new(term: &NodeSelectorTerm) -> Self {
        Self {
            expressions: term.match_expressions.clone().unwrap_or_default(),
            fields: term.match_fields.clone().unwrap_or_default(),
        }
    }

    /// Whether a node fits. A term without requirements fits none.
    #[must_use]
    pub fn matches(&self, node: &NodeInfo) -> bool {
        if self.expressions.is_empty() && self.fields.is_empty() {
            return false;
        }
        let field = |key: &str| (key == "metadata.name").then_some(&*node.name);
        self.expressions
            .iter()
            .all(|requirement| holds(requirement, node.label(&requirement.key)))
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

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a pod takes: all its containers together, or any one init container (beside the sidecars started before it) if that
/// is more; plus its overhead. What is set for the pod as a whole overrides the sum (KEP-2837).
fn requests(spec: &PodSpec) -> Resources {
    let of = |container: &Container| {
        Resources::of(
            container
                .resources
                .as_ref()
                .and_then(|resources| resources.requests.as_ref()),
        )
    };
    let mut total = Resources::default();
    spec.containers
        .iter()
        .for_each(|container| total.add(&of(container)));
    let (mut sidecars, mut largest) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut wanted = of(container);
        if is_sidecar(container) {
            total.add(&wanted);
            sidecars.add(&wanted);
            largest.max(&sidecars);
        } else {
            wanted.add(&sidecars);
            largest.max(&wanted);
        }
    }
    total.max(&largest);
    if let Some(list) = spec
        .resources
        .as_ref()
        .and_then(|resources| resources.requests.as_ref())
    {
        let pod = Resources::of(Some(list));
        for name in list.keys() {
            match name.as_str() {
                "cpu" => total.milli_cpu = pod.milli_cpu,
                "memory" => total.memory = pod.memory,
                _ => {}
            }
        }
    }
    total.add(&Resources::of(spec.overhead.as_ref()));
    total
}

fn non_zero(spec: &PodSpec) -> (i64, i64) {
    let mut total = (0, 0);
    for container in &spec.containers {
        let requests = container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref());
        let resources = Resources::of(requests);
        let has = |name: &str| requests.is_some_and(|requests| requests.contains_key(name));
        total.0 += if has("cpu") {
            resources.milli_cpu
        } else {
            DEFAULT_MILLI_CPU
        };
        total.1 += if has("memory") {
            resources.memory
        } else {
            DEFAULT_MEMORY
        };
    }
    let least = requests(spec);
    (total.0.max(least.milli_cpu), total.1.max(least.memory))
}
