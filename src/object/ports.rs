//! Host ports: what a pod takes of its node's ports.

use k8s_openapi::api::core::v1::PodSpec;

/// A port of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The node's address; `0.0.0.0`: all of them.
    pub address: String,
    /// The number.
    pub number: i32,
}

impl HostPort {
    /// The host ports of a pod: of its containers and sidecars.
    pub fn of_pod(spec: &PodSpec) -> impl Iterator<Item = Self> {
        let sidecars = spec.init_containers.iter().flatten();
        let sidecars =
            sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = spec
            .containers
            .iter()
            .chain(sidecars)
            .flat_map(|container| container.ports.iter().flatten());
        ports.filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let address = port.host_ip.clone().filter(|address| !address.is_empty());
            Some(Self {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                number,
            })
        })
    }

    /// Whether two pods cannot have these on one node: the same address, or either wants all addresses.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |port: &Self| port.address == "0.0.0.0";
        self.protocol == other.protocol
            && self.number == other.number
            && (self.address == other.address || any(self) || any(other))
    }
}
