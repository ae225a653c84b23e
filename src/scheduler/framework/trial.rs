//! Trying out: would the pod fit a node if some pods were gone from it, or were there already?

use std::sync::Arc;

use super::{
    ClassId, Code, CycleState, Filter, NodeInfo, PodInfo, PreFilter, Snapshot, Status, histogram,
};
use crate::reconcile::Key;
use crate::scheduler::metrics::Metrics;

/// The plugins that judge nodes for one pod: those that have nothing to do with it are left out.
#[derive(Debug, Default)]
pub(crate) struct Judges<'a> {
    pub pre_filters: Vec<&'a dyn PreFilter>,
    pub filters: Vec<&'a dyn Filter>,
    /// Where each filter is timed, if they are.
    pub timed: Option<Metrics>,
}

impl Judges<'_> {
    /// The first rejection.
    pub(crate) fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let rejection = self.filters.iter().find_map(|plugin| {
            let status = self.ask(*plugin, state, pod, node);
            (!status.is_success()).then(|| status.by(plugin.name()))
        });
        rejection.unwrap_or_default()
    }

    /// What one filter says.
    pub(crate) fn ask(
        &self,
        plugin: &dyn Filter,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> Status {
        Metrics::timed(
            self.timed.as_ref(),
            (plugin.name(), "Filter"),
            || plugin.filter(state, pod, node),
            |status| status.code.name(),
        )
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

/// What was said of each node that does not fit. Like verdicts are kept once.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    statuses: Vec<Status>,
    /// By the node's position: 0, or one more than the position of its status.
    by_node: Vec<u32>,
}

impl Verdicts {
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            statuses: Vec::new(),
            by_node: vec![0; nodes],
        }
    }

    pub(crate) fn set(&mut self, position: usize, status: &Status) {
        let number = self.number(status);
        self.set_number(position, number);
    }

    /// The number under which a status is kept.
    pub(crate) fn number(&mut self, status: &Status) -> u32 {
        let known = self.statuses.iter().position(|known| known == status);
        let index = known.unwrap_or_else(|| {
            self.statuses.push(status.clone());
            self.statuses.len() - 1
        });
        u32::try_from(index + 1).unwrap_or(0)
    }

    pub(crate) fn set_number(&mut self, position: usize, number: u32) {
        if let Some(slot) = self.by_node.get_mut(position) {
            *slot = number;
        }
    }

    /// What was said of the node at this position; `None` when nothing was.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<&Status> {
        let index = usize::try_from(*self.by_node.get(position)?).ok()?;
        self.statuses.get(index.checked_sub(1)?)
    }

    /// The positions of the nodes of which something was said, and what.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Status)> {
        let all = 0..self.by_node.len();
        all.filter_map(|position| Some((position, self.get(position)?)))
    }

    /// The positions of the nodes where making room may help.
    pub fn hopeful(&self) -> impl Iterator<Item = usize> {
        self.iter()
            .filter(|(_, status)| status.code == Code::Unschedulable)
            .map(|(position, _)| position)
    }

    /// The plugins that rejected nodes.
    pub fn rejectors(&self) -> impl Iterator<Item = &str> {
        self.statuses.iter().map(|status| status.plugin.as_str())
    }

    /// Counts the reasons: `1 Insufficient cpu, 2 node(s) were unschedulable`.
    #[must_use]
    pub fn histogram(&self) -> String {
        let mut counts = vec![0; self.statuses.len()];
        for index in &self.by_node {
            let index = usize::try_from(*index).unwrap_or(0);
            if let Some(count) = index.checked_sub(1).and_then(|index| counts.get_mut(index)) {
                *count += 1;
            }
        }
        let reasons = self.statuses.iter().zip(counts);
        histogram(reasons.flat_map(|(status, count)| {
            let reasons = status.reasons.iter();
            reasons.map(move |reason| (&**reason, count))
        }))
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
    pub verdicts: &'a Verdicts,
    /// A random number, so that not all pods try the same nodes first.
    pub chance: u64,
    pub(crate) state: &'a CycleState,
    pub(crate) judges: &'a Judges<'a>,
    pub(crate) is_local: bool,
}

impl<'a> Trial<'a> {
    /// The pod's class, when all that is tried out on a node depends on the class and that node alone, so that results can be
    /// kept until the node changes.
    #[must_use]
    pub fn class(&self) -> Option<ClassId> {
        self.state.class().filter(|_| self.is_local)
    }

    /// A copy of a node, to be changed.
    #[must_use]
    pub fn node(&'a self, position: usize) -> Option<TrialNode<'a>> {
        Some(TrialNode {
            trial: self,
            node: self.snapshot.nodes().get(position)?.clone(),
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
