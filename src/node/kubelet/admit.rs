//! Whether a pod that was bound to the node may run on it: the node's own look at what the scheduler (or whoever bound the
//! pod) decided. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use crate::object::selector::NodeTerm;
use crate::object::taint::tolerates;
use crate::object::{HostPort, Quantity, Resources};

/// Why a pod may not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// `OutOfcpu`, `NodeAffinity`, …
    pub reason: String,
    pub message: String,
}

fn predicate(name: &str, why: &str) -> Rejection {
    Rejection {
        reason: name.to_owned(),
        message: format!("Predicate {name} failed: {why}"),
    }
}

/// What a pod lacks on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    resource: String,
    requested: i64,
    used: i64,
    capacity: i64,
}

impl Lack {
    /// The resource, and how much of it must be freed.
    pub(super) fn amount(&self) -> (&str, i64) {
        (&self.resource, self.requested - (self.capacity - self.used))
    }

    fn rejection(&self) -> Rejection {
        let Self {
            resource,
            requested,
            used,
            capacity,
        } = self;
        Rejection {
            reason: format!("OutOf{resource}"),
            message: format!(
                "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
        }
    }
}

/// Everything that is against a pod on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Resources that do not suffice.
    pub lacks: Vec<Lack>,
    /// Everything else.
    pub others: Vec<Rejection>,
}

impl Verdict {
    /// The first reason, in the order of the real kubelet.
    pub(super) fn first(&self) -> Option<Rejection> {
        let lack = self.lacks.first().map(Lack::rejection);
        lack.or_else(|| self.others.first().cloned())
    }
}

/// Judges `pod` on `node`, on which `others` run already.
///
/// # Errors
/// The first reason against it, in the order of the real kubelet.
pub(super) fn admit(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Result<(), Rejection> {
    judge(pod, node, others).first().map_or(Ok(()), Err)
}

/// The same, with all reasons.
pub(super) fn judge(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Verdict {
    let Some(spec) = &pod.spec else {
        return Verdict::default();
    };
    if let Some(rejection) = foreign(pod, spec, node) {
        return Verdict {
            others: vec![rejection],
            ..Verdict::default()
        };
    }
    let rest = [
        affine(spec, node),
        ports(spec, others),
        tolerant(spec, node),
    ];
    Verdict {
        lacks: lacks(spec, node, others),
        others: rest.into_iter().flatten().collect(),
    }
}

/// Pods for another operating system.
fn foreign(pod: &Pod, spec: &PodSpec, node: &Node) -> Option<Rejection> {
    const OS: &str = "kubernetes.io/os";
    let reject = |reason: &str, message: &str| {
        Some(Rejection {
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
    };
    let own = node
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(OS))
        .map_or("linux", String::as_str);
    let wanted = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(OS));
    if wanted.is_some_and(|wanted| wanted != own) {
        return reject(
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        );
    }
    if spec.os.as_ref().is_some_and(|os| os.name != own) {
        return reject(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS",
        );
    }
    None
}

fn lacks(spec: &PodSpec, node: &Node, others: &[Arc<Pod>]) -> Vec<Lack> {
    let allocatable = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    let have = Resources::of(allocatable);
    let room = allocatable
        .and_then(|list| Quantity::parse(&list.get("pods")?.0).ok())
        .map_or(0, |pods| pods.value());
    let there = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let wanted = Resources::of_pod(spec);
    let mut used = Resources::default();
    for other in others {
        if let Some(spec) = &other.spec {
            used.add(&Resources::of_pod(spec));
        }
    }
    let scalars = wanted.scalars.iter().filter_map(|(name, wanted)| {
        // What the node does not know is a resource of the whole cluster.
        let have = have.scalars.get(name)?;
        let used = used.scalars.get(name).copied().unwrap_or(0);
        Some((name.as_str(), *wanted, used, *have))
    });
    let rows = [
        ("pods", 1, there, room),
        ("cpu", wanted.milli_cpu, used.milli_cpu, have.milli_cpu),
        ("memory", wanted.memory, used.memory, have.memory),
        (
            "ephemeral-storage",
            wanted.ephemeral_storage,
            used.ephemeral_storage,
            have.ephemeral_storage,
        ),
    ];
    rows.into_iter()
        .chain(scalars)
        .filter(|(_, wanted, used, have)| *wanted > 0 && *wanted > have - used)
        .map(|(name, requested, used, capacity)| Lack {
            resource: name.to_owned(),
            requested,
            used,
            capacity,
        })
        .collect()
}

fn affine(spec: &PodSpec, node: &Node) -> Option<Rejection> {
    let (name, labels) = (
        node.metadata.name.as_deref().unwrap_or_default(),
        node.metadata.labels.as_ref(),
    );
    let mut selector = spec.node_selector.iter().flatten();
    let selected =
        selector.all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    let wanted = required.is_none_or(|required| {
        let mut terms = required.node_selector_terms.iter();
        terms.any(|term| NodeTerm::new(term).matches(name, labels))
    });
    let why = "node(s) didn't match Pod's node affinity/selector";
    (!selected || !wanted).then(|| predicate("NodeAffinity", why))
}

fn ports(spec: &PodSpec, others: &[Arc<Pod>]) -> Option<Rejection> {
    let specs = others.iter().filter_map(|other| other.spec.as_ref());
    let taken: Vec<HostPort> = specs.flat_map(HostPort::of_pod).collect();
    let conflict =
        HostPort::of_pod(spec).any(|wanted| taken.iter().any(|taken| wanted.conflicts(taken)));
    let why = "node(s) didn't have free ports for the requested pod ports";
    conflict.then(|| predicate("NodePorts", why))
}

/// The kubelet heeds taints that evict, no others.
fn tolerant(spec: &PodSpec, node: &Node) -> Option<Rejection> {
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    let untolerated = taints
        .filter(|taint| taint.effect == "NoExecute")
        .any(|taint| {
            let value = taint.value.as_deref().unwrap_or_default();
            let mut tolerations = spec.tolerations.iter().flatten();
            !tolerations.any(|toleration| tolerates(toleration, &taint.key, value, &taint.effect))
        });
    let why = "node(s) had taints that the pod didn't tolerate";
    untolerated.then(|| predicate("TaintToleration", why))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn asks(requests: &Value) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
    }

    fn port(number: i32) -> Value {
        json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": number}]}]})
    }

    fn verdict(spec: &Value, node_spec: &Value, others: &[Value]) -> String {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"zone": "a"}}, "spec": node_spec,
            "status": {"allocatable": {"cpu": "4", "memory": "1Gi", "ephemeral-storage": "10Gi", "pods": "2", "example.com/gpu": "1"}},
        }))
        .unwrap();
        let others: Vec<Arc<Pod>> = others.iter().map(|other| Arc::new(pod(other))).collect();
        match admit(&pod(spec), &node, &others) {
            Ok(()) => String::new(),
            Err(Rejection { reason, message }) => format!("{reason}: {message}"),
        }
    }

    #[test]
    fn reasons_and_messages() {
        let plain = json!({});
        let tainted = |effect: &str| json!({"taints": [{"key": "k", "effect": effect}]});
        let tolerant =
            json!({"containers": [], "tolerations": [{"key": "k", "operator": "Exists"}]});
        let empty = json!({"containers": []});
        for (spec, node, others, expected) in [
            (
                asks(&json!({"cpu": "2"})),
                plain.clone(),
                vec![asks(&json!({"cpu": "2"}))],
                "",
            ),
            (
                asks(&json!({"cpu": "2"})),
                plain.clone(),
                vec![asks(&json!({"cpu": "3"}))],
                "OutOfcpu: Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000",
            ),
            (
                asks(&json!({"memory": "2Gi"})),
                plain.clone(),
                vec![],
                "OutOfmemory: Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
            ),
            (
                asks(&json!({"cpu": "5"})),
                plain.clone(),
                vec![empty.clone(), empty.clone()],
                "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2",
            ),
            (
                asks(&json!({"example.com/gpu": "2"})),
                plain.clone(),
                vec![],
                "OutOfexample.com/gpu: Node didn't have enough resource: example.com/gpu, requested: 2, used: 0, capacity: 1",
            ),
            // A resource that the node does not have is not its business.
            (
                asks(&json!({"example.com/quota": "2"})),
                plain.clone(),
                vec![],
                "",
            ),
            (
                json!({"containers": [], "nodeSelector": {"zone": "b"}}),
                plain.clone(),
                vec![],
                "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            ),
            (
                port(80),
                plain.clone(),
                vec![port(80)],
                "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            ),
            (port(80), plain.clone(), vec![port(81)], ""),
            (
                empty.clone(),
                tainted("NoExecute"),
                vec![],
                "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
            ),
            (empty.clone(), tainted("NoSchedule"), vec![], ""),
            (tolerant, tainted("NoExecute"), vec![], ""),
            (
                json!({"containers": [], "os": {"name": "windows"}}),
                plain,
                vec![],
                "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS",
            ),
        ] {
            assert_eq!(verdict(&spec, &node, &others), expected, "{spec}");
        }
    }
}
