//! NodeResourcesFit: a node must have left what a pod requests; emptier nodes are better (`LeastAllocated`).

use std::borrow::Cow;

use crate::scheduler::framework::{
    Actions, Code, CycleState, EventPattern, Filter, MAX_SCORE, NodeInfo, Plugin, PodInfo,
    Resource, Scope, Score, Status,
};

/// Filters by resources and the number of pods; scores by what is left of cpu and memory.
#[derive(Clone, Copy, Debug)]
pub struct Fit;

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::Node, Actions::UPDATE_NODE_ALLOCATABLE),
            EventPattern::new(Resource::AssignedPod, Actions::DELETE),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE),
        ]
    }
}

impl Filter for Fit {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let (wanted, have, used) = (&pod.requests, &node.allocatable, &node.requested);
        let short = |wanted: i64, have: i64, used: i64| wanted > 0 && wanted > have - used;
        let mut status = Status::success();
        let mut reject = |reason: Cow<'static, str>, never: bool| {
            status.reasons.push(reason);
            // What is more than the whole node has does not fit whatever room is made.
            let code = if never {
                Code::UnschedulableAndUnresolvable
            } else {
                Code::Unschedulable
            };
            if status.code != Code::UnschedulableAndUnresolvable {
                status.code = code;
            }
        };
        if node.pods.len() + 1 > node.allowed_pods {
            reject("Too many pods".into(), false);
        }
        for (name, wanted, have, used) in [
            ("cpu", wanted.milli_cpu, have.milli_cpu, used.milli_cpu),
            ("memory", wanted.memory, have.memory, used.memory),
            (
                "ephemeral-storage",
                wanted.ephemeral_storage,
                have.ephemeral_storage,
                used.ephemeral_storage,
            ),
        ] {
            if short(wanted, have, used) {
                reject(format!("Insufficient {name}").into(), wanted > have);
            }
        }
        for (name, wanted) in &wanted.scalars {
            let amount =
                |map: &std::collections::BTreeMap<String, i64>| map.get(name).copied().unwrap_or(0);
            let (have, used) = (amount(&have.scalars), amount(&used.scalars));
            if short(*wanted, have, used) {
                reject(format!("Insufficient {name}").into(), *wanted > have);
            }
        }
        status
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}

impl Score for Fit {
    fn score(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let left = |have: i64, used: i64| {
            if have == 0 || used > have {
                0
            } else {
                (have - used) * MAX_SCORE / have
            }
        };
        let cpu = left(node.allocatable.milli_cpu, node.non_zero.0 + pod.non_zero.0);
        let memory = left(node.allocatable.memory, node.non_zero.1 + pod.non_zero.1);
        i64::midpoint(cpu, memory)
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}
