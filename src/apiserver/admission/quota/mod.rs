//! `ResourceQuota`: what a namespace uses stays within its quotas.
//!
//! The usage in the status of each quota is raised before the object is written, on condition that the quota is as it was
//! looked at; when another write came between, everything is looked at again. What is given up again is counted later by the
//! quota controller, as upstream.
mod evaluator;
mod pods;

use self::evaluator::{Evaluator, Usage};
use super::pod_resources::{Amounts, amounts};
use super::{Admission, AdmissionRequest, Operation};
use crate::apiserver::audit::Write;
use crate::apiserver::handler::call::store_failure;
use crate::apiserver::registry::encoding;
use crate::object::{Document, LabelSelector, Quantity, Status};
use crate::store::{Error, Expect};
use async_trait::async_trait;
use serde_json::{Map, Value};

/// So often a quota is looked at again because it changed meanwhile.
const ATTEMPTS: usize = 16;

#[derive(Debug)]
pub(super) struct ResourceQuota;

#[async_trait]
impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        let Some(evaluator) = Evaluator::of(request) else {
            return Ok(());
        };
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            let quotas = quotas(request, attempt > 0).await?;
            if quotas.is_empty() {
                return Ok(());
            }
            let charged = charge(request, &evaluator, object, &quotas)?;
            if request.dry_run || charged.is_empty() {
                return Ok(());
            }
            match store(request, charged).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(status) => last = Some(status),
            }
        }
        Err(last.unwrap_or_else(|| {
            Status::conflict(
                &crate::object::GroupResource::new("", "resourcequotas"),
                "",
                "the quotas of the namespace keep changing; please try again",
            )
        }))
    }
}

async fn quotas(request: &AdmissionRequest<'_>, fresh: bool) -> Result<Vec<Value>, Status> {
    if fresh && let Some(shared) = request.view.shared() {
        shared.cacher.fresh().await?;
    }
    let all = LabelSelector::default();
    request
        .view
        .list("", "v1", "resourcequotas", request.namespace, &all)
        .await
}

/// The quotas whose usage grows, with their new usage.
fn charge(
    request: &AdmissionRequest<'_>,
    evaluator: &Evaluator,
    object: &Value,
    quotas: &[Value],
) -> Result<Vec<Value>, Status> {
    let forbidden = |why: &str| request.forbidden(Some(object), why);
    let mut concerned = Vec::new();
    for quota in quotas {
        let hard = amounts(quota.at(&["status", "hard"]));
        let used = amounts(quota.at(&["status", "used"]));
        let restricted: Vec<&str> = hard
            .keys()
            .map(String::as_str)
            .filter(|name| evaluator.counts(name))
            .collect();
        if restricted.is_empty() || !evaluator.is_in_scope(quota, object) {
            continue;
        }
        evaluator
            .check(&restricted, object)
            .map_err(|why| forbidden(&format!("failed quota: {}: {why}", quota.name())))?;
        if restricted.iter().any(|name| !used.contains_key(*name)) {
            return Err(forbidden(&format!(
                "status unknown for quota: {}, resources: {}",
                quota.name(),
                restricted.join(",")
            )));
        }
        concerned.push((quota, hard, used));
    }
    let usage = evaluator.usage(object, request);
    let negative: Vec<&str> = usage
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name.as_str())
        .collect();
    if !negative.is_empty() {
        return Err(forbidden(&format!(
            "quota usage is negative for resource(s): {}",
            negative.join(",")
        )));
    }
    let mut charged = Vec::new();
    for (quota, hard, used) in concerned {
        let delta = delta(request, evaluator, quota, &usage);
        let delta: Amounts = delta
            .into_iter()
            .filter(|(name, amount)| hard.contains_key(name) && !amount.is_zero())
            .collect();
        if delta.is_empty() {
            continue;
        }
        let sum = |name: &str| {
            let before = used.get(name).copied().unwrap_or_default();
            before + delta.get(name).copied().unwrap_or_default()
        };
        let exceeded: Vec<&str> = delta
            .keys()
            .map(String::as_str)
            .filter(|name| hard.get(*name).is_some_and(|most| sum(name) > *most))
            .collect();
        if !exceeded.is_empty() && request.subresource != "status" {
            return Err(forbidden(&format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.name(),
                show(&delta, &exceeded),
                show(&used, &exceeded),
                show(&hard, &exceeded)
            )));
        }
        let mut quota = quota.clone();
        let mut all: Map<String, Value> = quota
            .at(&["status", "used"])
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        for name in delta.keys() {
            all.insert(name.clone(), sum(name).to_string().into());
        }
        quota.set_at(&["status", "used"], all);
        charged.push(quota);
    }
    Ok(charged)
}

/// By how much the usage under a quota changes.
fn delta(
    request: &AdmissionRequest<'_>,
    evaluator: &Evaluator,
    quota: &Value,
    usage: &Usage,
) -> Usage {
    let old = request
        .old
        .filter(|_| request.operation == Operation::Update);
    match old {
        Some(old) if evaluator.is_in_scope(quota, old) => {
            let before = evaluator.usage(old, request);
            let less = |name: &str| before.get(name).copied().unwrap_or_default();
            usage
                .iter()
                .map(|(name, amount)| {
                    let change = *amount - less(name);
                    let change = if change.is_negative() {
                        Quantity::ZERO
                    } else {
                        change
                    };
                    (name.clone(), change)
                })
                .collect()
        }
        _ => usage.clone(),
    }
}

/// `cpu=1,memory=1Gi`
fn show(amounts: &Amounts, names: &[&str]) -> String {
    let texts: Vec<String> = names
        .iter()
        .filter_map(|name| Some(format!("{name}={}", amounts.get(*name)?)))
        .collect();
    texts.join(",")
}

/// Writes the quotas; false when another write came between.
async fn store(request: &AdmissionRequest<'_>, quotas: Vec<Value>) -> Result<bool, Status> {
    let Some(shared) = request.view.shared() else {
        return Ok(true);
    };
    let Some(resource) = shared.registry.get("", "v1", "resourcequotas") else {
        return Ok(true);
    };
    for quota in quotas {
        let name = quota.name();
        let key = resource.key(quota.namespace(), name);
        let Ok(revision) = quota.resource_version().parse() else {
            return Ok(false);
        };
        let bytes = encoding::encode(&quota);
        let expect = Expect::Modified(revision);
        match shared.store.put(&key, bytes.clone(), expect, None).await {
            Ok(revision) => {
                let answer = encoding::with_revision(&bytes, revision);
                shared
                    .cacher
                    .hint(&resource, &key, revision, &quota, answer);
                if let Some(observer) = &shared.observer {
                    observer.wrote(&Write {
                        user: "system:apiserver",
                        user_agent: "kube-apiserver",
                        verb: "update",
                        group: "",
                        resource: "resourcequotas",
                        subresource: Some("status"),
                        namespace: quota.namespace(),
                        name,
                        revision,
                        time: shared.clock.now(),
                    });
                }
            }
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(store_failure(&error)),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
