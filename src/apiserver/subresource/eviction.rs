//! `pods/eviction`: deletes a pod if its disruption budget allows it.
use super::binding::set_condition;
use crate::apiserver::handler::call::{Call, Current, store_failure};
use crate::apiserver::handler::delete::remove;
use crate::apiserver::handler::{answer, body, metadata, write};
use crate::apiserver::registry::Resource;
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::{DeleteBody, Deletion, WriteOptions};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::object::status::Cause;
use crate::object::{Document, GroupResource, GroupVersionKind, LabelSelector, Status, condition};
use crate::store::Range;
use http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// So many evictions may wait for the budget's controller to see them.
const MOST_DISRUPTED: usize = 2000;
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
    let sent = eviction.get("deleteOptions").unwrap_or(&Value::Null);
    let deletion = Deletion::check(DeleteBody::from_value(sent)?.or_dry_run(call.options.dry_run))?;
    call.options.dry_run = deletion.options.dry_run;
    let name = request.name.as_str();
    let Some(pod) = call.read(name).await? else {
        return Err(call.not_found(name));
    };
    if needs_budget(&pod.object) {
        ask_budget(&mut call, &pod).await?;
    }
    mark(&mut call, name).await?;
    remove(&mut call, name, &deletion.options).await?;
    Ok(response::document(StatusCode::CREATED, &answer::created()))
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
async fn ask_budget(call: &mut Call<'_>, pod: &Current) -> Result<(), Status> {
    let Some(resource) = call
        .shared
        .registry
        .get("policy", "v1", "poddisruptionbudgets")
    else {
        return Ok(());
    };
    let budgets = budgets(call, &resource, &pod.object).await?;
    let budget = match &budgets[..] {
        [] => return Ok(()),
        [budget] => budget,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    if !condition::is_true(pod.object.list_at(&["status", "conditions"]), "Ready")
        && spares_unready(&budget.object)
    {
        return Ok(());
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
    Ok(())
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
    let refused = |seconds: u32, why: String| {
        let mut status = Status::too_many_requests(REFUSED, seconds);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "DisruptionBudget".into(),
                message: why,
                ..Cause::default()
            });
        }
        Err(status)
    };
    if number("observedGeneration") < budget.generation() {
        return refused(
            10,
            format!("The disruption budget {name} is still being processed by the server."),
        );
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
        return refused(
            0,
            format!(
                "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
            ),
        );
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

/// Says on the pod why it goes.
async fn mark(call: &mut Call<'_>, name: &str) -> Result<(), Status> {
    let mut change = |call: &mut Call<'_>, current: &Current| {
        let mut pod = current.object.clone();
        let target = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
            "lastProbeTime": null, "lastTransitionTime": call.now,
        });
        set_condition(&mut pod, target);
        Ok(pod)
    };
    write::direct(call, name, &mut change).await.map(drop)
}
