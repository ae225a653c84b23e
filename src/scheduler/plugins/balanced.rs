//! NodeResourcesBalancedAllocation: nodes whose cpu and memory are used alike are better.

use crate::scheduler::framework::{CycleState, MAX_SCORE, NodeInfo, Plugin, PodInfo, Scope, Score};

/// Scores by how alike the used shares of cpu and memory are.
#[derive(Clone, Copy, Debug)]
pub struct BalancedAllocation;

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
}

impl Score for BalancedAllocation {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the rule is in floating point"
    )]
    fn score(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let share = |have: i64, used: i64| {
            if have == 0 {
                1.0
            } else {
                (used as f64 / have as f64).min(1.0)
            }
        };
        let cpu = share(
            node.allocatable.milli_cpu,
            node.requested.milli_cpu + pod.requests.milli_cpu,
        );
        let memory = share(
            node.allocatable.memory,
            node.requested.memory + pod.requests.memory,
        );
        // The standard deviation of two values is half their distance.
        let deviation = ((cpu - memory) / 2.0).abs();
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
