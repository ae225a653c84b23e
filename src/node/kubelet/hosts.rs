//! The file of host names that the containers of a pod see (`/etc/hosts`). Pure.

use std::fmt::Write;

use k8s_openapi::api::core::v1::PodSpec;

/// Where containers see it, and where the node has its own.
pub(super) const PATH: &str = "/etc/hosts";

/// The file of a pod with a network of its own: its addresses under its name.
pub(super) fn managed(spec: &PodSpec, ips: &[&str], host: &str, domain: &str) -> String {
    let mut text = "# Kubernetes-managed hosts file.\n\
        127.0.0.1\tlocalhost\n\
        ::1\tlocalhost ip6-localhost ip6-loopback\n\
        fe00::0\tip6-localnet\n\
        fe00::0\tip6-mcastprefix\n\
        fe00::1\tip6-allnodes\n\
        fe00::2\tip6-allrouters\n"
        .to_owned();
    for ip in ips {
        // Writing to a string does not fail.
        let _ = if domain.is_empty() {
            writeln!(text, "{ip}\t{host}")
        } else {
            writeln!(text, "{ip}\t{host}.{domain}\t{host}")
        };
    }
    text + &aliases(spec)
}

/// The file of a pod on the node's network: the node's own.
pub(super) fn of_node(spec: &PodSpec, node: &str) -> String {
    let head = "# Kubernetes-managed hosts file (host network).\n";
    format!("{head}{node}{}", aliases(spec))
}

fn aliases(spec: &PodSpec) -> String {
    let aliases: Vec<String> = spec
        .host_aliases
        .iter()
        .flatten()
        .map(|alias| {
            let names = alias.hostnames.as_deref().unwrap_or_default();
            format!("{}\t{}\n", alias.ip, names.join("\t"))
        })
        .collect();
    if aliases.is_empty() {
        return String::new();
    }
    format!("\n# Entries added by HostAliases.\n{}", aliases.concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_a_pod() {
        let plain: PodSpec = serde_json::from_value(json!({"containers": []})).unwrap();
        let aliases = json!([{"ip": "1.2.3.4", "hostnames": ["a", "b"]}, {"ip": "5.6.7.8", "hostnames": ["c"]}]);
        let named: PodSpec =
            serde_json::from_value(json!({"containers": [], "hostAliases": aliases})).unwrap();
        let added = "\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n5.6.7.8\tc\n";
        let own = managed(&plain, &["10.0.0.1", "fd00::1"], "p", "");
        assert!(own.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(own.ends_with("ip6-allrouters\n10.0.0.1\tp\nfd00::1\tp\n"));
        let own = managed(&named, &["10.0.0.1"], "p", "s.n.svc.cluster.local");
        let line = "10.0.0.1\tp.s.n.svc.cluster.local\tp\n";
        assert!(own.ends_with(&format!("{line}{added}")));
        let of_node = of_node(&named, "127.0.0.1 here\n");
        assert_eq!(
            of_node,
            format!("# Kubernetes-managed hosts file (host network).\n127.0.0.1 here\n{added}")
        );
    }
}
