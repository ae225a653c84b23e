//! `LimitRanger`: the limit ranges of a namespace fill in what containers ask for, and bound what pods and claims ask for.
use super::pod_resources::{Amounts, Side, amounts, of_container, of_pod};
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, LabelSelector, Quantity, Status};
use async_trait::async_trait;
use serde_json::Value;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

#[derive(Debug)]
pub(super) struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation == Operation::Create && request.writes("", "pods") {
            for range in ranges(request).await? {
                fill(&range, object);
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        // The resources of a pod change only when it is resized.
        let resized = request.is_for("", "pods")
            && request.subresource == "resize"
            && request.operation == Operation::Update;
        let pod = resized || (request.writes("", "pods") && request.operation == Operation::Create);
        let claim = request.writes("", "persistentvolumeclaims");
        let going = request.operation == Operation::Update && object.deletion_timestamp().is_some();
        if going || !(pod || claim) {
            return Ok(());
        }
        for range in ranges(request).await? {
            let mut problems = Vec::new();
            for limit in range.list_at(&["spec", "limits"]) {
                if pod {
                    check_pod(limit, object, &mut problems);
                } else {
                    check_claim(limit, object, &mut problems);
                }
            }
            if !problems.is_empty() {
                return Err(request.forbidden(Some(object), &aggregate(&problems)));
            }
        }
        Ok(())
    }
}

/// Several problems as one text, each once.
fn aggregate(problems: &[String]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for problem in problems {
        if !texts.contains(&problem.as_str()) {
            texts.push(problem);
        }
    }
    match &texts[..] {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

async fn ranges(request: &AdmissionRequest<'_>) -> Result<Vec<Value>, Status> {
    let all = LabelSelector::default();
    request
        .view
        .list("", "v1", "limitranges", request.namespace, &all)
        .await
}

/// Fills in what containers do not ask for.
fn fill(range: &Value, pod: &mut Value) {
    let none = Vec::<(String, Value)>::new;
    let mut defaults = [("requests", "request", none()), ("limits", "limit", none())];
    for limit in range.list_at(&["spec", "limits"]) {
        if limit.str_at(&["type"]) != "Container" {
            continue;
        }
        for ((_, _, known), field) in defaults.iter_mut().zip(["defaultRequest", "default"]) {
            let entries = limit.get(field).and_then(Value::as_object);
            for (name, value) in entries.into_iter().flatten() {
                known.retain(|(other, _)| other != name);
                known.push((name.clone(), value.clone()));
            }
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [
        ("containers", "container"),
        ("initContainers", "init container"),
    ] {
        let Some(Value::Array(containers)) = pod.at_mut(&["spec", list]) else {
            continue;
        };
        for container in containers {
            let name = container.str_at(&["name"]).to_owned();
            for (field, side, known) in &defaults {
                let mut set = Vec::new();
                for (resource, value) in known {
                    let path = ["resources", field, resource.as_str()];
                    if container.at(&path).is_none() {
                        container.set_at(&path, value.clone());
                        set.push(resource.as_str());
                    }
                }
                if !set.is_empty() {
                    set.sort_unstable();
                    notes.push(format!("{} {side} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.set_at(&["metadata", "annotations", ANNOTATION], note);
    }
}

fn check_pod(limit: &Value, pod: &Value, problems: &mut Vec<String>) {
    match limit.str_at(&["type"]) {
        kind @ "Container" => {
            for list in ["containers", "initContainers"] {
                for container in pod.list_at(&["spec", list]) {
                    let requests = of_container(container, Side::Requests);
                    let limits = of_container(container, Side::Limits);
                    check(limit, kind, &requests, &limits, problems);
                }
            }
        }
        kind @ "Pod" => {
            let requests = of_pod(pod, Side::Requests, false);
            let limits = of_pod(pod, Side::Limits, false);
            check(limit, kind, &requests, &limits, problems);
        }
        _ => {}
    }
}

/// The bounds of one item of a limit range.
fn check(
    limit: &Value,
    kind: &str,
    requests: &Amounts,
    limits: &Amounts,
    problems: &mut Vec<String>,
) {
    for (name, bound) in amounts(limit.get("min")) {
        let given = (requests.get(&name), limits.get(&name));
        problems.extend(minimum(kind, &name, bound, given));
    }
    for (name, bound) in amounts(limit.get("max")) {
        let given = (requests.get(&name), limits.get(&name));
        problems.extend(maximum(kind, &name, bound, given));
    }
    for (name, bound) in amounts(limit.get("maxLimitRequestRatio")) {
        let given = (requests.get(&name), limits.get(&name));
        problems.extend(ratio(kind, &name, bound, given));
    }
}

fn check_claim(limit: &Value, claim: &Value, problems: &mut Vec<String>) {
    let kind = limit.str_at(&["type"]);
    if kind != "PersistentVolumeClaim" {
        return;
    }
    let requests = amounts(claim.at(&["spec", "resources", "requests"]));
    for (name, bound) in amounts(limit.get("min")) {
        problems.extend(minimum(kind, &name, bound, (requests.get(&name), None)));
    }
    for (name, bound) in amounts(limit.get("max")) {
        let start = format!("maximum {name} usage per {kind} is {bound}");
        match requests.get(&name) {
            None => problems.push(format!("{start}.  No request is specified")),
            Some(given) if *given > bound => {
                problems.push(format!("{start}, but request is {given}"));
            }
            Some(_) => {}
        }
    }
}

/// What is asked for and at most allowed.
type Given<'a> = (Option<&'a Quantity>, Option<&'a Quantity>);

fn minimum(kind: &str, name: &str, bound: Quantity, given: Given<'_>) -> Option<String> {
    let start = format!("minimum {name} usage per {kind} is {bound}");
    match given {
        (None, _) => Some(format!("{start}.  No request is specified")),
        (Some(request), _) if *request < bound => {
            Some(format!("{start}, but request is {request}"))
        }
        (_, Some(limit)) if *limit < bound => Some(format!("{start}, but limit is {limit}")),
        _ => None,
    }
}

fn maximum(kind: &str, name: &str, bound: Quantity, given: Given<'_>) -> Option<String> {
    let start = format!("maximum {name} usage per {kind} is {bound}");
    match given {
        (_, None) => Some(format!("{start}.  No limit is specified")),
        (_, Some(limit)) if *limit > bound => Some(format!("{start}, but limit is {limit}")),
        (Some(request), _) if *request > bound => {
            Some(format!("{start}, but request is {request}"))
        }
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "upstream compares and shows the ratio as a float"
)]
fn ratio(kind: &str, name: &str, bound: Quantity, given: Given<'_>) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {kind} is {bound}");
    let (request, limit) = match given {
        (Some(request), Some(limit)) if !request.is_zero() && !limit.is_zero() => (request, limit),
        (Some(request), _) if !request.is_zero() => {
            return Some(format!("{start}, but no limit is specified or limit is 0"));
        }
        _ => {
            return Some(format!(
                "{start}, but no request is specified or request is 0"
            ));
        }
    };
    let found = limit.milli_value() as f64 / request.milli_value() as f64;
    let most = bound.milli_value() as f64 / 1000.0;
    (found > most).then(|| format!("{start}, but provided ratio is {found:.6}"))
}
