//! CRI messages as plain types. What a runtime leaves out becomes empty.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use k8s_cri::v1;

use super::IMAGE;
use crate::cri::{
    Container, ContainerEntry, ContainerPhase, ContainerState, ContainerStats, ContainerUser,
    CpuUsage, FilesystemUsage, IdMapping, Image, ImageSpec, InterfaceUsage, LinuxResources,
    MemoryUsage, Mount, NetworkUsage, Propagation, RuntimeCondition, RuntimeHandler, RuntimeStatus,
    Sandbox, SandboxEntry, SandboxMetadata, SandboxStats, SwapUsage,
};

fn map<V>(map: HashMap<String, V>) -> BTreeMap<String, V> {
    map.into_iter().collect()
}

/// A time in nanoseconds since 1970.
pub(super) fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An id with the runtime's scheme.
pub(super) fn id(scheme: &str, id: &str) -> String {
    format!("{scheme}://{id}")
}

pub(super) fn image(image: v1::Image) -> Image {
    Image {
        id: image.id,
        repo_tags: image.repo_tags,
        repo_digests: image.repo_digests,
        size: image.size,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
        pinned: image.pinned,
    }
}

pub(super) fn filesystem(usage: v1::FilesystemUsage) -> FilesystemUsage {
    FilesystemUsage {
        at: time(usage.timestamp),
        mountpoint: usage.fs_id.map(|id| id.mountpoint).unwrap_or_default(),
        used_bytes: usage.used_bytes.map_or(0, |used| used.value),
        inodes_used: usage.inodes_used.map_or(0, |used| used.value),
    }
}

pub(super) fn metadata(metadata: Option<v1::PodSandboxMetadata>) -> SandboxMetadata {
    let metadata = metadata.unwrap_or_default();
    SandboxMetadata {
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        attempt: metadata.attempt,
    }
}

fn is_ready(state: i32) -> bool {
    state == i32::from(v1::PodSandboxState::SandboxReady)
}

pub(super) fn sandbox_entry(sandbox: v1::PodSandbox) -> SandboxEntry {
    SandboxEntry {
        id: sandbox.id,
        metadata: metadata(sandbox.metadata),
        ready: is_ready(sandbox.state),
        created: time(sandbox.created_at),
        labels: map(sandbox.labels),
        annotations: map(sandbox.annotations),
        runtime_handler: sandbox.runtime_handler,
    }
}

pub(super) fn sandbox(status: v1::PodSandboxStatus) -> Sandbox {
    let network = status.network.unwrap_or_default();
    let options = status.linux.and_then(|linux| linux.namespaces?.options);
    Sandbox {
        id: status.id,
        metadata: metadata(status.metadata),
        ready: is_ready(status.state),
        created: time(status.created_at),
        ip: network.ip,
        additional_ips: network.additional_ips.into_iter().map(|ip| ip.ip).collect(),
        host_network: options
            .is_some_and(|options| options.network == i32::from(v1::NamespaceMode::Node)),
        labels: map(status.labels),
        annotations: map(status.annotations),
        runtime_handler: status.runtime_handler,
        containers: Vec::new(),
    }
}

fn phase(state: i32) -> ContainerPhase {
    match v1::ContainerState::try_from(state) {
        Ok(v1::ContainerState::ContainerCreated) => ContainerPhase::Created,
        Ok(v1::ContainerState::ContainerRunning) => ContainerPhase::Running,
        Ok(v1::ContainerState::ContainerExited) => ContainerPhase::Exited,
        Ok(v1::ContainerState::ContainerUnknown) | Err(_) => ContainerPhase::Unknown,
    }
}

pub(super) fn container_entry(scheme: &str, mut container: v1::Container) -> ContainerEntry {
    let image = image_name(&mut container.annotations, container.image);
    let metadata = container.metadata.unwrap_or_default();
    ContainerEntry {
        id: id(scheme, &container.id),
        sandbox: container.pod_sandbox_id,
        name: metadata.name,
        attempt: metadata.attempt,
        image,
        image_id: container.image_ref,
        phase: phase(container.state),
        created: time(container.created_at),
        labels: map(container.labels),
        annotations: map(container.annotations),
    }
}

/// The name that the pod used, else the one that the runtime uses.
fn image_name(annotations: &mut HashMap<String, String>, image: Option<v1::ImageSpec>) -> String {
    if let Some(kept) = annotations.remove(IMAGE) {
        return kept;
    }
    let image = image.unwrap_or_default();
    if image.user_specified_image.is_empty() {
        image.image
    } else {
        image.user_specified_image
    }
}

pub(super) fn container(scheme: &str, mut status: v1::ContainerStatus) -> Container {
    let image = image_name(&mut status.annotations, status.image);
    let started = time(status.started_at);
    let state = match phase(status.state) {
        ContainerPhase::Created => ContainerState::Created,
        ContainerPhase::Running => ContainerState::Running { started },
        ContainerPhase::Exited => ContainerState::Exited {
            started,
            finished: time(status.finished_at),
            code: status.exit_code,
            reason: status.reason,
            message: status.message,
        },
        ContainerPhase::Unknown => ContainerState::Unknown,
    };
    let metadata = status.metadata.unwrap_or_default();
    Container {
        id: id(scheme, &status.id),
        name: metadata.name,
        attempt: metadata.attempt,
        image,
        image_id: status.image_ref,
        state,
        created: time(status.created_at),
        labels: map(status.labels),
        annotations: map(status.annotations),
        mounts: status.mounts.into_iter().map(mount).collect(),
        log_path: status.log_path,
        resources: status
            .resources
            .and_then(|resources| resources.linux)
            .map(resources),
        user: status
            .user
            .and_then(|user| user.linux)
            .map(|user| ContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: user.supplemental_groups,
            }),
    }
}

fn ids(mappings: Vec<v1::IdMapping>) -> Vec<IdMapping> {
    let one = |mapping: v1::IdMapping| IdMapping {
        host: mapping.host_id,
        container: mapping.container_id,
        length: mapping.length,
    };
    mappings.into_iter().map(one).collect()
}

fn mount(mount: v1::Mount) -> Mount {
    let propagation = match v1::MountPropagation::try_from(mount.propagation) {
        Ok(v1::MountPropagation::PropagationHostToContainer) => Propagation::HostToContainer,
        Ok(v1::MountPropagation::PropagationBidirectional) => Propagation::Bidirectional,
        _ => Propagation::Private,
    };
    Mount {
        container_path: mount.container_path,
        host_path: mount.host_path,
        readonly: mount.readonly,
        recursive_readonly: mount.recursive_read_only,
        selinux_relabel: mount.selinux_relabel,
        propagation,
        id_mappings: (ids(mount.uid_mappings), ids(mount.gid_mappings)),
        image: mount.image.map(|image| ImageSpec {
            image: image.image,
            annotations: map(image.annotations),
            runtime_handler: image.runtime_handler,
        }),
    }
}

fn resources(resources: v1::LinuxContainerResources) -> LinuxResources {
    let pages = resources.hugepage_limits.into_iter();
    LinuxResources {
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_shares: resources.cpu_shares,
        memory_limit: resources.memory_limit_in_bytes,
        memory_swap_limit: resources.memory_swap_limit_in_bytes,
        oom_score_adj: resources.oom_score_adj,
        cpuset_cpus: resources.cpuset_cpus,
        cpuset_mems: resources.cpuset_mems,
        hugepage_limits: pages.map(|page| (page.page_size, page.limit)).collect(),
        unified: map(resources.unified),
    }
}

pub(super) fn status(response: v1::StatusResponse) -> RuntimeStatus {
    let conditions = response.status.unwrap_or_default().conditions;
    let condition = |condition: v1::RuntimeCondition| RuntimeCondition {
        type_: condition.r#type,
        status: condition.status,
        reason: condition.reason,
        message: condition.message,
    };
    let handler = |handler: v1::RuntimeHandler| {
        let features = handler.features.unwrap_or_default();
        RuntimeHandler {
            name: handler.name,
            recursive_readonly_mounts: features.recursive_read_only_mounts,
            user_namespaces: features.user_namespaces,
        }
    };
    RuntimeStatus {
        conditions: conditions.into_iter().map(condition).collect(),
        handlers: response.runtime_handlers.into_iter().map(handler).collect(),
    }
}

fn value(value: Option<v1::UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

fn cpu(cpu: v1::CpuUsage) -> CpuUsage {
    CpuUsage {
        at: time(cpu.timestamp),
        core_nanoseconds: value(cpu.usage_core_nano_seconds),
        nanocores: value(cpu.usage_nano_cores),
    }
}

fn memory(memory: v1::MemoryUsage) -> MemoryUsage {
    MemoryUsage {
        at: time(memory.timestamp),
        working_set: value(memory.working_set_bytes),
        available: value(memory.available_bytes),
        usage: value(memory.usage_bytes),
        rss: value(memory.rss_bytes),
        page_faults: value(memory.page_faults),
        major_page_faults: value(memory.major_page_faults),
    }
}

pub(super) fn container_stats(scheme: &str, stats: v1::ContainerStats) -> ContainerStats {
    let attributes = stats.attributes.unwrap_or_default();
    let metadata = attributes.metadata.unwrap_or_default();
    ContainerStats {
        id: id(scheme, &attributes.id),
        name: metadata.name,
        attempt: metadata.attempt,
        labels: map(attributes.labels),
        cpu: stats.cpu.map(cpu),
        memory: stats.memory.map(memory),
        swap: stats.swap.map(|swap| SwapUsage {
            at: time(swap.timestamp),
            available: value(swap.swap_available_bytes),
            usage: value(swap.swap_usage_bytes),
        }),
        writable_layer: stats.writable_layer.map(filesystem),
    }
}

fn interface(usage: v1::NetworkInterfaceUsage) -> InterfaceUsage {
    InterfaceUsage {
        name: usage.name,
        rx_bytes: value(usage.rx_bytes),
        rx_errors: value(usage.rx_errors),
        tx_bytes: value(usage.tx_bytes),
        tx_errors: value(usage.tx_errors),
    }
}

pub(super) fn sandbox_stats(scheme: &str, stats: v1::PodSandboxStats) -> SandboxStats {
    let attributes = stats.attributes.unwrap_or_default();
    let linux = stats.linux.unwrap_or_default();
    SandboxStats {
        id: attributes.id,
        metadata: metadata(attributes.metadata),
        cpu: linux.cpu.map(cpu),
        memory: linux.memory.map(memory),
        network: linux.network.map(|network| NetworkUsage {
            at: time(network.timestamp),
            default_interface: network.default_interface.map(interface),
            interfaces: network.interfaces.into_iter().map(interface).collect(),
        }),
        processes: linux
            .process
            .and_then(|process| value(process.process_count)),
        containers: linux
            .containers
            .into_iter()
            .map(|container| container_stats(scheme, container))
            .collect(),
    }
}
