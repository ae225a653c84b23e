//! What a node's health asks for: conditions when its agent falls silent, and the taints that follow from its conditions.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How long a node may be silent. Times are those of `kube-controller-manager`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grace {
    /// After its last sign of life. Default = 50 s (40 s before Kubernetes 1.32).
    pub running: Duration,
    /// After it was registered, before its first sign of life. Default = 60 s.
    pub starting: Duration,
}

/// The taint of a node whose agent reports that it is not ready.
pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint of a node whose agent is silent.
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taint of a cordoned node.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions that go to Unknown with the agent, besides Ready.
const PRESSURES: [&str; 3] = ["MemoryPressure", "DiskPressure", "PIDPressure"];

/// Which taint a condition of which status brings.
const CONDITION_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
];

/// Whether a node has been heard of lately.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Health {
    /// It has; look again after this long.
    Alive(Duration),
    /// It has not: these are its conditions now.
    Silent(Vec<NodeCondition>),
}

/// The condition of the given type.
pub(super) fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == type_)
}

/// The status of condition Ready: `True`, `False`, or `Unknown` (also when absent).
pub(super) fn readiness(node: &Node) -> &str {
    condition(node, "Ready").map_or("Unknown", |ready| ready.status.as_str())
}

/// Judges a node by its last sign of life: the renewal of its lease or a status heartbeat, whichever is later.
pub(super) fn health(
    node: &Node,
    lease_renewed: Option<Timestamp>,
    grace: Grace,
    now: Timestamp,
) -> Health {
    let ready = condition(node, "Ready");
    let heartbeat = ready
        .and_then(|ready| ready.last_heartbeat_time.as_ref())
        .map(|time| time.0);
    let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let (since, allowed) = match lease_renewed.max(heartbeat) {
        // A clock that runs ahead of ours must not keep a dead node alive.
        Some(seen) => (seen.min(now), grace.running),
        None => (created.unwrap_or(now), grace.starting),
    };
    let silent_for = Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO);
    match allowed.checked_sub(silent_for) {
        Some(left) if !left.is_zero() => Health::Alive(left),
        _ => Health::Silent(silenced(node, now)),
    }
}

/// The conditions of a node nobody hears of: all those its agent reports become Unknown.
fn silenced(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    for type_ in std::iter::once("Ready").chain(PRESSURES) {
        let created = node.metadata.creation_timestamp.clone();
        match conditions
            .iter_mut()
            .find(|condition| condition.type_ == type_)
        {
            None => conditions.push(NodeCondition {
                type_: type_.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created,
                last_transition_time: Some(Time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                "Unknown".clone_into(&mut condition.status);
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    conditions
}

/// The `NoSchedule` taints that a node's conditions and its cordon ask for.
fn no_schedule(node: &Node) -> Vec<&'static str> {
    let by_condition = CONDITION_TAINTS.iter().filter(|(type_, status, _)| {
        condition(node, type_).is_some_and(|condition| condition.status == *status)
    });
    let mut taints: Vec<_> = by_condition.map(|(_, _, key)| *key).collect();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        taints.push(UNSCHEDULABLE);
    }
    taints
}

/// The `NoExecute` taint that a node's readiness asks for.
pub(super) fn no_execute(node: &Node) -> Option<&'static str> {
    match condition(node, "Ready")?.status.as_str() {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

/// The node's taints as they should be, if they differ: those that this controller manages follow the node's state, all others
/// stay. `may_evict`: whether a new `NoExecute` taint may be put on now (evictions are limited in rate).
pub(super) fn taints(node: &Node, may_evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let present = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let schedule = no_schedule(node);
    let execute = no_execute(node);
    let has = |key: &str, effect: &str| {
        present
            .iter()
            .any(|taint| taint.key == key && taint.effect == effect)
    };
    let managed = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => {
            taint.key == UNSCHEDULABLE
                || CONDITION_TAINTS.iter().any(|(_, _, key)| taint.key == *key)
        }
        "NoExecute" => taint.key == NOT_READY || taint.key == UNREACHABLE,
        _ => false,
    };
    // A node that goes from one kind of unreadiness to the other changes its taint at once: it is being evicted already.
    let swaps = has(NOT_READY, "NoExecute") || has(UNREACHABLE, "NoExecute");
    let wanted_execute = execute.filter(|_| may_evict || swaps);
    let is_wanted = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => schedule.contains(&taint.key.as_str()),
        _ => wanted_execute == Some(taint.key.as_str()),
    };
    let mut taints: Vec<Taint> = present
        .iter()
        .filter(|taint| !managed(taint) || is_wanted(taint))
        .cloned()
        .collect();
    let new = |key: &str, effect: &str| Taint {
        key: key.to_owned(),
        effect: effect.to_owned(),
        time_added: Some(Time(now)),
        ..Taint::default()
    };
    taints.extend(
        schedule
            .iter()
            .filter(|key| !has(key, "NoSchedule"))
            .map(|key| new(key, "NoSchedule")),
    );
    taints.extend(
        wanted_execute
            .filter(|key| !has(key, "NoExecute"))
            .map(|key| new(key, "NoExecute")),
    );
    (taints != present).then_some(taints)
}

/// How a zone fares, which limits how fast its pods are evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Few nodes are not ready.
    Normal,
    /// At least 55 % (and more than two) are not ready.
    Partial,
    /// None is ready.
    Full,
}

impl Zone {
    pub(super) fn of(ready: usize, not_ready: usize) -> Self {
        let share_reached = not_ready * 100 >= (ready + not_ready) * 55;
        match (ready, not_ready) {
            (0, 1..) => Self::Full,
            (_, 3..) if share_reached => Self::Partial,
            _ => Self::Normal,
        }
    }

    /// How long to wait between two evicted nodes of a zone with `size` nodes; `None`: none is evicted.
    /// A control plane that hears of no node at all has lost its network, not its nodes, and evicts nothing.
    pub(super) fn pause(self, size: usize, all_full: bool) -> Option<Duration> {
        match self {
            Self::Full if all_full => None,
            Self::Normal | Self::Full => Some(Duration::from_secs(10)),
            Self::Partial if size > 50 => Some(Duration::from_secs(100)),
            Self::Partial => None,
        }
    }
}

/// When a zone's limiter allows the next node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limiter {
    next: Option<Timestamp>,
}

impl Limiter {
    /// Takes a turn if one is free; otherwise how long to wait.
    pub(super) fn take(&mut self, pause: Duration, now: Timestamp) -> Result<(), Duration> {
        if let Some(next) = self.next.filter(|next| *next > now) {
            return Err(Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO));
        }
        self.next = SignedDuration::try_from(pause)
            .ok()
            .and_then(|pause| now.checked_add(pause).ok());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Grace = Grace {
        running: Duration::from_secs(50),
        starting: Duration::from_secs(60),
    };

    fn at(seconds: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }

    fn node(ready: Option<&str>) -> Node {
        let conditions: Vec<_> = ready
            .map(|status| serde_json::json!({"type": "Ready", "status": status, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}))
            .into_iter()
            .collect();
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn keys(taints: &[Taint]) -> Vec<String> {
        taints
            .iter()
            .map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect))
            .collect()
    }

    #[test]
    fn silence_is_measured_from_the_last_sign_of_life() {
        for (ready, lease, now, expected) in [
            (Some("True"), Some(0), 20, Some(30)),
            (Some("True"), Some(30), 60, Some(20)),
            (Some("True"), Some(-100), 20, Some(30)),
            (Some("True"), None, 50, None),
            (Some("True"), Some(500), 20, Some(50)),
            (None, None, 20, Some(40)),
            (None, None, 60, None),
        ] {
            let expected_seconds = expected;
            match health(&node(ready), lease.map(at), GRACE, at(now)) {
                Health::Alive(left) => assert_eq!(Some(left.as_secs()), expected_seconds),
                Health::Silent(conditions) => {
                    assert_eq!(expected_seconds, None);
                    assert_eq!(conditions.len(), 4);
                    assert!(
                        conditions
                            .iter()
                            .all(|condition| condition.status == "Unknown")
                    );
                    let reason = if ready.is_some() {
                        "NodeStatusUnknown"
                    } else {
                        "NodeStatusNeverUpdated"
                    };
                    assert_eq!(conditions[0].reason.as_deref(), Some(reason));
                }
            }
        }
    }

    #[test]
    fn taints_follow_conditions() {
        let unreachable = node(Some("Unknown"));
        let both = taints(&unreachable, true, at(9)).unwrap();
        assert_eq!(
            keys(&both),
            ["unreachable:NoSchedule", "unreachable:NoExecute"]
        );
        assert_eq!(
            keys(&taints(&unreachable, false, at(9)).unwrap()),
            ["unreachable:NoSchedule"]
        );
        let mut recovered = node(Some("True"));
        let own = Taint {
            key: "dedicated".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        recovered.spec.get_or_insert_default().taints = Some([vec![own], both.clone()].concat());
        assert_eq!(
            keys(&taints(&recovered, true, at(9)).unwrap()),
            ["dedicated:NoSchedule"]
        );
        let mut swapped = node(Some("False"));
        swapped.spec.get_or_insert_default().taints = Some(both);
        assert_eq!(
            keys(&taints(&swapped, false, at(9)).unwrap()),
            ["not-ready:NoSchedule", "not-ready:NoExecute"]
        );
        assert_eq!(taints(&node(Some("True")), true, at(9)), None);
    }

    #[test]
    fn cordoned_nodes_are_tainted() {
        let mut cordoned = node(Some("True"));
        cordoned.spec.get_or_insert_default().unschedulable = Some(true);
        assert_eq!(
            keys(&taints(&cordoned, true, at(0)).unwrap()),
            ["unschedulable:NoSchedule"]
        );
    }

    #[test]
    fn zones_limit_evictions() {
        for (ready, not_ready, zone, pause) in [
            (3, 0, Zone::Normal, Some(10)),
            (2, 1, Zone::Normal, Some(10)),
            (1, 2, Zone::Normal, Some(10)),
            (2, 3, Zone::Partial, None),
            (40, 60, Zone::Partial, Some(100)),
            (0, 3, Zone::Full, Some(10)),
        ] {
            assert_eq!(Zone::of(ready, not_ready), zone, "{ready}/{not_ready}");
            assert_eq!(
                zone.pause(ready + not_ready, false)
                    .map(|pause| pause.as_secs()),
                pause
            );
        }
        assert_eq!(Zone::Full.pause(3, true), None);
        let mut limiter = Limiter::default();
        assert_eq!(limiter.take(Duration::from_secs(10), at(0)), Ok(()));
        assert_eq!(
            limiter.take(Duration::from_secs(10), at(4)),
            Err(Duration::from_secs(6))
        );
        assert_eq!(limiter.take(Duration::from_secs(10), at(10)), Ok(()));
    }
}
