//! The cluster at one moment, as plugins see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::{NodeInfo, PodInfo};
use crate::reconcile::Key;

/// All nodes at one moment. The scheduler changes it between decisions, in place: a decision costs no copy.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    by_name: BTreeMap<Arc<str>, usize>,
    /// Pods that wait for room on a node, by the node.
    nominated: BTreeMap<Arc<str>, BTreeMap<Key, Arc<PodInfo>>>,
    /// The node of each of them.
    nominations: BTreeMap<Key, Arc<str>>,
    budgets: BTreeMap<Key, Arc<PodDisruptionBudget>>,
    namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
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

    /// The pods that are nominated to a node.
    pub fn nominated_to(&self, node: &str) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.nominated
            .get(node)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// The node that a pod is nominated to.
    #[must_use]
    pub fn nomination(&self, pod: &Key) -> Option<&Arc<str>> {
        self.nominations.get(pod)
    }

    /// Nominates a pod to a node, and to no other.
    pub(crate) fn nominate(&mut self, pod: &Arc<PodInfo>, node: &str) {
        self.withdraw(&pod.key);
        let node: Arc<str> = node.into();
        self.nominations.insert(pod.key.clone(), node.clone());
        let of_node = self.nominated.entry(node).or_default();
        of_node.insert(pod.key.clone(), pod.clone());
    }

    /// Takes a nomination back.
    pub(crate) fn withdraw(&mut self, pod: &Key) {
        let Some(node) = self.nominations.remove(pod) else {
            return;
        };
        if let Some(of_node) = self.nominated.get_mut(&node) {
            of_node.remove(pod);
            if of_node.is_empty() {
                self.nominated.remove(&node);
            }
        }
    }

    /// The disruption budgets of a namespace.
    pub fn budgets(&self, namespace: &str) -> impl Iterator<Item = &Arc<PodDisruptionBudget>> {
        let from = Key::new(namespace, "");
        self.budgets
            .range(from..)
            .take_while(move |(key, _)| *key.namespace == *namespace)
            .map(|(_, budget)| budget)
    }

    pub(crate) fn set_budget(&mut self, key: Key, budget: Option<Arc<PodDisruptionBudget>>) {
        match budget {
            Some(budget) => self.budgets.insert(key, budget),
            None => self.budgets.remove(&key),
        };
    }

    /// The labels of a namespace.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)?.metadata.labels.as_ref()
    }

    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, namespace: Option<Arc<Namespace>>) {
        match namespace {
            Some(namespace) => self.namespaces.insert(name.clone(), namespace),
            None => self.namespaces.remove(name),
        };
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
