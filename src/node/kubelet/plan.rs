//! The next steps for one pod, from its spec and what the runtime has of it (`computePodActions` of the kubelet). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec};
use tokio::time::Instant;

use super::restart::{self, init_restarts, is_sidecar, restarts};
use crate::cri::{Container, ContainerState, Sandbox};

/// What is remembered of a container between two looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// How often in a row it ended soon.
    pub crashes: u32,
    /// The attempt with which it began anew, or is to, since all containers of its pod were restarted: what was before is gone.
    pub reset: Option<u32>,
    /// The end that was accounted for last, by container id.
    pub ended: Option<String>,
    /// When it may be started again.
    pub not_before: Option<Instant>,
    /// The wait of which was told.
    pub told: Option<Instant>,
    /// Why it could not be started last.
    pub failure: Option<Failure>,
    /// What its checks found.
    pub health: Health,
}

/// A container that could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// `ErrImagePull`, `ImagePullBackOff`, `CreateContainerConfigError`, `RunContainerError`, `PostStartHookError`.
    pub reason: &'static str,
    pub message: String,
    /// The image that it is about, if any.
    pub image: String,
    /// How often in a row.
    pub times: u32,
}

/// What checks found of a running container.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// The container that was checked.
    pub id: String,
    pub started: bool,
    pub ready: bool,
    /// A check that failed for good: the container has to be started again.
    pub failed: Option<Fatal>,
}

/// The kinds of checks for which a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fatal {
    Startup,
    Liveness,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the sandbox.
    Sandbox,
    /// Start a container.
    Start { name: String },
    /// Stop a container; why, and the check that failed.
    Stop {
        id: String,
        name: String,
        why: String,
        failed: Option<Fatal>,
    },
}

/// What to do now, when to look again, and which containers wait for their backoff.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub again: Option<Duration>,
    pub waiting: Vec<String>,
}

/// The newest container of a name.
pub(super) fn newest<'a>(sandbox: Option<&'a Sandbox>, name: &str) -> Option<&'a Container> {
    sandbox?
        .containers
        .iter()
        .rev()
        .find(|container| container.name == name)
}

/// Whether a container has ended, and how.
pub(super) fn exit_code(container: &Container) -> Option<i32> {
    match container.state {
        ContainerState::Exited { code, .. } => Some(code),
        _ => None,
    }
}

pub(super) fn is_running(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

/// Whether a container was made and then left: its agent died before it was started.
fn is_left(container: &Container) -> bool {
    container.state == ContainerState::Created
}

/// All containers that a pod's spec names, in the order in which they start.
pub(super) fn all(spec: &PodSpec) -> impl Iterator<Item = &Spec> {
    spec.init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
}

/// Whether the spec asks for another image than the one the container was made from.
fn changed(container: &Spec, latest: &Container) -> bool {
    container
        .image
        .as_ref()
        .is_some_and(|image| *image != latest.image)
}

/// Accounts for the end of containers, so that restarts back off.
pub(super) fn account(
    spec: &PodSpec,
    sandbox: Option<&Sandbox>,
    memory: &mut BTreeMap<String, Memory>,
    now: Instant,
) {
    for container in all(spec) {
        let Some(latest) = newest(sandbox, &container.name) else {
            continue;
        };
        let ContainerState::Exited {
            started, finished, ..
        } = &latest.state
        else {
            continue;
        };
        let memory = memory.entry(container.name.clone()).or_default();
        if memory.ended.as_deref() == Some(&latest.id) {
            continue;
        }
        memory.ended = Some(latest.id.clone());
        let ran = Duration::try_from(finished.duration_since(*started)).unwrap_or(Duration::ZERO);
        memory.crashes = restart::crashes(memory.crashes, ran);
        memory.not_before = restart::pause(memory.crashes).map(|pause| now + pause);
    }
}

/// How long a container of this name has to wait before it is started again.
pub(super) fn backoff(memory: Option<&Memory>, now: Instant) -> Option<Duration> {
    restart::left(memory?.not_before, now)
}

/// Whether the pod has run to its end: `Some(true)` when all went well.
pub(super) fn outcome(spec: &PodSpec, sandbox: Option<&Sandbox>) -> Option<bool> {
    let init = spec.init_containers.iter().flatten();
    for container in init.filter(|container| !is_sidecar(container)) {
        let code = newest(sandbox, &container.name).and_then(exit_code);
        if code.is_some_and(|code| code != 0 && !init_restarts(spec, container, code)) {
            return Some(false);
        }
    }
    let mut good = true;
    for container in &spec.containers {
        let latest = newest(sandbox, &container.name)?;
        let code = exit_code(latest)?;
        if restarts(spec, container, code) || changed(container, latest) {
            return None;
        }
        good &= code == 0;
    }
    Some(good)
}

/// Decides what is to be done for a pod that is meant to run.
pub(super) fn plan(
    pod: &Pod,
    sandbox: Option<&Sandbox>,
    memory: &BTreeMap<String, Memory>,
    now: Instant,
) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &pod.spec else {
        return plan;
    };
    if outcome(spec, sandbox).is_some() {
        return plan;
    }
    if sandbox.is_none() {
        plan.steps.push(Step::Sandbox);
        return plan;
    }
    // Debugging does not wait for anything, and happens once.
    for container in spec.ephemeral_containers.iter().flatten() {
        if newest(sandbox, &container.name).is_none() {
            plan.start(&container.name, memory, now);
        }
    }
    // Once a main container was made, the pod has been initialized: only sidecars are looked after.
    let initialized = spec
        .containers
        .iter()
        .any(|container| newest(sandbox, &container.name).is_some());
    for container in spec.init_containers.iter().flatten() {
        let latest = newest(sandbox, &container.name);
        let code = latest.and_then(exit_code);
        if !is_sidecar(container) && (code == Some(0) || initialized) {
            continue;
        }
        let again = code.is_some_and(|code| init_restarts(spec, container, code));
        if latest.is_none_or(is_left) || again {
            plan.start(&container.name, memory, now);
        }
        if is_sidecar(container) {
            plan.replace_unhealthy(spec, container, latest, memory, "Init container");
        }
        let health = memory.get(&container.name).map(|memory| &memory.health);
        let started = latest.is_some_and(|latest| {
            is_running(latest)
                && health.is_some_and(|health| health.id == latest.id && health.started)
        });
        // The next one waits until this one has ended, or, as a sidecar, has started.
        let stays = is_sidecar(container) && started;
        if !(initialized || stays) {
            return plan;
        }
    }
    for container in &spec.containers {
        let latest = newest(sandbox, &container.name);
        let wanted = latest.is_none_or(|latest| {
            is_left(latest)
                || exit_code(latest).is_some_and(|code| {
                    restarts(spec, container, code) || changed(container, latest)
                })
        });
        if wanted {
            plan.start(&container.name, memory, now);
        }
        plan.replace_unhealthy(spec, container, latest, memory, "Container");
    }
    plan
}

impl Plan {
    /// Starts a container, now or when its backoff has passed.
    fn start(&mut self, name: &str, memory: &BTreeMap<String, Memory>, now: Instant) {
        match backoff(memory.get(name), now) {
            None => self.steps.push(Step::Start {
                name: name.to_owned(),
            }),
            Some(wait) => {
                self.waiting.push(name.to_owned());
                self.again = Some(self.again.map_or(wait, |again| again.min(wait)));
            }
        }
    }

    /// Stops a running container whose checks failed or whose image is another one now.
    fn replace_unhealthy(
        &mut self,
        spec: &PodSpec,
        container: &Spec,
        latest: Option<&Container>,
        memory: &BTreeMap<String, Memory>,
        what: &str,
    ) {
        let is_lost = |latest: &Container| latest.state == ContainerState::Unknown;
        let Some(latest) = latest.filter(|latest| is_running(latest) || is_lost(latest)) else {
            return;
        };
        let health = memory.get(&container.name).map(|memory| &memory.health);
        let failed = health
            .filter(|health| health.id == latest.id)
            .and_then(|health| health.failed);
        let changed = changed(container, latest);
        let problem = match failed {
            // It may run all the same: another one must not.
            _ if is_lost(latest) => "is in an unknown state",
            _ if changed => "definition changed",
            Some(Fatal::Startup) => "failed startup probe",
            Some(Fatal::Liveness) => "failed liveness probe",
            None => return,
        };
        // What a killed container ends with.
        let again = changed || restarts(spec, container, 137);
        let then = if again { ", will be restarted" } else { "" };
        self.steps.push(Step::Stop {
            id: latest.id.clone(),
            name: container.name.clone(),
            why: format!("{what} {} {problem}{then}", container.name),
            failed,
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn container(name: &str, code: Option<i32>) -> Container {
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
        let (name, id, image) = (name.to_owned(), format!("id-{name}"), String::new());
        Container {
            id,
            name,
            attempt: 0,
            image_id: image.clone(),
            image,
            state,
            ..Container::default()
        }
    }

    fn sandbox(containers: &[(&str, Option<i32>)]) -> Sandbox {
        let containers = containers
            .iter()
            .map(|(name, code)| container(name, *code))
            .collect();
        Sandbox {
            id: "s".into(),
            ready: true,
            containers,
            ..Sandbox::default()
        }
    }

    fn steps(pod: &Pod, containers: &[(&str, Option<i32>)]) -> String {
        let memory = BTreeMap::from([(
            "side".to_owned(),
            Memory {
                health: Health {
                    id: "id-side".into(),
                    started: true,
                    ready: true,
                    failed: None,
                },
                ..Memory::default()
            },
        )]);
        let plan = plan(pod, Some(&sandbox(containers)), &memory, Instant::now());
        shown(&plan)
    }

    fn shown(plan: &Plan) -> String {
        let shown = plan.steps.iter().map(|step| match step {
            Step::Start { name } => format!("+{name}"),
            Step::Stop { name, .. } => format!("-{name}"),
            Step::Sandbox => "sandbox".to_owned(),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn init_containers_run_in_order_and_sidecars_stay() {
        let pod = pod(json!({
            "initContainers": [{"name": "one"}, {"name": "side", "restartPolicy": "Always"}, {"name": "two"}],
            "containers": [{"name": "a"}, {"name": "b"}],
        }));
        for (containers, expected) in [
            (vec![], "+one"),
            (vec![("one", None)], ""),
            (vec![("one", Some(1))], "+one"),
            (vec![("one", Some(0))], "+side"),
            (vec![("one", Some(0)), ("side", None)], "+two"),
            (vec![("one", Some(0)), ("side", None), ("two", None)], ""),
            (
                vec![("one", Some(0)), ("side", None), ("two", Some(0))],
                "+a +b",
            ),
            (
                vec![
                    ("one", Some(0)),
                    ("side", Some(1)),
                    ("two", Some(0)),
                    ("a", None),
                    ("b", None),
                ],
                "+side",
            ),
            // A pod that was initialized looks after its main containers while a sidecar is away.
            (
                vec![("side", Some(1)), ("a", Some(1)), ("b", None)],
                "+side +a",
            ),
        ] {
            assert_eq!(steps(&pod, &containers), expected, "{containers:?}");
        }
    }

    #[test]
    fn a_failed_init_container_fails_a_pod_that_never_restarts() {
        let pod = pod(
            json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}),
        );
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(
            outcome(spec, Some(&sandbox(&[("i", Some(1))]))),
            Some(false)
        );
        assert_eq!(
            outcome(spec, Some(&sandbox(&[("i", Some(0)), ("a", Some(0))]))),
            Some(true)
        );
        assert_eq!(
            outcome(spec, Some(&sandbox(&[("i", Some(0)), ("a", Some(2))]))),
            Some(false)
        );
        assert_eq!(
            outcome(spec, Some(&sandbox(&[("i", Some(0)), ("a", None)]))),
            None
        );
    }

    #[test]
    fn another_image_replaces_the_container_whatever_the_policy() {
        for (code, expected) in [(None, "-a"), (Some(0), "+a")] {
            let pod = pod(
                json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "new"}]}),
            );
            assert_eq!(steps(&pod, &[("a", code)]), expected);
        }
    }

    #[test]
    fn failed_checks_stop_and_say_why() {
        for (policy, failed, why) in [
            (
                "Always",
                Fatal::Liveness,
                "Container a failed liveness probe, will be restarted",
            ),
            (
                "Never",
                Fatal::Liveness,
                "Container a failed liveness probe",
            ),
            (
                "OnFailure",
                Fatal::Startup,
                "Container a failed startup probe, will be restarted",
            ),
        ] {
            let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
            let health = Health {
                id: "id-a".into(),
                failed: Some(failed),
                ..Health::default()
            };
            let memory = BTreeMap::from([(
                "a".to_owned(),
                Memory {
                    health,
                    ..Memory::default()
                },
            )]);
            let plan = plan(
                &pod,
                Some(&sandbox(&[("a", None)])),
                &memory,
                Instant::now(),
            );
            assert!(
                matches!(&plan.steps[..], [Step::Stop { why: said, .. }] if said == why),
                "{plan:?}"
            );
        }
    }

    #[test]
    fn what_a_dead_agent_or_runtime_left_is_taken_up() {
        let pod = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
        for (state, expected) in [
            (ContainerState::Created, "+a"),
            (ContainerState::Unknown, "-a"),
        ] {
            let mut left = sandbox(&[("a", None)]);
            left.containers[0].state = state;
            let plan = plan(&pod, Some(&left), &BTreeMap::new(), Instant::now());
            assert_eq!(shown(&plan), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn crashes_back_off_and_double() {
        let spec = pod(json!({"containers": [{"name": "a"}]})).spec.unwrap();
        let mut memory = BTreeMap::new();
        let mut waits = Vec::new();
        for attempt in 0..9 {
            let mut crashed = sandbox(&[("a", Some(1))]);
            crashed.containers[0].id = format!("id-{attempt}");
            let now = Instant::now();
            account(&spec, Some(&crashed), &mut memory, now);
            account(&spec, Some(&crashed), &mut memory, now);
            waits.push(backoff(memory.get("a"), now).map_or(0, |wait| wait.as_secs()));
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }
}
