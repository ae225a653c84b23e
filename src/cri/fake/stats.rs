//! What the fake's containers use, by their script.

use async_trait::async_trait;

use super::{FakeContainer, FakeRuntime, FakeSandbox, Inner, State};
use crate::cri::{
    ContainerStats, CpuUsage, Error, FilesystemUsage, MemoryUsage, Result, SandboxFilter,
    SandboxStats, StatsService, bare_id,
};

impl Inner {
    fn stats(&self, state: &State, container: &FakeContainer) -> ContainerStats {
        let at = self.clock.now();
        let script = state.script(&container.config.image);
        let ran = container
            .started
            .map_or_else(Default::default, |(_, started)| started.elapsed());
        let seconds = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX) / 1000;
        let limit = u64::try_from(container.config.resources.memory_limit).unwrap_or(0);
        ContainerStats {
            id: container.id.clone(),
            name: container.config.name.clone(),
            attempt: container.config.attempt,
            labels: container.config.labels.clone(),
            cpu: Some(CpuUsage {
                at,
                core_nanoseconds: Some(seconds.saturating_mul(script.nanocores)),
                nanocores: Some(script.nanocores),
            }),
            memory: Some(MemoryUsage {
                at,
                working_set: Some(script.memory),
                available: (limit > 0).then(|| limit.saturating_sub(script.memory)),
                usage: Some(script.memory),
                rss: Some(script.memory),
                page_faults: None,
                major_page_faults: None,
            }),
            swap: None,
            writable_layer: Some(FilesystemUsage {
                at,
                mountpoint: "/var/lib/fake".to_owned(),
                used_bytes: script.disk,
                inodes_used: 1,
            }),
        }
    }

    fn sandbox_stats(&self, state: &State, id: &str, sandbox: &FakeSandbox) -> SandboxStats {
        let running = sandbox.containers.iter().filter(|found| found.is_running());
        let containers: Vec<ContainerStats> = running.map(|one| self.stats(state, one)).collect();
        let at = self.clock.now();
        let cpu = |of: fn(&CpuUsage) -> Option<u64>| {
            let all = containers.iter().filter_map(|one| of(one.cpu.as_ref()?));
            Some(all.sum())
        };
        let memory = |of: fn(&MemoryUsage) -> Option<u64>| {
            let all = containers.iter().filter_map(|one| of(one.memory.as_ref()?));
            Some(all.sum())
        };
        SandboxStats {
            id: id.to_owned(),
            metadata: sandbox.config.metadata.clone(),
            cpu: Some(CpuUsage {
                at,
                core_nanoseconds: cpu(|cpu| cpu.core_nanoseconds),
                nanocores: cpu(|cpu| cpu.nanocores),
            }),
            memory: Some(MemoryUsage {
                at,
                working_set: memory(|memory| memory.working_set),
                available: None,
                usage: memory(|memory| memory.usage),
                rss: memory(|memory| memory.rss),
                page_faults: None,
                major_page_faults: None,
            }),
            network: None,
            processes: Some(containers.len() as u64),
            containers,
        }
    }
}

#[async_trait]
impl StatsService for FakeRuntime {
    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        let state = self.inner.up()?;
        let (_, container) = state.find(id)?;
        Ok(self.inner.stats(&state, container))
    }

    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>> {
        let state = self.inner.up()?;
        let containers = state
            .sandboxes
            .values()
            .flat_map(|sandbox| &sandbox.containers);
        Ok(containers
            .filter(|container| container.is_running())
            .map(|container| self.inner.stats(&state, container))
            .collect())
    }

    async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats> {
        let state = self.inner.up()?;
        if state.no_sandbox_stats {
            return Err(Error::Unimplemented("PodSandboxStats"));
        }
        Ok(self.inner.sandbox_stats(&state, id, state.sandbox(id)?))
    }

    async fn list_sandbox_stats(&self, filter: &SandboxFilter) -> Result<Vec<SandboxStats>> {
        let state = self.inner.up()?;
        if state.no_sandbox_stats {
            return Err(Error::Unimplemented("ListPodSandboxStats"));
        }
        let sandboxes = state
            .sandboxes
            .iter()
            .filter(|(id, sandbox)| sandbox.ready && sandbox.passes(bare_id(id), filter));
        Ok(sandboxes
            .map(|(id, sandbox)| self.inner.sandbox_stats(&state, id, sandbox))
            .collect())
    }
}
