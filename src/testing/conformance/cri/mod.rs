//! What every [`ContainerRuntime`] promises, as named cases. A new runtime passes them in one call:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! use homeostat::testing::conformance::cri::{Subject, run};
//! run(&Subject::fake()).await;
//! # });
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a suite that fails panics, with the case's name"
)]

mod containers;
mod images;
mod sandboxes;
mod streams;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::cri::fake::Script;
use crate::cri::{
    Container, ContainerConfig, ContainerPhase, ContainerRuntime, Error, ExecOutput, FakeRuntime,
    ImageAuth, ImageSpec, SandboxConfig, SandboxMetadata,
};

/// How long a runtime may take to do what it does by itself. Real ones are slow, and virtual time is free.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runtime to be examined, and what it can be asked to run.
#[derive(Debug)]
pub struct Subject {
    /// The runtime.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Containers that run until they are stopped, and end within seconds of being asked. Their image must be present.
    /// They listen on [`Subject::port`] and send back what they receive.
    pub runs: ContainerConfig,
    /// Containers that end at once with code 3.
    pub fails: ContainerConfig,
    /// Containers that do not end when asked to.
    pub stubborn: ContainerConfig,
    /// Containers that cannot be started.
    pub broken: ContainerConfig,
    /// Containers that send their standard input back. Must keep it open.
    pub echoes: ContainerConfig,
    /// The port on which `runs` listens.
    pub port: u16,
    /// A command for `runs` that ends at once, and what it gives: a code, output and error output.
    pub command: (Vec<String>, ExecOutput),
    /// A command for `runs` that takes longer than 10 seconds.
    pub slow: Vec<String>,
    /// A command for `runs` that sends its input back until that ends.
    pub cat: Vec<String>,
    /// An image that can be pulled with these credentials only; no case needs it after it was removed.
    pub private: (ImageSpec, ImageAuth),
    /// An image that is nowhere.
    pub absent: ImageSpec,
    /// The control group that pods are made in; empty: the runtime's choice. Some runtimes measure no pod without it.
    pub cgroup: String,
    /// Where containers' logs may be written, and how a line of `fails` reads in them; `None`: the runtime writes no logs.
    pub logs: Option<(PathBuf, String)>,
}

impl Subject {
    /// The fake runtime.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn fake() -> Self {
        let runtime = FakeRuntime::new(Clock::seeded(1), "10.0.0");
        let image = |name: &str, script: Script| {
            runtime.script(name, script);
            ContainerConfig {
                name: "c".to_owned(),
                image: name.to_owned(),
                ..ContainerConfig::default()
            }
        };
        let output = ExecOutput {
            code: 7,
            stdout: b"out".to_vec(),
            stderr: b"err".to_vec(),
        };
        let second = Duration::from_secs(1);
        let runs = Script::default()
            .answers("print", Duration::ZERO, output.clone())
            .command("slow", 60 * second, 0, "")
            .uses(1_000_000, 1 << 20, 4096)
            .listens(7);
        let private = "registry.example/private:v1";
        runtime.script(private, Script::default().needs_auth("user", "secret"));
        let absent = "registry.example/absent:v1";
        runtime.script(absent, Script::default().pull_fails("not found"));
        let words = |word: &str| vec![word.to_owned()];
        Self {
            runs: image("runs", runs),
            fails: image("fails", Script::default().exits(Duration::ZERO, 3)),
            stubborn: image("stubborn", Script::default().stop_takes(3600 * second)),
            broken: image("broken", Script::default().start_fails("no such program")),
            echoes: ContainerConfig {
                stdin: true,
                ..image("echoes", Script::default())
            },
            port: 7,
            command: (words("print"), output),
            slow: words("slow"),
            cat: words("cat"),
            private: (
                private.into(),
                ImageAuth {
                    username: "user".to_owned(),
                    password: "secret".to_owned(),
                    ..ImageAuth::default()
                },
            ),
            absent: absent.into(),
            cgroup: String::new(),
            logs: None,
            runtime: Arc::new(runtime),
        }
    }
}

/// Runs every case.
///
/// # Panics
/// When a case fails; the message begins with its name.
pub async fn run(subject: &Subject) {
    let bench = Bench {
        subject,
        runtime: &*subject.runtime,
        next: AtomicU32::new(0),
    };
    bench.prepare().await;
    sandboxes::run(&bench).await;
    containers::run(&bench).await;
    images::run(&bench).await;
    streams::run(&bench).await;
}

/// Where the cases work.
struct Bench<'a> {
    subject: &'a Subject,
    runtime: &'a dyn ContainerRuntime,
    next: AtomicU32,
}

/// A pod that a case made.
struct Pod {
    id: String,
    config: SandboxConfig,
}

impl Bench<'_> {
    /// Pulls the images that a pull brings; others must be present already.
    async fn prepare(&self) {
        let subject = self.subject;
        for config in [
            &subject.runs,
            &subject.fails,
            &subject.stubborn,
            &subject.broken,
            &subject.echoes,
        ] {
            let image = config.image.as_str().into();
            let present = self.runtime.image_status(&image).await.unwrap();
            if present.is_none() {
                let pulled = self.runtime.pull_image(&image, None, None).await;
                pulled.unwrap();
            }
        }
    }

    /// What a pod of its own is made from.
    fn config(&self, case: &str) -> SandboxConfig {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let log_directory = self.subject.logs.as_ref().map(|(logs, _)| {
            let own = logs.join(format!("pod-{number}"));
            own.display().to_string()
        });
        let cgroup = &self.subject.cgroup;
        let cgroup_parent = if cgroup.is_empty() {
            String::new()
        } else {
            format!("{cgroup}/pod-{number}")
        };
        SandboxConfig {
            cgroup_parent,
            metadata: SandboxMetadata {
                namespace: "conformance".to_owned(),
                name: format!("pod-{number}"),
                uid: format!("uid-{number}-{}", case.replace(' ', "-")),
                attempt: 0,
            },
            hostname: format!("pod-{number}"),
            log_directory: log_directory.unwrap_or_default(),
            labels: BTreeMap::from([("case".to_owned(), number.to_string())]),
            annotations: BTreeMap::from([("note".to_owned(), case.to_owned())]),
            ..SandboxConfig::default()
        }
    }

    async fn pod(&self, case: &str) -> Pod {
        let config = self.config(case);
        let id = self.runtime.run_sandbox(&config).await;
        let id = id.unwrap_or_else(|error| panic!("{case}: run_sandbox: {error}"));
        Pod { id, config }
    }

    async fn create(&self, case: &str, pod: &Pod, config: &ContainerConfig) -> String {
        let id = self
            .runtime
            .create_container(&pod.id, config, &pod.config)
            .await;
        id.unwrap_or_else(|error| panic!("{case}: create_container: {error}"))
    }

    async fn start(&self, case: &str, pod: &Pod, config: &ContainerConfig) -> String {
        let id = self.create(case, pod, config).await;
        let started = self.runtime.start_container(&id).await;
        started.unwrap_or_else(|error| panic!("{case}: start_container: {error}"));
        id
    }

    async fn container(&self, case: &str, id: &str) -> Container {
        let found = self.runtime.container_status(id).await;
        found.unwrap_or_else(|error| panic!("{case}: container_status: {error}"))
    }

    /// Waits until a container is in a phase.
    async fn until(&self, case: &str, id: &str, phase: ContainerPhase) -> Container {
        let what = format!("the container to be {phase:?}");
        wait(case, &what, async || {
            let found = self.container(case, id).await;
            (found.state.phase() == phase).then_some(found)
        })
        .await
    }

    async fn clean(&self, case: &str, pod: Pod) {
        let removed = async {
            self.runtime.stop_sandbox(&pod.id).await?;
            self.runtime.remove_sandbox(&pod.id).await
        };
        let removed = removed.await;
        removed.unwrap_or_else(|error| panic!("{case}: cleaning up: {error}"));
    }
}

/// Asks until there is an answer.
async fn wait<T, F, Fut>(case: &str, what: &str, ask: F) -> T
where
    F: Fn() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, asked).await;
    found.unwrap_or_else(|_| panic!("{case}: waited {PATIENCE:?} for {what}"))
}

fn check(case: &str, holds: bool, what: &str) {
    assert!(holds, "{case}: {what}");
}

fn equal<T: PartialEq + std::fmt::Debug>(case: &str, what: &str, found: T, expected: T) {
    assert!(
        found == expected,
        "{case}: {what} is {found:?}, not {expected:?}"
    );
}

/// The failure that a call must have.
fn fails<T: std::fmt::Debug>(case: &str, what: &str, result: Result<T, Error>) -> Error {
    match result {
        Err(error) => error,
        Ok(found) => panic!("{case}: {what} gave {found:?}"),
    }
}
