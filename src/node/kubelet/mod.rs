//! The kubelet: runs the pods of one node on a container runtime and reports what became of them.
//!
//! One keyed queue holds the node's pods; each look at a pod compares its spec with what the runtime has (`plan`), takes
//! the steps, and writes the status if it changed.

mod environment;
mod plan;
mod probe;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container as Spec, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::plan::{Failure, Health, Memory, Plan, Step};
use self::probe::Probes;
use super::NodeAgent;
use super::driver::{self, NodeSpec, RENEW};
use crate::client;
use crate::clock::Clock;
use crate::cri::{ContainerConfig, ContainerRuntime, ContainerState, Sandbox, SandboxConfig};
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{
    Action, Activity, Cache, Controller, Error, Key, Manager, Reconciler, Recorder, Source, Wake,
    Watcher,
};

/// How many pods are looked at at once.
const AT_ONCE: usize = 16;
/// A pull that failed is tried again after this, doubling up to five minutes.
const PULL_BACKOFF: Duration = Duration::from_secs(10);

/// The agent of one node over a container runtime.
pub struct Kubelet {
    inner: Arc<Inner>,
    activity: Activity,
    running: tokio::sync::Mutex<Option<Manager>>,
}

struct Inner {
    spec: NodeSpec,
    client: kube::Client,
    clock: Clock,
    recorder: Recorder,
    pods: Cache<Pod>,
    nodes: Cache<Node>,
    runtime: Arc<dyn ContainerRuntime>,
    state: Mutex<BTreeMap<Key, PodState>>,
}

/// What is remembered of a pod.
#[derive(Debug, Default, Clone)]
struct PodState {
    uid: String,
    containers: BTreeMap<String, Memory>,
    probes: BTreeMap<String, Probes>,
}

impl std::fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubelet")
            .field("node", &self.inner.spec.name)
            .finish_non_exhaustive()
    }
}

impl Kubelet {
    /// The agent of the node `spec`, which runs its pods on `runtime` and sees the API through the caches of `manager`.
    #[must_use]
    pub fn new(manager: &Manager, spec: NodeSpec, runtime: Arc<dyn ContainerRuntime>) -> Self {
        let inner = Inner {
            client: manager.client_for("kubelet"),
            clock: manager.clock().clone(),
            recorder: manager.recorder("kubelet"),
            pods: manager.cache::<Pod>(),
            nodes: manager.cache::<Node>(),
            runtime,
            state: Mutex::default(),
            spec,
        };
        Self {
            inner: Arc::new(inner),
            activity: manager.activity().clone(),
            running: tokio::sync::Mutex::default(),
        }
    }
}

#[async_trait]
impl NodeAgent for Kubelet {
    async fn start(&self) -> Result<(), Error> {
        let mut running = self.running.lock().await;
        if running.is_some() {
            return Ok(());
        }
        let inner = self.inner.clone();
        let node = Arc::new(driver::register(&inner.client, &inner.clock, &inner.spec).await?);
        let manager = Manager::with_activity(
            inner.client.clone(),
            inner.clock.clone(),
            self.activity.clone(),
        );
        let own = {
            let name = inner.spec.name.clone();
            move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
                let pod = new.or(old).filter(|pod| {
                    pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&name)
                });
                // What this agent itself wrote needs no look.
                let unchanged = old.zip(new).is_some_and(|(old, new)| {
                    old.spec == new.spec
                        && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
                });
                pod.filter(|_| !unchanged)
                    .map(|pod| Key::of(&**pod))
                    .into_iter()
                    .collect()
            }
        };
        let name = format!("kubelet {}", inner.spec.name);
        manager.add(
            Controller::new(name, Pods(inner.clone()))
                .source(Source::mapped(&inner.pods, own))
                .source(Source::watcher(RuntimeEvents(inner.runtime.clone())))
                .workers(AT_ONCE),
        );
        manager.add_task("heartbeat", move || heartbeat(inner.clone(), node.clone()));
        manager.start().await?;
        *running = Some(manager);
        Ok(())
    }

    async fn stop(&self) {
        if let Some(manager) = self.running.lock().await.take() {
            manager.stop().await;
        }
    }
}

/// Renews the lease; reports that the node is ready when the control plane thinks it is not.
async fn heartbeat(inner: Arc<Inner>, node: Arc<Node>) -> Result<(), Error> {
    loop {
        sleep(RENEW).await;
        if let Err(error) = driver::renew(&inner.client, &inner.clock, &node).await {
            tracing::warn!(%error, node = %inner.spec.name, "the lease could not be renewed");
        }
        let known = inner.nodes.get(&Key::cluster(inner.spec.name.as_str()));
        if known.is_some_and(|known| !driver::is_ready(&known)) {
            driver::report_ready(&inner.client, &inner.clock, &inner.spec).await?;
        }
    }
}

/// Wakes pods whose containers changed.
#[derive(Debug)]
struct RuntimeEvents(Arc<dyn ContainerRuntime>);

#[async_trait]
impl Watcher for RuntimeEvents {
    async fn run(self: Box<Self>, wake: Wake) -> Result<(), Error> {
        let mut events = self.0.events();
        while let Some(event) = events.next().await {
            wake.now(Key::new(event.namespace, event.name), "a container ended");
        }
        Ok(())
    }
}

struct Pods(Arc<Inner>);

impl Reconciler for Pods {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        self.0.sync(&key).await
    }
}

impl Inner {
    async fn sync(&self, key: &Key) -> Result<Action, Error> {
        let own = |pod: &Arc<Pod>| {
            pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&self.spec.name)
        };
        let pod = self.pods.get(key).filter(own);
        let uid = pod
            .as_ref()
            .and_then(|pod| pod.metadata.uid.clone())
            .unwrap_or_default();
        self.clean_others(key, &uid).await?;
        let Some(pod) = pod else {
            self.state.lock().remove(key);
            return Ok(Action::Done);
        };
        let mut state = self
            .state
            .lock()
            .get(key)
            .cloned()
            .filter(|state| state.uid == uid)
            .unwrap_or_default();
        state.uid.clone_from(&uid);
        let spec = pod.spec.clone().unwrap_or_default();
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none() {
            return Ok(Action::Done);
        }
        let mut again = None;
        let mut steady = None;
        // Each round may make the next one possible: a sandbox its containers, an init container the next.
        for _ in
            0..2 * (spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len)) + 2
        {
            let sandbox = self.sandbox(&uid).await?;
            plan::account(
                &spec,
                sandbox.as_ref(),
                &mut state.containers,
                Instant::now(),
            );
            steady = self.probe(&pod, sandbox.as_ref(), &mut state).await;
            let Plan { steps, again: wait } =
                plan::plan(&pod, sandbox.as_ref(), &state.containers, Instant::now());
            again = wait;
            if steps.is_empty() {
                break;
            }
            if steps.iter().any(|step| matches!(step, Step::Finish)) {
                self.terminate(&pod, sandbox.as_ref(), steps).await?;
                self.state.lock().remove(key);
                return Ok(Action::Done);
            }
            let mut failed = false;
            for step in steps {
                failed |= self.take(&pod, sandbox.as_ref(), step, &mut state).await?;
            }
            if failed {
                let waits = state
                    .containers
                    .values()
                    .filter_map(|memory| plan::backoff(Some(memory), Instant::now()));
                again = waits.min();
                break;
            }
        }
        let sandbox = self.sandbox(&uid).await?;
        self.state.lock().insert(key.clone(), state.clone());
        self.report(&pod, sandbox.as_ref(), &state).await?;
        Ok(match (again, steady) {
            (Some(again), Some((probe, _))) => Action::After(again.min(probe)),
            (Some(again), None) => Action::After(again),
            // A pod that is not ready yet is waited for; a steady one is merely looked after.
            (None, Some((probe, false))) => Action::After(probe),
            (None, Some((probe, true))) => Action::Background(probe),
            (None, None) => Action::Done,
        })
    }

    async fn sandbox(&self, uid: &str) -> Result<Option<Sandbox>, Error> {
        Ok(self
            .runtime
            .list()
            .await?
            .into_iter()
            .find(|sandbox| sandbox.config.uid == uid))
    }

    /// Removes what runs for other pods of this name, which are gone.
    async fn clean_others(&self, key: &Key, uid: &str) -> Result<(), Error> {
        for sandbox in self.runtime.list().await? {
            let of_key =
                *sandbox.config.namespace == *key.namespace && *sandbox.config.name == *key.name;
            if of_key && sandbox.config.uid != uid {
                let running = sandbox
                    .containers
                    .iter()
                    .filter(|container| plan::exit_code(container).is_none());
                join_all(running.map(|container| {
                    self.runtime
                        .stop_container(&container.id, Duration::from_secs(30))
                }))
                .await;
                self.runtime.remove_sandbox(&sandbox.id).await?;
            }
        }
        Ok(())
    }

    /// Runs the probes that are due; when to probe again, and whether all is well.
    async fn probe(
        &self,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        state: &mut PodState,
    ) -> Option<(Duration, bool)> {
        let spec = pod.spec.as_ref()?;
        let mut next: Option<(Duration, bool)> = None;
        for container in spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
        {
            let Some(latest) = plan::newest(sandbox, &container.name) else {
                continue;
            };
            if !matches!(latest.state, ContainerState::Running { .. }) {
                continue;
            }
            let mut probes = state.probes.remove(&container.name).unwrap_or_default();
            let round = probes.round(&*self.runtime, container, &latest.id).await;
            state.probes.insert(container.name.clone(), probes);
            for failure in round.failures {
                self.event(pod, EventType::Warning, "Unhealthy", failure);
            }
            let ready = round.health.ready;
            state
                .containers
                .entry(container.name.clone())
                .or_default()
                .health = round.health;
            if let Some(again) = round.again {
                let (soonest, all_ready) = next.unwrap_or((again, true));
                next = Some((soonest.min(again), all_ready && ready));
            }
        }
        next
    }

    /// Takes one step; whether it failed and has to wait.
    async fn take(
        &self,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        step: Step,
        state: &mut PodState,
    ) -> Result<bool, Error> {
        match step {
            Step::Sandbox => {
                let meta = &pod.metadata;
                let config = SandboxConfig {
                    namespace: meta.namespace.clone().unwrap_or_default(),
                    name: meta.name.clone().unwrap_or_default(),
                    uid: state.uid.clone(),
                    attempt: 0,
                    labels: meta.labels.clone().unwrap_or_default(),
                    host_network: pod.spec.as_ref().and_then(|spec| spec.host_network)
                        == Some(true),
                };
                self.runtime.run_sandbox(config).await?;
                Ok(false)
            }
            Step::Start { name } => {
                let Some(sandbox) = sandbox else {
                    return Ok(false);
                };
                let spec = pod.spec.clone().unwrap_or_default();
                let mut containers = spec
                    .init_containers
                    .iter()
                    .flatten()
                    .chain(&spec.containers);
                let Some(container) = containers.find(|container| container.name == name) else {
                    return Ok(false);
                };
                self.start(pod, sandbox, container, state).await
            }
            Step::Stop { id, name, why } => {
                self.event(pod, EventType::Normal, "Killing", why);
                self.runtime.stop_container(&id, grace(pod)).await?;
                state.containers.entry(name).or_default().health = Health::default();
                Ok(false)
            }
            Step::Clean | Step::Finish => Ok(false),
        }
    }

    /// Starts a container; whether it failed.
    async fn start(
        &self,
        pod: &Pod,
        sandbox: &Sandbox,
        container: &Spec,
        state: &mut PodState,
    ) -> Result<bool, Error> {
        let again = plan::newest(Some(sandbox), &container.name);
        let attempt = again.map_or(0, |latest| latest.attempt + 1);
        let failure = match self.make(pod, sandbox, container, attempt).await {
            Ok(()) => {
                let memory = state.containers.entry(container.name.clone()).or_default();
                memory.failure = None;
                if again.is_some() {
                    memory.restarts += 1;
                }
                // The one before the last is no longer needed for the status.
                let old = sandbox
                    .containers
                    .iter()
                    .filter(|old| old.name == container.name && old.attempt + 1 < attempt);
                for old in old {
                    self.runtime.remove_container(&old.id).await?;
                }
                return Ok(false);
            }
            Err(failure) => failure,
        };
        let memory = state.containers.entry(container.name.clone()).or_default();
        let times = memory
            .failure
            .as_ref()
            .map_or(1, |failure| failure.times + 1);
        let doubled = 1_u32.checked_shl(times - 1).unwrap_or(u32::MAX);
        let wait = PULL_BACKOFF
            .saturating_mul(doubled)
            .min(Duration::from_secs(300));
        memory.not_before = Some(Instant::now() + wait);
        self.event(
            pod,
            EventType::Warning,
            "Failed",
            format!("Error: {}", failure.reason),
        );
        memory.failure = Some(Failure { times, ..failure });
        Ok(true)
    }

    async fn make(
        &self,
        pod: &Pod,
        sandbox: &Sandbox,
        container: &Spec,
        attempt: u32,
    ) -> Result<(), Failure> {
        let fail = |reason: &'static str, message: String| Failure {
            reason,
            message,
            times: 0,
        };
        let image = container.image.clone().unwrap_or_default();
        let policy = container
            .image_pull_policy
            .as_deref()
            .unwrap_or("IfNotPresent");
        let present = self
            .runtime
            .image(&image)
            .await
            .map_err(|error| fail("ErrImagePull", error.to_string()))?
            .is_some();
        match (policy, present) {
            ("Never", false) => {
                let message =
                    format!("Container image {image:?} is not present with pull policy of Never");
                return Err(fail("ErrImageNeverPull", message));
            }
            ("Always", _) | (_, false) => {
                self.event(
                    pod,
                    EventType::Normal,
                    "Pulling",
                    format!("Pulling image {image:?}"),
                );
                if let Err(error) = self.runtime.pull(&image).await {
                    let message = format!("Failed to pull image {image:?}: {error}");
                    self.event(pod, EventType::Warning, "Failed", message);
                    return Err(fail("ErrImagePull", error.to_string()));
                }
                self.event(
                    pod,
                    EventType::Normal,
                    "Pulled",
                    format!("Successfully pulled image {image:?}"),
                );
            }
            _ => {
                let message = format!("Container image {image:?} already present on machine");
                self.event(pod, EventType::Normal, "Pulled", message);
            }
        }
        let env = environment::of(&self.client, pod, container, &self.spec, &sandbox.ip).await;
        let env = env.map_err(|why| fail("CreateContainerConfigError", why))?;
        let config = ContainerConfig {
            name: container.name.clone(),
            attempt,
            image,
            command: container.command.clone().unwrap_or_default(),
            args: container.args.clone().unwrap_or_default(),
            env,
            working_dir: container.working_dir.clone().unwrap_or_default(),
        };
        let started = self.runtime.start_container(&sandbox.id, config).await;
        started.map_err(|error| fail("RunContainerError", error.to_string()))?;
        self.event(
            pod,
            EventType::Normal,
            "Created",
            format!("Created container: {}", container.name),
        );
        self.event(
            pod,
            EventType::Normal,
            "Started",
            format!("Started container {}", container.name),
        );
        Ok(())
    }

    /// Ends a pod that is being deleted: stops its containers together, cleans up, and lets it go.
    async fn terminate(
        &self,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        steps: Vec<Step>,
    ) -> Result<(), Error> {
        let grace = grace(pod);
        let stops = steps.into_iter().filter_map(|step| match step {
            Step::Stop { id, why, .. } => Some((id, why)),
            _ => None,
        });
        let stops: Vec<_> = stops.collect();
        for (_, why) in &stops {
            self.event(pod, EventType::Normal, "Killing", why.clone());
        }
        for stopped in join_all(
            stops
                .iter()
                .map(|(id, _)| self.runtime.stop_container(id, grace)),
        )
        .await
        {
            stopped?;
        }
        if let Some(sandbox) = sandbox {
            self.runtime.remove_sandbox(&sandbox.id).await?;
        }
        let preconditions = Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        gone_is_fine(self.api(pod).delete(name(pod), &params).await.map(drop))
    }

    /// Writes the status, if it differs from what the API has.
    async fn report(
        &self,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        state: &PodState,
    ) -> Result<(), Error> {
        let host = &self.spec.address;
        let memory = &state.containers;
        let status = status::status(&status::Observed {
            pod,
            sandbox,
            memory,
            host,
            now: self.clock.now(),
        });
        let have = serde_json::to_value(&pod.status)?;
        if covers(&have, &status) {
            return Ok(());
        }
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        let patched = self
            .api(pod)
            .patch_status(name(pod), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        match patched {
            Err(error) if client::is_conflict(&error) => Ok(()),
            other => gone_is_fine(other.map(drop)),
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(
            self.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    fn event(&self, pod: &Pod, type_: EventType, reason: &str, message: String) {
        self.recorder.event(reference(pod), type_, reason, message);
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// How long the containers of a pod may take to end.
fn grace(pod: &Pod) -> Duration {
    let own = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .or(own)
        .unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), Error> {
    match result {
        Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Whether `have` already says all that `wanted` says; conditions are compared by type.
fn covers(have: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (have, wanted) {
        (Value::Object(have), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| match have.get(key) {
                Some(have) => covers(have, value),
                None => value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty),
            })
        }
        (Value::Array(have), Value::Array(wanted)) => {
            let typed = |value: &Value| value.get("type").cloned();
            if wanted.iter().all(|value| typed(value).is_some()) {
                return wanted.iter().all(|value| {
                    have.iter()
                        .any(|have| typed(have) == typed(value) && covers(have, value))
                });
            }
            have.len() == wanted.len()
                && have
                    .iter()
                    .zip(wanted)
                    .all(|(have, wanted)| covers(have, wanted))
        }
        (have, Value::Null) => have.is_null(),
        (have, wanted) => have == wanted,
    }
}
