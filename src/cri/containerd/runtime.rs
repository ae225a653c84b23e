//! Sandboxes and containers over CRI.

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_cri::v1;
use tonic::Code;

use super::{Containerd, error, events, from_proto, gone, to_proto, version};
use crate::cri::{
    CgroupDriver, Container, ContainerConfig, ContainerEntry, ContainerFilter, ContainerRuntime,
    ContainerState, Error, ExecOutput, LinuxResources, Result, RuntimeEvent, RuntimeStatus,
    Sandbox, SandboxConfig, SandboxEntry, SandboxFilter, Version, bare_id,
};

/// Whole seconds, upwards: a limit is not cut short.
fn seconds(duration: Duration) -> i64 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}

/// The runtime's words of an error that says no more than that it refused.
fn words(error: Error) -> std::result::Result<String, Error> {
    match error {
        Error::Refused { why, .. } => Ok(why),
        other => Err(other),
    }
}

/// How soon a container whose cause of death may still come is asked about again.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is at most.
const LOOKS: u32 = 6;
/// How long after its end the cause of death may come. containerd learns of the end of a process and of the want of memory
/// that killed it by two events, in either order.
const EXPLAINED: Duration = LOOK.saturating_mul(LOOKS);
/// The code of a process that was killed: 128 and the number of the signal.
const KILLED: i32 = 137;

/// Whether it was killed, for a cause that may not be known yet.
fn is_unexplained(state: &ContainerState, now: Timestamp) -> bool {
    match state {
        ContainerState::Exited {
            code: KILLED,
            reason,
            finished,
            ..
        } => reason == "Error" && now.duration_since(*finished).unsigned_abs() < EXPLAINED,
        _ => false,
    }
}

impl Containerd {
    async fn status_now(&self, id: &str) -> Result<Container> {
        let request = v1::ContainerStatusRequest {
            container_id: bare_id(id).to_owned(),
            verbose: false,
        };
        let mut client = self.runtime();
        let asked = client.container_status(request);
        let status = self.ask(("ContainerStatus", id), asked).await?.status;
        let status = status.ok_or_else(|| Error::NotFound(format!("container {id:?}")))?;
        Ok(from_proto::container(&self.inner.scheme, status))
    }
}

#[async_trait]
impl ContainerRuntime for Containerd {
    async fn version(&self) -> Result<Version> {
        let mut client = self.runtime();
        let asked = client.version(v1::VersionRequest::default());
        Ok(version(self.ask(("Version", ""), asked).await?))
    }

    async fn status(&self) -> Result<RuntimeStatus> {
        let mut client = self.runtime();
        let asked = client.status(v1::StatusRequest::default());
        Ok(from_proto::status(self.ask(("Status", ""), asked).await?))
    }

    async fn update_runtime_config(&self, pod_cidr: &str) -> Result<()> {
        let request = v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig {
                network_config: Some(v1::NetworkConfig {
                    pod_cidr: pod_cidr.to_owned(),
                }),
            }),
        };
        let mut client = self.runtime();
        let asked = client.update_runtime_config(request);
        self.ask(("UpdateRuntimeConfig", ""), asked).await?;
        Ok(())
    }

    async fn cgroup_driver(&self) -> Result<Option<CgroupDriver>> {
        let mut client = self.runtime();
        let asked = client.runtime_config(v1::RuntimeConfigRequest {});
        let answer = match self.ask(("RuntimeConfig", ""), asked).await {
            Err(Error::Unimplemented(_)) => return Ok(None),
            answer => answer?,
        };
        Ok(answer.linux.map(|linux| match linux.cgroup_driver() {
            v1::CgroupDriver::Systemd => CgroupDriver::Systemd,
            v1::CgroupDriver::Cgroupfs => CgroupDriver::Cgroupfs,
        }))
    }

    async fn run_sandbox(&self, config: &SandboxConfig) -> Result<String> {
        let request = v1::RunPodSandboxRequest {
            config: Some(to_proto::sandbox(config)),
            runtime_handler: config.runtime_handler.clone(),
        };
        let limit = self.inner.config.timeout * 2;
        let mut client = self.runtime();
        let call = ("RunPodSandbox", config.metadata.name.as_str());
        match self
            .within(limit, call, client.run_pod_sandbox(request))
            .await
        {
            Ok(answer) => Ok(answer.pod_sandbox_id),
            // What is missing is something it is made of.
            Err(Error::NotFound(what)) => Err(Error::Sandbox(format!("{what}: not found"))),
            Err(error) => Err(Error::Sandbox(words(error)?)),
        }
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let mut client = self.runtime();
        let asked = client.stop_pod_sandbox(request);
        gone(self.ask(("StopPodSandbox", id), asked).await)?;
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let mut client = self.runtime();
        let asked = client.remove_pod_sandbox(request);
        gone(self.ask(("RemovePodSandbox", id), asked).await)?;
        Ok(())
    }

    async fn sandbox_status(&self, id: &str) -> Result<Sandbox> {
        let request = v1::PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: false,
        };
        let mut client = self.runtime();
        let asked = client.pod_sandbox_status(request);
        let answer = self.ask(("PodSandboxStatus", id), asked).await?;
        let status = answer.status;
        let status = status.ok_or_else(|| Error::NotFound(format!("sandbox {id:?}")))?;
        Ok(from_proto::sandbox(status))
    }

    async fn list_sandboxes(&self, filter: &SandboxFilter) -> Result<Vec<SandboxEntry>> {
        let request = v1::ListPodSandboxRequest {
            filter: Some(to_proto::sandbox_filter(filter)),
        };
        let mut client = self.runtime();
        let asked = client.list_pod_sandbox(request);
        let items = self.ask(("ListPodSandbox", ""), asked).await?.items;
        let mut all: Vec<SandboxEntry> = items.into_iter().map(from_proto::sandbox_entry).collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(all)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: &ContainerConfig,
        sandbox_config: &SandboxConfig,
    ) -> Result<String> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(to_proto::container(config, &sandbox_config.metadata)),
            sandbox_config: Some(to_proto::sandbox(sandbox_config)),
        };
        let mut client = self.runtime();
        let asked = Box::pin(client.create_container(request));
        let what = format!("sandbox {sandbox:?} or image {:?}", config.image);
        match self.ask(("CreateContainer", &what), asked).await {
            Ok(answer) => Ok(from_proto::id(&self.inner.scheme, &answer.container_id)),
            Err(error) => Err(Error::Create {
                name: config.name.clone(),
                why: words(error)?,
            }),
        }
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = v1::StartContainerRequest {
            container_id: bare_id(id).to_owned(),
        };
        let mut client = self.runtime();
        let asked = client.start_container(request);
        match self.ask(("StartContainer", id), asked).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Start {
                name: id.to_owned(),
                why: words(error)?,
            }),
        }
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let request = v1::StopContainerRequest {
            container_id: bare_id(id).to_owned(),
            timeout: seconds(grace),
        };
        let limit = self.inner.config.timeout.saturating_add(grace);
        let mut client = self.runtime();
        let asked = client.stop_container(request);
        gone(self.within(limit, ("StopContainer", id), asked).await)?;
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let request = v1::RemoveContainerRequest {
            container_id: bare_id(id).to_owned(),
        };
        let mut client = self.runtime();
        let asked = client.remove_container(request);
        gone(self.ask(("RemoveContainer", id), asked).await)?;
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Result<Container> {
        let mut container = self.status_now(id).await?;
        for _ in 0..LOOKS {
            if !is_unexplained(&container.state, self.inner.clock.now()) {
                break;
            }
            tokio::time::sleep(LOOK).await;
            container = self.status_now(id).await?;
        }
        Ok(container)
    }

    async fn list_containers(&self, filter: &ContainerFilter) -> Result<Vec<ContainerEntry>> {
        let request = v1::ListContainersRequest {
            filter: Some(to_proto::container_filter(filter)),
        };
        let mut client = self.runtime();
        let asked = client.list_containers(request);
        let containers = self.ask(("ListContainers", ""), asked).await?.containers;
        let mut all: Vec<ContainerEntry> = containers
            .into_iter()
            .map(|container| from_proto::container_entry(&self.inner.scheme, container))
            .collect();
        all.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(all)
    }

    async fn update_container(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let request = v1::UpdateContainerResourcesRequest {
            container_id: bare_id(id).to_owned(),
            linux: Some(to_proto::resources(resources)),
            ..v1::UpdateContainerResourcesRequest::default()
        };
        let mut client = self.runtime();
        let asked = client.update_container_resources(request);
        self.ask(("UpdateContainerResources", id), asked).await?;
        Ok(())
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        let request = v1::ReopenContainerLogRequest {
            container_id: bare_id(id).to_owned(),
        };
        let mut client = self.runtime();
        let asked = client.reopen_container_log(request);
        self.ask(("ReopenContainerLog", id), asked).await?;
        Ok(())
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput> {
        let request = v1::ExecSyncRequest {
            container_id: bare_id(id).to_owned(),
            cmd: command.to_vec(),
            timeout: seconds(timeout),
        };
        let mut client = self.runtime();
        let asked = client.exec_sync(request);
        // The runtime keeps the time; it is given some more to say so.
        let answer = if timeout.is_zero() {
            asked.await
        } else {
            let limit = self.inner.config.timeout.saturating_add(timeout);
            let answer = tokio::time::timeout(limit, asked).await;
            answer.map_err(|_| Error::Timeout(timeout))?
        };
        match answer {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(ExecOutput {
                    code: answer.exit_code,
                    stdout: answer.stdout,
                    stderr: answer.stderr,
                })
            }
            Err(status) if status.code() == Code::DeadlineExceeded => Err(Error::Timeout(timeout)),
            Err(status) => Err(match error::of("ExecSync", id, &status) {
                Error::Refused { why, .. } => Error::Stream(why),
                other => other,
            }),
        }
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        events::listen(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_killed_just_now_is_unexplained() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(100);
        for (code, reason, ago, expected) in [
            (137, "Error", 0, true),
            (137, "Error", 599, true),
            (137, "Error", 600, false),
            (137, "OOMKilled", 0, false),
            (143, "Error", 0, false),
            (0, "Completed", 0, false),
        ] {
            let state = ContainerState::Exited {
                started: Timestamp::UNIX_EPOCH,
                finished: now - Duration::from_millis(ago),
                code,
                reason: reason.to_owned(),
                message: String::new(),
            };
            let found = is_unexplained(&state, now);
            assert_eq!(found, expected, "{code} {reason} {ago} ms ago");
        }
        let running = ContainerState::Running { started: now };
        assert!(!is_unexplained(&running, now));
    }
}
