//! Why a pod is scheduled as it is: every plugin's word on every node, as a value.

use std::fmt::Debug;
use std::sync::Arc;

use super::{EventPattern, PodInfo, Status};

/// A score of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginScore {
    /// The plugin.
    pub plugin: String,
    /// As it was given.
    pub raw: i64,
    /// Brought into 0 to 100.
    pub normalized: i64,
    /// How much it counts.
    pub weight: i64,
}

/// What was said of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeExplanation {
    /// The node.
    pub node: Arc<str>,
    /// The word of every filter that has to do with the pod, in their order, and not only up to the first rejection.
    pub verdicts: Vec<(String, Status)>,
    /// The scores; only of nodes that fit.
    pub scores: Vec<PluginScore>,
}

impl NodeExplanation {
    /// Whether all filters let the node through.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.verdicts.iter().all(|(_, status)| status.is_success())
    }

    /// The weighted sum of the scores.
    #[must_use]
    pub fn total(&self) -> i64 {
        let weighted = self.scores.iter();
        weighted.map(|score| score.normalized * score.weight).sum()
    }
}

/// What would be decided about a pod now, and why. All nodes are looked at, not a sample of them.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// What keeps it out of the queue.
    pub gate: Option<Status>,
    /// What the pre-filters said, in their order.
    pub pre_filter: Vec<(String, Status)>,
    /// The nodes, in the order of their names.
    pub nodes: Vec<NodeExplanation>,
    /// The plugins that keep the pod from being scheduled, and the events that would have it tried again.
    pub waits_for: Vec<(String, Vec<EventPattern>)>,
    /// The node that it is nominated to.
    pub nominated: Option<Arc<str>>,
}

/// Is given an explanation of each decision about the pods it wants one for.
pub trait Explain: Debug + Send + Sync + 'static {
    /// Whether decisions about this pod are to be explained. Asked for every decision; an explanation costs far more than
    /// the decision.
    fn wants(&self, pod: &PodInfo) -> bool;

    /// The explanation, made just before the decision, on the same state.
    fn explain(&self, explanation: Explanation);
}
