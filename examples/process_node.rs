//! A node whose containers are plain processes of this machine, for systems without a container runtime: a `NodeAgent` of
//! one's own, over nothing but the API.
//!
//! `process_node --kubeconfig FILE --node-name NAME`. A container runs its `command` and `args` with its `env` as the user who
//! started the program; images are ignored, nothing is isolated, and output goes to files in `--log-dir`. Processes end with
//! the agent.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that tells what it does"
)]

#[allow(dead_code, reason = "shared with other programs")]
#[path = "common/flags.rs"]
mod flags;
#[allow(dead_code, reason = "shared with other programs")]
#[path = "common/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use flags::{Flag, Flags, flag};
use homeostat::clock::Clock;
use homeostat::node::{NodeAgent, NodeSpec};
use homeostat::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::Instant;

const FLAGS: &[Flag] = &[
    flag(
        "kubeconfig",
        "FILE",
        "how to reach the cluster, and as whom",
    ),
    flag("node-name", "NAME", "the node's name (process-node)"),
    flag(
        "log-dir",
        "DIR",
        "where output goes (the directory for temporary files)",
    ),
];

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a container waits before it is started again.
const AGAIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    program::main(run())
}

async fn run() -> Result<()> {
    let refuse = |name: &str| bail!("unknown flag --{name}; --help lists the flags");
    let Some(flags) = Flags::parse(FLAGS, std::env::args().skip(1), refuse)? else {
        print!(
            "{}",
            flags::help("process_node: pods as plain processes", FLAGS)
        );
        return Ok(());
    };
    let stopped = program::stopped()?;
    let path = flags.get("kubeconfig").context("--kubeconfig is needed")?;
    let config = Kubeconfig::read_from(path)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await?;
    let manager = Manager::new(kube::Client::try_from(config)?, Clock::system());
    let name = flags.get("node-name").unwrap_or("process-node");
    let logs = flags
        .get("log-dir")
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let agent = Processes::new(&manager, NodeSpec::new(name).of_this_machine(), logs);
    agent.start().await.map_err(anyhow::Error::from_boxed)?;
    println!("{name} has joined");
    stopped.await;
    agent.stop().await;
    Ok(())
}

/// The agent.
struct Processes {
    inner: Arc<Inner>,
    manager: Manager,
}

struct Inner {
    spec: NodeSpec,
    client: kube::Client,
    clock: Clock,
    pods: Cache<Pod>,
    logs: PathBuf,
    /// What runs, by pod and container.
    running: Mutex<BTreeMap<Key, BTreeMap<String, Process>>>,
}

/// A container that is a process.
struct Process {
    child: Child,
    started: String,
    /// Its exit code and when it ended.
    ended: Option<(i32, String, Instant)>,
    restarts: u32,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processes").finish_non_exhaustive()
    }
}

impl Processes {
    fn new(manager: &Manager, spec: NodeSpec, logs: PathBuf) -> Self {
        let inner = Inner {
            client: manager.client_for("kubelet"),
            clock: manager.clock().clone(),
            pods: manager.cache::<Pod>(),
            running: Mutex::default(),
            spec,
            logs,
        };
        Self {
            inner: Arc::new(inner),
            manager: manager.clone(),
        }
    }
}

#[async_trait]
impl NodeAgent for Processes {
    async fn start(&self) -> Result<(), Error> {
        let inner = self.inner.clone();
        let node = inner.spec.register(&inner.client, &inner.clock).await?;
        let own = {
            let inner = inner.clone();
            move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
                let pod = new.or(old).filter(|pod| inner.owns(pod));
                pod.map(|pod| Key::of(&**pod)).into_iter().collect()
            }
        };
        let pods = Source::mapped(&inner.pods, own);
        let controller = Controller::new("processes", Pods(inner.clone())).source(pods);
        self.manager.add(controller.workers(16));
        let node = Arc::new(node);
        self.manager.add_task("lease", move || {
            let (inner, node) = (inner.clone(), node.clone());
            async move {
                inner
                    .spec
                    .keep_alive(&inner.client, &inner.clock, &node)
                    .await;
                Ok(())
            }
        });
        self.manager.start().await
    }

    async fn stop(&self) {
        self.manager.stop().await;
        // Children are killed when they are dropped.
        self.inner.running.lock().await.clear();
    }
}

struct Pods(Arc<Inner>);

impl Reconciler for Pods {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        self.0.reconcile(&key).await
    }
}

impl Inner {
    fn owns(&self, pod: &Pod) -> bool {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        node == Some(self.spec.name())
    }

    async fn reconcile(&self, key: &Key) -> Result<Action, Error> {
        let mut running = self.running.lock().await;
        let Some(pod) = self.pods.get(key).filter(|pod| self.owns(pod)) else {
            running.remove(key);
            return Ok(Action::Done);
        };
        if pod.metadata.deletion_timestamp.is_some() {
            let processes = running.remove(key).unwrap_or_default();
            drop(running);
            self.end(&pod, processes).await?;
            return Ok(Action::Done);
        }
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            running.remove(key);
            return Ok(Action::Done);
        }
        let processes = running.entry(key.clone()).or_default();
        let spec = pod.spec.clone().unwrap_or_default();
        let policy = spec.restart_policy.as_deref().unwrap_or("Always");
        for container in &spec.containers {
            self.look(key, container, policy, processes)?;
        }
        let status = self.status(&pod, &spec.containers, policy, processes);
        drop(running);
        if pod
            .status
            .as_ref()
            .map(serde_json::to_value)
            .transpose()?
            .as_ref()
            .is_none_or(|now| differs(now, &status))
        {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
            let patch = Patch::Merge(json!({"status": status}));
            pods.patch_status(&key.name, &PatchParams::default(), &patch)
                .await?;
        }
        Ok(Action::Background(LOOK))
    }

    /// Starts a container, sees whether it has ended, or starts it again.
    fn look(
        &self,
        key: &Key,
        container: &Container,
        policy: &str,
        processes: &mut BTreeMap<String, Process>,
    ) -> Result<(), Error> {
        let mut restarts = 0;
        if let Some(process) = processes.get_mut(&container.name) {
            if process.ended.is_none()
                && let Some(status) = process.child.try_wait()?
            {
                use std::os::unix::process::ExitStatusExt as _;
                let code = status
                    .code()
                    .or_else(|| status.signal().map(|signal| 128 + signal));
                process.ended = Some((code.unwrap_or(255), self.now(), Instant::now()));
            }
            let Some((code, _, at)) = &process.ended else {
                return Ok(());
            };
            let again = policy == "Always" || (policy == "OnFailure" && *code != 0);
            if !again || at.elapsed() < AGAIN {
                return Ok(());
            }
            restarts = process.restarts + 1;
        }
        let child = self.spawn(key, container)?;
        let process = Process {
            child,
            started: self.now(),
            ended: None,
            restarts,
        };
        processes.insert(container.name.clone(), process);
        Ok(())
    }

    fn spawn(&self, key: &Key, container: &Container) -> Result<Child, Error> {
        let command = container.command.iter().flatten();
        let mut words = command.chain(container.args.iter().flatten());
        let program = words.next().map_or("true", String::as_str);
        let name = format!("{}_{}_{}.log", key.namespace, key.name, container.name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.logs.join(name))?;
        let mut command = Command::new(program);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        for variable in container.env.iter().flatten() {
            command.env(
                &variable.name,
                variable.value.as_deref().unwrap_or_default(),
            );
        }
        if let Some(directory) = container.working_dir.as_deref().map(Path::new) {
            command.current_dir(directory);
        }
        Ok(command.spawn()?)
    }

    /// Asks the processes to end, kills those that do not, and deletes the pod.
    async fn end(&self, pod: &Pod, mut processes: BTreeMap<String, Process>) -> Result<(), Error> {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let until = Instant::now() + Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        for process in processes.values_mut() {
            if let Some(id) = process.child.id() {
                // The standard library only kills.
                Command::new("kill").arg(id.to_string()).status().await?;
            }
        }
        for process in processes.values_mut() {
            if tokio::time::timeout_at(until, process.child.wait())
                .await
                .is_err()
            {
                process.child.kill().await?;
            }
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match pods
            .delete(name, &DeleteParams::default().grace_period(0))
            .await
        {
            Err(error) if !homeostat::client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn status(
        &self,
        pod: &Pod,
        containers: &[Container],
        policy: &str,
        processes: &BTreeMap<String, Process>,
    ) -> Value {
        let each = containers.iter().filter_map(|container| {
            let process = processes.get(&container.name)?;
            let runs = process.ended.is_none();
            let state = match &process.ended {
                None => json!({"running": {"startedAt": process.started}}),
                Some((code, at, _)) => json!({"terminated": {
                    "exitCode": code, "startedAt": process.started, "finishedAt": at,
                    "reason": if *code == 0 { "Completed" } else { "Error" },
                }}),
            };
            Some(json!({
                "name": container.name, "image": container.image.as_deref().unwrap_or("none"), "imageID": "", "state": state,
                "ready": runs, "started": runs, "restartCount": process.restarts,
            }))
        });
        let each: Vec<Value> = each.collect();
        let codes = processes
            .values()
            .map(|process| process.ended.as_ref().map(|ended| ended.0));
        let all_ended = codes.clone().all(|code| code.is_some());
        let failed = codes.flatten().any(|code| code != 0);
        let phase = match (all_ended, policy) {
            (true, "Never" | "OnFailure") if !failed => "Succeeded",
            (true, "Never") => "Failed",
            _ => "Running",
        };
        let ready = processes.values().all(|process| process.ended.is_none());
        let before = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref());
        let condition = |type_: &str, holds: bool| {
            let status = if holds { "True" } else { "False" };
            let same = before.iter().flat_map(|before| before.iter());
            let mut same = same.filter(|one| one.type_ == type_ && one.status == status);
            let since = same
                .next()
                .and_then(|one| one.last_transition_time.as_ref());
            let since = since.map_or_else(|| self.now(), |since| since.0.to_string());
            json!({"type": type_, "status": status, "lastTransitionTime": since})
        };
        let begun = pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref());
        json!({
            "phase": phase, "containerStatuses": each, "hostIP": "127.0.0.1", "podIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}], "podIPs": [{"ip": "127.0.0.1"}],
            "startTime": begun.map_or_else(|| self.now(), |begun| begun.0.to_string()),
            "conditions": [
                condition("PodScheduled", true), condition("Initialized", true),
                condition("ContainersReady", ready), condition("Ready", ready),
            ],
        })
    }

    fn now(&self) -> String {
        self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// Whether the status says something else than what is known: the phase, or of a container.
fn differs(known: &Value, status: &Value) -> bool {
    let word = |status: &Value| {
        let containers = status["containerStatuses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let each = containers.iter().map(|one| {
            let state = one["state"]
                .as_object()
                .map(|state| state.keys().cloned().collect::<Vec<_>>());
            (one["restartCount"].clone(), state)
        });
        (status["phase"].clone(), each.collect::<Vec<_>>())
    };
    word(known) != word(status)
}
