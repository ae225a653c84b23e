//! TaintToleration: nodes may push pods away, hard or soft.

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::object::taint::tolerates;
use crate::scheduler::framework::{
    Actions, ClusterEvent, CycleState, EventPattern, Filter, Hint, MAX_SCORE, NodeInfo, Plugin,
    PodInfo, Resource, Scope, Score, Snapshot, Status,
};

/// Filters by `NoSchedule` and `NoExecute` taints; prefers nodes with fewer `PreferNoSchedule` taints.
#[derive(Clone, Copy, Debug)]
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn events(&self) -> Vec<EventPattern> {
        vec![
            EventPattern::new(Resource::Node, Actions::ADD | Actions::UPDATE_NODE_TAINT),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE_POD_TOLERATION),
        ]
    }

    fn hint(&self, event: &ClusterEvent<'_>, pod: &PodInfo, _snapshot: &Snapshot) -> Hint {
        let bears = |node: &Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref());
            forbidding(pod, taints.unwrap_or_default()).is_none()
        };
        let helps = event
            .new_object::<Node>()
            .is_none_or(|node| bears(node) && !event.old::<Node>().is_some_and(bears));
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

/// Whether a pod tolerates a taint. The operators that compare numbers are off, as upstream has them by default
/// (`TaintTolerationComparisonOperators`, alpha in 1.36).
fn bears(pod: &PodInfo, taint: &Taint) -> bool {
    let value = taint.value.as_deref().unwrap_or_default();
    let known = pod
        .tolerations()
        .iter()
        .filter(|toleration| !matches!(toleration.operator.as_deref(), Some("Lt" | "Gt")));
    let mut known = known;
    known.any(|toleration| tolerates(toleration, &taint.key, value, &taint.effect))
}

/// The first of the taints for which a pod cannot come.
fn forbidding<'a>(pod: &PodInfo, taints: &'a [Taint]) -> Option<&'a Taint> {
    let mut hard = taints
        .iter()
        .filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.find(|taint| !bears(pod, taint))
}

/// The first taint for which the pod cannot come to the node.
pub(super) fn untolerated<'a>(pod: &PodInfo, node: &'a NodeInfo) -> Option<&'a Taint> {
    forbidding(pod, node.taints())
}

impl Filter for TaintToleration {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        match untolerated(pod, node) {
            None => Status::success(),
            Some(_) => Status::unresolvable("node(s) had untolerated taint(s)"),
        }
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}

impl Score for TaintToleration {
    fn score(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let soft = node
            .taints()
            .iter()
            .filter(|taint| taint.effect == "PreferNoSchedule");
        let untolerated = soft.filter(|taint| !bears(pod, taint)).count();
        i64::try_from(untolerated).unwrap_or(i64::MAX)
    }

    fn normalize(&self, _state: &CycleState, _pod: &PodInfo, scores: &mut [i64]) {
        normalize(scores, true);
    }

    fn scope(&self, _pod: &PodInfo) -> Scope {
        Scope::Node
    }
}

/// Brings scores into 0 to 100 by their largest; `reverse`: the largest becomes 0.
pub(super) fn normalize(scores: &mut [i64], reverse: bool) {
    let most = scores.iter().max().copied().unwrap_or(0);
    for score in scores {
        let part = if most == 0 {
            0
        } else {
            *score * MAX_SCORE / most
        };
        *score = if reverse { MAX_SCORE - part } else { part };
    }
}
