//! TaintToleration: nodes may push pods away, hard or soft.

use k8s_openapi::api::core::v1::Taint;

use crate::object::taint::tolerates;
use crate::scheduler::framework::{
    Actions, CycleState, EventPattern, Filter, MAX_SCORE, NodeInfo, Plugin, PodInfo, Resource,
    Scope, Score, Status,
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
            EventPattern::new(Resource::Node, Actions::ADD),
            EventPattern::new(Resource::Node, Actions::UPDATE_NODE_TAINT),
            EventPattern::new(Resource::TargetPod, Actions::UPDATE),
        ]
    }
}

/// The first taint for which the pod cannot come to the node.
pub(super) fn untolerated<'a>(pod: &PodInfo, node: &'a NodeInfo) -> Option<&'a Taint> {
    node.taints().iter().find(|taint| {
        let value = taint.value.as_deref().unwrap_or_default();
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !pod
                .tolerations()
                .iter()
                .any(|toleration| tolerates(toleration, &taint.key, value, &taint.effect))
    })
}

impl Filter for TaintToleration {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        match untolerated(pod, node) {
            None => Status::success(),
            Some(taint) => {
                let value = taint.value.as_deref().unwrap_or_default();
                Status::unresolvable(format!(
                    "node(s) had untolerated taint {{{}: {value}}}",
                    taint.key
                ))
            }
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
        let untolerated = soft.filter(|taint| {
            let value = taint.value.as_deref().unwrap_or_default();
            !pod.tolerations()
                .iter()
                .any(|toleration| tolerates(toleration, &taint.key, value, &taint.effect))
        });
        i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
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
