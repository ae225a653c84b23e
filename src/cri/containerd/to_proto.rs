//! Plain types as CRI messages.

use std::collections::{BTreeMap, HashMap};

use k8s_cri::v1;

use super::IMAGE;
use crate::cri::{
    ContainerConfig, ContainerFilter, ContainerPhase, ContainerSecurity, Device, DnsConfig,
    IdMapping, ImageAuth, ImageSpec, LinuxResources, Mount, NamespaceMode, NamespaceOptions,
    PortMapping, Propagation, Protocol, SandboxConfig, SandboxFilter, SandboxMetadata,
    SandboxSecurity, SecurityProfile, SelinuxOptions, SupplementalGroupsPolicy, bare_id, labels,
};

fn map<V: Clone>(map: &BTreeMap<String, V>) -> HashMap<String, V> {
    map.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn number(value: i64) -> v1::Int64Value {
    v1::Int64Value { value }
}

pub(super) fn image(image: &ImageSpec) -> v1::ImageSpec {
    v1::ImageSpec {
        image: image.image.clone(),
        annotations: map(&image.annotations),
        user_specified_image: String::new(),
        runtime_handler: image.runtime_handler.clone(),
    }
}

pub(super) fn auth(auth: &ImageAuth) -> v1::AuthConfig {
    v1::AuthConfig {
        username: auth.username.clone(),
        password: auth.password.clone(),
        auth: auth.auth.clone(),
        server_address: auth.server_address.clone(),
        identity_token: auth.identity_token.clone(),
        registry_token: auth.registry_token.clone(),
    }
}

pub(super) fn metadata(metadata: &SandboxMetadata) -> v1::PodSandboxMetadata {
    v1::PodSandboxMetadata {
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        namespace: metadata.namespace.clone(),
        attempt: metadata.attempt,
    }
}

pub(super) fn sandbox(config: &SandboxConfig) -> v1::PodSandboxConfig {
    let mut own = config.labels.clone();
    labels::of_sandbox(&mut own, &config.metadata);
    v1::PodSandboxConfig {
        metadata: Some(metadata(&config.metadata)),
        hostname: config.hostname.clone(),
        log_directory: config.log_directory.clone(),
        dns_config: config.dns.as_ref().map(dns),
        port_mappings: config.port_mappings.iter().map(port).collect(),
        labels: map(&own),
        annotations: map(&config.annotations),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: config.cgroup_parent.clone(),
            security_context: Some(sandbox_security(&config.security)),
            sysctls: map(&config.sysctls),
            overhead: config.overhead.as_ref().map(resources),
            resources: config.resources.as_ref().map(resources),
        }),
        windows: None,
    }
}

fn dns(dns: &DnsConfig) -> v1::DnsConfig {
    v1::DnsConfig {
        servers: dns.servers.clone(),
        searches: dns.searches.clone(),
        options: dns.options.clone(),
    }
}

fn port(port: &PortMapping) -> v1::PortMapping {
    let protocol = match port.protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
        Protocol::Sctp => v1::Protocol::Sctp,
    };
    v1::PortMapping {
        protocol: protocol.into(),
        container_port: port.container_port.into(),
        host_port: port.host_port.into(),
        host_ip: port.host_ip.clone(),
    }
}

fn namespaces(options: &NamespaceOptions) -> v1::NamespaceOption {
    let mode = |mode: &NamespaceMode| -> i32 {
        match mode {
            NamespaceMode::Pod => v1::NamespaceMode::Pod.into(),
            NamespaceMode::Container => v1::NamespaceMode::Container.into(),
            NamespaceMode::Node => v1::NamespaceMode::Node.into(),
            NamespaceMode::Target(_) => v1::NamespaceMode::Target.into(),
        }
    };
    let modes = [&options.network, &options.pid, &options.ipc];
    let target = modes.into_iter().find_map(|mode| match mode {
        NamespaceMode::Target(id) => Some(bare_id(id).to_owned()),
        _ => None,
    });
    v1::NamespaceOption {
        network: mode(&options.network),
        pid: mode(&options.pid),
        ipc: mode(&options.ipc),
        target_id: target.unwrap_or_default(),
        userns_options: options
            .users
            .as_ref()
            .map(|(uids, gids)| v1::UserNamespace {
                mode: v1::NamespaceMode::Pod.into(),
                uids: ids(uids),
                gids: ids(gids),
            }),
    }
}

fn ids(mappings: &[IdMapping]) -> Vec<v1::IdMapping> {
    let one = |mapping: &IdMapping| v1::IdMapping {
        host_id: mapping.host,
        container_id: mapping.container,
        length: mapping.length,
    };
    mappings.iter().map(one).collect()
}

fn selinux(options: &SelinuxOptions) -> v1::SeLinuxOption {
    v1::SeLinuxOption {
        user: options.user.clone(),
        role: options.role.clone(),
        r#type: options.type_.clone(),
        level: options.level.clone(),
    }
}

fn profile(profile: &SecurityProfile) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (type_, path) = match profile {
        SecurityProfile::RuntimeDefault => (ProfileType::RuntimeDefault, ""),
        SecurityProfile::Unconfined => (ProfileType::Unconfined, ""),
        SecurityProfile::Localhost(path) => (ProfileType::Localhost, path.as_str()),
    };
    v1::SecurityProfile {
        profile_type: type_.into(),
        localhost_ref: path.to_owned(),
    }
}

fn policy(policy: SupplementalGroupsPolicy) -> i32 {
    match policy {
        SupplementalGroupsPolicy::Merge => v1::SupplementalGroupsPolicy::Merge.into(),
        SupplementalGroupsPolicy::Strict => v1::SupplementalGroupsPolicy::Strict.into(),
    }
}

fn sandbox_security(security: &SandboxSecurity) -> v1::LinuxSandboxSecurityContext {
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(&security.namespaces)),
        selinux_options: security.selinux.as_ref().map(selinux),
        run_as_user: security.user.uid.map(number),
        run_as_group: security.user.gid.map(number),
        readonly_rootfs: security.readonly_rootfs,
        supplemental_groups: security.user.supplemental_groups.clone(),
        supplemental_groups_policy: policy(security.user.policy),
        privileged: security.privileged,
        seccomp: security.seccomp.as_ref().map(profile),
        apparmor: security.apparmor.as_ref().map(profile),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

fn container_security(security: &ContainerSecurity) -> v1::LinuxContainerSecurityContext {
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: security.add_capabilities.clone(),
            drop_capabilities: security.drop_capabilities.clone(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: security.privileged,
        namespace_options: Some(namespaces(&security.namespaces)),
        selinux_options: security.selinux.as_ref().map(selinux),
        run_as_user: security.user.uid.map(number),
        run_as_group: security.user.gid.map(number),
        run_as_username: security.user.name.clone(),
        readonly_rootfs: security.readonly_rootfs,
        supplemental_groups: security.user.supplemental_groups.clone(),
        supplemental_groups_policy: policy(security.user.policy),
        no_new_privs: security.no_new_privileges,
        masked_paths: security.masked_paths.clone(),
        readonly_paths: security.readonly_paths.clone(),
        seccomp: security.seccomp.as_ref().map(profile),
        apparmor: security.apparmor.as_ref().map(profile),
        ..v1::LinuxContainerSecurityContext::default()
    }
}

pub(super) fn resources(resources: &LinuxResources) -> v1::LinuxContainerResources {
    let pages = resources.hugepage_limits.iter();
    v1::LinuxContainerResources {
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_shares: resources.cpu_shares,
        memory_limit_in_bytes: resources.memory_limit,
        oom_score_adj: resources.oom_score_adj,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        hugepage_limits: pages
            .map(|(size, limit)| v1::HugepageLimit {
                page_size: size.clone(),
                limit: *limit,
            })
            .collect(),
        unified: map(&resources.unified),
        memory_swap_limit_in_bytes: resources.memory_swap_limit,
    }
}

pub(super) fn container(
    config: &ContainerConfig,
    sandbox: &SandboxMetadata,
) -> v1::ContainerConfig {
    let mut own = config.labels.clone();
    labels::of_container(&mut own, sandbox, &config.name);
    let image_ref = if config.image_ref.is_empty() {
        &config.image
    } else {
        &config.image_ref
    };
    let env = config.env.iter();
    let mut annotations = map(&config.annotations);
    annotations.insert(IMAGE.to_owned(), config.image.clone());
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata {
            name: config.name.clone(),
            attempt: config.attempt,
        }),
        image: Some(v1::ImageSpec {
            image: image_ref.clone(),
            user_specified_image: config.image.clone(),
            ..v1::ImageSpec::default()
        }),
        command: config.command.clone(),
        args: config.args.clone(),
        working_dir: config.working_dir.clone(),
        envs: env
            .map(|(key, value)| v1::KeyValue {
                key: key.clone(),
                value: value.clone(),
            })
            .collect(),
        mounts: config.mounts.iter().map(mount).collect(),
        devices: config.devices.iter().map(device).collect(),
        labels: map(&own),
        annotations,
        log_path: config.log_path.clone(),
        stdin: config.stdin,
        stdin_once: config.stdin_once,
        tty: config.tty,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources(&config.resources)),
            security_context: Some(container_security(&config.security)),
        }),
        windows: None,
        cdi_devices: config
            .cdi_devices
            .iter()
            .map(|name| v1::CdiDevice { name: name.clone() })
            .collect(),
    }
}

fn mount(mount: &Mount) -> v1::Mount {
    let propagation = match mount.propagation {
        Propagation::Private => v1::MountPropagation::PropagationPrivate,
        Propagation::HostToContainer => v1::MountPropagation::PropagationHostToContainer,
        Propagation::Bidirectional => v1::MountPropagation::PropagationBidirectional,
    };
    v1::Mount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.clone(),
        readonly: mount.readonly,
        selinux_relabel: mount.selinux_relabel,
        propagation: propagation.into(),
        uid_mappings: ids(&mount.id_mappings.0),
        gid_mappings: ids(&mount.id_mappings.1),
        recursive_read_only: mount.recursive_readonly,
        image: mount.image.as_ref().map(image),
    }
}

fn device(device: &Device) -> v1::Device {
    v1::Device {
        container_path: device.container_path.clone(),
        host_path: device.host_path.clone(),
        permissions: device.permissions.clone(),
    }
}

/// The labels that a filter asks for.
fn selector(wanted: &BTreeMap<String, String>, uid: Option<&String>) -> HashMap<String, String> {
    let mut selector = map(wanted);
    if let Some(uid) = uid {
        selector.insert(labels::POD_UID.to_owned(), uid.clone());
    }
    selector
}

pub(super) fn sandbox_filter(filter: &SandboxFilter) -> v1::PodSandboxFilter {
    let state = |ready| {
        if ready {
            v1::PodSandboxState::SandboxReady
        } else {
            v1::PodSandboxState::SandboxNotready
        }
    };
    v1::PodSandboxFilter {
        id: filter.id.clone().unwrap_or_default(),
        state: filter.ready.map(|ready| v1::PodSandboxStateValue {
            state: state(ready).into(),
        }),
        label_selector: selector(&filter.labels, filter.uid.as_ref()),
    }
}

pub(super) fn stats_filter(filter: &SandboxFilter) -> v1::PodSandboxStatsFilter {
    v1::PodSandboxStatsFilter {
        id: filter.id.clone().unwrap_or_default(),
        label_selector: selector(&filter.labels, filter.uid.as_ref()),
    }
}

pub(super) fn container_filter(filter: &ContainerFilter) -> v1::ContainerFilter {
    let state = |phase| match phase {
        ContainerPhase::Created => v1::ContainerState::ContainerCreated,
        ContainerPhase::Running => v1::ContainerState::ContainerRunning,
        ContainerPhase::Exited => v1::ContainerState::ContainerExited,
        ContainerPhase::Unknown => v1::ContainerState::ContainerUnknown,
    };
    let id = filter.id.as_deref().map(bare_id).unwrap_or_default();
    v1::ContainerFilter {
        id: id.to_owned(),
        state: filter.phase.map(|phase| v1::ContainerStateValue {
            state: state(phase).into(),
        }),
        pod_sandbox_id: filter.sandbox.clone().unwrap_or_default(),
        label_selector: selector(&filter.labels, filter.uid.as_ref()),
    }
}
