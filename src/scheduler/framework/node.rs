//! Nodes as the scheduler sees them: what they can give out, what is taken, and by whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::PodInfo;
use crate::object::Quantity;
use crate::reconcile::Key;

/// Amounts of resources: cpu in thousandths, the rest in whole units (bytes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Everything else, by name.
    pub scalars: BTreeMap<String, i64>,
}

impl Resources {
    /// From a list of quantities. What does not parse counts as zero (the API stores no such thing).
    #[must_use]
    pub fn of(list: Option<&BTreeMap<String, Text>>) -> Self {
        let mut resources = Self::default();
        for (name, text) in list.into_iter().flatten() {
            let quantity = Quantity::parse(&text.0).unwrap_or_default();
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => {}
                _ => {
                    resources.scalars.insert(name.clone(), quantity.value());
                }
            }
        }
        resources
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.milli_cpu += other.milli_cpu;
        self.memory += other.memory;
        self.ephemeral_storage += other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() += amount;
        }
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.milli_cpu -= other.milli_cpu;
        self.memory -= other.memory;
        self.ephemeral_storage -= other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() -= amount;
        }
    }

    /// The larger of each.
    pub(crate) fn max(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let have = self.scalars.entry(name.clone()).or_default();
            *have = (*have).max(*amount);
        }
    }
}

/// A node and the pods that are on it or assumed to be.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its name.
    pub name: Arc<str>,
    /// The node; `None` while only pods name it.
    pub node: Option<Arc<Node>>,
    /// What it can give out.
    pub allocatable: Resources,
    /// How many pods it can run.
    pub allowed_pods: usize,
    /// What its pods request.
    pub requested: Resources,
    /// The same, with a small amount for pods that request nothing; scoring uses it.
    pub non_zero: (i64, i64),
    /// Its pods.
    pub pods: BTreeMap<Key, Arc<PodInfo>>,
}

impl NodeInfo {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            node: None,
            allocatable: Resources::default(),
            allowed_pods: 0,
            requested: Resources::default(),
            non_zero: (0, 0),
            pods: BTreeMap::new(),
        }
    }

    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        let allocatable = node
            .as_ref()
            .and_then(|node| node.status.as_ref()?.allocatable.as_ref());
        self.allocatable = Resources::of(allocatable);
        let pods = allocatable.and_then(|list| Quantity::parse(&list.get("pods")?.0).ok());
        self.allowed_pods = pods
            .and_then(|pods| usize::try_from(pods.value()).ok())
            .unwrap_or(0);
        self.node = node;
    }

    /// The label `key`.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node
            .as_ref()?
            .metadata
            .labels
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// Its taints.
    #[must_use]
    pub fn taints(&self) -> &[Taint] {
        self.node
            .as_ref()
            .and_then(|node| node.spec.as_ref()?.taints.as_deref())
            .unwrap_or_default()
    }

    /// Whether it is cordoned.
    #[must_use]
    pub fn is_unschedulable(&self) -> bool {
        self.node
            .as_ref()
            .and_then(|node| node.spec.as_ref()?.unschedulable)
            == Some(true)
    }

    pub(crate) fn add_pod(&mut self, pod: &Arc<PodInfo>) {
        if self.pods.insert(pod.key.clone(), pod.clone()).is_none() {
            self.requested.add(&pod.requests);
            self.non_zero.0 += pod.non_zero.0;
            self.non_zero.1 += pod.non_zero.1;
        }
    }

    pub(crate) fn remove_pod(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.requested.subtract(&pod.requests);
        self.non_zero.0 -= pod.non_zero.0;
        self.non_zero.1 -= pod.non_zero.1;
        Some(pod)
    }
}

/// All nodes at one moment. The scheduler changes it between decisions, in place: a decision costs no copy.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    by_name: BTreeMap<Arc<str>, usize>,
}

impl Snapshot {
    /// The nodes, in an order that stays the same while none comes or goes.
    #[must_use]
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// The node of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name
            .get(name)
            .and_then(|index| self.nodes.get(*index))
    }

    /// The node of this name, made when it is not known.
    pub(crate) fn entry(&mut self, name: &str) -> &mut NodeInfo {
        let index = if let Some(index) = self.by_name.get(name) {
            *index
        } else {
            let node = NodeInfo::new(name);
            self.by_name.insert(node.name.clone(), self.nodes.len());
            self.nodes.push(node);
            self.nodes.len() - 1
        };
        &mut self.nodes[index]
    }

    /// Forgets a node that is gone and has no pods left.
    pub(crate) fn prune(&mut self, name: &str) {
        let Some(&index) = self.by_name.get(name) else {
            return;
        };
        let is_empty = self
            .nodes
            .get(index)
            .is_some_and(|node| node.node.is_none() && node.pods.is_empty());
        if is_empty {
            self.by_name.remove(name);
            self.nodes.swap_remove(index);
            if let Some(moved) = self.nodes.get(index) {
                self.by_name.insert(moved.name.clone(), index);
            }
        }
    }
}
