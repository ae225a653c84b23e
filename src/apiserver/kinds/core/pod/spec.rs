//! What the spec of a pod must be, in a pod or in a template.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{affinity, container, env, resources, security, volume};
use crate::apiserver::kinds::{check, ip};
use crate::apiserver::schema::internal;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];

/// Limits of the resolver of Linux.
const MOST_NAMESERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;
const LONGEST_SEARCHES: usize = 2048;

/// What the parts of a spec may refer to.
pub(super) struct Scope<'a> {
    pub spec: &'a Value,
    /// The volumes that are right, by name.
    pub volumes: BTreeMap<&'a str, &'a Value>,
    /// The names of the pod's resource claims.
    pub claims: BTreeSet<&'a str>,
    /// The seconds the pod has to end.
    pub grace: Option<i64>,
    /// Whether the users of its containers are those of the host.
    pub host_users: bool,
}

impl<'a> Scope<'a> {
    /// The names of the containers in a list.
    pub(super) fn names(&self, list: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let containers = self.spec.list_at(&[list]);
        containers
            .iter()
            .map(|container| container.str_at(&["name"]))
    }
}

/// Checks a spec; `pod`: the name of the pod whose it is, `None` in a template.
pub(super) fn validate(spec: &Value, pod: Option<&str>, path: &Path, errors: &mut Errors) {
    let grace = spec.i64_at(&["terminationGracePeriodSeconds"]);
    if grace.is_none() {
        errors.required(path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::validate(
        spec.list_at(&["volumes"]),
        pod.unwrap_or_default(),
        pod.is_some(),
        &path.child("volumes"),
        errors,
    );
    let claims = spec.list_at(&["resourceClaims"]);
    resource_claims(claims, &path.child("resourceClaims"), errors);
    let scope = Scope {
        spec,
        volumes,
        claims: claims
            .iter()
            .map(|claim| claim.str_at(&["name"]))
            .filter(|name| !name.is_empty())
            .collect(),
        grace,
        host_users: spec.bool_at(&["hostUsers"]) != Some(false),
    };
    container::validate_all(&scope, path, errors);
    if let Some(own) = check::given(spec, "resources") {
        resources::of_pod(spec, own, &path.child("resources"), errors);
    }
    if spec.bool_at(&["hostNetwork"]) == Some(true) {
        host_network_ports(spec, pod.is_some(), path, errors);
    }
    check::required_one_of(spec, "restartPolicy", &RESTART_POLICIES, path, errors);
    check::required_one_of(spec, "dnsPolicy", &DNS_POLICIES, path, errors);
    check::labels(
        spec.get("nodeSelector"),
        &path.child("nodeSelector"),
        errors,
    );
    security::of_pod(spec, &path.child("securityContext"), errors);
    if let Some(rules) = check::given(spec, "affinity") {
        affinity::validate(rules, &path.child("affinity"), errors);
    }
    dns_config(spec, &path.child("dnsConfig"), errors);
    gates(spec, path, errors);
    let constraints = spec.list_at(&["topologySpreadConstraints"]);
    affinity::topology_spread(
        constraints,
        &path.child("topologySpreadConstraints"),
        errors,
    );
    security::host_processes(spec, path, errors);
    security::host_users(spec, path, errors);
    hostname_override(spec, path, errors);
    names(spec, path, errors);
    let tolerations = spec.list_at(&["tolerations"]);
    super::validate_tolerations(tolerations, &path.child("tolerations"), errors);
    host_aliases(spec, &path.child("hostAliases"), errors);
    classes(spec, path, errors);
    security::operating_system(spec, path, errors);
    env::files(spec, path, errors);
}

/// Claims to resources: each by a name of its own, from a claim or a template of one.
fn resource_claims(claims: &[Value], path: &Path, errors: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let at = path.index(index);
        let name = claim.str_at(&["name"]);
        if name.is_empty() {
            errors.required(at.child("name"), "");
        } else if names.contains(&name) {
            errors.duplicate(at.child("name"), name);
        } else {
            check::dns_label(name, &at.child("name"), errors);
            names.push(name);
        }
        let fields = ["resourceClaimName", "resourceClaimTemplateName"];
        let given: Vec<&str> = fields
            .into_iter()
            .filter(|field| check::given(claim, field).is_some())
            .collect();
        let why = match given.len() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
        };
        if !why.is_empty() {
            let shown = internal::text("api.core.v1.PodResourceClaim", claim);
            errors.invalid_text(at.clone(), &shown, why);
        }
        for field in given {
            check::dns_subdomain(claim.str_at(&[field]), &at.child(field), errors);
        }
    }
}

/// On the host's network the ports of a container are those of the host; in a template they may be left to that.
fn host_network_ports(spec: &Value, is_pod: bool, path: &Path, errors: &mut Errors) {
    for (index, container) in spec.list_at(&["containers"]).iter().enumerate() {
        for (number, port) in container.list_at(&["ports"]).iter().enumerate() {
            let host = port.i64_at(&["hostPort"]).unwrap_or(0);
            let own = port.i64_at(&["containerPort"]).unwrap_or(0);
            if host != own && (is_pod || host != 0) {
                let at = path.child("containers").index(index).child("ports");
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(at.index(number).child("hostPort"), host, why);
            }
        }
    }
}

fn dns_config(spec: &Value, path: &Path, errors: &mut Errors) {
    let config = check::given(spec, "dnsConfig");
    let nameservers = config.map_or(&[][..], |config| config.list_at(&["nameservers"]));
    if spec.str_at(&["dnsPolicy"]) == "None" {
        if config.is_none() {
            let why = "must provide `dnsConfig` when `dnsPolicy` is None";
            errors.required(path.clone(), why);
            return;
        }
        if nameservers.is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(path.child("nameservers"), why);
            return;
        }
    }
    let Some(config) = config else { return };
    if nameservers.len() > MOST_NAMESERVERS {
        let why = format!("must not have more than {MOST_NAMESERVERS} nameservers");
        errors.invalid(path.child("nameservers"), nameservers.to_vec(), &why);
    }
    for (index, server) in nameservers.iter().filter_map(Value::as_str).enumerate() {
        ip::address(server, &[], &path.child("nameservers").index(index), errors);
    }
    let all = config.list_at(&["searches"]);
    let searches: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
    let at = path.child("searches");
    if searches.len() > MOST_SEARCHES {
        let why = format!("must not have more than {MOST_SEARCHES} search paths");
        errors.invalid(at.clone(), all.to_vec(), &why);
    }
    if searches.join(" ").len() > LONGEST_SEARCHES {
        let why = format!(
            "must not have more than {LONGEST_SEARCHES} characters (including spaces) in the search list"
        );
        errors.invalid(at.clone(), all.to_vec(), &why);
    }
    for (index, search) in searches
        .iter()
        .enumerate()
        .filter(|(_, text)| **text != ".")
    {
        let search = search.strip_suffix('.').unwrap_or(search);
        let problems = name::dns_subdomain_with_underscore(search);
        check::problems(search, problems, &at.index(index), errors);
    }
    for (index, option) in config.list_at(&["options"]).iter().enumerate() {
        if option.str_at(&["name"]).is_empty() {
            errors.required(path.child("options").index(index), "must not be empty");
        }
    }
}

/// What a pod waits for: before it is scheduled, and before it is ready.
fn gates(spec: &Value, path: &Path, errors: &mut Errors) {
    for (index, gate) in spec.list_at(&["readinessGates"]).iter().enumerate() {
        let kind = gate.str_at(&["conditionType"]);
        let at = || path.child("readinessGates").index(index);
        check::problems(
            kind,
            name::qualified(kind),
            &at().child("conditionType"),
            errors,
        );
    }
    let mut seen: Vec<&str> = Vec::new();
    for (index, gate) in spec.list_at(&["schedulingGates"]).iter().enumerate() {
        let gate = gate.str_at(&["name"]);
        let at = path.child("schedulingGates").index(index);
        check::problems(gate, name::qualified(gate), &at, errors);
        if seen.contains(&gate) {
            errors.duplicate(at, gate);
        }
        seen.push(gate);
    }
}

/// Names in the spec: of the account, the node, the host.
fn names(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["serviceAccountName", "nodeName"] {
        let text = spec.str_at(&[field]);
        if !text.is_empty() {
            check::dns_subdomain(text, &path.child(field), errors);
        }
    }
    if let Some(seconds) = spec.i64_at(&["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let why = "must be between 1 and 2147483647, inclusive";
        errors.invalid(path.child("activeDeadlineSeconds"), seconds, why);
    }
    for field in ["hostname", "subdomain"] {
        let text = spec.str_at(&[field]);
        if !text.is_empty() {
            check::dns_label(text, &path.child(field), errors);
        }
    }
}

/// A name of the host that replaces all others.
fn hostname_override(spec: &Value, path: &Path, errors: &mut Errors) {
    if check::given(spec, "hostnameOverride").is_none() {
        return;
    }
    let at = || path.child("hostnameOverride");
    let text = spec.str_at(&["hostnameOverride"]);
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.bool_at(&[field]) == Some(true) {
            let why = format!("may not be specified when {field} is true");
            errors.forbidden(at(), &why);
        }
    }
    // The longest name that Linux takes.
    if text.len() > 64 {
        errors.too_long(at(), 64);
    }
    check::dns_subdomain(text, &at(), errors);
}

fn host_aliases(spec: &Value, path: &Path, errors: &mut Errors) {
    for (index, alias) in spec.list_at(&["hostAliases"]).iter().enumerate() {
        let at = || path.index(index);
        ip::address(alias.str_at(&["ip"]), &[], &at().child("ip"), errors);
        let names = alias.list_at(&["hostnames"]);
        for (number, name) in names.iter().filter_map(Value::as_str).enumerate() {
            let at = at().child("hostnames").index(number);
            check::dns_subdomain(name, &at, errors);
        }
    }
}

/// The classes that a pod belongs to, and what follows from them.
fn classes(spec: &Value, path: &Path, errors: &mut Errors) {
    let priority = spec.str_at(&["priorityClassName"]);
    if !priority.is_empty() {
        check::dns_subdomain(priority, &path.child("priorityClassName"), errors);
    }
    if check::given(spec, "runtimeClassName").is_some() {
        let runtime = spec.str_at(&["runtimeClassName"]);
        check::dns_subdomain(runtime, &path.child("runtimeClassName"), errors);
    }
    if check::given(spec, "preemptionPolicy").is_some() {
        let policies = ["PreemptLowerPriority", "Never"];
        check::required_one_of(spec, "preemptionPolicy", &policies, path, errors);
    }
    if let Some(amounts) = check::given(spec, "overhead") {
        resources::overhead(amounts, &path.child("overhead"), errors);
    }
}
