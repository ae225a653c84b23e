//! `RuntimeClass`: a pod takes overhead and scheduling from its runtime class.
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;

#[derive(Debug)]
pub(super) struct RuntimeClass;

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation != Operation::Create || !request.writes("", "pods") {
            return Ok(());
        }
        let Some(class) = class_of(request, object).await? else {
            return Ok(());
        };
        if let Some(overhead) = overhead_of(&class) {
            let given = object
                .at(&["spec", "overhead"])
                .filter(|given| is_map(given));
            if given.is_some_and(|given| given != overhead) {
                return Err(mismatch(request, object));
            }
            object.set_at(&["spec", "overhead"], overhead.clone());
        }
        schedule(request, &class, object)
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(pod) = object else { return Ok(()) };
        if request.operation != Operation::Create || !request.writes("", "pods") {
            return Ok(());
        }
        let class = class_of(request, pod).await?;
        let given = pod.at(&["spec", "overhead"]).filter(|given| is_map(given));
        match class.as_ref().and_then(overhead_of) {
            Some(overhead) if Some(overhead) != given => Err(mismatch(request, pod)),
            None if given.is_some() => {
                let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(request.forbidden(object, why))
            }
            _ => Ok(()),
        }
    }
}

fn is_map(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
}

fn overhead_of(class: &Value) -> Option<&Value> {
    class
        .at(&["overhead", "podFixed"])
        .filter(|overhead| is_map(overhead))
}

fn mismatch(request: &AdmissionRequest<'_>, pod: &Value) -> Status {
    let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
    request.forbidden(Some(pod), why)
}

async fn class_of(request: &AdmissionRequest<'_>, pod: &Value) -> Result<Option<Value>, Status> {
    let name = pod.str_at(&["spec", "runtimeClassName"]);
    if name.is_empty() {
        return Ok(None);
    }
    let found = request
        .view
        .get("node.k8s.io", "v1", "runtimeclasses", "", name)
        .await?;
    if found.is_none() {
        let why = format!("pod rejected: RuntimeClass {name:?} not found");
        return Err(request.forbidden(Some(pod), &why));
    }
    Ok(found)
}

/// The pod runs only where the class says.
fn schedule(request: &AdmissionRequest<'_>, class: &Value, pod: &mut Value) -> Result<(), Status> {
    let selector = class
        .at(&["scheduling", "nodeSelector"])
        .and_then(Value::as_object);
    for (key, wanted) in selector.into_iter().flatten() {
        let given = pod.at(&["spec", "nodeSelector", key]);
        if let Some(given) = given.filter(|given| *given != wanted) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(wanted),
                text(given)
            );
            return Err(request.forbidden(Some(pod), &why));
        }
    }
    for (key, wanted) in selector.into_iter().flatten() {
        pod.set_at(&["spec", "nodeSelector", key], wanted.clone());
    }
    let added = class.list_at(&["scheduling", "tolerations"]);
    if added.is_empty() {
        return Ok(());
    }
    let mut tolerations = pod.list_at(&["spec", "tolerations"]).to_vec();
    for toleration in added {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    pod.set_at(&["spec", "tolerations"], tolerations);
    Ok(())
}
