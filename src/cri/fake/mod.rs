//! A runtime that runs nothing and does what its script says: exits, crash loops, slow and failing pulls, unhealthy checks.
//! All delays are tokio's, so they are virtual under a paused clock.

mod events;
mod images;
mod log;
mod runtime;
mod script;
mod stats;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::events::Log;
use self::images::image_id;
pub use self::script::Script;
use super::{
    Container, ContainerConfig, ContainerState, Error, EventKind, ImageFsInfo, LinuxResources,
    Result, RuntimeCondition, SandboxConfig, bare_id,
};
use crate::clock::Clock;

/// The fake runtime of one node. Clones are the same runtime.
///
/// ```
/// use std::time::Duration;
/// use homeostat::clock::Clock;
/// use homeostat::cri::{FakeRuntime, fake::Script};
/// let runtime = FakeRuntime::new(Clock::seeded(1), "10.244.0");
/// runtime.script("registry.example/crashes:v1", Script::default().exits(Duration::from_secs(1), 1));
/// ```
#[derive(Clone, Debug)]
pub struct FakeRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    /// The first three bytes of the addresses it gives out.
    subnet: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    scripts: BTreeMap<String, Script>,
    images: BTreeSet<String>,
    sandboxes: BTreeMap<String, FakeSandbox>,
    next: u64,
    addresses: BTreeSet<u8>,
    conditions: BTreeMap<String, RuntimeCondition>,
    image_fs: Option<ImageFsInfo>,
    /// Whether it does not know what sandboxes use as a whole.
    no_sandbox_stats: bool,
    /// Why no call is answered.
    down: Option<String>,
    log: Log,
    /// What was asked of it, oldest first.
    calls: VecDeque<String>,
}

/// How many calls are remembered.
const CALLS: usize = 1000;

impl State {
    fn note(&mut self, call: &str, sandbox: &SandboxConfig, container: &str) {
        if self.calls.len() == CALLS {
            self.calls.pop_front();
        }
        let (namespace, name) = (&sandbox.metadata.namespace, &sandbox.metadata.name);
        self.calls
            .push_back(format!("{call} {namespace}/{name}/{container}"));
    }

    /// The container of this id and the sandbox it is in.
    fn find(&self, id: &str) -> Result<(&FakeSandbox, &FakeContainer)> {
        let found = self.sandboxes.values().find_map(|sandbox| {
            let mut containers = sandbox.containers.iter();
            let container = containers.find(|found| bare_id(&found.id) == bare_id(id));
            container.map(|container| (sandbox, container))
        });
        found.ok_or_else(|| Error::NotFound(format!("container {id:?}")))
    }

    fn find_mut(&mut self, id: &str) -> Result<(&SandboxConfig, &mut FakeContainer)> {
        let found = self.sandboxes.values_mut().find_map(|sandbox| {
            let FakeSandbox {
                config, containers, ..
            } = sandbox;
            let mut containers = containers.iter_mut();
            let container = containers.find(|found| bare_id(&found.id) == bare_id(id));
            container.map(|container| (&*config, container))
        });
        found.ok_or_else(|| Error::NotFound(format!("container {id:?}")))
    }

    fn sandbox(&self, id: &str) -> Result<&FakeSandbox> {
        self.sandboxes
            .get(id)
            .ok_or_else(|| Error::NotFound(format!("sandbox {id:?}")))
    }

    fn script(&self, image: &str) -> Script {
        self.scripts.get(image).cloned().unwrap_or_default()
    }
}

#[derive(Debug)]
struct FakeSandbox {
    config: SandboxConfig,
    created: Timestamp,
    ready: bool,
    address: Option<u8>,
    /// The address it has or had.
    ip: String,
    containers: Vec<FakeContainer>,
}

#[derive(Debug)]
struct FakeContainer {
    id: String,
    config: ContainerConfig,
    created: Timestamp,
    started: Option<(Timestamp, Instant)>,
    /// When it ends, and how.
    exit: Option<Exit>,
    message: String,
    /// Whether its end has been told.
    told: bool,
}

#[derive(Clone, Debug)]
struct Exit {
    at: Instant,
    code: i32,
    reason: String,
}

impl Exit {
    fn now(code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        Self {
            at: Instant::now(),
            code,
            reason: reason.to_owned(),
        }
    }
}

impl FakeContainer {
    fn has_ended(&self) -> bool {
        self.exit
            .as_ref()
            .is_some_and(|exit| exit.at <= Instant::now())
    }

    fn is_running(&self) -> bool {
        self.started.is_some() && !self.has_ended()
    }

    /// Ends it now, if it has not ended.
    fn end(&mut self, code: i32) {
        if !self.has_ended() {
            self.exit = Some(Exit::now(code));
        }
    }

    fn is_healthy(&self, script: Option<&Script>) -> bool {
        script.is_none_or(|script| {
            let started = self.started.as_ref();
            let runs_since = started.map_or_else(Default::default, |(_, at)| at.elapsed());
            script.healthy && runs_since >= script.healthy_after
        })
    }
}

impl FakeRuntime {
    /// A runtime that gives out addresses of `subnet`, the first three bytes of them: `10.244.1`.
    pub fn new(clock: Clock, subnet: impl Into<String>) -> Self {
        let inner = Inner {
            clock,
            subnet: subnet.into(),
            state: Mutex::default(),
            changed: Notify::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What containers of `image` do from now on.
    pub fn script(&self, image: impl Into<String>, script: Script) {
        self.inner.state.lock().scripts.insert(image.into(), script);
        self.inner.changed.notify_waiters();
    }

    /// Ends a running container, as if it had crashed. Does nothing when it does not run.
    pub fn kill(&self, namespace: &str, pod: &str, container: &str, code: i32) {
        let mut state = self.inner.state.lock();
        let of_pod = state.sandboxes.values_mut().filter(|sandbox| {
            let metadata = &sandbox.config.metadata;
            metadata.namespace == namespace && metadata.name == pod
        });
        for running in of_pod.flat_map(|sandbox| &mut sandbox.containers) {
            if running.config.name == container && running.is_running() {
                running.end(code);
            }
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Loses everything that runs, as a machine that loses its power.
    pub fn power_off(&self) {
        let mut state = self.inner.state.lock();
        let lost = std::mem::take(&mut state.sandboxes);
        state.addresses.clear();
        for sandbox in lost.values() {
            state.log.push(&sandbox.config, "", EventKind::Changed);
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Answers no call until told otherwise: all are [`Error::Unavailable`] with this reason. What runs, runs on. Default
    /// = it answers.
    pub fn down(&self, why: Option<&str>) {
        self.inner.state.lock().down = why.map(str::to_owned);
    }

    /// Replaces a condition. Default = `RuntimeReady` and `NetworkReady` hold.
    pub fn condition(&self, condition: RuntimeCondition) {
        let mut state = self.inner.state.lock();
        state.conditions.insert(condition.type_.clone(), condition);
    }

    /// What the file systems hold. Default = one that holds the images.
    pub fn image_fs(&self, info: ImageFsInfo) {
        self.inner.state.lock().image_fs = Some(info);
    }

    /// It does not tell what sandboxes use as a whole ([`Error::Unimplemented`]), as older runtimes. Default = it does.
    pub fn without_sandbox_stats(&self) {
        self.inner.state.lock().no_sandbox_stats = true;
    }

    /// What a container was last started with.
    #[must_use]
    pub fn started(&self, namespace: &str, pod: &str, container: &str) -> Option<ContainerConfig> {
        let state = self.inner.state.lock();
        let of_pod = state.sandboxes.values().filter(|sandbox| {
            let metadata = &sandbox.config.metadata;
            metadata.namespace == namespace && metadata.name == pod
        });
        let mut all = of_pod.flat_map(|sandbox| &sandbox.containers).rev();
        all.find(|found| found.config.name == container && found.started.is_some())
            .map(|found| found.config.clone())
    }

    /// What a pod's sandbox was last made from.
    #[must_use]
    pub fn sandbox(&self, namespace: &str, pod: &str) -> Option<SandboxConfig> {
        let state = self.inner.state.lock();
        let mut sandboxes = state.sandboxes.values().rev();
        let found = sandboxes.find(|sandbox| {
            let metadata = &sandbox.config.metadata;
            metadata.namespace == namespace && metadata.name == pod
        });
        found.map(|sandbox| sandbox.config.clone())
    }

    /// The last things asked of containers, oldest first, at most 1,000: `start default/web/c`, `exec …`, `stop …`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.inner.state.lock().calls.iter().cloned().collect()
    }

    /// What a container's resources are after all updates.
    #[must_use]
    pub fn resources(&self, namespace: &str, pod: &str, container: &str) -> Option<LinuxResources> {
        self.started(namespace, pod, container)
            .map(|config| config.resources)
    }
}

impl Inner {
    /// The state, when the runtime answers.
    fn up(&self) -> Result<parking_lot::MutexGuard<'_, State>> {
        let state = self.state.lock();
        match &state.down {
            None => Ok(state),
            Some(why) => Err(Error::Unavailable(why.clone())),
        }
    }

    fn container(&self, sandbox: &FakeSandbox, container: &FakeContainer) -> Container {
        let started = container.started.map_or(container.created, |(at, _)| at);
        let state = match &container.exit {
            Some(exit) if container.has_ended() => ContainerState::Exited {
                started,
                finished: self.clock.at(exit.at),
                code: exit.code,
                reason: exit.reason.clone(),
                message: container.message.clone(),
            },
            _ if container.started.is_some() => ContainerState::Running { started },
            _ => ContainerState::Created,
        };
        let config = &container.config;
        let log_path = if sandbox.config.log_directory.is_empty() || config.log_path.is_empty() {
            String::new()
        } else {
            format!("{}/{}", sandbox.config.log_directory, config.log_path)
        };
        Container {
            id: container.id.clone(),
            name: config.name.clone(),
            attempt: config.attempt,
            image: config.image.clone(),
            image_id: image_id(&config.image),
            state,
            created: container.created,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path,
            resources: Some(config.resources.clone()),
            user: None,
        }
    }
}
