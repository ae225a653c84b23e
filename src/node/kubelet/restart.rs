//! Whether a container that ended is started again, and after how long. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, ContainerRestartRule, PodSpec};
use tokio::time::Instant;

/// A container that ends is started again after this …
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// … doubling up to this …
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// … and anew from the first when it ran for this long.
const GOOD_RUN: Duration = Duration::from_secs(600);

/// The action of a rule that restarts all containers of the pod.
const RESTART_ALL: &str = "RestartAllContainers";

/// Whether an init container stays beside the main ones.
pub(super) fn is_sidecar(container: &Spec) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that ended with `code` is started again: its own rules come first, then its own policy, then the
/// pod's.
pub(super) fn restarts(pod: &PodSpec, container: &Spec, code: i32) -> bool {
    if matches!(action(container, code), Some("Restart" | RESTART_ALL)) {
        return true;
    }
    let policy = container
        .restart_policy
        .as_deref()
        .or(pod.restart_policy.as_deref());
    match policy {
        Some("Never") => false,
        Some("OnFailure") => code != 0,
        _ => true,
    }
}

/// What a container's own rules say of an end with `code`: the first that applies counts.
fn action(container: &Spec, code: i32) -> Option<&str> {
    let mut rules = container.restart_policy_rules.iter().flatten();
    let rule = rules.find(|rule| applies(rule, code))?;
    Some(&rule.action)
}

/// Whether a container that ended with `code` takes all others with it.
pub(super) fn restarts_all(container: &Spec, code: i32) -> bool {
    action(container, code) == Some(RESTART_ALL)
}

/// Whether some container of the pod may take all others with it.
pub(super) fn may_restart_all(pod: &PodSpec) -> bool {
    let mut rules = super::plan::all(pod).flat_map(|of| of.restart_policy_rules.iter().flatten());
    rules.any(|rule| rule.action == RESTART_ALL)
}

fn applies(rule: &ContainerRestartRule, code: i32) -> bool {
    rule.exit_codes.as_ref().is_some_and(|codes| {
        let named = codes.values.iter().flatten().any(|value| *value == code);
        match codes.operator.as_str() {
            "In" => named,
            "NotIn" => !named,
            _ => false,
        }
    })
}

/// The same of an init container: one that is no sidecar and succeeded is done.
pub(super) fn init_restarts(pod: &PodSpec, container: &Spec, code: i32) -> bool {
    is_sidecar(container) || (code != 0 && restarts(pod, container, code))
}

/// How often in a row a container ended soon, given how long it ran this time.
pub(super) fn crashes(before: u32, ran: Duration) -> u32 {
    if ran >= GOOD_RUN { 0 } else { before + 1 }
}

/// The pause before the restart after that many crashes: the first is immediate, then the pauses double.
pub(super) fn pause(crashes: u32) -> Option<Duration> {
    crashes.checked_sub(2).map(|doublings| {
        let doubled = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        FIRST_BACKOFF.saturating_mul(doubled).min(LONGEST_BACKOFF)
    })
}

/// What is left of a wait until `due`.
pub(super) fn left(due: Option<Instant>, now: Instant) -> Option<Duration> {
    due.filter(|due| *due > now).map(|due| due - now)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(policy: &str, container: &Value) -> PodSpec {
        serde_json::from_value(json!({"restartPolicy": policy, "containers": [container]})).unwrap()
    }

    #[test]
    fn rules_come_before_policies() {
        let rule = |operator: &str, values: Value| {
            json!({"name": "c", "restartPolicy": "Never",
            "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": operator, "values": values}}]})
        };
        for (policy, container, code, expected) in [
            ("Always", json!({"name": "c"}), 0, true),
            ("OnFailure", json!({"name": "c"}), 0, false),
            ("OnFailure", json!({"name": "c"}), 1, true),
            ("Never", json!({"name": "c"}), 1, false),
            (
                "Always",
                json!({"name": "c", "restartPolicy": "Never"}),
                1,
                false,
            ),
            (
                "Never",
                json!({"name": "c", "restartPolicy": "Always"}),
                0,
                true,
            ),
            (
                "Never",
                json!({"name": "c", "restartPolicy": "OnFailure"}),
                2,
                true,
            ),
            ("Never", rule("In", json!([42])), 42, true),
            ("Always", rule("In", json!([42])), 41, false),
            ("Always", rule("NotIn", json!([42])), 41, true),
            ("Always", rule("NotIn", json!([42])), 42, false),
        ] {
            let spec = pod(policy, &container);
            assert_eq!(
                restarts(&spec, &spec.containers[0], code),
                expected,
                "{policy} {container} {code}"
            );
        }
    }

    #[test]
    fn init_containers_are_done_when_they_succeed() {
        let plain = pod("Always", &json!({"name": "c"}));
        assert!(!init_restarts(&plain, &plain.containers[0], 0));
        assert!(init_restarts(&plain, &plain.containers[0], 1));
        let never = pod("Never", &json!({"name": "c"}));
        assert!(!init_restarts(&never, &never.containers[0], 1));
        let sidecar = pod("Never", &json!({"name": "c", "restartPolicy": "Always"}));
        assert!(init_restarts(&sidecar, &sidecar.containers[0], 0));
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let pauses: Vec<u64> = (1..10)
            .map(|crashes| pause(crashes).map_or(0, |pause| pause.as_secs()))
            .collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(crashes(5, Duration::from_secs(600)), 0);
        assert_eq!(crashes(5, Duration::from_secs(599)), 6);
    }
}
