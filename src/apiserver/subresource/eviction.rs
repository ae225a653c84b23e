//! `pods/eviction`: deletes a pod if its disruption budget allows it.
use super::binding::set_condition;
use crate::apiserver::DeleteOptions;
use crate::apiserver::handler::call::{Call, Current, store_failure};
use crate::apiserver::handler::delete::{check_preconditions, remove};
use crate::apiserver::handler::{admit, answer, body, metadata, write};
use crate::apiserver::registry::Resource;
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::{DeleteBody, Deletion, WriteOptions};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::object::status::Cause;
use crate::object::{
    Document, GroupResource, GroupVersionKind, LabelSelector, Reason, Status, condition,
};
use crate::store::Range;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// So many evictions may wait for the budget's controller to see them.
const MOST_DISRUPTED: usize = 2000;
/// So often a pod that changes is looked at anew.
const MOST_ATTEMPTS: usize = 20;
/// After so many seconds a budget that is being looked at may be asked again.
const BUSY_SECONDS: u32 = 10;
const AMBIGUOUS: &str = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts the pod.
pub(crate) async fn create(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let options = WriteOptions::parse(&request.query, "CreateOptions", false)?;
    let mut call = Call::new(shared, request, options);
    let mut eviction = decode(&mut call)?;
    metadata::place(call.resource, call.namespace, &mut eviction)?;
    if eviction.name() != request.name {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    admit::act(&call, &request.name, &mut eviction).await?;
    let sent = eviction.get("deleteOptions").unwrap_or(&Value::Null);
    let deletion = Deletion::check(DeleteBody::from_value(sent)?.or_dry_run(call.options.dry_run))?;
    call.options.dry_run = deletion.options.dry_run;
    let outcome = evict(&mut call, &request.name, &deletion.options).await?;
    let answer = match outcome {
        Outcome::Evicted => answer::created(),
        // The real server takes this for an outcome like any other.
        Outcome::Ambiguous => json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": AMBIGUOUS, "code": 500,
        }),
    };
    Ok(response::document(StatusCode::CREATED, &answer))
}

/// What an eviction that did not fail came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Evicted,
    /// Several budgets guard the pod, which nobody knows how to serve at once.
    Ambiguous,
}

/// What the budgets say of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It may go.
    Granted,
    /// It may go as long as it is not ready; the budget's name.
    WhileUnready(String),
    Ambiguous,
}

/// Evicts the pod, again when it changed meanwhile, unless the client named a version.
async fn evict(
    call: &mut Call<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Outcome, Status> {
    for attempt in 1.. {
        let Some(pod) = call.read(name).await? else {
            return Err(call.not_found(name));
        };
        let mut options = options.clone();
        let is_free = options.resource_version.is_none();
        let mut guard = None;
        if needs_budget(&pod.object) {
            match ask_budget(call, &pod).await? {
                Verdict::Granted => {}
                Verdict::Ambiguous => return Ok(Outcome::Ambiguous),
                Verdict::WhileUnready(budget) => guard = Some(budget),
            }
        }
        // A pod that is about to become ready would then count for a budget.
        let starts = is_free
            && pod.object.str_at(&["status", "phase"]) == "Pending"
            && pod.object.deletion_timestamp().is_none();
        if starts || guard.is_some() {
            options.resource_version = Some(pod.object.resource_version().to_owned());
        }
        match mark_and_remove(call, name, options).await {
            Err(status) if status.reason == Reason::Conflict && is_free => {
                if let Some(budget) = guard {
                    return Err(refused(BUSY_SECONDS, processing(&budget)));
                }
                if !starts || attempt == MOST_ATTEMPTS {
                    return Err(status);
                }
            }
            other => return other.map(|()| Outcome::Evicted),
        }
    }
    Ok(Outcome::Evicted)
}

/// Says on the pod why it goes, and deletes it.
async fn mark_and_remove(
    call: &mut Call<'_>,
    name: &str,
    mut options: DeleteOptions,
) -> Result<(), Status> {
    let preconditions = options.clone();
    let mut change = |call: &mut Call<'_>, current: &Current| {
        check_preconditions(call, &preconditions, current)?;
        let mut pod = current.object.clone();
        let target = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
            "lastProbeTime": null, "lastTransitionTime": call.now,
        });
        set_condition(&mut pod, target);
        Ok(pod)
    };
    if !options.dry_run {
        let marked = write::direct(call, name, &mut change).await?;
        if options.resource_version.is_some() {
            options.resource_version = marked.revision.map(|revision| revision.to_string());
        }
    }
    remove(call, name, &options).await.map(drop)
}

/// The body, in the present version or the old one, which only differs in name.
fn decode(call: &mut Call<'_>) -> Result<Value, Status> {
    let present = body::of_kind(call, &GroupVersionKind::new("policy", "v1", "Eviction"));
    present.or_else(|status| {
        body::of_kind(
            call,
            &GroupVersionKind::new("policy", "v1beta1", "Eviction"),
        )
        .map_err(|_| status)
    })
}

/// Pods that do not run do not count for any budget.
fn needs_budget(pod: &Value) -> bool {
    !matches!(
        pod.str_at(&["status", "phase"]),
        "Succeeded" | "Failed" | "Pending"
    ) && pod.deletion_timestamp().is_none()
}

/// Takes one disruption from the pod's budget, if it has one and counts for it.
async fn ask_budget(call: &mut Call<'_>, pod: &Current) -> Result<Verdict, Status> {
    let Some(resource) = call
        .shared
        .registry
        .get("policy", "v1", "poddisruptionbudgets")
    else {
        return Ok(Verdict::Granted);
    };
    let budgets = budgets(call, &resource, &pod.object).await?;
    let budget = match &budgets[..] {
        [] => return Ok(Verdict::Granted),
        [budget] => budget,
        _ => return Ok(Verdict::Ambiguous),
    };
    if !condition::is_true(pod.object.list_at(&["status", "conditions"]), "Ready")
        && spares_unready(&budget.object)
    {
        return Ok(Verdict::WhileUnready(budget.object.name().to_owned()));
    }
    let mut on_budget = Call::on(
        call.shared,
        call.request,
        &resource,
        Some("status"),
        call.options.clone(),
    );
    let pod = pod.object.name();
    write::direct(
        &mut on_budget,
        budget.object.name(),
        &mut |call, current| take(call, &current.object, pod),
    )
    .await?;
    Ok(Verdict::Granted)
}

async fn budgets(
    call: &Call<'_>,
    resource: &Resource,
    pod: &Value,
) -> Result<Vec<Current>, Status> {
    let range = Range::prefix(resource.key(call.namespace, ""));
    let page = call
        .shared
        .store
        .range(range)
        .await
        .map_err(|error| store_failure(&error))?;
    let mut found = Vec::new();
    for entry in page.entries {
        let budget = Current::decode(entry)?;
        // A budget without a selector selects nothing, an empty selector everything.
        let selector = budget
            .object
            .at(&["spec", "selector"])
            .filter(|selector| !selector.is_null());
        let selector = selector.and_then(|selector| LabelSelector::from_value(selector).ok());
        if selector.is_some_and(|selector| selector.matches_with(|key| pod.label(key))) {
            found.push(budget);
        }
    }
    Ok(found)
}

/// Whether a pod that is not ready may go without asking.
fn spares_unready(budget: &Value) -> bool {
    if budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow" {
        return true;
    }
    let number = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
    number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0
}

/// The budget with one disruption less.
fn take(call: &Call<'_>, budget: &Value, pod: &str) -> Result<Value, Status> {
    let name = budget.name();
    let number = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
    let forbidden = |why: &str| {
        Err(Status::forbidden(
            &GroupResource::new("policy", "poddisruptionbudget"),
            name,
            why,
        ))
    };
    if number("observedGeneration") < budget.generation() {
        return Err(refused(BUSY_SECONDS, processing(name)));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    let disrupted = budget
        .at(&["status", "disruptedPods"])
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len);
    if disrupted > MOST_DISRUPTED {
        return forbidden(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if allowed == 0 {
        let (desired, current) = (number("desiredHealthy"), number("currentHealthy"));
        return Err(refused(
            0,
            format!(
                "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
            ),
        ));
    }
    let mut budget = budget.clone();
    budget.set_at(&["status", "disruptionsAllowed"], allowed - 1);
    budget.set_at(&["status", "disruptedPods", pod], call.now.as_str());
    if allowed == 1 {
        let generation = number("observedGeneration");
        let none_left = json!({
            "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "lastTransitionTime": call.now, "observedGeneration": generation,
        });
        set_condition(&mut budget, none_left);
    }
    Ok(budget)
}

/// 429 with the reason for it.
fn refused(seconds: u32, why: String) -> Status {
    let mut status = Status::too_many_requests(REFUSED, seconds);
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "DisruptionBudget".into(),
            message: why,
            ..Cause::default()
        });
    }
    status
}

fn processing(budget: &str) -> String {
    format!("The disruption budget {budget} is still being processed by the server.")
}
