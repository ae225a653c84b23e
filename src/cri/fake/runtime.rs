//! The fake's sandboxes and containers.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::time::{Instant, sleep};

use super::events::listen;
use super::images::image_id;
use super::{Exit, FakeContainer, FakeRuntime, FakeSandbox};
use crate::cri::{
    Check, Container, ContainerConfig, ContainerEntry, ContainerFilter, ContainerPhase,
    ContainerRuntime, Error, EventKind, ExecOutput, LinuxResources, NamespaceMode, Result,
    RuntimeCondition, RuntimeEvent, RuntimeHandler, RuntimeStatus, Sandbox, SandboxConfig,
    SandboxEntry, SandboxFilter, Version, bare_id, labels,
};

impl FakeSandbox {
    /// Whether a filter lets it through.
    pub(super) fn passes(&self, id: &str, filter: &SandboxFilter) -> bool {
        filter.id.as_deref().is_none_or(|wanted| wanted == id)
            && filter.ready.is_none_or(|ready| ready == self.ready)
            && filter
                .uid
                .as_ref()
                .is_none_or(|uid| *uid == self.config.metadata.uid)
            && labels::hold(&filter.labels, &self.config.labels)
    }
}

fn phase(container: &FakeContainer) -> ContainerPhase {
    if container.has_ended() {
        ContainerPhase::Exited
    } else if container.started.is_some() {
        ContainerPhase::Running
    } else {
        ContainerPhase::Created
    }
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    async fn version(&self) -> Result<Version> {
        let _up = self.inner.up()?;
        Ok(Version {
            runtime_name: "fake".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: "v1".to_owned(),
        })
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        let state = self.inner.up()?;
        let mut conditions = state.conditions.clone();
        for type_ in ["RuntimeReady", "NetworkReady"] {
            conditions
                .entry(type_.to_owned())
                .or_insert_with(|| RuntimeCondition {
                    type_: type_.to_owned(),
                    status: true,
                    ..RuntimeCondition::default()
                });
        }
        Ok(RuntimeStatus {
            conditions: conditions.into_values().collect(),
            handlers: vec![RuntimeHandler::default()],
        })
    }

    async fn update_runtime_config(&self, _pod_cidr: &str) -> Result<()> {
        let _up = self.inner.up()?;
        Ok(())
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String> {
        let mut state = self.inner.up()?;
        state.next += 1;
        let id = format!("{:016x}", state.next);
        // Like a real subnet of 254 addresses: a node runs fewer pods than that.
        let own = config.security.namespaces.network != NamespaceMode::Node;
        let address = own
            .then(|| (2..=254).find(|address| !state.addresses.contains(address)))
            .flatten();
        state.addresses.extend(address);
        let mut config = config.clone();
        labels::of_sandbox(&mut config.labels, &config.metadata);
        let sandbox = FakeSandbox {
            created: self.inner.clock.now(),
            ready: true,
            address,
            ip: address.map_or_else(String::new, |address| {
                format!("{}.{address}", self.inner.subnet)
            }),
            containers: Vec::new(),
            config,
        };
        state.sandboxes.insert(id.clone(), sandbox);
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.inner.up()?;
        let Some(sandbox) = state.sandboxes.get_mut(id) else {
            return Ok(());
        };
        sandbox.ready = false;
        for container in &mut sandbox.containers {
            container.end(137);
        }
        if let Some(address) = sandbox.address.take() {
            state.addresses.remove(&address);
        }
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.inner.up()?;
        if let Some(sandbox) = state.sandboxes.remove(id) {
            if let Some(address) = sandbox.address {
                state.addresses.remove(&address);
            }
            state.log.push(&sandbox.config, "", EventKind::Deleted);
            drop(state);
            self.inner.changed.notify_waiters();
        }
        Ok(())
    }

    async fn sandbox_status(&self, id: &str) -> Result<Sandbox> {
        let state = self.inner.up()?;
        let sandbox = state.sandbox(id)?;
        let config = &sandbox.config;
        Ok(Sandbox {
            id: id.to_owned(),
            metadata: config.metadata.clone(),
            ready: sandbox.ready,
            created: sandbox.created,
            ip: sandbox.ip.clone(),
            additional_ips: Vec::new(),
            host_network: config.security.namespaces.network == NamespaceMode::Node,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            runtime_handler: config.runtime_handler.clone(),
            containers: Vec::new(),
        })
    }

    async fn list_sandboxes(&self, filter: &SandboxFilter) -> Result<Vec<SandboxEntry>> {
        let state = self.inner.up()?;
        let sandboxes = state
            .sandboxes
            .iter()
            .filter(|(id, sandbox)| sandbox.passes(id, filter));
        Ok(sandboxes
            .map(|(id, sandbox)| SandboxEntry {
                id: id.clone(),
                metadata: sandbox.config.metadata.clone(),
                ready: sandbox.ready,
                created: sandbox.created,
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
                runtime_handler: sandbox.config.runtime_handler.clone(),
            })
            .collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: &ContainerConfig,
        _sandbox_config: &SandboxConfig,
    ) -> Result<String> {
        let mut state = self.inner.up()?;
        let image = if config.image_ref.is_empty() {
            &config.image
        } else {
            &config.image_ref
        };
        if state.present(image).is_none() {
            return Err(Error::NotFound(format!("image {image:?}")));
        }
        let into = state.sandbox(sandbox)?;
        let failed = |why: String| Error::Create {
            name: config.name.clone(),
            why,
        };
        if !into.ready {
            return Err(failed(format!("sandbox {sandbox:?} is not ready")));
        }
        let mut same = into.containers.iter().map(|container| &container.config);
        if same.any(|other| (&other.name, other.attempt) == (&config.name, config.attempt)) {
            let why = format!("the name and attempt {} are taken", config.attempt);
            return Err(failed(why));
        }
        let metadata = into.config.metadata.clone();
        state.next += 1;
        let id = format!("fake://{:016x}", state.next);
        let mut config = config.clone();
        labels::of_container(&mut config.labels, &metadata, &config.name);
        let container = FakeContainer {
            id: id.clone(),
            config,
            created: self.inner.clock.now(),
            started: None,
            exit: None,
            message: String::new(),
            told: false,
        };
        if let Some(into) = state.sandboxes.get_mut(sandbox) {
            into.containers.push(container);
        }
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let mut state = self.inner.up()?;
        let (_, container) = state.find(id)?;
        let script = state.script(&container.config.image);
        let (now, wall) = (Instant::now(), self.inner.clock.now());
        let (of, container) = state.find_mut(id)?;
        let (of, name) = (of.clone(), container.config.name.clone());
        if container.started.is_some() || container.exit.is_some() {
            return Err(Error::Start {
                name,
                why: "it was started before".to_owned(),
            });
        }
        if let Some(why) = script.start_error {
            container.exit = Some(Exit {
                at: now,
                code: 128,
                reason: "StartError".to_owned(),
            });
            container.message.clone_from(&why);
            container.told = true;
            return Err(Error::Start { name, why });
        }
        container.started = Some((wall, now));
        container.message = script.message;
        container.exit = script.exit.map(|(after, code, reason)| Exit {
            at: now + after,
            code,
            reason,
        });
        state.note("start", &of, &name);
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let delay = {
            let mut state = self.inner.up()?;
            let Ok((sandbox, container)) = state.find(id) else {
                return Ok(());
            };
            let (of, config) = (sandbox.config.clone(), container.config.clone());
            let delay = if container.is_running() {
                state.script(&config.image).stop_delay
            } else {
                Duration::ZERO
            };
            state.note("stop", &of, &config.name);
            delay
        };
        // One that does not listen is killed.
        let (wait, code) = if delay > grace {
            (grace, 137)
        } else {
            (delay, 0)
        };
        if !wait.is_zero() {
            sleep(wait).await;
        }
        if let Ok((_, container)) = self.inner.up()?.find_mut(id) {
            container.end(code);
        }
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let mut state = self.inner.up()?;
        let Ok((sandbox, container)) = state.find(id) else {
            return Ok(());
        };
        let (of, id) = (sandbox.config.clone(), container.id.clone());
        for sandbox in state.sandboxes.values_mut() {
            sandbox.containers.retain(|container| container.id != id);
        }
        state.log.push(&of, &id, EventKind::Deleted);
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Result<Container> {
        let state = self.inner.up()?;
        let (sandbox, container) = state.find(id)?;
        Ok(self.inner.container(sandbox, container))
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerEntry>> {
        let state = self.inner.up()?;
        let mut entries = Vec::new();
        for (id, sandbox) in &state.sandboxes {
            let metadata = &sandbox.config.metadata;
            let of_sandbox = filter.sandbox.as_ref().is_none_or(|wanted| wanted == id)
                && filter.uid.as_ref().is_none_or(|uid| *uid == metadata.uid);
            if !of_sandbox {
                continue;
            }
            let passes = |container: &&FakeContainer| {
                let id = filter.id.as_deref();
                id.is_none_or(|id| bare_id(id) == bare_id(&container.id))
                    && filter.phase.is_none_or(|wanted| wanted == phase(container))
                    && labels::hold(&filter.labels, &container.config.labels)
            };
            let passing = sandbox.containers.iter().filter(passes);
            entries.extend(passing.map(|container| ContainerEntry {
                id: container.id.clone(),
                sandbox: id.clone(),
                name: container.config.name.clone(),
                attempt: container.config.attempt,
                image: container.config.image.clone(),
                image_id: image_id(&container.config.image),
                phase: phase(container),
                created: container.created,
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
            }));
        }
        Ok(entries)
    }

    async fn update_container(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let mut state = self.inner.up()?;
        let (sandbox, container) = state.find(id)?;
        let (of, name) = (sandbox.config.clone(), container.config.name.clone());
        state.find_mut(id)?.1.config.resources = resources.clone();
        state.note("update", &of, &name);
        Ok(())
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        let state = self.inner.up()?;
        let (_, container) = state.find(id)?;
        if container.is_running() {
            Ok(())
        } else {
            Err(Error::Refused {
                call: "reopen log",
                why: format!("container {id:?} is not running"),
            })
        }
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput> {
        let (healthy, scripted) = {
            let mut state = self.inner.up()?;
            let (sandbox, container) = state.find(id)?;
            if !container.is_running() {
                return Err(Error::Refused {
                    call: "exec",
                    why: format!("container {id:?} is not running"),
                });
            }
            let script = state.scripts.get(&container.config.image);
            let scripted = command
                .first()
                .and_then(|program| script?.commands.get(program).cloned());
            let (of, name) = (sandbox.config.clone(), container.config.name.clone());
            let healthy = container.is_healthy(script);
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

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        listen(&self.inner)
    }

    async fn log(&self, id: &str) -> Result<Option<Vec<u8>>> {
        let state = self.inner.up()?;
        let (_, container) = state.find(id)?;
        Ok(Some(self.inner.printed(&state, container)))
    }

    async fn check(&self, id: &str, check: &Check, timeout: Duration) -> Result<Option<bool>> {
        if let Check::Exec(command) = check {
            return match self.exec_sync(id, command, timeout).await {
                Ok(output) => Ok(Some(output.code == 0)),
                Err(Error::Timeout(_)) => Ok(Some(false)),
                Err(error) => Err(error),
            };
        }
        let state = self.inner.up()?;
        let (_, container) = state.find(id)?;
        let script = state.scripts.get(&container.config.image);
        Ok(Some(container.is_healthy(script)))
    }
}
