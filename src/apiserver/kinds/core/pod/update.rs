//! What may change in a pod: little, and what is put in, made larger or smaller only through subresources.

use serde_json::{Map, Value, json};

use super::{affinity, annotations, container, qos};
use crate::apiserver::kinds::{check, difference};
use crate::apiserver::schema::internal;
use crate::object::Document;
use crate::object::field::{Errors, Path};

const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
     `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
     `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// Checks a change of the pod itself.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let (new, old) = (&new["spec"], &old["spec"]);
    for list in ["containers", "initContainers"] {
        if !images(
            new.list_at(&[list]),
            old.list_at(&[list]),
            &path.child(list),
            errors,
        ) {
            return;
        }
    }
    if !deadline(new, old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations(new, old, &path.child("tolerations"), errors);
    scheduling_gates(new, old, &path.child("schedulingGates"), errors);
    if new == old {
        return;
    }
    let mut leveled = new.clone();
    level(&mut leveled, old);
    if !old.list_at(&["schedulingGates"]).is_empty() {
        while_gated(&mut leveled, old, &path, errors);
    }
    if !same(&leveled, old) {
        let difference = difference::of("api.core.v1.PodSpec", old, &leveled);
        errors.forbidden(path, &format!("{CHANGEABLE}\n{difference}"));
    }
}

/// Whether two parts say the same: what is empty is as if it were not there.
fn same(a: &Value, b: &Value) -> bool {
    without_empty(a) == without_empty(b)
}

fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null() && !value.as_array().is_some_and(Vec::is_empty))
            .map(|(key, value)| (key.clone(), without_empty(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_empty).collect(),
        other => other.clone(),
    }
}

/// Images may change, containers may not; whether there are as many as before.
fn images(new: &[Value], old: &[Value], path: &Path, errors: &mut Errors) -> bool {
    if new.len() != old.len() {
        errors.forbidden(path.clone(), "pod updates may not add or remove containers");
        return false;
    }
    for (index, own) in new.iter().enumerate() {
        let at = || path.index(index);
        check::required(own, "image", &at(), errors);
        container::image_of_pod(own, &at(), errors);
    }
    true
}

/// A deadline can be set, and made shorter; whether anything else need be looked at.
fn deadline(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    let of = |spec: &Value| spec.i64_at(&["activeDeadlineSeconds"]);
    match (of(new), of(old)) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            let why = "must be between 0 and 2147483647, inclusive";
            errors.invalid(path.clone(), new, why);
            false
        }
        (Some(new), Some(old)) if new > old => {
            let why = "must be less than or equal to previous value";
            errors.invalid(path.clone(), new, why);
            false
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.invalid(path.clone(), Value::Null, why);
            true
        }
        _ => true,
    }
}

/// Tolerations can be added; of those that are there only the seconds may change.
fn tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.remove_at(&["tolerationSeconds"]);
        toleration
    };
    let new = new.list_at(&["tolerations"]);
    let have: Vec<Value> = new.iter().map(timeless).collect();
    let lost = old
        .list_at(&["tolerations"])
        .iter()
        .any(|toleration| !have.contains(&timeless(toleration)));
    if lost {
        let why = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(path.clone(), why);
    } else {
        affinity::tolerations(new, path, errors);
    }
}

/// Gates can only be taken away.
fn scheduling_gates(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let old = old.list_at(&["schedulingGates"]);
    for (index, gate) in new.list_at(&["schedulingGates"]).iter().enumerate() {
        let name = gate.str_at(&["name"]);
        if !old.iter().any(|old| old.str_at(&["name"]) == name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(path.index(index).child("name"), &why);
        }
    }
}

/// Makes everything that may change what it was.
fn level(new: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        let containers = new.get_mut(list).and_then(Value::as_array_mut);
        for (container, old) in containers.into_iter().flatten().zip(old.list_at(&[list])) {
            container["image"] = old["image"].clone();
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(new, old, field);
    }
    // A grace below zero never meant anything but one second.
    let grace = |spec: &Value| spec.i64_at(&["terminationGracePeriodSeconds"]);
    if grace(old).is_some_and(|grace| grace < 0) && grace(new) == Some(1) {
        restore(new, old, "terminationGracePeriodSeconds");
    }
}

fn restore(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new[field] = value.clone(),
        None => {
            new.remove_at(&[field]);
        }
    }
}

/// While a pod waits to be scheduled, where it may run can be narrowed.
fn while_gated(new: &mut Value, old: &Value, path: &Path, errors: &mut Errors) {
    let selector = check::given(new, "nodeSelector");
    let narrowed = check::map_at(old, &["nodeSelector"])
        .into_iter()
        .flatten()
        .all(|(key, value)| selector.and_then(|selector| selector.get(key)) == Some(value));
    if !narrowed {
        errors.invalid(
            path.child("nodeSelector"),
            selector.cloned().unwrap_or(Value::Null),
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        );
    }
    restore(new, old, "nodeSelector");
    let affinity = ["affinity", "nodeAffinity"];
    let (own, was) = (new.at(&affinity).cloned(), old.at(&affinity).cloned());
    if own == was {
        return;
    }
    let at = path.child("affinity").child("nodeAffinity");
    node_affinity(own.as_ref(), was.as_ref(), &at, errors);
    if let Some(was) = was {
        new.set_at(&affinity, was);
        return;
    }
    new.remove_at(&affinity);
    let had = check::given(old, "affinity").is_some();
    let is_empty = check::map_at(new, &["affinity"]).is_some_and(Map::is_empty);
    if is_empty && !had {
        new.remove_at(&["affinity"]);
    }
}

/// Of the terms that a node must match each may only get more requirements.
fn node_affinity(new: Option<&Value>, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let terms = |affinity: Option<&Value>| {
        let terms = affinity.map(|affinity| affinity.list_at(&[REQUIRED, "nodeSelectorTerms"]));
        terms.unwrap_or_default().to_vec()
    };
    let (new, old) = (terms(new), terms(old));
    let path = path.child(REQUIRED).child("nodeSelectorTerms");
    let shown = |term: &Value| internal::text("api.core.v1.NodeSelectorTerm", term);
    if !old.is_empty() && new.len() != old.len() {
        let shown: Vec<String> = new.iter().map(shown).collect();
        let shown = if shown.is_empty() {
            "null".to_owned()
        } else {
            format!("[{}]", shown.join(","))
        };
        let why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.invalid_text(path, &shown, why);
        return;
    }
    for (index, (new, old)) in new.iter().zip(&old).enumerate() {
        let lists = ["matchExpressions", "matchFields"];
        let grows = |list: &str| new.list_at(&[list]).starts_with(old.list_at(&[list]));
        let was_empty = lists.iter().all(|list| old.list_at(&[list]).is_empty());
        let is_empty = lists.iter().all(|list| new.list_at(&[list]).is_empty());
        if (was_empty && !is_empty) || !lists.into_iter().all(grows) {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.invalid_text(path.index(index), &shown(new), why);
        }
    }
}

/// Checks a change of `ephemeralcontainers`: they can be added, and stay as they are.
pub(super) fn validate_ephemeral(new: &Value, old: &Value, errors: &mut Errors) {
    if is_mirror(old) {
        let why = "static pods do not support ephemeral containers";
        return only(errors, why);
    }
    let path = || Path::new("spec").child("ephemeralContainers");
    let containers = new.list_at(&["spec", "ephemeralContainers"]);
    for old in old.list_at(&["spec", "ephemeralContainers"]) {
        let name = old.str_at(&["name"]);
        let new = containers
            .iter()
            .rev()
            .find(|new| new.str_at(&["name"]) == name);
        let why = match new {
            None => "removed\n".to_owned(),
            Some(new) if same(new, old) => continue,
            Some(new) => {
                let difference = difference::of("api.core.v1.EphemeralContainer", old, new);
                format!("changed\n{difference}")
            }
        };
        let why = format!("existing ephemeral containers {name:?} may not be {why}");
        errors.forbidden(path(), &why);
    }
}

/// Whether the pod stands for one that a node runs by itself.
fn is_mirror(pod: &Value) -> bool {
    pod.annotation(annotations::MIRROR).is_some()
}

/// This, and nothing that was found before.
fn only(errors: &mut Errors, why: &str) {
    errors.0.clear();
    // The field has an empty name.
    errors.forbidden(Path::default(), why);
}

/// Keeps everything but the ephemeral containers.
pub(super) fn keep_all_but_ephemeral(new: &mut Value, old: &Value) {
    let containers = new.at(&["spec", "ephemeralContainers"]).cloned();
    new["spec"] = old["spec"].clone();
    match containers {
        Some(containers) => new["spec"]["ephemeralContainers"] = containers,
        None => {
            new.remove_at(&["spec", "ephemeralContainers"]);
        }
    }
}

/// Keeps everything but the resources and how they change; unless containers come or go, which is refused later.
pub(super) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let count = |pod: &Value, list: &str| pod.list_at(&["spec", list]).len();
    let lists = ["containers", "initContainers"];
    if lists
        .iter()
        .any(|list| count(new, list) != count(old, list))
    {
        return;
    }
    let mut spec = old["spec"].clone();
    for list in lists {
        let containers = new.list_at(&["spec", list]);
        let kept = spec.get_mut(list).and_then(Value::as_array_mut);
        let named = |list: &[Value]| -> Vec<String> {
            let names = list.iter().map(|one| one.str_at(&["name"]).to_owned());
            names.collect()
        };
        let Some(kept) = kept else { continue };
        if named(kept) != named(containers) {
            *kept = containers.to_vec();
            continue;
        }
        for (kept, own) in kept.iter_mut().zip(containers) {
            for field in ["resources", "resizePolicy"] {
                restore(kept, own, field);
            }
        }
    }
    let whole = new.at(&["spec", "resources"]).cloned();
    match whole {
        Some(whole) => spec["resources"] = whole,
        None => {
            spec.remove_at(&["resources"]);
        }
    }
    new["spec"] = spec;
}

/// Checks a change of `resize`: of the containers' CPU and memory.
pub(super) fn validate_resize(new: &Value, old: &Value, errors: &mut Errors) {
    if is_mirror(old) {
        return only(errors, "static pods cannot be resized");
    }
    if old.str_at(&["spec", "os", "name"]) == "windows" {
        return only(errors, "windows pods cannot be resized");
    }
    let path = Path::new("spec");
    let (spec, was) = (&new["spec"], &old["spec"]);
    if old.str_at(&["status", "qosClass"]) != qos::class(spec) {
        let shown = new.str_at(&["status", "qosClass"]);
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.invalid(path.clone(), shown, why);
    }
    let running = old
        .list_at(&["status", "containerStatuses"])
        .iter()
        .find(|status| status.at(&["state", "running"]).is_some());
    if running.is_some_and(|status| check::given(status, "resources").is_none()) {
        let why = "Pod running on node without support for resize";
        errors.forbidden(path.clone(), why);
    }
    let mut leveled = spec.clone();
    if has_own_resources(spec) || has_own_resources(was) {
        whole_resized(&mut leveled, was, &path, errors);
    }
    if !same_order(spec, was, &path, errors) {
        return;
    }
    for list in ["initContainers", "containers"] {
        let pairs = spec.list_at(&[list]).iter().zip(was.list_at(&[list]));
        for (index, (new, old)) in pairs.enumerate() {
            let at = path.child(list).index(index).child("resources");
            for kind in AMOUNTS {
                if loses_amounts(new, old, kind) {
                    let why = format!("resource {kind} cannot be removed");
                    errors.forbidden(at.child(kind), &why);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let containers = leveled.get_mut(list).and_then(Value::as_array_mut);
        let pairs = containers.into_iter().flatten().zip(was.list_at(&[list]));
        for (index, (own, old)) in pairs.enumerate() {
            level_container(own, old, list, index, &path, errors);
        }
    }
    if errors.is_empty() && !same(&leveled, was) {
        errors.forbidden(path, "only cpu and memory resources are mutable");
    }
}

const AMOUNTS: [&str; 2] = ["requests", "limits"];

fn has_own_resources(spec: &Value) -> bool {
    AMOUNTS.iter().any(|kind| {
        check::map_at(spec, &["resources", kind]).is_some_and(|amounts| !amounts.is_empty())
    })
}

/// Whether something that was asked for before no longer is.
fn loses_amounts(new: &Value, old: &Value, kind: &str) -> bool {
    let names = check::map_at(old, &["resources", kind]);
    names
        .into_iter()
        .flat_map(|names| names.keys())
        .any(|name| new.at(&["resources", kind, name]).is_none())
}

/// Makes CPU and memory what they were.
fn level_amounts(own: &mut Value, old: &Value) {
    for kind in AMOUNTS {
        for name in ["cpu", "memory"] {
            let path = ["resources", kind, name];
            match old.at(&path) {
                Some(amount) => own.set_at(&path, amount.clone()),
                None => {
                    own.remove_at(&path);
                }
            }
        }
        let is_empty = check::map_at(own, &["resources", kind]).is_some_and(Map::is_empty);
        if is_empty && old.at(&["resources", kind]).is_none() {
            own.remove_at(&["resources", kind]);
        }
    }
}

/// The resources of the pod as a whole.
fn whole_resized(own: &mut Value, old: &Value, path: &Path, errors: &mut Errors) {
    let at = || path.child("resources");
    if check::given(own, "resources").is_none() {
        errors.forbidden(at(), "pod-level resources cannot be removed");
        return;
    }
    for kind in AMOUNTS {
        if loses_amounts(own, old, kind) {
            let why = format!("pod-level resource {kind} cannot be removed");
            errors.forbidden(at().child(kind), &why);
        }
    }
    level_amounts(own, old);
    let was = check::given(old, "resources");
    if was.is_none() && check::map_at(own, &["resources"]).is_some_and(Map::is_empty) {
        own.remove_at(&["resources"]);
    }
    let nothing = Value::Null;
    if !same(&own["resources"], was.unwrap_or(&nothing)) {
        let why = "only cpu and memory resources are mutable at pod-level";
        errors.forbidden(path.clone(), why);
    }
}

/// Makes one container what it was, but for what may not change.
fn level_container(
    own: &mut Value,
    old: &Value,
    list: &str,
    index: usize,
    path: &Path,
    errors: &mut Errors,
) {
    let changed = !same(own, old);
    level_amounts(own, old);
    own.default_at(&["resources"], json!({}));
    // As in the real server: what has claims cannot be resized.
    own.remove_at(&["resources", "claims"]);
    let differs = !same(own, old);
    if list == "containers" {
        if differs {
            errors.forbidden(path.clone(), "only cpu and memory resources are mutable");
        }
        return;
    }
    let at = || path.child(list).index(index);
    if differs {
        let why = "only cpu and memory resources for init or sidecar containers are mutable";
        errors.forbidden(at(), why);
    }
    if changed && own.str_at(&["restartPolicy"]) != "Always" {
        let policies = own.list_at(&["resizePolicy"]);
        for _ in policies
            .iter()
            .filter(|policy| policy.str_at(&["restartPolicy"]) == "RestartContainer")
        {
            let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.forbidden(at(), why);
        }
    }
}

/// Whether the containers are those that were there, in the same order: otherwise nothing else can be compared.
fn same_order(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    let before = errors.0.len();
    for list in ["containers", "initContainers"] {
        let at = path.child(list);
        let (new, old) = (new.list_at(&[list]), old.list_at(&[list]));
        if new.len() != old.len() {
            let why = format!("{list} may not be added or removed on resize");
            errors.forbidden(at, &why);
            continue;
        }
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            if new.str_at(&["name"]) != old.str_at(&["name"]) {
                let why = format!("{list} may not be renamed or reordered on resize");
                errors.forbidden(at.index(index).child("name"), &why);
            }
        }
    }
    errors.0.len() == before
}
