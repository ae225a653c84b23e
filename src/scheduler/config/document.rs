//! The document `KubeSchedulerConfiguration` v1: its types and defaults.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::read::{Bytes, Problems, Read, object};
use crate::object::field::Path;

/// `kubescheduler.config.k8s.io/v1 KubeSchedulerConfiguration`, with defaults filled in.
///
/// Read one with [`parse`](super::KubeSchedulerConfiguration::parse).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KubeSchedulerConfiguration {
    /// How much is done at once. Default = 16.
    pub parallelism: i32,
    /// Whether and how several schedulers elect one that acts.
    pub leader_election: LeaderElection,
    /// How the API server is reached.
    pub client_connection: ClientConnection,
    /// Taken; nothing is profiled.
    pub enable_profiling: bool,
    /// Taken; nothing is profiled.
    pub enable_contention_profiling: bool,
    /// The share of nodes, in percent, after which the search for fitting ones ends. Default = 0: by cluster size.
    pub percentage_of_nodes_to_score: i32,
    /// The first backoff of a pod that failed, in seconds. Default = 1.
    pub pod_initial_backoff_seconds: i64,
    /// The longest one. Default = 10.
    pub pod_max_backoff_seconds: i64,
    /// What is done for the pods of which scheduler name. Default = one, `default-scheduler`.
    pub profiles: Vec<KubeSchedulerProfile>,
    /// Programs that are asked beside the plugins.
    pub extenders: Vec<Extender>,
    /// Caches are filled only by the one that acts. Default = false.
    pub delay_cache_until_active: bool,
}

/// `leaderElection`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaderElection {
    /// Default = true.
    pub leader_elect: bool,
    /// How long a leader that is not heard of stays leader. Default = 15 s.
    pub lease_duration: Duration,
    /// How long the leader tries to renew. Default = 10 s.
    pub renew_deadline: Duration,
    /// How long between two tries. Default = 2 s.
    pub retry_period: Duration,
    /// `leases`, and nothing else.
    pub resource_lock: String,
    /// The name of the Lease. Default = `kube-scheduler`.
    pub resource_name: String,
    /// The namespace of the Lease. Default = `kube-system`.
    pub resource_namespace: String,
}

/// `clientConnection`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClientConnection {
    /// A file; empty: whatever the program has otherwise.
    pub kubeconfig: String,
    /// Taken; this crate's client speaks JSON.
    pub accept_content_types: String,
    /// Taken; this crate's client speaks JSON.
    pub content_type: String,
    /// Taken; requests are not limited. Default = 50.
    pub qps: f64,
    /// Taken. Default = 100.
    pub burst: i32,
}

/// One of `profiles`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KubeSchedulerProfile {
    /// Its pods have this `schedulerName`.
    pub scheduler_name: String,
    /// As that of the document, for these pods.
    pub percentage_of_nodes_to_score: Option<i32>,
    /// Which plugins are enabled, the default ones among them.
    pub plugins: Plugins,
    /// Their arguments, with defaults filled in.
    pub plugin_config: Vec<PluginConfig>,
}

/// The plugins of a profile, by extension point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plugins {
    /// `preEnqueue`
    pub pre_enqueue: PluginSet,
    /// `queueSort`
    pub queue_sort: PluginSet,
    /// `preFilter`
    pub pre_filter: PluginSet,
    /// `filter`
    pub filter: PluginSet,
    /// `postFilter`
    pub post_filter: PluginSet,
    /// `preScore`
    pub pre_score: PluginSet,
    /// `score`
    pub score: PluginSet,
    /// `reserve`
    pub reserve: PluginSet,
    /// `permit`
    pub permit: PluginSet,
    /// `preBind`
    pub pre_bind: PluginSet,
    /// `bind`
    pub bind: PluginSet,
    /// `postBind`
    pub post_bind: PluginSet,
    /// At every extension point that the plugin implements.
    pub multi_point: PluginSet,
}

/// What is enabled and disabled at an extension point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginSet {
    /// In this order.
    pub enabled: Vec<Plugin>,
    /// Of the defaults; `*` is all of them.
    pub disabled: Vec<Plugin>,
}

/// A plugin in a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// How much its score counts. 0 is 1.
    pub weight: Option<i32>,
}

/// The arguments of a plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig {
    /// The plugin's name.
    pub name: String,
    /// For plugins of this crate with all defaults filled in; for others as written.
    pub args: Value,
}

/// One of `extenders`: a program that is asked over HTTP. Verbs that are empty are not asked for.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extender {
    /// Where it is: `http://host:port/path`.
    pub url_prefix: String,
    /// Appended to the prefix to filter nodes.
    pub filter_verb: String,
    /// Appended to look at victims of preemption.
    pub preempt_verb: String,
    /// Appended to score nodes.
    pub prioritize_verb: String,
    /// How much its scores count.
    pub weight: i64,
    /// Appended to bind. One extender at most has it.
    pub bind_verb: String,
    /// Whether TLS is spoken.
    pub enable_https: bool,
    /// How.
    pub tls_config: Option<ExtenderTlsConfig>,
    /// How long a call may take. Default = 5 s.
    pub http_timeout: Duration,
    /// Whether it knows the nodes, so that their names are enough.
    pub node_cache_capable: bool,
    /// It is asked only about pods that request one of these; about all pods when there are none.
    pub managed_resources: Vec<ManagedResource>,
    /// Whether pods are scheduled when it fails.
    pub ignorable: bool,
}

/// An extended resource that an extender manages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedResource {
    /// Its name.
    pub name: String,
    /// Whether the scheduler itself does not count it.
    pub ignored_by_scheduler: bool,
}

/// How TLS is spoken with an extender.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtenderTlsConfig {
    /// Its certificate is not looked at.
    pub insecure: bool,
    /// The name that its certificate must have, instead of the host's.
    pub server_name: String,
    /// Our certificate, a PEM file.
    pub cert_file: String,
    /// Its key, a PEM file.
    pub key_file: String,
    /// Who signed the extender's certificate, a PEM file.
    pub ca_file: String,
    /// PEM; goes before the file.
    pub cert_data: Vec<u8>,
    /// PEM; goes before the file.
    pub key_data: Vec<u8>,
    /// PEM; goes before the file.
    pub ca_data: Vec<u8>,
}

impl fmt::Debug for Extender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extender")
            .field("url_prefix", &self.url_prefix)
            .field("verbs", &self.verbs())
            .field("weight", &self.weight)
            .field("node_cache_capable", &self.node_cache_capable)
            .field("ignorable", &self.ignorable)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ExtenderTlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret.
        f.debug_struct("ExtenderTlsConfig")
            .field("insecure", &self.insecure)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

impl Extender {
    /// An extender at this URL, with no verbs yet.
    #[must_use]
    pub fn new(url_prefix: impl Into<String>) -> Self {
        Self {
            url_prefix: url_prefix.into(),
            http_timeout: DEFAULT_TIMEOUT,
            ..Self::default()
        }
    }

    fn verbs(&self) -> [&str; 4] {
        [
            &self.filter_verb,
            &self.prioritize_verb,
            &self.preempt_verb,
            &self.bind_verb,
        ]
    }
}

/// How long a call of an extender may take when nothing is said.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            leader_elect: true,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            resource_lock: "leases".to_owned(),
            resource_name: "kube-scheduler".to_owned(),
            resource_namespace: "kube-system".to_owned(),
        }
    }
}

impl Default for ClientConnection {
    fn default() -> Self {
        Self {
            kubeconfig: String::new(),
            accept_content_types: String::new(),
            content_type: "application/vnd.kubernetes.protobuf".to_owned(),
            qps: 50.0,
            burst: 100,
        }
    }
}

object!(PluginSet {
    enabled: "enabled",
    disabled: "disabled"
});
object!(Plugin {
    name: "name",
    weight: "weight"
});
object!(PluginConfig {
    name: "name",
    args: "args"
});
object!(Plugins {
    pre_enqueue: "preEnqueue",
    queue_sort: "queueSort",
    pre_filter: "preFilter",
    filter: "filter",
    post_filter: "postFilter",
    pre_score: "preScore",
    score: "score",
    reserve: "reserve",
    permit: "permit",
    pre_bind: "preBind",
    bind: "bind",
    post_bind: "postBind",
    multi_point: "multiPoint",
});
object!(ManagedResource {
    name: "name",
    ignored_by_scheduler: "ignoredByScheduler"
});

/// The document as it is written.
#[derive(Debug, Default)]
pub(super) struct Written {
    #[expect(
        dead_code,
        reason = "known fields; they are looked at before the rest is read"
    )]
    api_version: String,
    #[expect(dead_code, reason = "as above")]
    kind: String,
    parallelism: Option<i32>,
    leader_election: WrittenElection,
    client_connection: WrittenConnection,
    enable_profiling: Option<bool>,
    enable_contention_profiling: Option<bool>,
    percentage_of_nodes_to_score: Option<i32>,
    pod_initial_backoff_seconds: Option<i64>,
    pod_max_backoff_seconds: Option<i64>,
    profiles: Vec<WrittenProfile>,
    extenders: Vec<Extender>,
    delay_cache_until_active: bool,
}
object!(Written {
    api_version: "apiVersion",
    kind: "kind",
    parallelism: "parallelism",
    leader_election: "leaderElection",
    client_connection: "clientConnection",
    enable_profiling: "enableProfiling",
    enable_contention_profiling: "enableContentionProfiling",
    percentage_of_nodes_to_score: "percentageOfNodesToScore",
    pod_initial_backoff_seconds: "podInitialBackoffSeconds",
    pod_max_backoff_seconds: "podMaxBackoffSeconds",
    profiles: "profiles",
    extenders: "extenders",
    delay_cache_until_active: "delayCacheUntilActive",
});

#[derive(Debug, Default)]
struct WrittenElection {
    leader_elect: Option<bool>,
    lease_duration: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
    resource_lock: String,
    resource_name: String,
    resource_namespace: String,
}
object!(WrittenElection {
    leader_elect: "leaderElect",
    lease_duration: "leaseDuration",
    renew_deadline: "renewDeadline",
    retry_period: "retryPeriod",
    resource_lock: "resourceLock",
    resource_name: "resourceName",
    resource_namespace: "resourceNamespace",
});

#[derive(Debug, Default)]
struct WrittenConnection {
    kubeconfig: String,
    accept_content_types: String,
    content_type: String,
    qps: f64,
    burst: i32,
}
object!(WrittenConnection {
    kubeconfig: "kubeconfig",
    accept_content_types: "acceptContentTypes",
    content_type: "contentType",
    qps: "qps",
    burst: "burst",
});

#[derive(Debug, Default)]
struct WrittenProfile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i32>,
    plugins: Plugins,
    plugin_config: Vec<PluginConfig>,
}
object!(WrittenProfile {
    scheduler_name: "schedulerName",
    percentage_of_nodes_to_score: "percentageOfNodesToScore",
    plugins: "plugins",
    plugin_config: "pluginConfig",
});

impl Read for Extender {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        let mut fields = super::read::Fields::open(value, path, problems);
        let read = Self {
            url_prefix: fields.field("urlPrefix", problems),
            filter_verb: fields.field("filterVerb", problems),
            preempt_verb: fields.field("preemptVerb", problems),
            prioritize_verb: fields.field("prioritizeVerb", problems),
            weight: fields.field("weight", problems),
            bind_verb: fields.field("bindVerb", problems),
            enable_https: fields.field("enableHTTPS", problems),
            tls_config: fields.field("tlsConfig", problems),
            http_timeout: or(fields.field("httpTimeout", problems), DEFAULT_TIMEOUT),
            node_cache_capable: fields.field("nodeCacheCapable", problems),
            managed_resources: fields.field("managedResources", problems),
            ignorable: fields.field("ignorable", problems),
        };
        fields.close(problems);
        read
    }
}

impl Read for ExtenderTlsConfig {
    fn read(value: &Value, path: &Path, problems: &mut Problems) -> Self {
        let mut fields = super::read::Fields::open(value, path, problems);
        let read = Self {
            insecure: fields.field("insecure", problems),
            server_name: fields.field("serverName", problems),
            cert_file: fields.field("certFile", problems),
            key_file: fields.field("keyFile", problems),
            ca_file: fields.field("caFile", problems),
            cert_data: fields.field::<Bytes>("certData", problems).0,
            key_data: fields.field::<Bytes>("keyData", problems).0,
            ca_data: fields.field::<Bytes>("caData", problems).0,
        };
        fields.close(problems);
        read
    }
}

/// Go's zero value means the default.
fn or<T: Default + PartialEq>(value: T, default: T) -> T {
    if value == T::default() {
        default
    } else {
        value
    }
}

impl Written {
    /// Fills in the defaults. Plugins are merged and arguments read elsewhere.
    pub(super) fn complete(self) -> KubeSchedulerConfiguration {
        let (election, connection) = (self.leader_election, self.client_connection);
        let (e, c) = (LeaderElection::default(), ClientConnection::default());
        let mut profiles = self.profiles;
        if profiles.is_empty() {
            profiles.push(WrittenProfile::default());
        }
        // Of several profiles each has to say its name.
        if let [only] = profiles.as_mut_slice() {
            only.scheduler_name
                .get_or_insert_with(|| "default-scheduler".to_owned());
        }
        KubeSchedulerConfiguration {
            parallelism: self.parallelism.unwrap_or(16),
            leader_election: LeaderElection {
                leader_elect: election.leader_elect.unwrap_or(true),
                lease_duration: or(election.lease_duration, e.lease_duration),
                renew_deadline: or(election.renew_deadline, e.renew_deadline),
                retry_period: or(election.retry_period, e.retry_period),
                resource_lock: or(election.resource_lock, e.resource_lock),
                resource_name: or(election.resource_name, e.resource_name),
                resource_namespace: or(election.resource_namespace, e.resource_namespace),
            },
            client_connection: ClientConnection {
                kubeconfig: connection.kubeconfig,
                accept_content_types: connection.accept_content_types,
                content_type: or(connection.content_type, c.content_type),
                qps: or(connection.qps, c.qps),
                burst: or(connection.burst, c.burst),
            },
            enable_profiling: self.enable_profiling.unwrap_or(true),
            enable_contention_profiling: self
                .enable_contention_profiling
                .unwrap_or_else(|| self.enable_profiling.unwrap_or(true)),
            percentage_of_nodes_to_score: self.percentage_of_nodes_to_score.unwrap_or(0),
            pod_initial_backoff_seconds: self.pod_initial_backoff_seconds.unwrap_or(1),
            pod_max_backoff_seconds: self.pod_max_backoff_seconds.unwrap_or(10),
            profiles: profiles
                .into_iter()
                .map(|profile| KubeSchedulerProfile {
                    scheduler_name: profile.scheduler_name.unwrap_or_default(),
                    percentage_of_nodes_to_score: profile.percentage_of_nodes_to_score,
                    plugins: profile.plugins,
                    plugin_config: profile.plugin_config,
                })
                .collect(),
            extenders: self.extenders,
            delay_cache_until_active: self.delay_cache_until_active,
        }
    }
}
