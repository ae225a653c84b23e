//! What a pod's sandbox is made from: its name in the network, resolver, ports, kernel parameters. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::config::KubeletConfig;
use super::{limits, plan, rights};
use crate::cri::{DnsConfig, PortMapping, Protocol, SandboxConfig, SandboxMetadata};

/// The kernel's longest host name.
const LONGEST_NAME: usize = 63;

/// The configuration of the pod's sandbox, the `attempt`th after others.
pub(super) fn of(pod: &Pod, config: &KubeletConfig, attempt: u32) -> SandboxConfig {
    let meta = &pod.metadata;
    let metadata = SandboxMetadata {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        attempt,
    };
    let log_directory = config.logs.as_ref().map_or_else(String::new, |logs| {
        let SandboxMetadata {
            namespace,
            name,
            uid,
            ..
        } = &metadata;
        format!("{logs}/{namespace}_{name}_{uid}")
    });
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let sysctls = spec
        .security_context
        .iter()
        .flat_map(|context| context.sysctls.iter().flatten());
    SandboxConfig {
        hostname: hostname(pod, spec, config),
        log_directory,
        dns: dns(spec, &metadata.namespace, config),
        port_mappings: ports(spec),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        cgroup_parent: config
            .cgroup_root
            .as_ref()
            .map_or_else(String::new, |root| limits::cgroup(root, pod)),
        sysctls: sysctls
            .map(|sysctl| (sysctl.name.clone(), sysctl.value.clone()))
            .collect::<BTreeMap<_, _>>(),
        security: rights::of_sandbox(pod),
        metadata,
        ..SandboxConfig::default()
    }
}

fn hostname(pod: &Pod, spec: &PodSpec, config: &KubeletConfig) -> String {
    if spec.host_network == Some(true) {
        return String::new();
    }
    let given = spec.hostname.as_deref().filter(|name| !name.is_empty());
    let name = given.or(pod.metadata.name.as_deref()).unwrap_or_default();
    let short: String = name.chars().take(LONGEST_NAME).collect();
    let short = short.trim_end_matches(['-', '.']);
    let subdomain = spec.subdomain.as_deref().filter(|name| !name.is_empty());
    match subdomain {
        Some(subdomain) if spec.set_hostname_as_fqdn == Some(true) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            format!(
                "{short}.{subdomain}.{namespace}.svc.{}",
                config.cluster_domain
            )
        }
        _ => short.to_owned(),
    }
}

/// How names are resolved; `None`: as on the node.
fn dns(spec: &PodSpec, namespace: &str, config: &KubeletConfig) -> Option<DnsConfig> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let by_cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => spec.host_network != Some(true),
        _ => false,
    } && !config.cluster_dns.is_empty();
    let mut dns = if by_cluster {
        let domain = &config.cluster_domain;
        DnsConfig {
            servers: config.cluster_dns.clone(),
            searches: vec![
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.clone(),
            ],
            options: vec!["ndots:5".to_owned()],
        }
    } else if policy == "None" {
        DnsConfig::default()
    } else {
        // What the pod adds is added to nothing: the node's own resolver is taken whole.
        return None;
    };
    let Some(own) = &spec.dns_config else {
        return Some(dns);
    };
    let add = |list: &mut Vec<String>, more: &Option<Vec<String>>| {
        for item in more.iter().flatten() {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
    };
    add(&mut dns.servers, &own.nameservers);
    add(&mut dns.searches, &own.searches);
    for option in own.options.iter().flatten() {
        let name = option.name.as_deref().unwrap_or_default();
        // The pod's own value comes in place of the one that was there.
        dns.options
            .retain(|have| have.split(':').next() != Some(name));
        dns.options.push(match option.value.as_deref() {
            Some(value) if !value.is_empty() => format!("{name}:{value}"),
            _ => name.to_owned(),
        });
    }
    Some(dns)
}

fn ports(spec: &PodSpec) -> Vec<PortMapping> {
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    let ports = plan::all(spec).flat_map(|container| container.ports.iter().flatten());
    let mappings = ports.filter_map(|port| {
        let number = |number: i32| u16::try_from(number).ok().filter(|number| *number > 0);
        Some(PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            container_port: number(port.container_port)?,
            host_port: number(port.host_port?)?,
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
    });
    mappings.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(spec: Value) -> SandboxConfig {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec,
        }))
        .unwrap();
        let config = KubeletConfig {
            cluster_dns: vec!["10.0.0.10".to_owned()],
            logs: Some("/logs".to_owned()),
            ..KubeletConfig::default()
        };
        of(&pod, &config, 2)
    }

    #[test]
    fn names() {
        for (spec, expected) in [
            (json!({"containers": []}), "p"),
            (
                json!({"containers": [], "hostname": "h", "subdomain": "s"}),
                "h",
            ),
            (
                json!({"containers": [], "subdomain": "s", "setHostnameAsFQDN": true}),
                "p.s.n.svc.cluster.local",
            ),
            (json!({"containers": [], "hostNetwork": true}), ""),
        ] {
            assert_eq!(made(spec.clone()).hostname, expected, "{spec}");
        }
        let made = made(json!({"containers": []}));
        assert_eq!(made.log_directory, "/logs/n_p_u");
        assert_eq!(made.metadata.attempt, 2);
    }

    #[test]
    fn resolvers() {
        let dns = |spec: Value| made(spec).dns;
        let cluster = dns(json!({"containers": []})).unwrap();
        assert_eq!(cluster.servers, ["10.0.0.10"]);
        assert_eq!(
            cluster.searches,
            ["n.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        );
        assert_eq!(dns(json!({"containers": [], "hostNetwork": true})), None);
        assert_eq!(dns(json!({"containers": [], "dnsPolicy": "Default"})), None);
        let own = dns(json!({
            "containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
        }))
        .unwrap();
        assert_eq!(own.servers, ["1.1.1.1"]);
        assert_eq!(own.options, ["ndots:2", "edns0"]);
        let mixed = dns(json!({
            "containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
        }));
        assert_eq!(mixed.unwrap().options, ["ndots:1"]);
    }

    #[test]
    fn ports_of_the_node() {
        let made = made(json!({"containers": [{"name": "c", "ports": [
            {"containerPort": 80}, {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "127.0.0.1"},
        ]}]}));
        let [port] = made.port_mappings.as_slice() else {
            panic!("{:?}", made.port_mappings)
        };
        assert_eq!(
            (port.protocol, port.container_port, port.host_port),
            (Protocol::Udp, 53, 5353)
        );
    }
}
