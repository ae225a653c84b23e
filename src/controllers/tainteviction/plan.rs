//! When the taints of its node drive a pod away.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use crate::object::taint::tolerates;

/// What becomes of a pod on a tainted node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may stay for good.
    Stays,
    /// It may stay this much longer.
    GoesIn(Duration),
    /// It has to go now.
    Goes,
}

/// Judges a pod by the `NoExecute` taints of its node: each must be tolerated, and the shortest `tolerationSeconds` of the
/// tolerations that are used counts, from the time its taint was put on.
pub(super) fn verdict(pod: &Pod, taints: &[Taint], now: Timestamp) -> Verdict {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let mut due: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let Some(seconds) = tolerated_for(tolerations, taint) else {
            return Verdict::Goes;
        };
        let Some(seconds) = seconds else { continue };
        let since = taint.time_added.as_ref().map_or(now, |time| time.0);
        let end = since
            .checked_add(SignedDuration::from_secs(seconds.max(0)))
            .unwrap_or(Timestamp::MAX);
        due = Some(due.map_or(end, |due| due.min(end)));
    }
    match due {
        None => Verdict::Stays,
        Some(due) if due <= now => Verdict::Goes,
        Some(due) => {
            Verdict::GoesIn(Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO))
        }
    }
}

/// For how many seconds a taint is tolerated: `None` not at all, `Some(None)` for ever.
#[expect(
    clippy::option_option,
    reason = "not at all, for ever, or for a while: the caller tells the three apart at once"
)]
fn tolerated_for(tolerations: &[Toleration], taint: &Taint) -> Option<Option<i64>> {
    let mut shortest = None;
    let mut tolerated = false;
    for toleration in tolerations
        .iter()
        .filter(|toleration| covers(toleration, taint))
    {
        tolerated = true;
        shortest = match (shortest, toleration.toleration_seconds) {
            (Some(shortest), Some(seconds)) => Some(std::cmp::min::<i64>(shortest, seconds)),
            (shortest, seconds) => shortest.or(seconds),
        };
    }
    tolerated.then_some(shortest)
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    tolerates(
        toleration,
        &taint.key,
        taint.value.as_deref().unwrap_or_default(),
        &taint.effect,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(tolerations: serde_json::Value) -> Pod {
        serde_json::from_value(
            serde_json::json!({"spec": {"containers": [], "tolerations": tolerations}}),
        )
        .unwrap()
    }

    fn taint(key: &str, effect: &str) -> Taint {
        serde_json::from_value(
            serde_json::json!({"key": key, "effect": effect, "timeAdded": "2026-01-01T00:00:00Z"}),
        )
        .unwrap()
    }

    #[test]
    fn verdicts() {
        let forever = serde_json::json!([{"operator": "Exists"}]);
        let limited = serde_json::json!([{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]);
        let shorter = serde_json::json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}, {"operator": "Exists", "tolerationSeconds": 60}]);
        let now = |seconds| {
            "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap()
                + SignedDuration::from_secs(seconds)
        };
        let (a, b, soft) = (
            taint("a", "NoExecute"),
            taint("b", "NoExecute"),
            taint("a", "NoSchedule"),
        );
        for (tolerations, taints, at, verdict_wanted) in [
            (serde_json::json!([]), vec![], 0, Verdict::Stays),
            (serde_json::json!([]), vec![soft], 0, Verdict::Stays),
            (serde_json::json!([]), vec![a.clone()], 0, Verdict::Goes),
            (forever, vec![a.clone(), b.clone()], 9999, Verdict::Stays),
            (
                limited.clone(),
                vec![a.clone()],
                100,
                Verdict::GoesIn(Duration::from_secs(200)),
            ),
            (limited.clone(), vec![a.clone()], 300, Verdict::Goes),
            (limited, vec![a.clone(), b], 0, Verdict::Goes),
            (
                shorter,
                vec![a],
                10,
                Verdict::GoesIn(Duration::from_secs(50)),
            ),
        ] {
            assert_eq!(verdict(&pod(tolerations), &taints, now(at)), verdict_wanted);
        }
    }
}
