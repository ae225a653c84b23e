//! NodeResourcesBalancedAllocation: nodes whose resources are used alike are better.

use std::sync::Arc;

use serde_json::Value;

use super::args::Args;
use super::scoring::{Basis, Weighted, default_resources, request, resources_of, share};
use crate::scheduler::framework::{
    ArgsError, CycleState, Handle, Hooks, MAX_SCORE, NodeInfo, Plugin, PodInfo, PreScore, Scope,
    Score, Snapshot, Status,
};

/// Scores by how alike the used shares of resources are, by default of cpu and memory.
#[derive(Clone, Debug)]
pub struct BalancedAllocation {
    resources: Vec<Weighted>,
}

impl Default for BalancedAllocation {
    fn default() -> Self {
        Self {
            resources: default_resources(),
        }
    }
}

impl BalancedAllocation {
    pub(super) fn make(args: &Value, _handle: &Handle) -> Result<Hooks, ArgsError> {
        let plugin = Arc::new(Self::of(args)?);
        Ok(Hooks::new(&plugin).pre_score(&plugin).score(&plugin))
    }

    pub(super) fn of(args: &Value) -> Result<Self, ArgsError> {
        let args = Args::of(args, "NodeResourcesBalancedAllocationArgs", &["resources"])?;
        let resources = resources_of(&args, 1)?;
        Ok(Self { resources })
    }

    /// Whether the pod asks for none of the resources. Its score would be best where it is worst for all others: it has none.
    fn is_best_effort(&self, pod: &PodInfo) -> bool {
        let mut resources = self.resources.iter();
        resources.all(|resource| request(pod, &resource.name, Basis::Exact) == 0)
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
}

impl PreScore for BalancedAllocation {
    fn pre_score(
        &self,
        _state: &mut CycleState,
        pod: &PodInfo,
        _nodes: &[&NodeInfo],
        _snapshot: &Snapshot,
    ) -> Status {
        if self.is_best_effort(pod) {
            Status::skip()
        } else {
            Status::success()
        }
    }
}

impl Score for BalancedAllocation {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "the rule is in floating point"
    )]
    fn score(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        if self.is_best_effort(pod) {
            return 0;
        }
        let used = || {
            let resources = self.resources.iter();
            resources.filter_map(|resource| {
                let (have, used) = share(pod, node, &resource.name, Basis::Exact)?;
                Some((used as f64 / have as f64).min(1.0))
            })
        };
        // The standard deviation, which of two values is half their distance.
        let count = used().count();
        let deviation = match count {
            0 | 1 => 0.0,
            2 => {
                let mut used = used();
                let (one, other) = (used.next().unwrap_or(0.0), used.next().unwrap_or(0.0));
                ((one - other) / 2.0).abs()
            }
            _ => {
                let mean = used().sum::<f64>() / count as f64;
                let squares: f64 = used().map(|used| (used - mean) * (used - mean)).sum();
                (squares / count as f64).sqrt()
            }
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
