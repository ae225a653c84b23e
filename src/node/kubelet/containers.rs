//! What is reported of each container. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerStateTerminated, ContainerStatus, EphemeralContainer, PodSpec,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::full_name;
use super::plan::{self, Memory};
use super::restart::{self, init_restarts, is_sidecar, restarts};
use super::status::Observed;
use crate::cri::{Container, ContainerState};
use crate::node::driver::rfc3339;

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Sidecar,
    Main,
    Ephemeral,
}

/// How a container ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    code: i32,
    /// It was ended to be restarted with all others, whatever the policies say.
    reset: bool,
    value: Value,
}

/// Why a container was ended that was restarted with all others.
const RESET: &str = "RestartingAllContainers";
/// Why a container is told to have ended of which there is no trace.
const LOST: &str = "The container could not be located when the pod was terminated";
/// Why a container was ended that was restarted with all others, in a sentence.
const RESET_MESSAGE: &str = "The container is removed because RestartAllContainers in place";

/// What a container does, as the API shows it.
#[derive(Clone, Debug)]
pub(super) enum State {
    Waiting(String, String),
    Running(Timestamp),
    Ended(End),
}

/// What is shown of a container.
pub(super) struct Shown<'a> {
    pub spec: &'a Spec,
    pub role: Role,
    pub state: State,
    last: Option<End>,
    pub ready: bool,
    pub started: bool,
    /// Whether it ever ran.
    pub ran: bool,
    restarts: i64,
    id: String,
    image_id: String,
}

impl Shown<'_> {
    /// The code it ended with, also when it waits to be started again.
    pub(super) fn ended(&self) -> Option<i32> {
        self.end().map(|end| end.code)
    }

    /// Whether it was ended to be restarted with all others of its pod.
    pub(super) fn is_reset(&self) -> bool {
        self.end().is_some_and(|end| end.reset)
    }

    fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended(end) => Some(end),
            State::Waiting(..) => self.last.as_ref(),
            State::Running(_) => None,
        }
    }

    pub(super) fn value(&self) -> Value {
        let state = match &self.state {
            State::Waiting(reason, message) => {
                json!({"waiting": {"reason": reason, "message": text(message)}})
            }
            State::Running(since) => json!({"running": {"startedAt": rfc3339(*since)}}),
            State::Ended(end) => json!({"terminated": end.value}),
        };
        let last = self
            .last
            .as_ref()
            .map_or_else(|| json!({}), |end| json!({"terminated": end.value}));
        let mut status = json!({
            "name": self.spec.name, "image": self.spec.image, "imageID": self.image_id, "ready": self.ready,
            "restartCount": self.restarts, "started": self.started, "state": state, "lastState": last,
        });
        if !self.id.is_empty() {
            status["containerID"] = self.id.as_str().into();
        }
        if let (State::Running(_), Some(resources)) = (&self.state, &self.spec.resources) {
            if let Some(requests) = &resources.requests {
                status["allocatedResources"] = json!(requests);
            }
            status["resources"] =
                json!({"requests": resources.requests, "limits": resources.limits});
        }
        let mounts = self.spec.volume_mounts.iter().flatten().map(|mount| {
            let mut shown = json!({"name": mount.name, "mountPath": mount.mount_path});
            if mount.read_only == Some(true) {
                shown["readOnly"] = true.into();
                shown["recursiveReadOnly"] = "Disabled".into();
            }
            shown
        });
        let mounts: Vec<Value> = mounts.collect();
        if !mounts.is_empty() && self.ran {
            status["volumeMounts"] = mounts.into();
        }
        status
    }
}

/// An ephemeral container in the form of the others.
pub(super) fn plain(container: &EphemeralContainer) -> Spec {
    // Its fields are a subset of a container's, so this cannot fail.
    serde_json::to_value(container)
        .and_then(serde_json::from_value)
        .unwrap_or_default()
}

/// All containers of a pod, in the order of the spec.
pub(super) fn shown<'a>(observed: &Observed<'a>, spec: &'a PodSpec) -> Vec<Shown<'a>> {
    let show = |(container, role)| observed.shown(spec, container, role);
    let init = spec.init_containers.iter().flatten().map(|container| {
        let role = if is_sidecar(container) {
            Role::Sidecar
        } else {
            Role::Init
        };
        (container, role)
    });
    let main = spec.containers.iter();
    let main = main.map(|container| (container, Role::Main));
    let mut init: Vec<_> = init.map(show).collect();
    let mut main: Vec<_> = main.map(show).collect();
    if observed.over {
        end_all(&mut init, &mut main);
    }
    let debuggers = observed.debuggers.iter();
    let debuggers = debuggers.map(|container| show((container, Role::Ephemeral)));
    init.into_iter().chain(main).chain(debuggers).collect()
}

/// Nothing waits in a pod that is over: what was due counts as lost. Containers are due once the pod is initialized, init
/// containers up to the last that was tried, and the first in any case (as upstream's status manager has it).
fn end_all<'a>(init: &mut [Shown<'a>], main: &mut [Shown<'a>]) {
    let initialized = init.last().is_none_or(|last| last.ended() == Some(0))
        || main.iter().any(|container| container.ran);
    let tried = init.iter().rposition(|container| container.ran);
    let due = init.iter_mut().take(tried.unwrap_or(0) + 1);
    for container in due.chain(main.iter_mut().filter(|_| initialized)) {
        if let State::Waiting(..) = container.state {
            container.state = State::Ended(End::unknown(LOST));
        }
    }
}

impl End {
    fn of(container: &Container) -> Option<Self> {
        let ContainerState::Exited {
            started,
            finished,
            code,
            reason,
            message,
        } = &container.state
        else {
            return None;
        };
        let mut value = json!({
            "exitCode": code, "reason": reason, "startedAt": rfc3339(*started), "finishedAt": rfc3339(*finished),
            "containerID": container.id,
        });
        if !message.is_empty() {
            value["message"] = message.as_str().into();
        }
        Some(Self {
            code: *code,
            reset: false,
            value,
        })
    }

    fn reported(terminated: &ContainerStateTerminated) -> Self {
        Self {
            code: terminated.exit_code,
            reset: terminated.reason.as_deref() == Some(RESET),
            value: json!(terminated),
        }
    }

    /// Of a container that is gone without a trace.
    fn unknown(message: &str) -> Self {
        Self::untraced("ContainerStatusUnknown", message)
    }

    /// Of a container that was removed because all were to be restarted.
    fn reset() -> Self {
        Self {
            reset: true,
            ..Self::untraced(RESET, RESET_MESSAGE)
        }
    }

    fn untraced(reason: &str, message: &str) -> Self {
        let value = json!({
            "exitCode": 137, "reason": reason, "message": message, "startedAt": null, "finishedAt": null,
        });
        Self {
            code: 137,
            reset: false,
            value,
        }
    }
}

impl<'a> Observed<'a> {
    /// What was reported of a container before.
    fn reported(&self, name: &str) -> Option<&'a ContainerStatus> {
        let known = self.known?;
        let lists = [
            &known.container_statuses,
            &known.init_container_statuses,
            &known.ephemeral_container_statuses,
        ];
        lists
            .into_iter()
            .flatten()
            .flatten()
            .find(|status| status.name == name)
    }

    /// The end before the attempt `attempt`, as it was reported with that.
    fn last_reported(&self, name: &str, attempt: u32) -> Option<End> {
        let reported = self.reported(name)?;
        let same = i64::from(reported.restart_count) == i64::from(attempt);
        let last = reported.last_state.as_ref().filter(|_| same)?;
        last.terminated.as_ref().map(End::reported)
    }

    fn shown(&self, pod: &PodSpec, spec: &'a Spec, role: Role) -> Shown<'a> {
        let sandboxes = self.sandbox.iter();
        let memory = self.memory.get(&spec.name);
        let reset = memory.and_then(|memory| memory.reset);
        // A look at the runtime may be older than the removal of what it saw.
        let counts = |container: &&Container| reset.is_none_or(|from| container.attempt >= from);
        let all: Vec<&Container> = sandboxes
            .flat_map(|sandbox| &sandbox.containers)
            .filter(|container| container.name == spec.name)
            .filter(counts)
            .collect();
        let Some(latest) = all.last() else {
            return self.absent(spec, role, memory);
        };
        let previous = all.len().checked_sub(2).and_then(|index| all.get(index));
        let mut last = match previous {
            Some(previous) => End::of(previous),
            None if reset == Some(latest.attempt) => Some(End::reset()),
            None => self.last_reported(&spec.name, latest.attempt),
        };
        let state = match (&latest.state, End::of(latest)) {
            (ContainerState::Running { started }, _) => State::Running(*started),
            (_, Some(end)) => match self.waits(pod, spec, role, memory, end.code) {
                Some(waiting) => {
                    last = Some(end);
                    waiting
                }
                None => State::Ended(end),
            },
            (_, None) => self.default_state(),
        };
        let health = memory
            .map(|memory| &memory.health)
            .filter(|health| health.id == latest.id && matches!(state, State::Running(_)));
        let serves = matches!(role, Role::Main | Role::Sidecar);
        let done = role == Role::Init && matches!(&state, State::Ended(end) if end.code == 0);
        Shown {
            spec,
            role,
            ready: done || (serves && health.is_some_and(|health| health.ready)),
            started: serves && health.is_some_and(|health| health.started),
            ran: true,
            restarts: i64::from(latest.attempt),
            id: latest.id.clone(),
            image_id: latest.image_id.clone(),
            state,
            last,
        }
    }

    /// A container that the runtime does not have: not made yet, or lost.
    fn absent(&self, spec: &'a Spec, role: Role, memory: Option<&Memory>) -> Shown<'a> {
        let reported = self.reported(&spec.name);
        let before = reported.and_then(|status| status.state.as_ref());
        let ended = before.and_then(|state| state.terminated.as_ref());
        let was_running = before.is_some_and(|state| state.running.is_some());
        let mut last = reported
            .and_then(|status| status.last_state.as_ref()?.terminated.as_ref())
            .map(End::reported);
        let mut restarts = reported.map_or(0, |status| i64::from(status.restart_count));
        let failure = memory.and_then(|memory| memory.failure.as_ref());
        let reset = memory.and_then(|memory| memory.reset);
        if let Some(attempt) = reset {
            (last, restarts) = (Some(End::reset()), i64::from(attempt));
        }
        let state = match (failure, ended) {
            (Some(failure), _) => {
                State::Waiting(failure.reason.to_owned(), failure.message.clone())
            }
            (None, _) if reset.is_some() && self.over => State::Ended(End::reset()),
            (None, _) if reset.is_some() => {
                let backs_off = memory.and_then(|memory| self.backs_off(spec, memory));
                backs_off.unwrap_or_else(|| State::Waiting(RESET.into(), RESET_MESSAGE.into()))
            }
            (None, Some(ended)) => State::Ended(End::reported(ended)),
            (None, None) => self.default_state(),
        };
        if was_running && !self.over && reset.is_none() {
            last = Some(End::unknown(
                "The container could not be located when the pod was deleted.  The container used to be Running",
            ));
            restarts += 1;
        }
        let done = role == Role::Init && matches!(&state, State::Ended(end) if end.code == 0);
        Shown {
            spec,
            role,
            state,
            last,
            ready: done,
            started: false,
            ran: reported.is_some_and(|status| status.container_id.is_some()) || restarts > 0,
            restarts,
            // One that is to be started again has none until then.
            id: reported
                .filter(|_| reset.is_none() && (self.over || !was_running))
                .and_then(|status| status.container_id.clone())
                .unwrap_or_default(),
            image_id: reported.map_or_else(String::new, |status| status.image_id.clone()),
        }
    }

    fn default_state(&self) -> State {
        let has_init = self.pod.spec.as_ref().is_some_and(|spec| {
            spec.init_containers
                .as_ref()
                .is_some_and(|init| !init.is_empty())
        });
        let reason = if has_init {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
        State::Waiting(reason.to_owned(), String::new())
    }

    /// What a container that ended with `code` waits for before it is started again; `None`: it does not wait.
    fn waits(
        &self,
        pod: &PodSpec,
        spec: &Spec,
        role: Role,
        memory: Option<&Memory>,
        code: i32,
    ) -> Option<State> {
        let again = match role {
            Role::Init | Role::Sidecar => init_restarts(pod, spec, code),
            Role::Main => restarts(pod, spec, code),
            Role::Ephemeral => false,
        };
        if self.over || self.pod.metadata.deletion_timestamp.is_some() || !again {
            return None;
        }
        let backs_off = plan::backoff(memory, Instant::now()).is_some();
        let failure = memory.and_then(|memory| memory.failure.as_ref());
        let failure =
            failure.filter(|failure| !backs_off || failure.reason != "PostStartHookError");
        if let Some(failure) = failure {
            return Some(State::Waiting(
                failure.reason.to_owned(),
                failure.message.clone(),
            ));
        }
        self.backs_off(spec, memory?)
    }

    /// The wait of a container that ended too often.
    fn backs_off(&self, spec: &Spec, memory: &Memory) -> Option<State> {
        plan::backoff(Some(memory), Instant::now())?;
        let pause = restart::pause(memory.crashes).unwrap_or_default();
        let message = format!(
            "back-off {} restarting failed container={} pod={}",
            go_duration(pause.as_secs()),
            spec.name,
            full_name(self.pod)
        );
        Some(State::Waiting("CrashLoopBackOff".to_owned(), message))
    }
}

/// Whole seconds as Go writes them.
fn go_duration(seconds: u64) -> String {
    if seconds >= 60 {
        format!("{}m{}s", seconds / 60, seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

fn text(text: &str) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        text.into()
    }
}
