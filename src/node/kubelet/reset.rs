//! Restarting all containers of a pod in place, because one of them ended in a way for which its rules ask that (KEP-5532).
//!
//! Everything but the sandbox, the volumes and what debugs starts anew, the init containers first. It is quick: no hook
//! runs, and nobody is waited for longer than a moment. What started it is removed last: an agent that dies before all is
//! done finds it and goes on.

use std::time::Duration;

use futures::future::{join, join_all};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::plan::{self, exit_code};
use super::restart::restarts_all;
use super::{Inner, PodState};
use crate::cri::{Container, ContainerState, Sandbox};
use crate::reconcile::{Error, Key};

/// The condition that holds while it is done.
pub(super) const CONDITION: &str = "AllContainersRestarting";

/// Whether the status of a pod says that its containers are being restarted.
pub(super) fn is_under_way(pod: &Pod) -> bool {
    let status = pod.status.iter();
    let mut conditions = status.flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == CONDITION && condition.status == "True")
}

/// Whether a container has ended in a way that asks for it.
fn asks_for_it(spec: &PodSpec, container: &Container) -> bool {
    let of_spec = plan::all(spec).find(|of_spec| of_spec.name == container.name);
    let ended = of_spec.zip(exit_code(container));
    ended.is_some_and(|(of_spec, code)| restarts_all(of_spec, code))
}

/// Whether a container of the pod has ended so that all are to be restarted.
fn is_asked_for(spec: &PodSpec, sandbox: &Sandbox) -> bool {
    let mut latest = plan::all(spec).filter_map(|one| plan::newest(Some(sandbox), &one.name));
    latest.any(|latest| asks_for_it(spec, latest))
}

/// What is to be removed, in this order.
fn removed<'a>(spec: &PodSpec, sandbox: &'a Sandbox) -> Vec<&'a Container> {
    let is_own = |container: &&Container| plan::all(spec).any(|own| own.name == container.name);
    let mut removed: Vec<&Container> = sandbox.containers.iter().filter(is_own).collect();
    removed.sort_by_key(|one| asks_for_it(spec, one));
    removed
}

/// What may still be on its feet.
fn may_run(container: &Container) -> bool {
    !matches!(container.state, ContainerState::Exited { .. })
}

impl Inner {
    /// Ends and removes all containers of a pod if one of them asked for it; whether it did.
    pub(super) async fn restart_all(
        &self,
        key: &Key,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
    ) -> Result<bool, Error> {
        let Some((spec, sandbox)) = pod.spec.as_ref().zip(sandbox) else {
            return Ok(false);
        };
        let is_asked_for = is_asked_for(spec, sandbox);
        let is_under_way = self.with_state(key, |state| {
            state.restarting |= is_asked_for;
            state.restarting
        });
        if is_under_way != Some(true) {
            return Ok(false);
        }
        let removed = removed(spec, sandbox);
        let stops = removed.iter().filter(|one| may_run(one)).map(|one| {
            let why = format!("Stopping container {}", one.name);
            self.stop_one(pod, None, &one.id, why, Duration::ZERO, None)
        });
        // It goes on without an API server, too.
        let (told, stopped) = join(self.report(key, pod, Some(sandbox)), join_all(stops)).await;
        let untold = |error: Error| tracing::debug!(%error, pod = %key, "a restart is not shown");
        told.unwrap_or_else(untold);
        for stopped in stopped {
            stopped?;
        }
        for one in &removed {
            self.with_state(key, |state| {
                let memory = state.containers.entry(one.name.clone()).or_default();
                let next = one.attempt + 1;
                memory.reset = Some(memory.reset.map_or(next, |have| have.max(next)));
                // Only what asks for it again and again has to wait.
                let latest = plan::newest(Some(sandbox), &one.name);
                if !latest.is_some_and(|latest| asks_for_it(spec, latest)) {
                    (memory.crashes, memory.not_before, memory.failure) = (0, None, None);
                }
            });
            self.runtime.remove_container(&one.id).await?;
            self.hooked.lock().remove(&one.id);
        }
        self.with_state(key, |state| state.restarting = false);
        let told = self.report(key, pod, Some(sandbox)).await;
        told.unwrap_or_else(untold);
        Ok(!removed.is_empty())
    }

    /// What is remembered of a pod, to be looked at or changed; `None`: nothing.
    fn with_state<T>(&self, key: &Key, change: impl FnOnce(&mut PodState) -> T) -> Option<T> {
        self.state.lock().get_mut(key).map(change)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(name: &str, attempt: u32, code: Option<i32>) -> Container {
        let started = "2026-01-01T00:00:00Z".parse().unwrap();
        let state = match code {
            None => ContainerState::Running { started },
            Some(code) => ContainerState::Exited {
                started,
                finished: started,
                code,
                reason: String::new(),
                message: String::new(),
            },
        };
        Container {
            id: format!("{name}{attempt}"),
            name: name.to_owned(),
            attempt,
            state,
            ..Container::default()
        }
    }

    #[test]
    fn what_asked_for_it_goes_last() {
        let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": rule}, {"name": "b"}],
        }))
        .unwrap();
        for (containers, asked_for, expected) in [
            (vec![], false, ""),
            (
                vec![("i", 0, Some(0)), ("a", 0, None), ("b", 0, Some(42))],
                false,
                "i0 a0 b0",
            ),
            (
                vec![("a", 0, Some(42)), ("i", 0, Some(0)), ("b", 0, None)],
                true,
                "i0 b0 a0",
            ),
            // Only how it ended last counts; ephemeral containers stay.
            (
                vec![("a", 0, Some(42)), ("debug", 0, None), ("a", 1, None)],
                false,
                "a1 a0",
            ),
        ] {
            let containers = containers.into_iter();
            let sandbox = Sandbox {
                containers: containers
                    .map(|(name, attempt, code)| container(name, attempt, code))
                    .collect(),
                ..Sandbox::default()
            };
            assert_eq!(is_asked_for(&spec, &sandbox), asked_for, "{expected}");
            let removed = removed(&spec, &sandbox);
            let ids: Vec<&str> = removed.iter().map(|one| one.id.as_str()).collect();
            assert_eq!(ids.join(" "), expected);
        }
    }
}
