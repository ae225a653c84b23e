//! What every agent does for its node: registers it, keeps its lease, reports that it is ready.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::client;
use crate::clock::Clock;
use crate::reconcile::Error;

/// How often a lease is renewed.
pub(super) const RENEW: Duration = Duration::from_secs(10);
/// How long a lease that is not renewed is good for, in seconds.
const LEASE_SECONDS: i32 = 40;
/// Where leases of nodes are.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What a node is like.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    pub(super) name: String,
    pub(super) capacity: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    pub(super) address: String,
    pub(super) agent_port: u16,
}

impl NodeSpec {
    /// A node of this name with 4 cores, 16 GiB of memory, 100 GiB of disk and room for 110 pods.
    pub fn new(name: impl Into<String>) -> Self {
        let capacity = [
            ("cpu", "4"),
            ("memory", "16Gi"),
            ("ephemeral-storage", "100Gi"),
            ("pods", "110"),
        ];
        Self {
            name: name.into(),
            capacity: capacity
                .map(|(name, amount)| (name.to_owned(), amount.to_owned()))
                .into(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            address: "192.168.0.1".to_owned(),
            agent_port: 10_250,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much it has of a resource: `("cpu", "8")`.
    #[must_use]
    pub fn capacity(mut self, resource: impl Into<String>, amount: impl Into<String>) -> Self {
        self.capacity.insert(resource.into(), amount.into());
        self
    }

    /// A label, besides the well-known ones.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// A taint it registers with.
    #[must_use]
    pub fn taint(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
        effect: impl Into<String>,
    ) -> Self {
        let (key, value, effect) = (key.into(), Some(value.into()), effect.into());
        self.taints.push(Taint {
            key,
            value,
            effect,
            ..Taint::default()
        });
        self
    }

    /// Its address. Default = 192.168.0.1.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Where its agent's server listens. Default = 10250.
    #[must_use]
    pub fn agent_port(mut self, port: u16) -> Self {
        self.agent_port = port;
        self
    }

    /// Has the processors and the memory of this machine. What cannot be found out stays as it was.
    #[must_use]
    pub fn of_this_machine(self) -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
        let memory = memory.map(|kib| format!("{kib}Ki"));
        let cpus = std::thread::available_parallelism().map(|cpus| cpus.to_string());
        let mut spec = self;
        if let Ok(cpus) = cpus {
            spec = spec.capacity("cpu", cpus);
        }
        match memory {
            Some(memory) => spec.capacity("memory", memory),
            None => spec,
        }
    }

    /// Registers the node, or tells that it is back: what every agent begins with.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn register(&self, client: &kube::Client, clock: &Clock) -> Result<Node, Error> {
        register(client, clock, self, &self.status(clock.now())).await
    }

    /// Keeps the node's lease until it is dropped, so that the control plane takes the node for alive: what every agent does
    /// beside its pods.
    pub async fn keep_alive(&self, client: &kube::Client, clock: &Clock, node: &Node) {
        loop {
            tokio::time::sleep(RENEW).await;
            if let Err(error) = renew(client, clock, node).await {
                tracing::warn!(%error, node = %self.name, "the lease could not be renewed");
            }
        }
    }

    pub(super) fn node(&self, status: &Value) -> Value {
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ] {
            labels
                .entry(key.to_owned())
                .or_insert_with(|| value.to_owned());
        }
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {"taints": self.taints},
            "status": status,
        })
    }

    pub(super) fn status(&self, now: Timestamp) -> Value {
        json!({
            "capacity": self.capacity, "allocatable": self.capacity, "conditions": conditions(now),
            "addresses": [{"type": "InternalIP", "address": self.address}, {"type": "Hostname", "address": self.name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.agent_port}},
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.0", "kubeProxyVersion": "",
                "containerRuntimeVersion": "fake://1.0.0", "osImage": "homeostat", "kernelVersion": "6.0.0",
                "machineID": self.name, "systemUUID": self.name, "bootID": self.name,
            },
        })
    }
}

/// A feature that nodes declare: they can start all containers of a pod again when one ends so.
pub(super) const RESTARTS_ALL: &str = "RestartAllContainersOnContainerExits";

/// The conditions of a healthy node: type, status, reason and message.
pub(super) const HEALTHY: [(&str, &str, &str, &str); 4] = [
    (
        "MemoryPressure",
        "False",
        "KubeletHasSufficientMemory",
        "kubelet has sufficient memory available",
    ),
    (
        "DiskPressure",
        "False",
        "KubeletHasNoDiskPressure",
        "kubelet has no disk pressure",
    ),
    (
        "PIDPressure",
        "False",
        "KubeletHasSufficientPID",
        "kubelet has sufficient PID available",
    ),
    (
        "Ready",
        "True",
        "KubeletReady",
        "kubelet is posting ready status",
    ),
];

fn conditions(now: Timestamp) -> Vec<Value> {
    let now = rfc3339(now);
    let condition = |(type_, status, reason, message)| {
        json!({
            "type": type_, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    HEALTHY.into_iter().map(condition).collect()
}

/// A time as the API writes it, to the second.
pub(super) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Registers the node with this status, or tells that it is back.
pub(super) async fn register(
    client: &kube::Client,
    clock: &Clock,
    spec: &NodeSpec,
    status: &Value,
) -> Result<Node, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(spec.node(status))?;
    let node = match nodes.create(&PostParams::default(), &node).await {
        Ok(node) => node,
        Err(error) if client::is_already_exists(&error) => report(client, spec, status).await?,
        Err(error) => return Err(error.into()),
    };
    renew(client, clock, &node).await?;
    Ok(node)
}

/// Writes a status of the node.
pub(super) async fn report(
    client: &kube::Client,
    spec: &NodeSpec,
    status: &Value,
) -> Result<Node, Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = json!({"status": status});
    Ok(nodes
        .patch_status(
            &spec.name,
            &PatchParams::default(),
            &Patch::Strategic(patch),
        )
        .await?)
}

/// Renews the node's lease, or makes it.
pub(super) async fn renew(client: &kube::Client, clock: &Clock, node: &Node) -> Result<(), Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let name = node.metadata.name.clone().unwrap_or_default();
    let renew_time = MicroTime(clock.now());
    let patch = json!({"spec": {"renewTime": renew_time}});
    match leases
        .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if client::is_not_found(&error) => {
            let owner = OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: name.clone(),
                uid: node.metadata.uid.clone().unwrap_or_default(),
                ..OwnerReference::default()
            };
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    owner_references: Some(vec![owner]),
                    ..ObjectMeta::default()
                },
                spec: Some(LeaseSpec {
                    holder_identity: Some(name),
                    lease_duration_seconds: Some(LEASE_SECONDS),
                    renew_time: Some(renew_time),
                    ..LeaseSpec::default()
                }),
                ..Lease::default()
            };
            leases.create(&PostParams::default(), &lease).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
