//! The cluster at one moment, as plugins see it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::zones::Zones;
use super::{NodeInfo, PodInfo};
use crate::object::zone::zone_key;
use crate::reconcile::Key;

/// So many changes are kept beside one for each node.
const CHANGES: usize = 1024;

/// All nodes at one moment. The scheduler changes it between decisions, in place: a decision costs no copy. What is derived
/// from it can be kept up to date by looking at what changed ([`Snapshot::changes_since`]).
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    marks: Vec<Mark>,
    by_name: BTreeMap<Arc<str>, usize>,
    /// The last generation that was given out.
    generation: u64,
    /// The nodes by zone.
    zones: Zones,
    /// The nodes that changed, by their positions; the last of them in the last generation.
    changes: VecDeque<u32>,
    /// How many nodes are there, not only named by pods.
    present: usize,
    /// How many pods have pod affinity or anti-affinity.
    with_affinity: usize,
    /// The labels of nodes that required anti-affinity of pods on nodes speaks of, and how many terms do.
    repelling: BTreeMap<Arc<str>, usize>,
    /// How many nodes have each image.
    images: BTreeMap<String, usize>,
    /// Pods that wait for room on a node, by the node.
    nominated: BTreeMap<Arc<str>, BTreeMap<Key, Arc<PodInfo>>>,
    /// The node of each of them.
    nominations: BTreeMap<Key, Arc<str>>,
    budgets: BTreeMap<Key, Arc<PodDisruptionBudget>>,
    /// Grows when a budget changes.
    budgets_generation: u64,
    namespaces: BTreeMap<Arc<str>, Arc<Namespace>>,
    /// Grows when a namespace changes.
    namespaces_generation: u64,
}

/// What is looked up of every node in every decision, close together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Another one whenever the node, a pod on it, or a nomination to it changes.
    pub generation: u64,
    /// How many pods are nominated to it.
    pub nominated: u32,
    /// Whether it is there, and not only named by pods.
    pub present: bool,
}

impl Snapshot {
    /// The nodes, in an order that stays the same while none comes or goes. Some are only named by pods
    /// ([`NodeInfo::node`] is `None`).
    #[must_use]
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// What is looked up of every node most often, in the same order.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// How many nodes are there.
    #[must_use]
    pub fn present(&self) -> usize {
        self.present
    }

    /// The node of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NodeInfo> {
        self.position(name).and_then(|index| self.nodes.get(index))
    }

    /// The position of the node of this name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Grows with every change of a node or its pods.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The positions of the nodes that are there, one of each zone (`topology.kubernetes.io/zone` and `region`) in turn, zones and
    /// nodes in the order in which they came. Upstream looks at nodes in this order. Made anew: keep it until
    /// [`Snapshot::zones_generation`] grows.
    #[must_use]
    pub fn interleaved(&self) -> Vec<usize> {
        self.zones.interleaved()
    }

    /// Grows when a node comes, goes, or moves to another zone.
    #[must_use]
    pub fn zones_generation(&self) -> u64 {
        self.zones.generation
    }

    /// Grows when a namespace changes.
    #[must_use]
    pub fn namespaces_generation(&self) -> u64 {
        self.namespaces_generation
    }

    /// The positions of the nodes that changed after `generation`, some perhaps more than once; `None` when that is too long
    /// ago: then compare the generations of all ([`Snapshot::marks`]). A position may be past the last node when nodes went.
    #[must_use]
    pub fn changes_since(&self, generation: u64) -> Option<impl Iterator<Item = usize> + '_> {
        let behind = usize::try_from(self.generation.saturating_sub(generation)).ok()?;
        let from = self.changes.len().checked_sub(behind)?;
        Some(self.changes.range(from..).map(|index| *index as usize))
    }

    /// How many nodes have an image, by any of its names.
    #[must_use]
    pub fn nodes_with_image(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or(0)
    }

    /// Whether any node says which images it has.
    #[must_use]
    pub fn knows_images(&self) -> bool {
        !self.images.is_empty()
    }

    /// Whether any pod on a node has pod affinity or anti-affinity.
    #[must_use]
    pub fn has_affinity(&self) -> bool {
        self.with_affinity > 0
    }

    /// Whether required anti-affinity of a pod on a node speaks of this label of nodes.
    #[must_use]
    pub fn repels_by(&self, label: &str) -> bool {
        self.repelling.contains_key(label)
    }

    fn repel(&mut self, pod: &PodInfo, is_there: bool) {
        for term in &pod.affinity.required_anti {
            let key = &term.topology_key;
            if is_there {
                *self.repelling.entry(key.clone()).or_default() += 1;
            } else if let Some(count) = self.repelling.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.repelling.remove(key);
                }
            }
        }
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
        let of_node = self.nominated.entry(node.clone()).or_default();
        of_node.insert(pod.key.clone(), pod.clone());
        self.count_nominated(&node);
    }

    /// Takes a nomination back; the node and the pod, if there was one.
    pub(crate) fn withdraw(&mut self, pod: &Key) -> Option<(Arc<str>, Arc<PodInfo>)> {
        let node = self.nominations.remove(pod)?;
        let of_node = self.nominated.get_mut(&node)?;
        let withdrawn = of_node.remove(pod);
        if of_node.is_empty() {
            self.nominated.remove(&node);
        }
        self.count_nominated(&node);
        withdrawn.map(|pod| (node, pod))
    }

    fn count_nominated(&mut self, node: &str) {
        let count = self.nominated.get(node).map_or(0, BTreeMap::len);
        if let Some(index) = self.position(node)
            && let Some(mark) = self.marks.get_mut(index)
        {
            mark.nominated = u32::try_from(count).unwrap_or(u32::MAX);
            self.touch(index);
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

    /// Grows when a disruption budget changes.
    #[must_use]
    pub fn budgets_generation(&self) -> u64 {
        self.budgets_generation
    }

    pub(crate) fn set_budget(&mut self, key: Key, budget: Option<Arc<PodDisruptionBudget>>) {
        self.budgets_generation += 1;
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
        self.namespaces_generation += 1;
        match namespace {
            Some(namespace) => self.namespaces.insert(name.clone(), namespace),
            None => self.namespaces.remove(name),
        };
    }

    /// Takes over the state of a node; `None`: it is gone.
    pub(crate) fn set_node(&mut self, name: &str, node: Option<Arc<Node>>) {
        let index = self.index(name);
        let Some(info) = self.nodes.get_mut(index) else {
            return;
        };
        if info.heartbeat(node.as_ref()) {
            // Nothing that a plugin of ours reads; and heartbeats come often.
            return;
        }
        for image in info.images.keys() {
            if let Some(count) = self.images.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(image);
                }
            }
        }
        let was = info.node.is_some();
        info.set_node(node);
        let is = info.node.is_some();
        let key = is.then(|| zone_key(info.labels()));
        if info.zone.as_deref() != key.as_deref() {
            if let Some(left) = info.zone.take() {
                self.zones.remove(&left, index);
            }
            info.zone = key.map(|key| self.zones.add(&key, index));
        }
        for image in info.images.keys() {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        self.present = self.present + usize::from(is) - usize::from(was);
        if let Some(mark) = self.marks.get_mut(index) {
            mark.present = is;
        }
        self.touch(index);
        self.prune(name);
    }

    /// Counts a pod on a node.
    pub(crate) fn add_pod(&mut self, node: &str, pod: &Arc<PodInfo>) {
        let index = self.index(node);
        if let Some(info) = self.nodes.get_mut(index) {
            let before = info.with_affinity;
            info.add_pod(pod);
            self.with_affinity += info.with_affinity - before;
        }
        self.repel(pod, true);
        self.touch(index);
    }

    /// Puts the new state of a pod in the place of the old one.
    pub(crate) fn replace_pod(&mut self, node: &str, pod: &Arc<PodInfo>) {
        let index = self.index(node);
        if let Some(info) = self.nodes.get_mut(index) {
            let before = info.with_affinity;
            let old = info.pods.get(&pod.key).cloned();
            let changed = info.replace_pod(pod);
            self.with_affinity = self.with_affinity + info.with_affinity - before;
            if old.as_ref().is_none_or(|old| old.affinity != pod.affinity) {
                if let Some(old) = old {
                    self.repel(&old, false);
                }
                self.repel(pod, true);
            }
            if changed {
                self.touch(index);
            }
        }
    }

    /// Counts a pod no longer; the pod, if it was there.
    pub(crate) fn remove_pod(&mut self, node: &str, pod: &Key) -> Option<Arc<PodInfo>> {
        let index = self.position(node)?;
        let info = self.nodes.get_mut(index)?;
        let before = info.with_affinity;
        let removed = info.remove_pod(pod);
        self.with_affinity -= before - info.with_affinity;
        if let Some(removed) = &removed {
            self.repel(removed, false);
        }
        self.touch(index);
        self.prune(node);
        removed
    }

    /// Notes that a node changed.
    fn touch(&mut self, index: usize) {
        self.generation += 1;
        if let Some(mark) = self.marks.get_mut(index) {
            mark.generation = self.generation;
        }
        self.changes
            .push_back(u32::try_from(index).unwrap_or(u32::MAX));
        if self.changes.len() > self.nodes.len() + CHANGES {
            self.changes.pop_front();
        }
    }

    /// The position of the node of this name, made when it is not known.
    fn index(&mut self, name: &str) -> usize {
        if let Some(index) = self.position(name) {
            return index;
        }
        let (mut node, index) = (NodeInfo::new(name), self.nodes.len());
        node.position = index;
        self.by_name.insert(node.name.clone(), index);
        self.nodes.push(node);
        self.marks.push(Mark::default());
        self.touch(index);
        if self.nominated.contains_key(name) {
            self.count_nominated(name);
        }
        index
    }

    /// Forgets a node that is gone and has no pods left.
    fn prune(&mut self, name: &str) {
        let Some(index) = self.position(name) else {
            return;
        };
        let is_empty = self
            .nodes
            .get(index)
            .is_some_and(|node| node.node.is_none() && node.pods.is_empty());
        if !is_empty {
            return;
        }
        self.by_name.remove(name);
        self.nodes.swap_remove(index);
        self.marks.swap_remove(index);
        // The last one has moved here; where it was there is nothing any more.
        self.touch(self.nodes.len());
        let last = self.nodes.len();
        if let Some(moved) = self.nodes.get_mut(index) {
            moved.position = index;
            if let Some(zone) = &moved.zone {
                self.zones.rename(zone, last, index);
            }
            self.by_name.insert(moved.name.clone(), index);
            self.touch(index);
        }
    }

    /// For tests: the node of this name, made when it is not known, to be changed.
    #[cfg(test)]
    pub(crate) fn entry(&mut self, name: &str) -> Entry<'_> {
        let index = self.index(name);
        Entry {
            snapshot: self,
            index,
        }
    }
}

/// A node to be changed by a test.
#[cfg(test)]
pub(crate) struct Entry<'a> {
    snapshot: &'a mut Snapshot,
    index: usize,
}

#[cfg(test)]
impl Entry<'_> {
    pub(crate) fn set_node(&mut self, node: Option<Arc<Node>>) {
        let name = self.snapshot.nodes[self.index].name.clone();
        self.snapshot.set_node(&name, node);
    }

    pub(crate) fn add_pod(&mut self, pod: &Arc<PodInfo>) {
        let name = self.snapshot.nodes[self.index].name.clone();
        self.snapshot.add_pod(&name, pod);
    }
}
