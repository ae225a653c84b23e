//! The next steps for one pod, from its spec and what the runtime has of it (`computePodActions` of the kubelet). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec};
use tokio::time::Instant;

use crate::cri::{Container, ContainerState, Sandbox};

/// A container that ends is started again after this …
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// … doubling up to this …
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// … and anew from the first when it ran for this long.
const GOOD_RUN: Duration = Duration::from_secs(600);

/// What is remembered of a container between two looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// How often it was started again.
    pub restarts: u32,
    /// How often in a row it ended soon.
    pub crashes: u32,
    /// The end that was accounted for last, by container id.
    pub ended: Option<String>,
    /// When it may be started again.
    pub not_before: Option<Instant>,
    /// How often in a row pulling or starting failed, and what was said.
    pub failure: Option<Failure>,
    /// What its checks found.
    pub health: Health,
}

/// A container that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// `ErrImagePull`, `ImagePullBackOff`, `CreateContainerConfigError`, `RunContainerError`.
    pub reason: &'static str,
    pub message: String,
    pub times: u32,
}

/// What checks found of a running container.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// The container that was checked.
    pub id: String,
    pub started: bool,
    pub ready: bool,
    /// A liveness or startup check failed for good: it has to be started again.
    pub failed: bool,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the sandbox.
    Sandbox,
    /// Start a container.
    Start { name: String },
    /// Stop a container; why.
    Stop {
        id: String,
        name: String,
        why: String,
    },
    /// Remove everything of the pod from the runtime.
    Clean,
    /// Tell the API that the pod is gone.
    Finish,
}

/// What to do now, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub steps: Vec<Step>,
    pub again: Option<Duration>,
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

fn is_running(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. })
}

pub(super) fn is_sidecar(container: &Spec) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that ended with `code` is started again.
fn restarts(pod: &PodSpec, container: &Spec, code: i32) -> bool {
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

/// Whether an init container that ended with `code` is started again: only failed ones are.
fn init_restarts(pod: &PodSpec, container: &Spec, code: i32) -> bool {
    is_sidecar(container) || (code != 0 && pod.restart_policy.as_deref() != Some("Never"))
}

/// Accounts for the end of containers, so that restarts back off.
pub(super) fn account(
    spec: &PodSpec,
    sandbox: Option<&Sandbox>,
    memory: &mut BTreeMap<String, Memory>,
    now: Instant,
) {
    for container in spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
    {
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
        memory.crashes = if ran >= GOOD_RUN {
            0
        } else {
            memory.crashes + 1
        };
        // The first restart is immediate; then the pauses double.
        memory.not_before = memory.crashes.checked_sub(2).map(|doublings| {
            let doubled = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
            now + FIRST_BACKOFF.saturating_mul(doubled).min(LONGEST_BACKOFF)
        });
    }
}

/// How long a container of this name has to wait before it is started again.
pub(super) fn backoff(memory: Option<&Memory>, now: Instant) -> Option<Duration> {
    let due = memory?.not_before?;
    (due > now).then(|| due - now)
}

/// Decides.
pub(super) fn plan(
    pod: &Pod,
    sandbox: Option<&Sandbox>,
    memory: &BTreeMap<String, Memory>,
    now: Instant,
) -> Plan {
    let Some(spec) = &pod.spec else {
        return Plan::default();
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return terminate(sandbox, Step::Finish);
    }
    match outcome(spec, sandbox) {
        Some(_) => terminate(sandbox, Step::Clean),
        None => advance(spec, sandbox, memory, now),
    }
}

/// Ends everything, then takes the last step.
fn terminate(sandbox: Option<&Sandbox>, last: Step) -> Plan {
    let containers = sandbox.iter().flat_map(|sandbox| &sandbox.containers);
    let stop = |container: &Container| Step::Stop {
        id: container.id.clone(),
        name: container.name.clone(),
        why: format!("Stopping container {}", container.name),
    };
    let mut steps: Vec<Step> = containers
        .filter(|container| is_running(container))
        .map(stop)
        .collect();
    if last == Step::Finish {
        steps.extend(sandbox.map(|_| Step::Clean));
        steps.push(Step::Finish);
    }
    Plan { steps, again: None }
}

/// Whether the pod has run to its end: `Some(true)` when all went well.
pub(super) fn outcome(spec: &PodSpec, sandbox: Option<&Sandbox>) -> Option<bool> {
    for container in spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| !is_sidecar(container))
    {
        let code = newest(sandbox, &container.name).and_then(exit_code);
        if code.is_some_and(|code| code != 0 && !init_restarts(spec, container, code)) {
            return Some(false);
        }
    }
    let mut good = true;
    for container in &spec.containers {
        let code = exit_code(newest(sandbox, &container.name)?)?;
        if restarts(spec, container, code) {
            return None;
        }
        good &= code == 0;
    }
    Some(good)
}

fn advance(
    spec: &PodSpec,
    sandbox: Option<&Sandbox>,
    memory: &BTreeMap<String, Memory>,
    now: Instant,
) -> Plan {
    if sandbox.is_none() {
        return Plan {
            steps: vec![Step::Sandbox],
            again: None,
        };
    }
    let mut plan = Plan::default();
    for container in spec.init_containers.iter().flatten() {
        let latest = newest(sandbox, &container.name);
        let code = latest.and_then(exit_code);
        let done = code == Some(0) && !is_sidecar(container);
        if done {
            continue;
        }
        let wanted =
            latest.is_none() || code.is_some_and(|code| init_restarts(spec, container, code));
        if wanted {
            plan.start(container, memory, now);
        }
        let health = memory.get(&container.name).map(|memory| &memory.health);
        let started = latest.is_some_and(|latest| {
            is_running(latest)
                && health.is_some_and(|health| health.id == latest.id && health.started)
        });
        // The next one waits until this one has ended, or, as a sidecar, has started.
        if !(is_sidecar(container) && started) {
            return plan;
        }
    }
    for container in &spec.containers {
        let Some(latest) = newest(sandbox, &container.name) else {
            plan.start(container, memory, now);
            continue;
        };
        if exit_code(latest).is_some_and(|code| restarts(spec, container, code)) {
            plan.start(container, memory, now);
        }
        let health = memory.get(&container.name).map(|memory| &memory.health);
        if is_running(latest)
            && health.is_some_and(|health| health.id == latest.id && health.failed)
        {
            plan.steps.push(Step::Stop {
                id: latest.id.clone(),
                name: container.name.clone(),
                why: format!(
                    "Container {} failed liveness probe, will be restarted",
                    container.name
                ),
            });
        }
    }
    plan
}

impl Plan {
    /// Starts a container, now or when its backoff has passed.
    fn start(&mut self, container: &Spec, memory: &BTreeMap<String, Memory>, now: Instant) {
        match backoff(memory.get(&container.name), now) {
            None => self.steps.push(Step::Start {
                name: container.name.clone(),
            }),
            Some(wait) => self.again = Some(self.again.map_or(wait, |again| again.min(wait))),
        }
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
        }
    }

    fn sandbox(containers: &[(&str, Option<i32>)]) -> Sandbox {
        let containers = containers
            .iter()
            .map(|(name, code)| container(name, *code))
            .collect();
        Sandbox {
            id: "s".into(),
            config: crate::cri::SandboxConfig::default(),
            ready: true,
            ip: String::new(),
            containers,
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
                    failed: false,
                },
                ..Memory::default()
            },
        )]);
        let plan = plan(pod, Some(&sandbox(containers)), &memory, Instant::now());
        let shown = plan.steps.iter().map(|step| match step {
            Step::Start { name } => format!("+{name}"),
            Step::Stop { name, .. } => format!("-{name}"),
            other => format!("{other:?}"),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn restart_policies() {
        for (policy, code, expected) in [
            ("Always", 0, "+a"),
            ("Always", 1, "+a"),
            ("OnFailure", 0, ""),
            ("OnFailure", 1, "+a"),
            ("Never", 0, ""),
            ("Never", 1, ""),
        ] {
            let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
            assert_eq!(
                steps(&pod, &[("a", Some(code))]),
                expected,
                "{policy} {code}"
            );
        }
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
    fn deleted_pods_are_stopped_and_finished() {
        let mut pod = pod(json!({"containers": [{"name": "a"}]}));
        pod.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(steps(&pod, &[("a", None)]), "-a Clean Finish");
        assert_eq!(
            plan(&pod, None, &BTreeMap::new(), Instant::now()).steps,
            [Step::Finish]
        );
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
