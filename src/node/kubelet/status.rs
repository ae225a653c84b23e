//! The status of a pod, from its spec and what the runtime has of it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::plan::{self, Memory, is_sidecar, newest, outcome};
use crate::cri::{Container, ContainerState, Sandbox};
use crate::node::driver::rfc3339;

/// What a status is made from.
pub(super) struct Observed<'a> {
    pub pod: &'a Pod,
    pub sandbox: Option<&'a Sandbox>,
    pub memory: &'a BTreeMap<String, Memory>,
    pub host: &'a str,
    pub now: Timestamp,
}

/// The status, as a strategic merge patch of it.
pub(super) fn status(observed: &Observed<'_>) -> Value {
    let Some(spec) = &observed.pod.spec else {
        return json!({});
    };
    let init: Vec<Value> = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| observed.container(container, true))
        .collect();
    let main: Vec<Value> = spec
        .containers
        .iter()
        .map(|container| observed.container(container, false))
        .collect();
    let phase = observed.phase(spec);
    let old = observed.pod.status.as_ref();
    let started = old
        .and_then(|status| status.start_time.as_ref())
        .map_or(observed.now, |time| time.0);
    let mut status = json!({
        "phase": phase,
        "startTime": rfc3339(started),
        "hostIP": observed.host,
        "hostIPs": [{"ip": observed.host}],
        "containerStatuses": main,
        "conditions": observed.conditions(spec, phase),
        "observedGeneration": observed.pod.metadata.generation,
    });
    if !init.is_empty() {
        status["initContainerStatuses"] = init.into();
    }
    if let Some(ip) = observed.ip(spec) {
        status["podIP"] = ip.into();
        status["podIPs"] = json!([{"ip": ip}]);
    }
    status
}

impl Observed<'_> {
    fn ip(&self, spec: &PodSpec) -> Option<&str> {
        if spec.host_network == Some(true) {
            return Some(self.host);
        }
        let kept = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.pod_ip.as_deref());
        self.sandbox
            .map(|sandbox| sandbox.ip.as_str())
            .filter(|ip| !ip.is_empty())
            .or(kept)
    }

    fn phase(&self, spec: &PodSpec) -> &'static str {
        // What a pod came to is not taken back when its containers are cleaned away.
        match self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
        {
            Some("Succeeded") => return "Succeeded",
            Some("Failed") => return "Failed",
            _ => {}
        }
        match outcome(spec, self.sandbox) {
            Some(true) => "Succeeded",
            Some(false) => "Failed",
            None if self.initialized(spec)
                && spec
                    .containers
                    .iter()
                    .any(|container| newest(self.sandbox, &container.name).is_some()) =>
            {
                "Running"
            }
            None => "Pending",
        }
    }

    fn initialized(&self, spec: &PodSpec) -> bool {
        spec.init_containers.iter().flatten().all(|container| {
            let latest = newest(self.sandbox, &container.name);
            let done = latest.and_then(plan::exit_code) == Some(0);
            done || (is_sidecar(container) && latest.is_some())
        })
    }

    fn health(&self, latest: Option<&Container>) -> (bool, bool) {
        let Some(latest) =
            latest.filter(|latest| matches!(latest.state, ContainerState::Running { .. }))
        else {
            return (false, false);
        };
        let health = self
            .memory
            .get(&latest.name)
            .map(|memory| &memory.health)
            .filter(|health| health.id == latest.id);
        health.map_or((false, false), |health| (health.started, health.ready))
    }

    fn is_ready(&self, spec: &PodSpec) -> bool {
        let sidecars = spec
            .init_containers
            .iter()
            .flatten()
            .filter(|container| is_sidecar(container));
        sidecars
            .chain(&spec.containers)
            .all(|container| self.health(newest(self.sandbox, &container.name)).1)
    }

    fn conditions(&self, spec: &PodSpec, phase: &str) -> Vec<Value> {
        let finished = matches!(phase, "Succeeded" | "Failed");
        let completed = phase == "Succeeded";
        let names = |unready: bool| {
            let containers = spec.containers.iter();
            let named = containers.filter(|container| {
                unready != self.health(newest(self.sandbox, &container.name)).1
            });
            named
                .map(|container| container.name.clone())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let ready = !finished && self.is_ready(spec);
        let not_ready = if finished {
            (
                if completed {
                    "PodCompleted"
                } else {
                    "PodFailed"
                },
                String::new(),
            )
        } else {
            (
                "ContainersNotReady",
                format!("containers with unready status: [{}]", names(true)),
            )
        };
        let initialized = self.initialized(spec) || completed;
        let rows = [
            (
                "PodReadyToStartContainers",
                self.sandbox.is_some(),
                ("", String::new()),
            ),
            (
                "Initialized",
                initialized,
                (
                    "ContainersNotInitialized",
                    format!(
                        "containers with incomplete status: [{}]",
                        self.incomplete(spec)
                    ),
                ),
            ),
            ("Ready", ready, not_ready.clone()),
            ("ContainersReady", ready, not_ready),
        ];
        rows.into_iter()
            .map(|(type_, holds, (reason, message))| self.condition(type_, holds, reason, &message))
            .collect()
    }

    fn incomplete(&self, spec: &PodSpec) -> String {
        let init = spec.init_containers.iter().flatten();
        let open = init.filter(|container| {
            newest(self.sandbox, &container.name).and_then(plan::exit_code) != Some(0)
        });
        open.map(|container| container.name.clone())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn condition(&self, type_: &str, holds: bool, reason: &str, message: &str) -> Value {
        let status = if holds { "True" } else { "False" };
        let mut conditions = self
            .pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let old =
            conditions.find(|condition| condition.type_ == type_ && condition.status == status);
        let since = old
            .and_then(|old| old.last_transition_time.as_ref())
            .map_or(self.now, |time| time.0);
        let (reason, message) = if holds {
            (Value::Null, Value::Null)
        } else {
            (text(reason), text(message))
        };
        json!({
            "type": type_, "status": status, "reason": reason, "message": message, "lastProbeTime": null,
            "lastTransitionTime": rfc3339(since), "observedGeneration": self.pod.metadata.generation,
        })
    }

    fn container(&self, spec: &Spec, init: bool) -> Value {
        let all: Vec<&Container> = self
            .sandbox
            .iter()
            .flat_map(|sandbox| &sandbox.containers)
            .filter(|container| container.name == spec.name)
            .collect();
        let latest = all.last().copied();
        let memory = self.memory.get(&spec.name);
        let (started, ready) = self.health(latest);
        let done = init && !is_sidecar(spec) && latest.and_then(plan::exit_code) == Some(0);
        let mut status = json!({
            "name": spec.name, "image": spec.image, "imageID": latest.map_or("", |latest| latest.image_id.as_str()),
            "ready": ready || done, "restartCount": memory.map_or(0, |memory| memory.restarts), "started": started,
            "state": self.state(latest, memory), "lastState": {},
        });
        if let Some(latest) = latest {
            status["containerID"] = latest.id.as_str().into();
        }
        let waiting = status["state"].get("waiting").is_some();
        let before = if waiting {
            latest
        } else {
            all.len()
                .checked_sub(2)
                .and_then(|index| all.get(index).copied())
        };
        if let Some(ended) = before.and_then(terminated) {
            status["lastState"] = json!({"terminated": ended});
        }
        status
    }

    fn state(&self, latest: Option<&Container>, memory: Option<&Memory>) -> Value {
        let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": text(message)}});
        if let Some(failure) = memory.and_then(|memory| memory.failure.as_ref()) {
            return waiting(failure.reason, &failure.message);
        }
        let Some(latest) = latest else {
            let has_init = self
                .pod
                .spec
                .iter()
                .flat_map(|spec| spec.init_containers.iter().flatten())
                .next()
                .is_some();
            let reason = if has_init {
                "PodInitializing"
            } else {
                "ContainerCreating"
            };
            return waiting(reason, "");
        };
        match &latest.state {
            ContainerState::Created => waiting("ContainerCreating", ""),
            ContainerState::Running { started } => {
                json!({"running": {"startedAt": rfc3339(*started)}})
            }
            ContainerState::Exited { .. } => {
                let backs_off = plan::backoff(memory, Instant::now());
                match (backs_off, self.pod.metadata.deletion_timestamp.is_none()) {
                    (Some(_), true) => {
                        let pause = 10_u64
                            << memory
                                .map_or(0, |memory| memory.crashes.saturating_sub(2))
                                .min(5);
                        let pause = match pause.min(300) {
                            300 => "5m0s".to_owned(),
                            long if long >= 60 => format!("{}m{}s", long / 60, long % 60),
                            short => format!("{short}s"),
                        };
                        let (name, namespace) =
                            (&self.pod.metadata.name, &self.pod.metadata.namespace);
                        let pod = format!(
                            "{}_{}({})",
                            name.as_deref().unwrap_or_default(),
                            namespace.as_deref().unwrap_or_default(),
                            self.pod.metadata.uid.as_deref().unwrap_or_default()
                        );
                        waiting(
                            "CrashLoopBackOff",
                            &format!(
                                "back-off {pause} restarting failed container={} pod={pod}",
                                latest.name
                            ),
                        )
                    }
                    _ => json!({"terminated": terminated(latest)}),
                }
            }
        }
    }
}

fn text(text: &str) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        text.into()
    }
}

fn terminated(container: &Container) -> Option<Value> {
    let ContainerState::Exited {
        started,
        finished,
        code,
        reason,
    } = &container.state
    else {
        return None;
    };
    Some(json!({
        "exitCode": code, "reason": reason, "startedAt": rfc3339(*started), "finishedAt": rfc3339(*finished),
        "containerID": container.id,
    }))
}
