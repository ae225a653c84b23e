//! Making containers: image, environment, the container itself, and its postStart hook.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, Node, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use tokio::time::Instant;

use super::environment::{self, Origin};
use super::plan::{self, Failure};
use super::sandbox::Made;
use super::stop::grace;
use super::{Inner, full_name, hook, hosts, limits, mounts, rights, volumes};
use crate::cri::{ContainerConfig, Device, Mount, Sandbox};
use crate::object::Resources;
use crate::reconcile::events::EventType;
use crate::reconcile::{Error, Key};

/// A pull that failed is tried again after this, doubling up to …
const FIRST_PULL_BACKOFF: Duration = Duration::from_secs(10);
/// … this.
const LONGEST_PULL_BACKOFF: Duration = Duration::from_secs(300);
/// How the node resolves names.
const RESOLVER: &str = "/etc/resolv.conf";
/// So much of the node's own files is read.
const LONGEST_FILE: u64 = 1 << 20;
/// What lacks something is looked at again after this.
pub(super) const RESYNC: Duration = Duration::from_secs(10);

pub(super) fn failure(reason: &'static str, message: impl Into<String>) -> Failure {
    Failure {
        reason,
        message: message.into(),
        image: String::new(),
        times: 0,
    }
}

impl Inner {
    /// Starts a container; whether it failed and has to wait.
    pub(super) async fn start_container(
        &self,
        key: &Key,
        pod: &Pod,
        sandbox: &Sandbox,
        container: &Spec,
    ) -> Result<bool, Error> {
        let attempt = self.attempt(key, sandbox, container);
        let failed = match Box::pin(self.make(pod, sandbox, container, attempt)).await {
            Ok(id) => {
                // The one before the last is no longer needed for the status.
                let old = sandbox
                    .containers
                    .iter()
                    .filter(|old| old.name == container.name && old.attempt + 1 < attempt);
                for old in old {
                    self.runtime.remove_container(&old.id).await?;
                }
                self.post_start(pod, sandbox, container, &id).await?
            }
            Err(failure) => Some(failure),
        };
        Ok(self.remember(key, pod, container, failed))
    }

    /// How many containers of the name there were before, in this sandbox or in one that is gone.
    fn attempt(&self, key: &Key, sandbox: &Sandbox, container: &Spec) -> u32 {
        if let Some(latest) = plan::newest(Some(sandbox), &container.name) {
            return latest.attempt + 1;
        }
        let memory = self.memory(key).remove(&container.name);
        if let Some(attempt) = memory.and_then(|memory| memory.reset) {
            return attempt;
        }
        let known = self.pods.get(key);
        let status = known.as_ref().and_then(|pod| pod.status.as_ref());
        let mut statuses = status.into_iter().flat_map(|status| {
            let lists = [&status.container_statuses, &status.init_container_statuses];
            lists.into_iter().flatten().flatten()
        });
        // One that was lost while it ran was counted when that was reported, and has no id any more.
        statuses
            .find(|status| status.name == container.name)
            .map_or(0, |status| {
                u32::try_from(status.restart_count).unwrap_or(0)
                    + u32::from(status.container_id.is_some())
            })
    }

    /// Notes how a start went; whether it failed.
    fn remember(&self, key: &Key, pod: &Pod, container: &Spec, failed: Option<Failure>) -> bool {
        let mut state = self.state.lock();
        let Some(state) = state.get_mut(key) else {
            return failed.is_some();
        };
        let memory = state.containers.entry(container.name.clone()).or_default();
        let Some(failed) = failed else {
            memory.failure = None;
            return false;
        };
        let times = memory
            .failure
            .as_ref()
            .map_or(1, |failure| failure.times.saturating_add(1));
        let wait = match failed.reason {
            "ErrImagePull" | "RunContainerError" => {
                let doubled = 1_u32.checked_shl(times - 1).unwrap_or(u32::MAX);
                Some(
                    FIRST_PULL_BACKOFF
                        .saturating_mul(doubled)
                        .min(LONGEST_PULL_BACKOFF),
                )
            }
            // The container did start: its end backs off like any other.
            "PostStartHookError" => None,
            _ => Some(RESYNC),
        };
        if let Some(wait) = wait {
            memory.not_before = Some(Instant::now() + wait);
            let said = match failed.reason {
                "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                    &failed.message
                }
                reason => reason,
            };
            self.event(pod, EventType::Warning, "Failed", format!("Error: {said}"));
        }
        memory.failure = Some(Failure { times, ..failed });
        true
    }

    /// Says once of each container that waits to be started that it does.
    pub(super) fn tell_waiting(&self, key: &Key, pod: &Pod, names: &[String]) {
        let mut state = self.state.lock();
        let Some(state) = state.get_mut(key) else {
            return;
        };
        for name in names {
            let Some(memory) = state.containers.get_mut(name) else {
                continue;
            };
            if memory.told == memory.not_before {
                continue;
            }
            memory.told = memory.not_before;
            match &mut memory.failure {
                Some(failure) if failure.reason == "ErrImagePull" => {
                    let message = format!("Back-off pulling image {:?}", failure.image);
                    failure.message = format!("{message}: ErrImagePull: {}", failure.message);
                    failure.reason = "ImagePullBackOff";
                    self.event(pod, EventType::Normal, "BackOff", message);
                    let error = "Error: ImagePullBackOff".to_owned();
                    self.event(pod, EventType::Warning, "Failed", error);
                }
                Some(failure) if failure.reason != "PostStartHookError" => {}
                _ => {
                    let pod_name = full_name(pod);
                    let message =
                        format!("Back-off restarting failed container {name} in pod {pod_name}");
                    self.event(pod, EventType::Warning, "BackOff", message);
                }
            }
        }
    }

    async fn make(
        &self,
        pod: &Pod,
        sandbox: &Sandbox,
        container: &Spec,
        attempt: u32,
    ) -> Result<String, Failure> {
        let of = self.sandbox_config(pod, sandbox.metadata.attempt).await;
        let of = of
            .map_err(|why| failure("CreateContainerConfigError", why))?
            .config;
        let image = container.image.clone().unwrap_or_default();
        let policy = container.image_pull_policy.as_deref();
        let present = Box::pin(self.image(pod, &image, policy, &of)).await?;
        let images = Box::pin(self.image_volumes(pod, container, &of)).await?;
        let origin = self.origin(pod, &sandbox.ip);
        let env = environment::of(&origin, container)
            .await
            .map_err(|why| failure("CreateContainerConfigError", why))?;
        let expanded = |words: &Option<Vec<String>>| {
            let words = words.iter().flatten();
            words.map(|word| environment::expand(word, &env)).collect()
        };
        let (mut mounts, mut devices) = (Vec::new(), Vec::new());
        if self.config.host.keeps_files() {
            let seen = Box::pin(self.seen(&origin, container, &images, &env)).await;
            (mounts, devices) = seen.map_err(|why| failure("CreateContainerConfigError", why))?;
            mounts.extend(self.hosts(pod, sandbox, container).await?);
            mounts.push(self.last_words(pod, container, attempt).await?);
        }
        // Images that are pretended have no user of their own.
        let present = present.filter(|_| self.config.host.keeps_files());
        let root = &self.config.root;
        let security = rights::of_container(pod, container, present.as_ref(), root)
            .map_err(|why| failure("CreateContainerConfigError", why))?;
        let log_path = self.log_path(pod, container, attempt).await?;
        let config = ContainerConfig {
            name: container.name.clone(),
            attempt,
            image,
            command: expanded(&container.command),
            args: expanded(&container.args),
            working_dir: container.working_dir.clone().unwrap_or_default(),
            env,
            mounts,
            devices,
            log_path,
            stdin: container.stdin == Some(true),
            stdin_once: container.stdin_once == Some(true),
            tty: container.tty == Some(true),
            resources: limits::of(pod, container, &self.capacity()),
            security,
            ..ContainerConfig::default()
        };
        let tell = |reason, message: &str| {
            self.event(pod, EventType::Normal, reason, message.to_owned());
        };
        let id = self.runtime.create_container(&sandbox.id, &config, &of);
        let id = id
            .await
            .map_err(|error| failure("CreateContainerError", error.to_string()))?;
        tell("Created", "Container created");
        let started = self.runtime.start_container(&id).await;
        started.map_err(|error| failure("RunContainerError", error.to_string()))?;
        tell("Started", "Container started");
        Ok(id)
    }

    /// What a container sees of its pod's volumes.
    async fn seen(
        &self,
        origin: &Origin<'_>,
        container: &Spec,
        images: &volumes::Images,
        env: &[(String, String)],
    ) -> Result<(Vec<Mount>, Vec<Device>), String> {
        let places = Box::pin(self.volumes(origin)).await?;
        let seen = mounts::of(origin.pod, container, (&places, images), env)?;
        let devices = mounts::devices(origin.pod, container, &places)?;
        let shown = self.shown(origin.pod, container, seen).await?;
        Ok((shown, devices))
    }

    /// Where values of a pod's environment and volumes come from.
    fn origin<'a>(&'a self, pod: &'a Pod, ip: &'a str) -> Origin<'a> {
        let known = self.node();
        let allocatable = known
            .as_deref()
            .and_then(|node: &Node| node.status.as_ref()?.allocatable.as_ref());
        Origin {
            client: &self.client,
            pod,
            node: &self.spec,
            allocatable: Resources::of(allocatable),
            ip,
            services: self.services.list(),
        }
    }

    /// Makes the volumes of a pod, or brings them up to date; tells when something is missing.
    pub(super) async fn mount(&self, pod: &Pod, ip: &str) -> Option<volumes::Places> {
        if !self.config.host.keeps_files() {
            return Some(volumes::Places::new());
        }
        match self.volumes(&self.origin(pod, ip)).await {
            Ok(places) => Some(places),
            Err(why) => {
                self.event(pod, EventType::Warning, "FailedMount", why);
                None
            }
        }
    }

    /// The file in which a container leaves its last words, as it sees it.
    async fn last_words(
        &self,
        pod: &Pod,
        container: &Spec,
        attempt: u32,
    ) -> Result<Mount, Failure> {
        let failed = |error: std::io::Error| failure("CreateContainerError", error.to_string());
        let directory = self
            .pod_directory(pod)
            .join("containers")
            .join(&container.name);
        let host = &self.config.host;
        host.make_dir(&directory, 0o750).await.map_err(failed)?;
        let file = directory.join(attempt.to_string());
        host.make_file(&file).await.map_err(failed)?;
        let path = container.termination_message_path.as_deref();
        Ok(Mount {
            container_path: path.unwrap_or("/dev/termination-log").to_owned(),
            host_path: file.to_string_lossy().into_owned(),
            ..Mount::default()
        })
    }

    /// The file of host names, as a container sees it: none where it brings its own, or the pod has no address.
    async fn hosts(
        &self,
        pod: &Pod,
        sandbox: &Sandbox,
        container: &Spec,
    ) -> Result<Option<Mount>, Failure> {
        let Some(spec) = &pod.spec else {
            return Ok(None);
        };
        let mut mounts = container.volume_mounts.iter().flatten();
        let on_node = spec.host_network == Some(true);
        if mounts.any(|mount| mount.mount_path == hosts::PATH)
            || (sandbox.ip.is_empty() && !on_node)
        {
            return Ok(None);
        }
        let failed = |error: std::io::Error| failure("CreateContainerError", error.to_string());
        let host = &self.config.host;
        let text = if on_node {
            let own = host.tail(Path::new(hosts::PATH), LONGEST_FILE).await;
            let own = own.map_err(failed)?.unwrap_or_default();
            hosts::of_node(spec, &String::from_utf8_lossy(&own))
        } else {
            let (name, domain) = super::sandbox::names(pod, spec, &self.config);
            let more = sandbox.additional_ips.iter().map(String::as_str);
            let ips: Vec<&str> = std::iter::once(&*sandbox.ip).chain(more).collect();
            hosts::managed(spec, &ips, &name, &domain)
        };
        let directory = self.pod_directory(pod);
        host.make_dir(&directory, 0o750).await.map_err(failed)?;
        let file = directory.join("etc-hosts");
        let written = host.write(&file, text.as_bytes(), 0o644).await;
        written.map_err(failed)?;
        Ok(Some(Mount {
            container_path: hosts::PATH.to_owned(),
            host_path: file.to_string_lossy().into_owned(),
            ..Mount::default()
        }))
    }

    /// What the pod's sandbox is made from.
    ///
    /// # Errors
    /// What of the pod cannot be.
    async fn sandbox_config(&self, pod: &Pod, attempt: u32) -> Result<Made, String> {
        let own = self.config.host.tail(Path::new(RESOLVER), LONGEST_FILE);
        let own = own.await.map_err(|error| error.to_string())?;
        let node = super::sandbox::resolver(&String::from_utf8_lossy(&own.unwrap_or_default()));
        let mut made = super::sandbox::of(pod, &self.config, attempt, &node)?;
        made.config.runtime_handler = self.handler(pod).await?;
        Ok(made)
    }

    /// The runtime handler of the pod's class; empty: the default one.
    async fn handler(&self, pod: &Pod) -> Result<String, String> {
        let class = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.runtime_class_name.as_deref())
            .filter(|class| !class.is_empty());
        let Some(class) = class else {
            return Ok(String::new());
        };
        let classes: Api<RuntimeClass> = Api::all(self.client.clone());
        match classes.get_opt(class).await {
            Ok(Some(found)) => Ok(found.handler),
            Ok(None) => Err(format!("runtimeclass.node.k8s.io {class:?} not found")),
            Err(error) => Err(format!("failed to lookup RuntimeClass {class}: {error}")),
        }
    }

    /// Makes the pod's sandbox and the directory of its logs; whether what the pod asks for can be.
    pub(super) async fn make_sandbox(&self, pod: &Pod, attempt: u32) -> Result<bool, Error> {
        let failed = |why: &str| {
            let message = format!("Failed to create pod sandbox: {why}");
            self.event(pod, EventType::Warning, "FailedCreatePodSandBox", message);
        };
        let config = match self.sandbox_config(pod, attempt).await {
            Ok(Made { config, told }) => {
                for (reason, message) in told {
                    self.event(pod, EventType::Warning, reason, message);
                }
                config
            }
            Err(why) => {
                failed(&why);
                return Ok(false);
            }
        };
        if !config.log_directory.is_empty() {
            let directory = Path::new(&config.log_directory);
            self.config.host.make_dir(directory, 0o755).await?;
        }
        if let Err(error) = self.runtime.run_sandbox(&config).await {
            failed(&error.to_string());
            return Err(error.into());
        }
        Ok(true)
    }

    /// Where a container's log is written, below that of its pod.
    async fn log_path(&self, pod: &Pod, container: &Spec, attempt: u32) -> Result<String, Failure> {
        let of_pod = super::sandbox::log_directory(pod, &self.config);
        if of_pod.is_empty() {
            return Ok(String::new());
        }
        let directory = Path::new(&of_pod).join(&container.name);
        let made = self.config.host.make_dir(&directory, 0o755).await;
        made.map_err(|error| failure("CreateContainerError", error.to_string()))?;
        Ok(format!("{}/{attempt}.log", container.name))
    }

    /// What the node has.
    pub(super) fn capacity(&self) -> Resources {
        let known = self.node();
        let capacity = known
            .as_deref()
            .and_then(|node| node.status.as_ref()?.capacity.as_ref());
        Resources::of(capacity)
    }

    /// Runs the hook of a container that has just started. A container whose hook fails is ended.
    async fn post_start(
        &self,
        pod: &Pod,
        sandbox: &Sandbox,
        container: &Spec,
        id: &str,
    ) -> Result<Option<Failure>, Error> {
        let lifecycle = container.lifecycle.as_ref();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref()) else {
            return Ok(None);
        };
        let Err(error) = hook::run(&self.ask(&sandbox.ip), pod, container, id, hook).await else {
            return Ok(None);
        };
        // Its output may be secret.
        let told = "PostStartHook failed".to_owned();
        self.event(pod, EventType::Warning, "FailedPostStartHook", told);
        let why = "FailedPostStartHook".to_owned();
        self.stop_one(pod, Some(container), id, why, grace(pod), None)
            .await?;
        Ok(Some(failure("PostStartHookError", error)))
    }
}

/// A duration to the millisecond, as Go writes it.
pub(super) fn go_duration(duration: Duration) -> String {
    let millis = Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    if millis.is_zero() {
        "0s".to_owned()
    } else {
        format!("{millis:?}")
    }
}
