//! What a pod's sandbox is made from: its name in the network, resolver, ports, kernel parameters. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::config::KubeletConfig;
use super::{full_name, limits, plan, rights, sysctls};
use crate::cri::{DnsConfig, PortMapping, Protocol, SandboxConfig, SandboxMetadata};
use crate::node::log_directory;

/// The kernel's longest host name.
const LONGEST_NAME: usize = 63;

/// The kernel's longest full name.
const LONGEST_FQDN: usize = 64;
/// What a resolver takes: name servers, search domains, and the characters of these.
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const MOST_SEARCH_CHARS: usize = 2048;

/// A sandbox's configuration, and what is to be told of it: reasons and messages.
#[derive(Debug)]
pub(super) struct Made {
    pub config: SandboxConfig,
    pub told: Vec<(&'static str, String)>,
}

/// Where the logs of a pod are written; empty: nowhere.
pub(super) fn log_directory(pod: &Pod, config: &KubeletConfig) -> String {
    let logs = config.logs.as_ref();
    logs.map_or_else(String::new, |logs| {
        format!("{logs}/{}", log_directory::of(pod))
    })
}

/// The configuration of the pod's sandbox, the `attempt`th after others, on a node that resolves names like `node`.
///
/// # Errors
/// What of the pod cannot be, in the words of the real kubelet.
pub(super) fn of(
    pod: &Pod,
    config: &KubeletConfig,
    attempt: u32,
    node: &DnsConfig,
) -> Result<Made, String> {
    let meta = &pod.metadata;
    let metadata = SandboxMetadata {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        attempt,
    };
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    if spec.host_users == Some(false) {
        // To run it with the node's would be less than it asks for.
        return Err("can't set spec.hostUsers: false, this node has no user namespaces".to_owned());
    }
    let sysctls = spec
        .security_context
        .iter()
        .flat_map(|context| context.sysctls.iter().flatten());
    let mut told = Vec::new();
    let config = SandboxConfig {
        hostname: kernel_name(pod, spec, config)?,
        log_directory: log_directory(pod, config),
        dns: dns(pod, spec, config, node, &mut told),
        port_mappings: ports(spec),
        labels: meta.labels.clone().unwrap_or_default(),
        annotations: meta.annotations.clone().unwrap_or_default(),
        cgroup_parent: config
            .cgroup_root
            .as_ref()
            .map_or_else(String::new, |root| limits::cgroup(root, pod)),
        sysctls: sysctls
            .map(|sysctl| (sysctls::dotted(&sysctl.name), sysctl.value.clone()))
            .collect::<BTreeMap<_, _>>(),
        security: rights::of_sandbox(pod),
        overhead: limits::overhead(spec),
        metadata,
        ..SandboxConfig::default()
    };
    Ok(Made { config, told })
}

/// What a pod is called in the network: its host name, and the domain that is in; empty: none.
pub(super) fn names(pod: &Pod, spec: &PodSpec, config: &KubeletConfig) -> (String, String) {
    let own = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let short = |name: &str| {
        let short: String = name.chars().take(LONGEST_NAME).collect();
        if short.len() < name.len() {
            short.trim_end_matches(['-', '.']).to_owned()
        } else {
            short
        }
    };
    if let Some(name) = own(&spec.hostname_override) {
        return (short(&name), String::new());
    }
    let name = own(&spec.hostname).or_else(|| pod.metadata.name.clone());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = own(&spec.subdomain).map_or_else(String::new, |subdomain| {
        format!("{subdomain}.{namespace}.svc.{}", config.cluster_domain)
    });
    (short(&name.unwrap_or_default()), domain)
}

/// The name that the kernel knows the pod by.
fn kernel_name(pod: &Pod, spec: &PodSpec, config: &KubeletConfig) -> Result<String, String> {
    if spec.host_network == Some(true) && spec.hostname_override.is_none() {
        return Ok(String::new());
    }
    let (name, domain) = names(pod, spec, config);
    if domain.is_empty() || spec.set_hostname_as_fqdn != Some(true) {
        return Ok(name);
    }
    let full = format!("{name}.{domain}");
    if full.len() > LONGEST_FQDN {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({LONGEST_FQDN} characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

/// A file like `/etc/resolv.conf`.
pub(super) fn resolver(text: &str) -> DnsConfig {
    let mut found = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let rest = words.map(str::to_owned);
        match word {
            "nameserver" => found.servers.extend(rest.take(1)),
            // The last one counts.
            "search" => {
                let is_root = |domain: &String| domain == ".";
                let bare = |domain: String| {
                    if is_root(&domain) {
                        domain
                    } else {
                        domain.trim_end_matches('.').to_owned()
                    }
                };
                found.searches = rest.map(bare).collect();
            }
            "options" => found.options.extend(rest),
            _ => {}
        }
    }
    found
}

/// How names are resolved; `None`: as on the node.
fn dns(
    pod: &Pod,
    spec: &PodSpec,
    config: &KubeletConfig,
    node: &DnsConfig,
    told: &mut Vec<(&'static str, String)>,
) -> Option<DnsConfig> {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let wants_cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => spec.host_network != Some(true),
        _ => false,
    };
    let by_cluster = wants_cluster && !config.cluster_dns.is_empty();
    if wants_cluster && !by_cluster && config.host.keeps_files() {
        let pod = full_name(pod);
        told.push((
            "MissingClusterDNS",
            format!(
                "pod: {pod:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using {policy:?} policy. Falling back to \"Default\" policy."
            ),
        ));
    }
    let mut dns = if by_cluster {
        let domain = &config.cluster_domain;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut searches = vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ];
        add(&mut searches, &node.searches);
        DnsConfig {
            servers: config.cluster_dns.clone(),
            searches,
            options: vec!["ndots:5".to_owned()],
        }
    } else if policy == "None" {
        DnsConfig::default()
    } else if spec.dns_config.is_none() {
        return None;
    } else {
        node.clone()
    };
    if let Some(own) = &spec.dns_config {
        add(&mut dns.servers, own.nameservers.iter().flatten());
        add(&mut dns.searches, own.searches.iter().flatten());
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
    }
    fit(&mut dns, told);
    Some(dns)
}

fn add<'a>(list: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// Leaves out what a resolver would not take.
fn fit(dns: &mut DnsConfig, told: &mut Vec<(&'static str, String)>) {
    let mut tell = |what: &str, items: &str, line: &str, applied: &[String]| {
        let applied = applied.join(" ");
        let message = format!(
            "{what} limits were exceeded, some {items} have been omitted, the applied {line} line is: {applied}"
        );
        told.push(("DNSConfigForming", message));
    };
    if dns.servers.len() > MOST_SERVERS {
        dns.servers.truncate(MOST_SERVERS);
        tell("Nameserver", "nameservers", "nameserver", &dns.servers);
    }
    let before = dns.searches.len();
    dns.searches.truncate(MOST_SEARCHES);
    while dns.searches.join(" ").len() > MOST_SEARCH_CHARS {
        dns.searches.pop();
    }
    if dns.searches.len() < before {
        tell("Search Line", "search paths", "search", &dns.searches);
    }
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
        tried(spec).unwrap().config
    }

    fn pod(spec: Value) -> Pod {
        let meta = json!({"name": "p", "namespace": "n", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn tried(spec: Value) -> Result<Made, String> {
        let pod = pod(spec);
        let config = KubeletConfig {
            cluster_dns: vec!["10.0.0.10".to_owned()],
            logs: Some("/logs".to_owned()),
            ..KubeletConfig::default()
        };
        let node = resolver(
            "# by hand\nnameserver 9.9.9.9\nsearch a. old\nsearch home. \noptions edns0 ndots:1\n",
        );
        of(&pod, &config, 2, &node)
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
            (
                json!({"containers": [], "hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true, "hostnameOverride": "own.name"}),
                "own.name",
            ),
            (
                json!({"containers": [], "hostname": format!("{}-.x", "a".repeat(62))}),
                &"a".repeat(62),
            ),
        ] {
            assert_eq!(made(spec.clone()).hostname, expected, "{spec}");
        }
        let long = format!("{}.n.svc.cluster.local", "s".repeat(44));
        let subdomain = "s".repeat(44);
        let spec = json!({"containers": [], "subdomain": subdomain, "setHostnameAsFQDN": true});
        assert_eq!(
            tried(spec).unwrap_err(),
            format!(
                "failed to construct FQDN from pod hostname and cluster domain, FQDN p.{long} is too long (64 characters is the max, 66 characters requested)"
            )
        );
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
            [
                "n.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local",
                "home"
            ]
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
        let of_node = dns(json!({
            "containers": [], "dnsPolicy": "Default",
            "dnsConfig": {"nameservers": ["1.1.1.1", "9.9.9.9"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]},
        }))
        .unwrap();
        assert_eq!(of_node.servers, ["9.9.9.9", "1.1.1.1"]);
        assert_eq!(of_node.searches, ["home", "x"]);
        assert_eq!(of_node.options, ["edns0", "ndots:2"]);
    }

    #[test]
    fn resolvers_have_limits() {
        let searches: Vec<String> = (0..40).map(|number| format!("d{number}")).collect();
        let made = tried(json!({
            "containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"], "searches": searches},
        }))
        .unwrap();
        let dns = made.config.dns.unwrap();
        assert_eq!((dns.servers.len(), dns.searches.len()), (3, 32));
        let [(reason, servers), (_, searches)] = made.told.as_slice() else {
            panic!("{:?}", made.told)
        };
        assert_eq!(*reason, "DNSConfigForming");
        assert_eq!(
            servers,
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 1.1.1.1 2.2.2.2 3.3.3.3"
        );
        let start = "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: d0 d1";
        assert!(searches.starts_with(start), "{searches}");
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
