//! What a status of a pod may say.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, ip};
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, name};

const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// The first of all addresses is told twice; where the two differ, the single field wins.
pub(super) fn default(status: &mut Value) {
    let single = status.str_at(&["podIP"]).to_owned();
    let first = status
        .list_at(&["podIPs"])
        .first()
        .map(|first| first.str_at(&["ip"]).to_owned());
    match first {
        Some(first) if single.is_empty() => status["podIP"] = first.into(),
        Some(first) if first == single => {}
        _ if single.is_empty() => {}
        _ => status["podIPs"] = json!([{ "ip": single }]),
    }
}

/// Keeps of the old status what a client may leave out but not take away.
pub(super) fn keep(new: &mut Value, old: &Value) {
    if new.str_at(&["status", "qosClass"]).is_empty()
        && let Some(class) = old.at(&["status", "qosClass"])
    {
        new.set_at(&["status", "qosClass"], class.clone());
    }
    let generation = |holder: &Value| holder.i64_at(&["observedGeneration"]).unwrap_or(0);
    let was = generation(&old["status"]);
    if generation(&new["status"]) == 0 && was != 0 {
        new.set_at(&["status", "observedGeneration"], was);
    }
    // By type in order: there can be several conditions of one type.
    let mut before: Vec<(&str, i64)> = old
        .list_at(&["status", "conditions"])
        .iter()
        .map(|condition| (condition.str_at(&["type"]), generation(condition)))
        .collect();
    let conditions = new
        .at_mut(&["status", "conditions"])
        .and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let kind = condition.str_at(&["type"]);
        let Some(at) = before.iter().position(|(other, _)| *other == kind) else {
            continue;
        };
        let (_, was) = before.remove(at);
        if generation(condition) == 0 && was != 0 {
            condition.set_at(&["observedGeneration"], was);
        }
    }
}

/// Addresses that are valid and yet not in good form.
pub(super) fn warnings(status: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for field in ["podIPs", "hostIPs"] {
        for (index, entry) in status.list_at(&[field]).iter().enumerate() {
            let at = Path::new("status").child(field).index(index).child("ip");
            warnings.extend(ip::address_warning(&at, entry.str_at(&["ip"])));
        }
    }
    warnings
}

/// Checks a new status.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let (status, was) = (&new["status"], &old["status"]);
    let path = Path::new("status");
    for (index, condition) in status.list_at(&["conditions"]).iter().enumerate() {
        let at = || path.child("conditions").index(index);
        generation(condition, &at(), errors);
        let kind = condition.str_at(&["type"]);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            check::problems(kind, name::qualified(kind), &at().child("Type"), errors);
        }
    }
    let nominated = status.str_at(&["nominatedNodeName"]);
    if !nominated.is_empty() && nominated != was.str_at(&["nominatedNodeName"]) {
        let at = || path.child("nominatedNodeName");
        check::dns_subdomain(nominated, &at(), errors);
        if !old.str_at(&["spec", "nodeName"]).is_empty() {
            let why = "may not be set on pods that are already bound to a node";
            errors.forbidden(at(), why);
        }
    }
    generation(status, &path, errors);
    check::immutable(status, was, "qosClass", &path, errors);
    let all_restart = all_could_restart(&old["spec"]);
    for (list, containers) in LISTS {
        let is_ephemeral = containers == "ephemeralContainers";
        if all_restart && !is_ephemeral {
            continue;
        }
        let restarts = |name: &str, code: i64| {
            !is_ephemeral && should_restart(&old["spec"], containers, name, code)
        };
        let (new, old) = (status.list_at(&[list]), was.list_at(&[list]));
        stays_ended(new, old, &restarts, &path.child(list), errors);
    }
    claims(new, &path.child("resourceClaimStatuses"), errors);
    addresses(status, was, "podIPs", &path, errors);
    let hosts = status.list_at(&["hostIPs"]);
    if let Some(first) = hosts.first() {
        let first = first.str_at(&["ip"]);
        if first != status.str_at(&["hostIP"]) {
            let at = path.child("hostIPs").index(0).child("ip");
            errors.invalid(at, first, "must be equal to `hostIP`");
        }
        addresses(status, was, "hostIPs", &path, errors);
    }
    for (list, containers) in LISTS {
        let containers = new.list_at(&["spec", containers]);
        for (index, own) in status.list_at(&[list]).iter().enumerate() {
            let at = || path.child(list).index(index);
            user(new, own, &at, errors);
            allocated(own, list, containers, &at, errors);
        }
    }
}

/// Which generation it tells of.
fn generation(holder: &Value, path: &Path, errors: &mut Errors) {
    let generation = holder.i64_at(&["observedGeneration"]);
    if let Some(generation) = generation.filter(|generation| *generation < 0) {
        let why = "must be a non-negative integer";
        errors.invalid(path.child("observedGeneration"), generation, why);
    }
}

/// Whether some container takes all others with it when it restarts.
fn all_could_restart(spec: &Value) -> bool {
    ["initContainers", "containers"]
        .iter()
        .flat_map(|list| spec.list_at(&[list]))
        .flat_map(|container| container.list_at(&["restartPolicyRules"]))
        .any(|rule| rule.str_at(&["action"]) == "RestartAllContainers")
}

/// Whether a container that ended with `code` is started again.
fn should_restart(spec: &Value, list: &str, name: &str, code: i64) -> bool {
    let containers = spec.list_at(&[list]);
    let named = |container: &&Value| container.str_at(&["name"]) == name;
    let Some(container) = containers.iter().find(named) else {
        return false;
    };
    let own = container.str_at(&["restartPolicy"]);
    let matches = |rule: &&Value| {
        let codes = rule.list_at(&["exitCodes", "values"]);
        let listed = codes.iter().any(|listed| listed.as_i64() == Some(code));
        match rule.str_at(&["exitCodes", "operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    let rules = container.list_at(&["restartPolicyRules"]);
    let rule = rules.iter().find(matches).filter(|_| !own.is_empty());
    if rule.is_some_and(|rule| rule.str_at(&["action"]) == "Restart") {
        return true;
    }
    let policy = match own {
        "" => spec.str_at(&["restartPolicy"]),
        own => own,
    };
    policy == "Always" || (policy == "OnFailure" && code != 0)
}

/// A container that has ended and will not be started again does not come back to life.
fn stays_ended(
    new: &[Value],
    old: &[Value],
    restarts: &dyn Fn(&str, i64) -> bool,
    path: &Path,
    errors: &mut Errors,
) {
    let ended = |status: &Value| {
        let ended = status.at(&["state", "terminated"]);
        ended.is_some_and(|ended| !ended.is_null())
    };
    for (index, was) in old.iter().enumerate().filter(|(_, was)| ended(was)) {
        let code = was.i64_at(&["state", "terminated", "exitCode"]);
        let name = was.str_at(&["name"]);
        let revived = new
            .iter()
            .any(|new| new.str_at(&["name"]) == name && !ended(new));
        if revived && !restarts(name, code.unwrap_or(0)) {
            let why = "may not be transitioned to non-terminated state";
            errors.forbidden(path.index(index).child("state"), why);
        }
    }
}

fn claims(pod: &Value, path: &Path, errors: &mut Errors) {
    let known = pod.list_at(&["spec", "resourceClaims"]);
    let mut seen: Vec<&str> = Vec::new();
    let statuses = pod.list_at(&["status", "resourceClaimStatuses"]);
    for (index, status) in statuses.iter().enumerate() {
        let at = || path.index(index).child("name");
        let name = status.str_at(&["name"]);
        if !known.iter().any(|claim| claim.str_at(&["name"]) == name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(at(), name, why);
        }
        if seen.contains(&name) {
            errors.duplicate(at(), name);
        }
        seen.push(name);
        if check::given(status, "resourceClaimName").is_some() {
            let claim = status.str_at(&["resourceClaimName"]);
            let at = path.index(index).child("resourceClaimName");
            check::dns_subdomain(claim, &at, errors);
        }
    }
}

/// At most one address of each family. What was there before may stay.
fn addresses(status: &Value, was: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let list = status.list_at(&[field]);
    let path = path.child(field);
    let texts: Vec<&str> = list.iter().map(|entry| entry.str_at(&["ip"])).collect();
    let kept = was.list_at(&[field]).iter();
    let kept: Vec<&str> = kept.map(|entry| entry.str_at(&["ip"])).collect();
    for (index, text) in texts.iter().enumerate() {
        ip::address(text, &kept, &path.index(index), errors);
    }
    if texts.len() < 2 {
        return;
    }
    let shown = |text: &str| format!("{{\"IP\":{}}}", json!(text));
    let parsed: Vec<Option<IpAddr>> = texts.iter().map(|text| ip::parse(text)).collect();
    if let Some(at) = parsed.iter().position(Option::is_none) {
        let text = texts.get(at).copied().unwrap_or_default();
        let why = format!(
            "Internal error: failed to check for dual stack with error:invalid IP[{at}]: {text}"
        );
        errors.push(ErrorKind::Internal, path.clone(), why);
    }
    let is = |family: fn(&IpAddr) -> bool| parsed.iter().flatten().any(family);
    let dual = parsed.iter().all(Option::is_some) && is(IpAddr::is_ipv4) && is(IpAddr::is_ipv6);
    if !dual || texts.len() > 2 {
        let all: Vec<String> = texts.iter().map(|text| shown(text)).collect();
        let why = "may specify no more than one IP for each IP family";
        errors.invalid_text(path.clone(), &format!("[{}]", all.join(",")), why);
    }
}

/// The users of a container.
fn user(pod: &Value, status: &Value, path: &dyn Fn() -> Path, errors: &mut Errors) {
    let Some(user) = status.at(&["user", "linux"]).filter(|user| !user.is_null()) else {
        return;
    };
    let at = || path().child("linux");
    if pod.str_at(&["spec", "os", "name"]) == "windows" {
        errors.forbidden(at(), "cannot be set for a windows pod");
        return;
    }
    for field in ["uid", "gid"] {
        check::unix_id(user.i64_at(&[field]), &at().child(field), errors);
    }
    let groups = user.list_at(&["supplementalGroups"]);
    for (index, group) in groups.iter().enumerate() {
        let at = at().child("supplementalGroups").index(index);
        check::unix_id(group.as_i64(), &at, errors);
    }
}

/// The health of the resources that a container has got.
fn allocated(
    status: &Value,
    list: &str,
    containers: &[Value],
    path: &dyn Fn() -> Path,
    errors: &mut Errors,
) {
    let allocated = status.list_at(&["allocatedResourcesStatus"]);
    if allocated.is_empty() {
        return;
    }
    let path = path().child("allocatedResourcesStatus");
    if list == "ephemeralContainerStatuses" {
        errors.forbidden(path, "must not be specified in container status");
        return;
    }
    let container = containers
        .iter()
        .find(|container| container.str_at(&["name"]) == status.str_at(&["name"]));
    for (index, resource) in allocated.iter().enumerate() {
        let at = path.index(index);
        let name = resource.str_at(&["name"]);
        if let Some(container) = container {
            asked_for(name, container, &at.child("name"), errors);
        }
        let mut seen: Vec<&str> = Vec::new();
        for (number, own) in resource.list_at(&["resources"]).iter().enumerate() {
            let at = || at.child("resources").index(number);
            let healths = ["Healthy", "Unhealthy", "Unknown"];
            let health = own.str_at(&["health"]);
            if !healths.contains(&health) {
                errors.not_supported(at().child("health"), health, &healths);
            }
            let id = own.str_at(&["resourceID"]);
            if seen.contains(&id) {
                errors.duplicate(at().child("resourceID"), id);
            }
            seen.push(id);
        }
    }
}

fn asked_for(name: &str, container: &Value, path: &Path, errors: &mut Errors) {
    let why = if name.starts_with("claim:") {
        let claims = container.list_at(&["resources", "claims"]);
        let asked = claims.iter().any(|claim| {
            let (own, request) = (claim.str_at(&["name"]), claim.str_at(&["request"]));
            let slash = if request.is_empty() { "" } else { "/" };
            name == format!("claim:{own}{slash}{request}")
        });
        if asked {
            return;
        }
        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
    } else if container.at(&["resources", "requests", name]).is_none() {
        "must match one of the container's resource requests"
    } else {
        return;
    };
    errors.invalid(path.clone(), name, why);
}
