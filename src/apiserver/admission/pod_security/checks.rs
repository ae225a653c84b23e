//! The checks of the levels baseline and restricted, in the order in which they report.
use super::level::{Level, Standard};
use crate::object::Document;
use serde_json::Value;
use std::collections::BTreeSet;

/// What a pod does that its level does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub reason: String,
    pub detail: String,
}

impl Finding {
    fn new(reason: &str, detail: String) -> Self {
        Self {
            reason: reason.to_owned(),
            detail,
        }
    }
}

/// What the checks look at.
struct Pod<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    /// The minor version of Kubernetes whose checks apply.
    minor: u32,
}

type Check = fn(&Pod<'_>) -> Option<Finding>;

const BASELINE: [Check; 9] = [
    app_armor,
    host_namespaces,
    host_ports,
    host_probes,
    privileged,
    proc_mount,
    se_linux,
    sysctls,
    host_process,
];

/// Everything that is wrong with a pod.
pub(super) fn run(standard: &Standard, metadata: &Value, spec: &Value) -> Vec<Finding> {
    let pod = Pod {
        metadata,
        spec,
        minor: standard.version.minor(),
    };
    // Those of the level restricted replace those of baseline that they are stricter than.
    let checks: Vec<Check> = match standard.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => {
            let mut checks = BASELINE.to_vec();
            checks.insert(1, default_capabilities);
            checks.insert(3, host_path);
            checks.insert(9, seccomp_baseline);
            checks
        }
        Level::Restricted => {
            let mut checks = BASELINE.to_vec();
            checks.extend([
                escalation as Check,
                restricted_capabilities,
                restricted_volumes,
                non_root,
                root_user,
                seccomp_restricted,
            ]);
            checks
        }
    };
    checks.iter().filter_map(|check| check(&pod)).collect()
}

impl<'a> Pod<'a> {
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec.list_at(&[list]))
    }
    /// The names of the containers of which `bad` is true.
    fn those(&self, bad: impl Fn(&Value) -> bool) -> Vec<&'a str> {
        let found = self.containers().filter(|container| bad(container));
        found.map(|container| container.str_at(&["name"])).collect()
    }
    fn is_windows(&self) -> bool {
        self.minor >= 25 && self.spec.str_at(&["os", "name"]) == "windows"
    }
    /// Whether root in the pod is nobody on the node.
    fn is_remapped(&self) -> bool {
        self.minor >= 35 && self.spec.bool_at(&["hostUsers"]) == Some(false)
    }
    /// A field of the security context of the pod.
    fn own(&self, field: &str) -> Option<&'a Value> {
        set(self.spec, &["securityContext", field])
    }
}

/// What is there and not null.
fn set<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    value.at(path).filter(|value| !value.is_null())
}

fn quoted<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> String {
    let texts: Vec<String> = texts
        .into_iter()
        .map(|text| format!("{:?}", text.as_ref()))
        .collect();
    texts.join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`
fn containers(names: &[&str]) -> String {
    format!(
        "{} {}",
        plural("container", "containers", names.len()),
        quoted(names)
    )
}

/// `pod and container "a"`
fn setters(pod: bool, names: &[&str]) -> String {
    let mut who = Vec::new();
    if pod {
        who.push("pod".to_owned());
    }
    if !names.is_empty() {
        who.push(containers(names));
    }
    who.join(" and ")
}

fn app_armor(pod: &Pod<'_>) -> Option<Finding> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let bad_type = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let kind = |value: &Value| {
        set(value, &["securityContext", "appArmorProfile"])
            .map(|profile| profile.str_at(&["type"]).to_owned())
            .filter(|kind| bad_type(kind))
    };
    let mut values: BTreeSet<String> = BTreeSet::new();
    let own = kind(pod.spec);
    values.extend(own.as_ref().map(|kind| format!("{kind:?}")));
    let names = pod.those(|container| kind(container).is_some());
    let kinds = pod.containers().filter_map(kind);
    values.extend(kinds.map(|kind| format!("{kind:?}")));
    let mut who = Vec::new();
    if own.is_some() || !names.is_empty() {
        who.push(setters(own.is_some(), &names));
    }
    let annotations = pod.metadata.at(&["annotations"]).and_then(Value::as_object);
    let mut annotated = 0;
    for (key, value) in annotations.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let allowed =
            value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
        if key.starts_with(ANNOTATION) && !allowed {
            values.insert(format!("{key}={value:?}"));
            annotated += 1;
        }
    }
    if values.is_empty() {
        return None;
    }
    if annotated > 0 {
        who.push(plural("annotation", "annotations", annotated).to_owned());
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    let listed: Vec<String> = values.into_iter().collect();
    let detail = format!(
        "{} must not set AppArmor profile type to {}",
        who.join(" and "),
        listed.join(", ")
    );
    Some(Finding::new(reason, detail))
}

fn default_capabilities(pod: &Pod<'_>) -> Option<Finding> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let detail = adding(pod, &ALLOWED)?;
    Some(Finding::new("non-default capabilities", detail))
}

/// Who adds capabilities that are not allowed.
fn adding(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let added = |container: &Value| -> Vec<String> {
        let list = container.list_at(&["securityContext", "capabilities", "add"]);
        let names = list.iter().filter_map(Value::as_str);
        names
            .filter(|name| !allowed.contains(name))
            .map(str::to_owned)
            .collect()
    };
    let names = pod.those(|container| !added(container).is_empty());
    let found: BTreeSet<String> = pod.containers().flat_map(added).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&names),
            quoted(&found)
        )
    })
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Finding> {
    let found: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| pod.spec.bool_at(&[field]) == Some(true))
        .map(|field| format!("{field}=true"))
        .collect();
    (!found.is_empty()).then(|| Finding::new("host namespaces", found.join(", ")))
}

fn host_path(pod: &Pod<'_>) -> Option<Finding> {
    let volumes = pod.spec.list_at(&["volumes"]).iter();
    let names: Vec<&str> = volumes
        .filter(|volume| set(volume, &["hostPath"]).is_some())
        .map(|volume| volume.str_at(&["name"]))
        .collect();
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} {}",
            plural("volume", "volumes", names.len()),
            quoted(&names)
        );
        Finding::new("hostPath volumes", detail)
    })
}

fn host_ports(pod: &Pod<'_>) -> Option<Finding> {
    let ports = |container: &Value| -> Vec<String> {
        let ports = container.list_at(&["ports"]).iter();
        ports
            .filter_map(|port| port.i64_at(&["hostPort"]))
            .filter(|port| *port != 0)
            .map(|port| port.to_string())
            .collect()
    };
    let names = pod.those(|container| !ports(container).is_empty());
    let found: BTreeSet<String> = pod.containers().flat_map(ports).collect();
    let listed: Vec<&str> = found.iter().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {}",
            containers(&names),
            plural("uses", "use", names.len()),
            plural("hostPort", "hostPorts", found.len()),
            listed.join(", ")
        );
        Finding::new("hostPort", detail)
    })
}

fn host_probes(pod: &Pod<'_>) -> Option<Finding> {
    const PLACES: [&[&str]; 5] = [
        &["livenessProbe"],
        &["readinessProbe"],
        &["startupProbe"],
        &["lifecycle", "postStart"],
        &["lifecycle", "preStop"],
    ];
    if pod.minor < 34 {
        return None;
    }
    let hosts = |container: &Value| -> Vec<String> {
        let handlers = PLACES.iter().filter_map(|place| container.at(place));
        handlers
            .flat_map(|handler| {
                ["httpGet", "tcpSocket"].map(|kind| handler.str_at(&[kind, "host"]))
            })
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut names = pod.those(|container| !hosts(container).is_empty());
    names.sort_unstable();
    let found: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {}",
            containers(&names),
            plural("uses", "use", names.len()),
            plural(
                "probe or lifecycle host",
                "probe or lifecycle hosts",
                found.len()
            ),
            quoted(&found)
        );
        Finding::new("probe or lifecycle host", detail)
    })
}

fn privileged(pod: &Pod<'_>) -> Option<Finding> {
    let names =
        pod.those(|container| container.bool_at(&["securityContext", "privileged"]) == Some(true));
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.privileged=true",
            containers(&names)
        );
        Finding::new("privileged", detail)
    })
}

fn proc_mount(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_remapped() {
        return None;
    }
    let kind = |container: &Value| {
        let kind = container.str_at(&["securityContext", "procMount"]);
        (!matches!(kind, "" | "Default")).then(|| kind.to_owned())
    };
    let names = pod.those(|container| kind(container).is_some());
    let found: BTreeSet<String> = pod.containers().filter_map(kind).collect();
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.procMount to {}",
            containers(&names),
            quoted(&found)
        );
        Finding::new("procMount", detail)
    })
}

fn se_linux(pod: &Pod<'_>) -> Option<Finding> {
    let allowed = |kind: &str| {
        matches!(
            kind,
            "" | "container_t" | "container_init_t" | "container_kvm_t"
        ) || (pod.minor >= 31 && kind == "container_engine_t")
    };
    let is_bad = |options: &Value| {
        !allowed(options.str_at(&["type"]))
            || !options.str_at(&["user"]).is_empty()
            || !options.str_at(&["role"]).is_empty()
    };
    let of = |value: &Value| {
        set(value, &["securityContext", "seLinuxOptions"])
            .filter(|options| is_bad(options))
            .cloned()
    };
    let own = of(pod.spec);
    let names = pod.those(|container| of(container).is_some());
    let bad: Vec<Value> = own
        .iter()
        .cloned()
        .chain(pod.containers().filter_map(of))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let types: BTreeSet<&str> = bad
        .iter()
        .map(|options| options.str_at(&["type"]))
        .filter(|kind| !allowed(kind))
        .collect();
    let mut data = Vec::new();
    if !types.is_empty() {
        data.push(format!(
            "{} {}",
            plural("type", "types", types.len()),
            quoted(&types)
        ));
    }
    for field in ["user", "role"] {
        if bad
            .iter()
            .any(|options| !options.str_at(&[field]).is_empty())
        {
            data.push(format!("{field} may not be set"));
        }
    }
    let detail = format!(
        "{} set forbidden securityContext.seLinuxOptions: {}",
        setters(own.is_some(), &names),
        data.join("; ")
    );
    Some(Finding::new("seLinuxOptions", detail))
}

fn sysctls(pod: &Pod<'_>) -> Option<Finding> {
    /// From which version on which one is allowed.
    const ALLOWED: [(u32, &str); 12] = [
        (0, "kernel.shm_rmid_forced"),
        (0, "net.ipv4.ip_local_port_range"),
        (0, "net.ipv4.tcp_syncookies"),
        (0, "net.ipv4.ping_group_range"),
        (0, "net.ipv4.ip_unprivileged_port_start"),
        (27, "net.ipv4.ip_local_reserved_ports"),
        (29, "net.ipv4.tcp_keepalive_time"),
        (29, "net.ipv4.tcp_fin_timeout"),
        (29, "net.ipv4.tcp_keepalive_intvl"),
        (29, "net.ipv4.tcp_keepalive_probes"),
        (32, "net.ipv4.tcp_rmem"),
        (32, "net.ipv4.tcp_wmem"),
    ];
    let allowed = |name: &str| {
        ALLOWED
            .iter()
            .any(|(since, known)| *known == name && *since <= pod.minor)
    };
    let names: Vec<&str> = pod
        .spec
        .list_at(&["securityContext", "sysctls"])
        .iter()
        .map(|sysctl| sysctl.str_at(&["name"]))
        .filter(|name| !allowed(name))
        .collect();
    (!names.is_empty()).then(|| Finding::new("forbidden sysctls", names.join(", ")))
}

fn host_process(pod: &Pod<'_>) -> Option<Finding> {
    let is = |value: &Value| {
        value.bool_at(&["securityContext", "windowsOptions", "hostProcess"]) == Some(true)
    };
    let names = pod.those(is);
    let own = is(pod.spec);
    (own || !names.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.windowsOptions.hostProcess=true",
            setters(own, &names)
        );
        Finding::new("hostProcess", detail)
    })
}

/// The type of a seccomp profile, when one is set.
fn seccomp(value: &Value) -> Option<&str> {
    let profile = set(value, &["securityContext", "seccompProfile"])?;
    Some(profile.str_at(&["type"]))
}

fn is_seccomp_allowed(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

/// Who sets a seccomp profile that is not allowed.
fn bad_seccomp(pod: &Pod<'_>) -> Option<Finding> {
    let bad = |value: &Value| {
        seccomp(value)
            .filter(|kind| !is_seccomp_allowed(kind))
            .map(str::to_owned)
    };
    let own = bad(pod.spec);
    let names = pod.those(|container| bad(container).is_some());
    let values: BTreeSet<String> = own
        .iter()
        .cloned()
        .chain(pod.containers().filter_map(bad))
        .collect();
    (!values.is_empty()).then(|| {
        let detail = format!(
            "{} must not set securityContext.seccompProfile.type to {}",
            setters(own.is_some(), &names),
            quoted(&values)
        );
        Finding::new("seccompProfile", detail)
    })
}

fn seccomp_baseline(pod: &Pod<'_>) -> Option<Finding> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    if pod.minor >= 19 {
        return bad_seccomp(pod);
    }
    let allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let keys = pod
        .containers()
        .map(|container| format!("{CONTAINER}{}", container.str_at(&["name"])));
    let found: BTreeSet<String> = std::iter::once(POD.to_owned())
        .chain(keys)
        .filter_map(|key| {
            let value = pod.metadata.at(&["annotations", &key])?.as_str()?;
            (!allowed(value)).then(|| format!("{key}={value:?}"))
        })
        .collect();
    let listed: Vec<&str> = found.iter().map(String::as_str).collect();
    (!found.is_empty()).then(|| {
        let detail = format!(
            "forbidden {} {}",
            plural("annotation", "annotations", found.len()),
            listed.join(", ")
        );
        Finding::new("seccompProfile", detail)
    })
}

fn seccomp_restricted(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor < 19 || pod.is_windows() {
        return None;
    }
    if let Some(finding) = bad_seccomp(pod) {
        return Some(finding);
    }
    let own = seccomp(pod.spec).is_some();
    let names = pod.those(|container| !own && seccomp(container).is_none());
    (!names.is_empty()).then(|| {
        let detail = format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&names)
        );
        Finding::new("seccompProfile", detail)
    })
}

fn escalation(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor < 8 || pod.is_windows() {
        return None;
    }
    let path = ["securityContext", "allowPrivilegeEscalation"];
    let names = pod.those(|container| container.bool_at(&path) != Some(false));
    (!names.is_empty()).then(|| {
        let detail = format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            containers(&names)
        );
        Finding::new("allowPrivilegeEscalation != false", detail)
    })
}

fn restricted_capabilities(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_windows() {
        return None;
    }
    if pod.minor < 22 {
        return default_capabilities(pod);
    }
    let drops_all = |container: &Value| {
        let dropped = container.list_at(&["securityContext", "capabilities", "drop"]);
        dropped.iter().any(|name| name == "ALL")
    };
    let mut details = Vec::new();
    let names = pod.those(|container| !drops_all(container));
    if !names.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&names)
        ));
    }
    details.extend(adding(pod, &["NET_BIND_SERVICE"]));
    (!details.is_empty()).then(|| Finding::new("unrestricted capabilities", details.join("; ")))
}

fn restricted_volumes(pod: &Pod<'_>) -> Option<Finding> {
    const ALLOWED: [&str; 8] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let kind = |volume: &Value| {
        let fields = volume.as_object().into_iter().flatten();
        let mut kinds = fields.filter(|(key, value)| *key != "name" && !value.is_null());
        kinds
            .next()
            .map_or_else(|| "unknown".to_owned(), |(key, _)| key.clone())
    };
    let bad: Vec<&Value> = pod
        .spec
        .list_at(&["volumes"])
        .iter()
        .filter(|volume| !ALLOWED.contains(&kind(volume).as_str()))
        .collect();
    let names: Vec<&str> = bad.iter().map(|volume| volume.str_at(&["name"])).collect();
    let kinds: BTreeSet<String> = bad.iter().map(|volume| kind(volume)).collect();
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", names.len()),
            quoted(&names),
            plural("uses", "use", names.len()),
            plural(
                "restricted volume type",
                "restricted volume types",
                kinds.len()
            ),
            quoted(&kinds)
        );
        Finding::new("restricted volume types", detail)
    })
}

fn non_root(pod: &Pod<'_>) -> Option<Finding> {
    if pod.is_remapped() {
        return None;
    }
    let reason = "runAsNonRoot != true";
    let wants = |container: &Value| container.bool_at(&["securityContext", "runAsNonRoot"]);
    let own = pod.own("runAsNonRoot").and_then(Value::as_bool);
    let names = pod.those(|container| wants(container) == Some(false));
    if own == Some(false) || !names.is_empty() {
        let detail = format!(
            "{} must not set securityContext.runAsNonRoot=false",
            setters(own == Some(false), &names)
        );
        return Some(Finding::new(reason, detail));
    }
    let names = pod.those(|container| own != Some(true) && wants(container).is_none());
    (!names.is_empty()).then(|| {
        let detail = format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            containers(&names)
        );
        Finding::new(reason, detail)
    })
}

fn root_user(pod: &Pod<'_>) -> Option<Finding> {
    if pod.minor < 23 || pod.is_remapped() {
        return None;
    }
    let is_root =
        |container: &Value| container.i64_at(&["securityContext", "runAsUser"]) == Some(0);
    let own = is_root(pod.spec);
    let names = pod.those(is_root);
    (own || !names.is_empty()).then(|| {
        let detail = format!("{} must not set runAsUser=0", setters(own, &names));
        Finding::new("runAsUser=0", detail)
    })
}
