//! TaintToleration: nodes may push pods away, hard or soft.

use k8s_openapi::api::core::v1::Toleration;

use crate::scheduler::framework::{
    ClusterEvent, CycleState, Filter, MAX_SCORE, NodeInfo, Plugin, PodInfo, Score, Status,
};

/// Filters by `NoSchedule` and `NoExecute` taints; prefers nodes with fewer `PreferNoSchedule` taints.
#[derive(Clone, Copy, Debug)]
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn wakes(&self, event: ClusterEvent, _pod: &PodInfo) -> bool {
        matches!(
            event,
            ClusterEvent::NodeAdded | ClusterEvent::NodeTaints | ClusterEvent::PodUpdated
        )
    }
}

impl Filter for TaintToleration {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        let untolerated = node.taints().iter().find(|taint| {
            let value = taint.value.as_deref().unwrap_or_default();
            matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
                && !pod
                    .tolerations()
                    .iter()
                    .any(|toleration| tolerates(toleration, &taint.key, value, &taint.effect))
        });
        match untolerated {
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

/// Whether a toleration covers a taint.
pub(super) fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    let (own_key, own_effect) = (text(&toleration.key), text(&toleration.effect));
    if !own_effect.is_empty() && own_effect != effect || !own_key.is_empty() && own_key != key {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => text(&toleration.value) == value,
        "Exists" => true,
        operator @ ("Lt" | "Gt") => {
            let numbers = value
                .parse::<i64>()
                .ok()
                .zip(text(&toleration.value).parse::<i64>().ok());
            numbers.is_some_and(|(taint, bound)| {
                if operator == "Lt" {
                    taint < bound
                } else {
                    taint > bound
                }
            })
        }
        _ => false,
    }
}
