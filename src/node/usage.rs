//! What the sandboxes of a node use, whatever of it their runtime says.

use std::collections::BTreeMap;

use crate::cri::{
    ContainerRuntime, CpuUsage, MemoryUsage, Result, SandboxFilter, SandboxStats, labels,
};

/// What the sandboxes use; of containers whose sandboxes do not say, what they use themselves.
pub(super) async fn sandboxes(runtime: &dyn ContainerRuntime) -> Result<Vec<SandboxStats>> {
    let filter = SandboxFilter::default();
    let mut sandboxes = match runtime.list_sandbox_stats(&filter).await {
        Ok(sandboxes) => sandboxes,
        // The runtime does not know the call; or a sandbox has no control group of its own, for which containerd fails for all.
        Err(error) if !error.is_temporary() => by_container(runtime).await?,
        Err(error) => return Err(error),
    };
    for sandbox in &mut sandboxes {
        if sandbox.cpu.is_none() {
            sandbox.cpu = sum_cpu(sandbox.containers.iter().filter_map(|one| one.cpu.as_ref()));
        }
        if sandbox.memory.is_none() {
            let each = sandbox.containers.iter();
            sandbox.memory = sum_memory(each.filter_map(|one| one.memory.as_ref()));
        }
    }
    Ok(sandboxes)
}

/// What sandboxes use by the containers in them; nothing is told of their networks.
async fn by_container(runtime: &dyn ContainerRuntime) -> Result<Vec<SandboxStats>> {
    let mut found: BTreeMap<String, SandboxStats> = BTreeMap::new();
    for container in runtime.list_container_stats().await? {
        let label = |name: &str| container.labels.get(name).cloned().unwrap_or_default();
        let uid = label(labels::POD_UID);
        let sandbox = found.entry(uid.clone()).or_default();
        sandbox.id.clone_from(&uid);
        sandbox.metadata.uid = uid;
        sandbox.metadata.name = label(labels::POD_NAME);
        sandbox.metadata.namespace = label(labels::POD_NAMESPACE);
        sandbox.containers.push(container);
    }
    Ok(found.into_values().collect())
}

pub(super) fn sum_cpu<'a>(each: impl Iterator<Item = &'a CpuUsage> + Clone) -> Option<CpuUsage> {
    let at = each.clone().map(|one| one.at).max()?;
    let sum = |of: fn(&CpuUsage) -> Option<u64>| {
        let all: Option<Vec<u64>> = each.clone().map(of).collect();
        all.map(|all| all.iter().sum())
    };
    Some(CpuUsage {
        at,
        core_nanoseconds: sum(|one| one.core_nanoseconds),
        nanocores: sum(|one| one.nanocores),
    })
}

pub(super) fn sum_memory<'a>(
    each: impl Iterator<Item = &'a MemoryUsage> + Clone,
) -> Option<MemoryUsage> {
    let at = each.clone().map(|one| one.at).max()?;
    let sum = |of: fn(&MemoryUsage) -> Option<u64>| {
        let all: Option<Vec<u64>> = each.clone().map(of).collect();
        all.map(|all| all.iter().sum())
    };
    Some(MemoryUsage {
        at,
        working_set: sum(|one| one.working_set),
        available: None,
        usage: sum(|one| one.usage),
        rss: sum(|one| one.rss),
        page_faults: sum(|one| one.page_faults),
        major_page_faults: sum(|one| one.major_page_faults),
    })
}
