//! Trying out: would the pod fit a node if some pods were gone from it, or were there already?

use std::sync::Arc;

use super::{CycleState, Filter, NodeInfo, PodInfo, PreFilter, Snapshot, Status};
use crate::reconcile::Key;

/// The plugins that judge nodes for one pod: those that have nothing to do with it are left out.
#[derive(Debug)]
pub(crate) struct Judges<'a> {
    pub pre_filters: Vec<&'a dyn PreFilter>,
    pub filters: Vec<&'a dyn Filter>,
}

impl Judges<'_> {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let rejection = self.filters.iter().find_map(|plugin| {
            let status = plugin.filter(state, pod, node);
            (!status.is_success()).then(|| status.by(plugin.name()))
        });
        rejection.unwrap_or_default()
    }

    /// Judges a node. Pods of at least the same priority that are nominated to it count as if they were there already;
    /// and since they may never arrive, the node has to do without them, too.
    pub(crate) fn judge(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
        snapshot: &Snapshot,
    ) -> Status {
        let mut nominated = snapshot
            .nominated_to(&node.name)
            .filter(|other| other.priority >= pod.priority && other.key != pod.key)
            .peekable();
        if nominated.peek().is_some() {
            let (mut state, mut node) = (state.clone(), node.clone());
            for other in nominated {
                node.add_pod(other);
                for plugin in &self.pre_filters {
                    plugin.add_pod(&mut state, pod, other, &node, snapshot);
                }
            }
            let status = self.filter(&state, pod, &node);
            if !status.is_success() {
                return status;
            }
        }
        self.filter(state, pod, node)
    }
}

/// A pod that fits nowhere, and what a [`PostFilter`](super::PostFilter) may know and try out.
#[derive(Debug)]
pub struct Trial<'a> {
    /// The pod.
    pub pod: &'a PodInfo,
    /// All nodes.
    pub snapshot: &'a Snapshot,
    /// What was said of each node.
    pub verdicts: &'a [(Arc<str>, Status)],
    pub(crate) state: &'a CycleState,
    pub(crate) judges: &'a Judges<'a>,
}

impl<'a> Trial<'a> {
    /// A copy of the node of this name, to be changed.
    #[must_use]
    pub fn node(&'a self, name: &str) -> Option<TrialNode<'a>> {
        Some(TrialNode {
            trial: self,
            node: self.snapshot.get(name)?.clone(),
            state: self.state.clone(),
        })
    }
}

/// A node on which other pods are thought to be than are.
#[derive(Debug)]
pub struct TrialNode<'a> {
    trial: &'a Trial<'a>,
    node: NodeInfo,
    state: CycleState,
}

impl TrialNode<'_> {
    /// The node as it is thought to be.
    #[must_use]
    pub fn node(&self) -> &NodeInfo {
        &self.node
    }

    /// Thinks a pod away.
    pub fn remove(&mut self, key: &Key) {
        let Some(removed) = self.node.remove_pod(key) else {
            return;
        };
        for plugin in &self.trial.judges.pre_filters {
            let Trial { pod, snapshot, .. } = self.trial;
            plugin.remove_pod(&mut self.state, pod, &removed, &self.node, snapshot);
        }
    }

    /// Thinks a pod there.
    pub fn add(&mut self, pod: &Arc<PodInfo>) {
        self.node.add_pod(pod);
        for plugin in &self.trial.judges.pre_filters {
            let Trial {
                pod: for_pod,
                snapshot,
                ..
            } = self.trial;
            plugin.add_pod(&mut self.state, for_pod, pod, &self.node, snapshot);
        }
    }

    /// Whether the pod would fit.
    #[must_use]
    pub fn judge(&self) -> Status {
        let Trial {
            pod,
            snapshot,
            judges,
            ..
        } = self.trial;
        judges.judge(&self.state, pod, &self.node, snapshot)
    }
}
