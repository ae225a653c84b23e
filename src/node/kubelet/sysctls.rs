//! Kernel parameters of pods: which of them a pod may set. Pure.

use k8s_openapi::api::core::v1::Pod;

use super::admit::Rejection;

/// Those that are a pod's own and harm nobody else.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// The namespaces that parameters belong to, by what their names begin with.
const NAMESPACES: [(&str, &str); 5] = [
    ("kernel.sem", "ipc"),
    ("kernel.shm", "ipc"),
    ("kernel.msg", "ipc"),
    ("fs.mqueue.", "ipc"),
    ("net.", "net"),
];

/// A parameter's name with dots between its parts: with slashes, a dot is part of a name (`net/ipv4/conf/eth0.1/forwarding`).
pub(super) fn dotted(name: &str) -> String {
    let first = name.find(['.', '/']);
    if first.is_none_or(|at| name[at..].starts_with('.')) {
        return name.to_owned();
    }
    let swapped = name.chars().map(|one| match one {
        '.' => '/',
        '/' => '.',
        other => other,
    });
    swapped.collect()
}

/// Why a pod may not set what it sets on a node that allows more: names, or what they begin with before a `*`.
pub(super) fn forbidden(pod: &Pod, allowed: &[String]) -> Option<Rejection> {
    let spec = pod.spec.as_ref()?;
    let context = spec.security_context.as_ref()?;
    let on_node = |namespace: &str| match namespace {
        "ipc" => spec.host_ipc == Some(true),
        _ => spec.host_network == Some(true),
    };
    let problem = |name: &str| {
        let name = dotted(name);
        let is_allowed = allowed.iter().any(|allowed| {
            let allowed = dotted(allowed);
            let prefix = allowed.strip_suffix('*');
            prefix.map_or(name == allowed, |prefix| name.starts_with(prefix))
        });
        let mut namespaces = NAMESPACES.iter();
        let namespace = namespaces.find(|(prefix, _)| name.starts_with(prefix));
        match namespace {
            Some((_, namespace)) if is_allowed || SAFE.contains(&&*name) => on_node(namespace)
                .then(|| format!("{name:?} not allowed with host {namespace} enabled")),
            _ => Some(format!("{name:?} not allowlisted")),
        }
    };
    let mut set = context.sysctls.iter().flatten();
    let why = set.find_map(|sysctl| problem(&sysctl.name))?;
    Some(Rejection {
        reason: "SysctlForbidden".to_owned(),
        message: format!("forbidden sysctl: {why}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_pods_may_set() {
        let allowed = ["kernel.msg*", "net/core/somaxconn"].map(str::to_owned);
        for (names, on_node, expected) in [
            (vec!["kernel.shm_rmid_forced"], false, ""),
            (vec!["net/ipv4/tcp_syncookies"], false, ""),
            (vec!["kernel.msgmax", "net.core.somaxconn"], false, ""),
            (
                vec!["net.ipv4.tcp_rmem", "kernel.sem"],
                false,
                "\"kernel.sem\" not allowlisted",
            ),
            (
                vec!["net.core.somaxconn2"],
                false,
                "\"net.core.somaxconn2\" not allowlisted",
            ),
            (
                vec!["vm.overcommit_memory"],
                false,
                "\"vm.overcommit_memory\" not allowlisted",
            ),
            (
                vec!["net.core.somaxconn"],
                true,
                "\"net.core.somaxconn\" not allowed with host net enabled",
            ),
            (
                vec!["kernel.msgmax"],
                true,
                "\"kernel.msgmax\" not allowed with host ipc enabled",
            ),
        ] {
            let sysctls: Vec<_> = names
                .iter()
                .map(|name| json!({"name": name, "value": "1"}))
                .collect();
            let pod = json!({"spec": {
                "containers": [], "securityContext": {"sysctls": sysctls}, "hostNetwork": on_node, "hostIPC": on_node,
            }});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let found = forbidden(&pod, &allowed).map(|rejection| rejection.message);
            let expected = (!expected.is_empty()).then(|| format!("forbidden sysctl: {expected}"));
            assert_eq!(found, expected, "{names:?}");
        }
    }

    #[test]
    fn names_with_slashes() {
        for (name, expected) in [
            ("kernel.sem", "kernel.sem"),
            ("kernel/sem", "kernel.sem"),
            (
                "net/ipv4/conf/eth0.1/forwarding",
                "net.ipv4.conf.eth0/1.forwarding",
            ),
            (
                "net.ipv4.conf.eth0/1.forwarding",
                "net.ipv4.conf.eth0/1.forwarding",
            ),
            ("plain", "plain"),
        ] {
            assert_eq!(dotted(name), expected);
        }
    }
}
