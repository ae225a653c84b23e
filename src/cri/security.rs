//! Under whose name and with which rights a sandbox and its containers run.

/// Whose namespace a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NamespaceMode {
    /// The pod's.
    #[default]
    Pod,
    /// Its own.
    Container,
    /// The node's.
    Node,
    /// That of another container of the pod, by id.
    Target(String),
}

/// A range of ids of a user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdMapping {
    /// The first id outside.
    pub host: u32,
    /// The first id inside.
    pub container: u32,
    /// How many.
    pub length: u32,
}

/// Which namespaces are shared. Default: the pod shares network and IPC, each container has its own processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceOptions {
    /// The network: the pod's or the node's.
    pub network: NamespaceMode,
    /// Processes.
    pub pid: NamespaceMode,
    /// Inter-process communication: the pod's or the node's.
    pub ipc: NamespaceMode,
    /// The pod's own users: the mapping of uids and of gids; `None`: the node's users.
    pub users: Option<(Vec<IdMapping>, Vec<IdMapping>)>,
}

impl Default for NamespaceOptions {
    fn default() -> Self {
        Self {
            network: NamespaceMode::Pod,
            pid: NamespaceMode::Container,
            ipc: NamespaceMode::Pod,
            users: None,
        }
    }
}

/// SELinux labels; empty parts are the runtime's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelinuxOptions {
    /// The user.
    pub user: String,
    /// The role.
    pub role: String,
    /// The type.
    pub type_: String,
    /// The level.
    pub level: String,
}

/// A seccomp or AppArmor profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecurityProfile {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    #[default]
    Unconfined,
    /// One of the machine: the path of a seccomp profile, the name of an AppArmor one.
    Localhost(String),
}

/// How a process comes to its supplementary groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SupplementalGroupsPolicy {
    /// Those given, and those the image's `/etc/group` has for the user.
    #[default]
    Merge,
    /// Those given.
    Strict,
}

/// Whom a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user, by number; `None`: by name, else the image's.
    pub uid: Option<i64>,
    /// The user, by name; empty: the image's. Only for containers.
    pub name: String,
    /// The group; `None`: the user's. Needs a user.
    pub gid: Option<i64>,
    /// More groups.
    pub supplemental_groups: Vec<i64>,
    /// How these are meant.
    pub policy: SupplementalGroupsPolicy,
}

/// Rights of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxSecurity {
    /// Which namespaces are shared.
    pub namespaces: NamespaceOptions,
    /// SELinux labels.
    pub selinux: Option<SelinuxOptions>,
    /// Whom its own process runs as.
    pub user: User,
    /// Whether its root file system is read-only.
    pub readonly_rootfs: bool,
    /// Whether a container of it is privileged.
    pub privileged: bool,
    /// The seccomp profile; `None`: the runtime's choice.
    pub seccomp: Option<SecurityProfile>,
    /// The AppArmor profile; `None`: the runtime's choice.
    pub apparmor: Option<SecurityProfile>,
}

/// Rights of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSecurity {
    /// Capabilities to add, without `CAP_`; `ALL`: all.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop; `ALL`: all.
    pub drop_capabilities: Vec<String>,
    /// Whether it has all rights of the node's root.
    pub privileged: bool,
    /// Which namespaces are shared.
    pub namespaces: NamespaceOptions,
    /// SELinux labels.
    pub selinux: Option<SelinuxOptions>,
    /// Whom it runs as.
    pub user: User,
    /// Whether its root file system is read-only.
    pub readonly_rootfs: bool,
    /// Whether a process may get no more rights than its parent.
    pub no_new_privileges: bool,
    /// Paths that are hidden.
    pub masked_paths: Vec<String>,
    /// Paths that are read-only.
    pub readonly_paths: Vec<String>,
    /// The seccomp profile; `None`: the runtime's choice.
    pub seccomp: Option<SecurityProfile>,
    /// The AppArmor profile; `None`: the runtime's choice.
    pub apparmor: Option<SecurityProfile>,
}
