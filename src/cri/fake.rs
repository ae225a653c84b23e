//! A runtime that runs nothing and does what its script says: exits, crash loops, slow and failing pulls, unhealthy checks.
//! All delays are tokio's, so they are virtual under a paused clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    Check, Container, ContainerConfig, ContainerRuntime, ContainerState, Error, ExecOutput,
    ImageService, Result, RuntimeEvent, Sandbox, SandboxConfig,
};
use crate::clock::Clock;

/// What containers of an image do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pull_delay: Duration,
    pull_error: Option<String>,
    start_error: Option<String>,
    exit: Option<(Duration, i32, String)>,
    healthy_after: Duration,
    healthy: bool,
    stop_delay: Duration,
    message: String,
    /// What commands do, by their first word.
    commands: BTreeMap<String, (Duration, ExecOutput)>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            pull_delay: Duration::ZERO,
            pull_error: None,
            start_error: None,
            exit: None,
            healthy_after: Duration::ZERO,
            healthy: true,
            stop_delay: Duration::ZERO,
            message: String::new(),
            commands: BTreeMap::new(),
        }
    }
}

impl Script {
    /// A pull takes this long. Default = no time.
    #[must_use]
    pub fn pull_takes(mut self, delay: Duration) -> Self {
        self.pull_delay = delay;
        self
    }

    /// Pulls fail. Default = they do not.
    #[must_use]
    pub fn pull_fails(mut self, why: impl Into<String>) -> Self {
        self.pull_error = Some(why.into());
        self
    }

    /// Containers do not start. Default = they do.
    #[must_use]
    pub fn start_fails(mut self, why: impl Into<String>) -> Self {
        self.start_error = Some(why.into());
        self
    }

    /// Containers end by themselves after this long with this code. Default = they run for ever.
    #[must_use]
    pub fn exits(mut self, after: Duration, code: i32) -> Self {
        let reason = if code == 0 { "Completed" } else { "Error" };
        self.exit = Some((after, code, reason.to_owned()));
        self
    }

    /// Containers are killed for want of memory after this long.
    #[must_use]
    pub fn runs_out_of_memory(mut self, after: Duration) -> Self {
        self.exit = Some((after, 137, "OOMKilled".to_owned()));
        self
    }

    /// Checks succeed only this long after the start. Default = at once.
    #[must_use]
    pub fn healthy_after(mut self, delay: Duration) -> Self {
        self.healthy_after = delay;
        self
    }

    /// Checks fail. Default = they succeed.
    #[must_use]
    pub fn unhealthy(mut self) -> Self {
        self.healthy = false;
        self
    }

    /// Containers leave this termination message when they end. Default = none.
    #[must_use]
    pub fn says(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// Commands whose first word is `program` take this long in a container (hooks, probes, `exec`) and then exit with
    /// `code`, having printed `stderr`. Default = they succeed at once if the container is healthy.
    #[must_use]
    pub fn command(
        mut self,
        program: impl Into<String>,
        takes: Duration,
        code: i32,
        stderr: &str,
    ) -> Self {
        let output = ExecOutput {
            code,
            stderr: stderr.as_bytes().to_vec(),
            ..ExecOutput::default()
        };
        self.commands.insert(program.into(), (takes, output));
        self
    }

    /// Containers take this long to end when asked to. Default = no time.
    #[must_use]
    pub fn stop_takes(mut self, delay: Duration) -> Self {
        self.stop_delay = delay;
        self
    }
}

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
        let SandboxConfig {
            namespace, name, ..
        } = sandbox;
        self.calls
            .push_back(format!("{call} {namespace}/{name}/{container}"));
    }

    /// The container of this id and the sandbox it is in.
    fn find(&self, id: &str) -> Option<(&FakeSandbox, &FakeContainer)> {
        self.sandboxes.values().find_map(|sandbox| {
            let container = sandbox.containers.iter().find(|found| found.id == id);
            container.map(|container| (sandbox, container))
        })
    }
}

#[derive(Debug)]
struct FakeSandbox {
    config: SandboxConfig,
    address: Option<u8>,
    containers: Vec<FakeContainer>,
}

#[derive(Debug)]
struct FakeContainer {
    id: String,
    config: ContainerConfig,
    started: Timestamp,
    started_at: Instant,
    /// When it ends, and how.
    exit: Option<(Instant, i32, String)>,
    message: String,
    /// Whether its end has been told.
    told: bool,
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
        let sandboxes = state.sandboxes.values_mut();
        let of_pod = sandboxes
            .filter(|sandbox| sandbox.config.namespace == namespace && sandbox.config.name == pod);
        for running in of_pod.flat_map(|sandbox| &mut sandbox.containers) {
            if running.config.name == container
                && running
                    .exit
                    .as_ref()
                    .is_none_or(|(at, ..)| *at > Instant::now())
            {
                running.exit = Some((Instant::now(), code, "Error".to_owned()));
            }
        }
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// Loses everything that runs, as a machine that loses its power.
    pub fn power_off(&self) {
        let mut state = self.inner.state.lock();
        state.sandboxes.clear();
        state.addresses.clear();
        drop(state);
        self.inner.changed.notify_waiters();
    }

    /// What a container was last started with.
    #[must_use]
    pub fn started(&self, namespace: &str, pod: &str, container: &str) -> Option<ContainerConfig> {
        let state = self.inner.state.lock();
        let of_pod = state
            .sandboxes
            .values()
            .filter(|sandbox| sandbox.config.namespace == namespace && sandbox.config.name == pod);
        let mut all = of_pod.flat_map(|sandbox| &sandbox.containers).rev();
        all.find(|found| found.config.name == container)
            .map(|found| found.config.clone())
    }

    /// The last things asked of containers, oldest first, at most 1,000: `start default/web/c`, `exec …`, `stop …`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.inner.state.lock().calls.iter().cloned().collect()
    }

    fn scripted(&self, image: &str) -> Script {
        self.inner
            .state
            .lock()
            .scripts
            .get(image)
            .cloned()
            .unwrap_or_default()
    }
}

impl Inner {
    fn container(&self, container: &FakeContainer) -> Container {
        let state = match &container.exit {
            Some((at, code, reason)) if *at <= Instant::now() => ContainerState::Exited {
                started: container.started,
                finished: self.clock.at(*at),
                code: *code,
                reason: reason.clone(),
                message: container.message.clone(),
            },
            _ => ContainerState::Running {
                started: container.started,
            },
        };
        Container {
            id: container.id.clone(),
            name: container.config.name.clone(),
            attempt: container.config.attempt,
            image: container.config.image.clone(),
            image_id: image_id(&container.config.image),
            state,
        }
    }

    /// Waits until containers have ended.
    async fn next_ended(&self) -> Vec<RuntimeEvent> {
        loop {
            let changed = self.changed.notified();
            let (events, next) = self.ended();
            if !events.is_empty() {
                return events;
            }
            match next {
                None => changed.await,
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }

    /// Takes the ends that were not told yet; or when the next one is due.
    fn ended(&self) -> (Vec<RuntimeEvent>, Option<Instant>) {
        let now = Instant::now();
        let (mut events, mut next) = (Vec::new(), None::<Instant>);
        for sandbox in self.state.lock().sandboxes.values_mut() {
            for container in sandbox
                .containers
                .iter_mut()
                .filter(|container| !container.told)
            {
                let Some((at, ..)) = container.exit else {
                    continue;
                };
                if at > now {
                    next = Some(next.map_or(at, |next| next.min(at)));
                    continue;
                }
                container.told = true;
                let (namespace, name) = (
                    sandbox.config.namespace.clone(),
                    sandbox.config.name.clone(),
                );
                events.push(RuntimeEvent { namespace, name });
            }
        }
        (events, next)
    }
}

fn is_healthy(script: Option<&Script>, container: &FakeContainer) -> bool {
    script.is_none_or(|script| {
        script.healthy && container.started_at.elapsed() >= script.healthy_after
    })
}

/// A digest that follows from the image's name.
fn image_id(image: &str) -> String {
    let hash = image.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!(
        "{}@sha256:{}",
        image.split(['@']).next().unwrap_or(image),
        format!("{hash:016x}").repeat(4)
    )
}

#[async_trait]
impl ImageService for FakeRuntime {
    async fn pull(&self, image: &str) -> Result<String> {
        let script = self.scripted(image);
        if !script.pull_delay.is_zero() {
            sleep(script.pull_delay).await;
        }
        if let Some(why) = script.pull_error {
            return Err(Error::Image {
                image: image.to_owned(),
                why,
            });
        }
        self.inner.state.lock().images.insert(image.to_owned());
        Ok(image_id(image))
    }

    async fn image(&self, image: &str) -> Result<Option<String>> {
        Ok(self
            .inner
            .state
            .lock()
            .images
            .contains(image)
            .then(|| image_id(image)))
    }
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<String> {
        let mut state = self.inner.state.lock();
        state.next += 1;
        let id = format!("{:016x}", state.next);
        // Like a real subnet of 254 addresses: a node runs fewer pods than that.
        let address = (!config.host_network)
            .then(|| (2..=254).find(|address| !state.addresses.contains(address)))
            .flatten();
        state.addresses.extend(address);
        state.sandboxes.insert(
            id.clone(),
            FakeSandbox {
                config,
                address,
                containers: Vec::new(),
            },
        );
        Ok(id)
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.inner.state.lock();
        if let Some(sandbox) = state.sandboxes.remove(id)
            && let Some(address) = sandbox.address
        {
            state.addresses.remove(&address);
        }
        Ok(())
    }

    async fn start_container(&self, sandbox: &str, config: ContainerConfig) -> Result<String> {
        let script = self.scripted(&config.image);
        if let Some(why) = script.start_error {
            return Err(Error::Start {
                name: config.name,
                why,
            });
        }
        let mut state = self.inner.state.lock();
        if !state.images.contains(&config.image) {
            return Err(Error::NotFound(format!("image {:?}", config.image)));
        }
        state.next += 1;
        let id = format!("fake://{:016x}", state.next);
        let now = Instant::now();
        let container = FakeContainer {
            id: id.clone(),
            message: script.message,
            config,
            started: self.inner.clock.now(),
            started_at: now,
            exit: script
                .exit
                .map(|(after, code, reason)| (now + after, code, reason)),
            told: false,
        };
        let sandbox = state
            .sandboxes
            .get_mut(sandbox)
            .ok_or_else(|| Error::NotFound(format!("sandbox {sandbox:?}")))?;
        let (of, name) = (sandbox.config.clone(), container.config.name.clone());
        sandbox.containers.push(container);
        state.note("start", &of, &name);
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(id)
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let image = {
            let mut state = self.inner.state.lock();
            let Some((sandbox, container)) = state.find(id) else {
                return Ok(());
            };
            let (of, config) = (sandbox.config.clone(), container.config.clone());
            state.note("stop", &of, &config.name);
            config.image
        };
        let delay = self.scripted(&image).stop_delay;
        // One that does not listen is killed.
        let (wait, code) = if delay > grace {
            (grace, 137)
        } else {
            (delay, 0)
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let now = Instant::now();
        let mut state = self.inner.state.lock();
        let mut containers = state
            .sandboxes
            .values_mut()
            .flat_map(|sandbox| &mut sandbox.containers);
        if let Some(container) = containers.find(|container| container.id == id)
            && container.exit.as_ref().is_none_or(|(at, ..)| *at > now)
        {
            let reason = if code == 0 { "Completed" } else { "Error" };
            container.exit = Some((now, code, reason.to_owned()));
        }
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        for sandbox in self.inner.state.lock().sandboxes.values_mut() {
            sandbox.containers.retain(|container| container.id != id);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Sandbox>> {
        let state = self.inner.state.lock();
        let sandbox = |(id, sandbox): (&String, &FakeSandbox)| Sandbox {
            id: id.clone(),
            config: sandbox.config.clone(),
            ready: true,
            ip: sandbox.address.map_or_else(String::new, |address| {
                format!("{}.{address}", self.inner.subnet)
            }),
            containers: sandbox
                .containers
                .iter()
                .map(|container| self.inner.container(container))
                .collect(),
        };
        Ok(state.sandboxes.iter().map(sandbox).collect())
    }

    async fn exec(&self, id: &str, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        let (healthy, scripted) = {
            let mut state = self.inner.state.lock();
            let (sandbox, container) = state
                .find(id)
                .ok_or_else(|| Error::NotFound(format!("container {id:?}")))?;
            let script = state.scripts.get(&container.config.image);
            let scripted = command
                .first()
                .and_then(|program| script?.commands.get(program).cloned());
            let (of, name) = (sandbox.config.clone(), container.config.name.clone());
            let healthy = is_healthy(script, container);
            state.note("exec", &of, &name);
            (healthy, scripted)
        };
        let (takes, output) = scripted.unwrap_or_else(|| {
            let output = ExecOutput {
                code: i32::from(!healthy),
                ..ExecOutput::default()
            };
            (Duration::ZERO, output)
        });
        if !timeout.is_zero() && takes > timeout {
            sleep(timeout).await;
            return Err(Error::Timeout(timeout));
        }
        if !takes.is_zero() {
            sleep(takes).await;
        }
        Ok(output)
    }

    async fn check(&self, id: &str, check: &Check, timeout: Duration) -> Result<bool> {
        if let Check::Exec(command) = check {
            return match self.exec(id, command, timeout).await {
                Ok(output) => Ok(output.code == 0),
                Err(Error::Timeout(_)) => Ok(false),
                Err(error) => Err(error),
            };
        }
        let state = self.inner.state.lock();
        let (_, container) = state
            .find(id)
            .ok_or_else(|| Error::NotFound(format!("container {id:?}")))?;
        Ok(is_healthy(
            state.scripts.get(&container.config.image),
            container,
        ))
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let inner = self.inner.clone();
        let batches = futures::stream::unfold(inner, |inner| async move {
            let events = inner.next_ended().await;
            Some((futures::stream::iter(events), inner))
        });
        batches.flatten().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn containers_do_what_their_script_says() {
        let runtime = FakeRuntime::new(Clock::seeded(1), "10.0.0");
        runtime.script(
            "crashes",
            Script::default().exits(Duration::from_secs(5), 3),
        );
        let sandbox = runtime
            .run_sandbox(SandboxConfig {
                name: "p".into(),
                ..SandboxConfig::default()
            })
            .await
            .unwrap();
        let config = ContainerConfig {
            name: "c".into(),
            image: "crashes".into(),
            ..ContainerConfig::default()
        };
        assert!(matches!(
            runtime.start_container(&sandbox, config.clone()).await,
            Err(Error::NotFound(_))
        ));
        runtime.pull("crashes").await.unwrap();
        runtime.start_container(&sandbox, config).await.unwrap();
        let mut events = runtime.events();
        assert_eq!(events.next().await.unwrap().name, "p");
        let listed = runtime.list().await.unwrap();
        assert_eq!(listed[0].ip, "10.0.0.2");
        assert!(matches!(
            listed[0].containers[0].state,
            ContainerState::Exited { code: 3, .. }
        ));
        runtime.remove_sandbox(&sandbox).await.unwrap();
        assert!(runtime.list().await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_takes_its_time_and_then_kills() {
        let runtime = FakeRuntime::new(Clock::seeded(1), "10.0.0");
        runtime.script(
            "slow",
            Script::default().stop_takes(Duration::from_secs(60)),
        );
        runtime.pull("slow").await.unwrap();
        let sandbox = runtime.run_sandbox(SandboxConfig::default()).await.unwrap();
        let config = ContainerConfig {
            image: "slow".into(),
            ..ContainerConfig::default()
        };
        let id = runtime.start_container(&sandbox, config).await.unwrap();
        let start = Instant::now();
        runtime
            .stop_container(&id, Duration::from_secs(30))
            .await
            .unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(30));
        let listed = runtime.list().await.unwrap();
        assert!(matches!(
            listed[0].containers[0].state,
            ContainerState::Exited { code: 137, .. }
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn pulls_fail_and_checks_wait() {
        let runtime = FakeRuntime::new(Clock::seeded(1), "10.0.0");
        runtime.script("absent", Script::default().pull_fails("not found"));
        assert!(matches!(
            runtime.pull("absent").await,
            Err(Error::Image { .. })
        ));
        runtime.script(
            "late",
            Script::default().healthy_after(Duration::from_secs(10)),
        );
        runtime.pull("late").await.unwrap();
        let sandbox = runtime.run_sandbox(SandboxConfig::default()).await.unwrap();
        let config = ContainerConfig {
            image: "late".into(),
            ..ContainerConfig::default()
        };
        let id = runtime.start_container(&sandbox, config).await.unwrap();
        let check = Check::Tcp {
            host: String::new(),
            port: 1,
        };
        assert!(!runtime.check(&id, &check, Duration::ZERO).await.unwrap());
        sleep(Duration::from_secs(10)).await;
        assert!(runtime.check(&id, &check, Duration::ZERO).await.unwrap());
    }
}
