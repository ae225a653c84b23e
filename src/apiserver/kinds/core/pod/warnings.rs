//! What works in a pod but should not be relied on (`pkg/api/pod/warnings.go`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{annotations, each_container, resources::quantity};
use crate::apiserver::kinds::{check, ip};
use crate::object::Document;
use crate::object::field::Path;
use crate::object::quantity::Format;

/// Labels of nodes that have got another name: since when, and which.
const NODE_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "v1.17",
        "topology.kubernetes.io/region",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "v1.17",
        "topology.kubernetes.io/zone",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "v1.17",
        "node.kubernetes.io/instance-type",
    ),
];

/// Sources of volumes that have gone or will go.
const VOLUMES: [(&str, &str, &str); 9] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    (
        "scaleIO",
        "scaleIO",
        "deprecated in v1.16, non-functional in v1.22+",
    ),
    (
        "flocker",
        "flocker",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "storageos",
        "storageOS",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "quobyte",
        "quobyte",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "glusterfs",
        "glusterfs",
        "deprecated in v1.25, non-functional in v1.26+",
    ),
    (
        "cephfs",
        "cephfs",
        "deprecated in v1.28, non-functional in v1.31+",
    ),
    (
        "rbd",
        "rbd",
        "deprecated in v1.28, non-functional in v1.31+",
    ),
];

const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// What is said of a label of nodes that has another name by now.
pub(in crate::apiserver::kinds) fn deprecated_node_label(label: &str) -> Option<String> {
    let (_, since, new) = NODE_LABELS.iter().find(|(old, ..)| *old == label)?;
    Some(format!("deprecated since {since}; use {new:?} instead"))
}

/// The warnings of a pod or a template; `prefix`: the path of the template, empty for a pod.
pub(super) fn of(object: &Value, prefix: &Path) -> Vec<String> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let path = prefix.child("spec");
    let mut warnings = Vec::new();
    nodes(spec, &path, &mut warnings);
    let (containers, deprecated): (Vec<_>, Vec<_>) = annotations::warnings(metadata, spec, prefix)
        .into_iter()
        .partition(|warning| {
            warning.contains("use the \"seccompProfile\" field")
                || warning.contains("use the \"appArmorProfile\" field")
        });
    warnings.extend(deprecated);
    volumes(spec, &path.child("volumes"), &mut warnings);
    repeated(spec, "hostAliases", "ip", &path, &mut warnings);
    repeated(spec, "imagePullSecrets", "name", &path, &mut warnings);
    for (index, secret) in spec.list_at(&["imagePullSecrets"]).iter().enumerate() {
        if secret.str_at(&["name"]).is_empty() {
            let at = path.child("imagePullSecrets").index(index).child("name");
            warnings.push(format!("{at}: invalid empty name \"\""));
        }
    }
    fractions(spec, "overhead", &path, &mut warnings);
    warnings.extend(containers);
    each_container(spec, &path, &mut |container, at| {
        if let Some(own) = check::given(container, "resources") {
            for list in ["limits", "requests"] {
                fractions(own, list, &at.child("resources"), &mut warnings);
            }
        }
        hidden_variables(container, &at.child("env"), &mut warnings);
    });
    ports(spec, &path, &mut warnings);
    if spec
        .i64_at(&["terminationGracePeriodSeconds"])
        .is_some_and(|grace| grace < 0)
    {
        let at = path.child("terminationGracePeriodSeconds");
        warnings.push(format!(
            "{at}: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    pod_affinity(spec, &path.child("affinity"), &mut warnings);
    addresses(spec, &path, &mut warnings);
    warnings
}

/// Addresses that are valid and yet not in good form.
fn addresses(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let servers = spec.list_at(&["dnsConfig", "nameservers"]);
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        let at = path.child("dnsConfig").child("nameservers").index(index);
        warnings.extend(ip::address_warning(&at, server));
    }
    for (index, alias) in spec.list_at(&["hostAliases"]).iter().enumerate() {
        let at = path.child("hostAliases").index(index).child("ip");
        warnings.extend(ip::address_warning(&at, alias.str_at(&["ip"])));
    }
}

fn nodes(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let selector = check::map_at(spec, &["nodeSelector"]);
    for key in selector.into_iter().flat_map(|selector| selector.keys()) {
        if let Some(why) = deprecated_node_label(key) {
            warnings.push(format!("{}: {why}", path.child("nodeSelector").key(key)));
        }
    }
    if let Some(affinity) = spec.at(&["affinity", "nodeAffinity"]) {
        let at = path.child("affinity").child("nodeAffinity");
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let terms = affinity.list_at(&[required, "nodeSelectorTerms"]);
        let at_required = at.child(required).child("nodeSelectorTerms");
        for (index, term) in terms.iter().enumerate() {
            warnings.extend(node_term(term, &at_required.index(index)));
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in affinity.list_at(&[preferred]).iter().enumerate() {
            let preference = term.get("preference").unwrap_or(&Value::Null);
            let at = at.child(preferred).index(index).child("preference");
            warnings.extend(node_term(preference, &at));
        }
    }
    let constraints = spec.list_at(&["topologySpreadConstraints"]);
    for (index, constraint) in constraints.iter().enumerate() {
        let at = path.child("topologySpreadConstraints").index(index);
        let key = constraint.str_at(&["topologyKey"]);
        if let Some(why) = deprecated_node_label(key) {
            warnings.push(format!("{}: {key} is {why}", at.child("topologyKey")));
        }
        if check::given(constraint, "labelSelector").is_none() {
            warnings.push(format!("{}: {NO_SELECTOR}", at.child("labelSelector")));
        }
    }
}

/// The warnings of a `v1.NodeSelectorTerm`.
pub(in crate::apiserver::kinds) fn node_term(term: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, expression) in term.list_at(&["matchExpressions"]).iter().enumerate() {
        let at = || path.child("matchExpressions").index(index);
        let key = expression.str_at(&["key"]);
        if let Some(why) = deprecated_node_label(key) {
            warnings.push(format!("{}: {key} is {why}", at().child("key")));
        }
        // What is only preferred is not checked, so a value may be no label's.
        let values = expression.list_at(&["values"]);
        for (number, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let problems = crate::object::name::label_value(value);
            if !problems.is_empty() {
                let at = at().child("values").index(number);
                let problems = problems.join(" ");
                warnings.push(format!("{at}: {value} is invalid, {problems}"));
            }
        }
    }
    warnings
}

fn volumes(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let volumes = spec.list_at(&["volumes"]);
    for (index, volume) in volumes.iter().enumerate() {
        for (field, shown, why) in VOLUMES {
            if check::given(volume, field).is_some() {
                warnings.push(format!("{}: {why}", path.index(index).child(shown)));
            }
        }
        if let Some(claim) = volume.at(&["ephemeral", "volumeClaimTemplate", "spec"]) {
            let at = path.index(index).child("ephemeral");
            let at = at.child("volumeClaimTemplate").child("spec");
            let resources = claim.get("resources").unwrap_or(&Value::Null);
            let at = at.child("resources").child("requests").key("storage");
            if let Some(amount) = fraction(resources.at(&["requests", "storage"])) {
                warnings.push(format!("{at}: {}", not_whole(&amount)));
            }
        }
    }
    let sources = |volume: &'_ Value| volume.list_at(&["projected", "sources"]).to_vec();
    let tokens: BTreeSet<String> = volumes
        .iter()
        .flat_map(sources)
        .filter(|source| check::given(source, "serviceAccountToken").is_some())
        .map(|source| source.str_at(&["serviceAccountToken", "path"]).to_owned())
        .collect();
    if tokens.is_empty() {
        return;
    }
    let mut warn = |at: Path, file: &str| {
        if tokens.contains(file) {
            warnings.push(format!(
                "{at}: has duplicated path with ServiceAccountToken {file:?}"
            ));
        }
    };
    for (index, volume) in volumes.iter().enumerate() {
        let at = path.index(index).child("projected").child("sources");
        for source in sources(volume) {
            for (kind, shown) in [
                ("configMap", "configMap"),
                ("secret", "secrets"),
                ("downwardAPI", "downwardAPI"),
            ] {
                for (number, item) in source.list_at(&[kind, "items"]).iter().enumerate() {
                    warn(at.child(shown).index(number), item.str_at(&["path"]));
                }
            }
        }
    }
}

fn repeated(spec: &Value, list: &str, field: &str, path: &Path, warnings: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, item) in spec.list_at(&[list]).iter().enumerate() {
        let text = item.str_at(&[field]);
        if seen.contains(&text) {
            let at = path.child(list).index(index).child(field);
            warnings.push(format!("{at}: duplicate {field} {text:?}"));
        }
        seen.push(text);
    }
}

/// The amount, if it is no whole number of bytes.
fn fraction(value: Option<&Value>) -> Option<String> {
    let (value, amount) = (value?, value.and_then(quantity)?);
    let fractional = if amount.value().checked_mul(1000).is_some() {
        amount.milli_value() % 1000 != 0
    } else {
        overflows(value.as_str().unwrap_or_default(), amount.format())
    };
    fractional.then(|| amount.to_string())
}

/// The real server counts in thousandths: an amount that it keeps as a 64 bit number becomes zero where they are too many,
/// a larger one is cut off to 64 bits.
fn overflows(text: &str, format: Format) -> bool {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    if format == Format::BinarySi || digits.len() <= 18 {
        return false;
    }
    let number: Option<u128> = digits.parse().ok();
    let low = number.map(|number| {
        u64::try_from(number.wrapping_mul(1000) & u128::from(u64::MAX)).unwrap_or_default()
    });
    low.is_none_or(|low| low.cast_signed() % 1000 != 0)
}

fn not_whole(amount: &str) -> String {
    format!("fractional byte value {amount:?} is invalid, must be an integer")
}

fn fractions(holder: &Value, list: &str, path: &Path, warnings: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        if let Some(amount) = fraction(holder.at(&[list, name])) {
            let at = path.child(list).key(name);
            warnings.push(format!("{at}: {}", not_whole(&amount)));
        }
    }
}

/// A variable that replaces one of the same name, rather than adding to it.
fn hidden_variables(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, variable) in container.list_at(&["env"]).iter().enumerate() {
        let (name, value) = (variable.str_at(&["name"]), variable.str_at(&["value"]));
        let reference = format!("$({name})");
        let replaces = check::given(variable, "valueFrom").is_some()
            || value == reference
            || !value.contains(&reference);
        if seen.contains(&name) && replaces {
            let at = path.index(index);
            warnings.push(format!(
                "{at}: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
        seen.push(name);
    }
}

/// Ports of the pod that are told more than once.
fn ports(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    struct Port<'a> {
        at: Path,
        number: i64,
        protocol: &'a str,
        host: i64,
        ip: &'a str,
    }
    let mut seen: Vec<Port<'_>> = Vec::new();
    for list in super::CONTAINER_LISTS {
        for (index, container) in spec.list_at(&[list]).iter().enumerate() {
            for (number, port) in container.list_at(&["ports"]).iter().enumerate() {
                let own = Port {
                    at: path.child(list).index(index).child("ports").index(number),
                    number: port.i64_at(&["containerPort"]).unwrap_or(0),
                    protocol: port.str_at(&["protocol"]),
                    host: port.i64_at(&["hostPort"]).unwrap_or(0),
                    ip: port.str_at(&["hostIP"]),
                };
                if !own.ip.is_empty() && own.host == 0 {
                    warnings.push(format!(
                        "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{}}}",
                        own.at,
                        port.str_at(&["name"]),
                        own.number,
                        own.protocol,
                        own.ip
                    ));
                }
                let same = |other: &&Port<'_>| {
                    (other.number, other.protocol) == (own.number, own.protocol)
                };
                for other in seen.iter().filter(same) {
                    let what = if (other.ip, other.host) == (own.ip, own.host) {
                        "duplicate"
                    } else if own.host == 0 || other.host == 0 {
                        "overlapping"
                    } else if own.host == other.host && own.ip.is_empty() != other.ip.is_empty() {
                        "dangerously ambiguous"
                    } else {
                        continue;
                    };
                    warnings.push(format!(
                        "{}: {what} port definition with {}",
                        own.at, other.at
                    ));
                }
                seen.push(own);
            }
        }
    }
}

fn pod_affinity(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.at(&["affinity", kind]) else {
            continue;
        };
        for (index, term) in affinity.list_at(&[required]).iter().enumerate() {
            if check::given(term, "labelSelector").is_none() {
                let at = path.child(kind).child(required).index(index);
                warnings.push(format!("{}: {NO_SELECTOR}", at.child("labelSelector")));
            }
        }
        for (index, term) in affinity.list_at(&[preferred]).iter().enumerate() {
            let own = term.get("podAffinityTerm").unwrap_or(&Value::Null);
            if check::given(own, "labelSelector").is_none() {
                let at = path.child(kind).child(preferred).index(index);
                let at = at.child("podAffinityTerm").child("labelSelector");
                warnings.push(format!("{at}: {NO_SELECTOR}"));
            }
        }
    }
}
