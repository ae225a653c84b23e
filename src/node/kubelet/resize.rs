//! Changing what running containers may use, in place (KEP-1287).
//!
//! What a pod asks for and what it was given are two things: it is run, counted and reported by the latter, which follows the
//! former as soon as there is room.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, Node, Pod, PodSpec, PodStatus, ResourceRequirements,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::admit::{Rejection, admit};
use super::stop::grace;
use super::{Inner, limits, plan};
use crate::cri::{Container, LinuxResources};
use crate::node::driver::rfc3339;
use crate::object::Resources;
use crate::reconcile::events::EventType;
use crate::reconcile::{Error, Key};

/// What containers were given, by name.
type Given = BTreeMap<String, ResourceRequirements>;

/// How far a change is.
#[derive(Clone, Debug, Default)]
pub(super) struct Resize {
    /// What the containers were given.
    given: Given,
    /// Whether that has changed since this agent knows the pod.
    changed: bool,
    /// What this agent gave to running containers, by id: not every runtime says it.
    applied: BTreeMap<String, Amounts>,
    /// Why it has to wait: `Deferred` or `Infeasible`, and what is lacking.
    pub pending: Option<(&'static str, String)>,
    /// It was granted and is not everywhere yet; what went wrong, if anything.
    pub in_progress: Option<String>,
}

/// Weight and quota of processors, and memory.
type Amounts = (i64, i64, i64);

fn amounts(of: &LinuxResources) -> Amounts {
    // Negative is another word for none.
    (of.cpu_shares, of.cpu_quota.max(0), of.memory_limit.max(0))
}

/// What the containers of a spec ask for.
fn asked(spec: &PodSpec) -> Given {
    let each = plan::all(spec).map(|container| {
        let resources = container.resources.clone().unwrap_or_default();
        (container.name.clone(), resources)
    });
    each.collect()
}

/// What containers were given according to the status that an earlier agent wrote; else what they ask for.
fn remembered(pod: &Pod) -> Given {
    let Some(spec) = &pod.spec else {
        return Given::new();
    };
    let mut given = asked(spec);
    let status = pod.status.iter();
    let statuses = status.flat_map(|status| {
        let lists = [&status.container_statuses, &status.init_container_statuses];
        lists.into_iter().flatten().flatten()
    });
    for status in statuses {
        if let (Some(own), Some(resources)) = (given.get_mut(&status.name), &status.resources) {
            let requests = status.allocated_resources.clone();
            own.requests = requests.or_else(|| resources.requests.clone());
            own.limits.clone_from(&resources.limits);
        }
    }
    given
}

/// A pod with what its containers were given in place of what they ask for.
fn as_given(pod: &Pod, given: &Given) -> Pod {
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        let init = spec.init_containers.iter_mut().flatten();
        for container in init.chain(&mut spec.containers) {
            if let Some(given) = given.get(&container.name) {
                container.resources =
                    Some(given.clone()).filter(|given| *given != ResourceRequirements::default());
            }
        }
    }
    pod
}

/// Why a pod cannot be given what it asks for now; `None`: it can.
fn refusal(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Option<(&'static str, String)> {
    let spec = pod.spec.as_ref()?;
    let allocatable = node
        .status
        .as_ref()
        .and_then(|status| status.allocatable.as_ref());
    let have = Resources::of(allocatable);
    let wanted = Resources::of_pod(spec);
    for (name, wanted, have) in [
        ("cpu", wanted.milli_cpu, have.milli_cpu),
        ("memory", wanted.memory, have.memory),
    ] {
        if wanted > have {
            let message = format!(
                "Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {have}"
            );
            return Some(("Infeasible", message));
        }
    }
    match admit(pod, node, others) {
        Err(Rejection { reason, message }) if reason.starts_with("OutOf") => {
            Some(("Deferred", message))
        }
        _ => None,
    }
}

/// Whether a container has to be started anew to be given something else.
fn restarts(container: &Spec, have: Amounts, wanted: Amounts) -> bool {
    let changed = |resource: &str| match resource {
        "cpu" => (have.0, have.1) != (wanted.0, wanted.1),
        _ => have.2 != wanted.2,
    };
    let mut policies = container.resize_policy.iter().flatten();
    policies
        .any(|policy| policy.restart_policy == "RestartContainer" && changed(&policy.resource_name))
}

impl Resize {
    /// Of a pod that is new to this agent.
    pub(super) fn of(pod: &Pod) -> Self {
        let given = remembered(pod);
        let asked = pod.spec.as_ref().map(asked).unwrap_or_default();
        Self {
            // An earlier agent may have died between granting and giving.
            changed: given != asked || pod.status.as_ref().is_some_and(is_under_way),
            given,
            ..Self::default()
        }
    }

    /// Whether it has to be looked at again by itself.
    pub(super) fn waits(&self) -> bool {
        self.pending.is_some() || self.in_progress.is_some()
    }

    /// What the pod's status says of it.
    pub(super) fn conditions(&self, known: Option<&Pod>, now: Timestamp) -> Vec<Value> {
        let status = known.and_then(|pod| pod.status.as_ref());
        let row = |type_: &str, reason: &str, message: &str| {
            let mut all = status
                .into_iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let old = all.find(|old| old.type_ == type_);
            let since = old.and_then(|old| old.last_transition_time.as_ref());
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            json!({
                "type": type_, "status": "True", "reason": text(reason), "message": text(message),
                "lastProbeTime": null, "lastTransitionTime": rfc3339(since.map_or(now, |time| time.0)),
                "observedGeneration": known.and_then(|pod| pod.metadata.generation),
            })
        };
        let pending = self.pending.as_ref();
        let pending = pending.map(|(reason, message)| row("PodResizePending", reason, message));
        let progress = self.in_progress.as_ref().map(|error| {
            let reason = if error.is_empty() { "" } else { "Error" };
            row("PodResizeInProgress", reason, error)
        });
        pending.into_iter().chain(progress).collect()
    }
}

impl Inner {
    /// The pod with what it was given; gives it what it asks for, if there is room.
    pub(super) fn allot<'a>(&self, key: &Key, pod: &'a Pod) -> Cow<'a, Pod> {
        let wanted = pod.spec.as_ref().map(asked).unwrap_or_default();
        let admitted = {
            let mut states = self.state.lock();
            let Some(state) = states.get_mut(key) else {
                return Cow::Borrowed(pod);
            };
            if state.resize.given == wanted {
                state.resize.pending = None;
                return Cow::Borrowed(pod);
            }
            state.admitted && !state.finished
        };
        let node = self.node();
        let pending = node.filter(|_| admitted).and_then(|node| {
            let others = self.active_pods();
            let others = others.iter().filter(|other| Key::of(&***other) != *key);
            let others: Vec<Arc<Pod>> = others.map(|other| self.given(other)).collect();
            refusal(pod, &node, &others)
        });
        let mut states = self.state.lock();
        let Some(state) = states.get_mut(key) else {
            return Cow::Borrowed(pod);
        };
        let resize = &mut state.resize;
        if let Some((reason, message)) = &pending {
            if resize.pending != pending {
                let event = match *reason {
                    "Infeasible" => "ResizeInfeasible",
                    _ => "ResizeDeferred",
                };
                let told = told(pod, &format!("Pod resize {reason}"), message);
                self.event(pod, EventType::Warning, event, told);
            }
            resize.pending = pending;
            return Cow::Owned(as_given(pod, &resize.given));
        }
        resize.pending = None;
        resize.given = wanted;
        resize.changed = true;
        let started = told(pod, "Pod resize started", "");
        self.event(pod, EventType::Normal, "ResizeStarted", started);
        Cow::Borrowed(pod)
    }

    /// Another pod, with what it was given.
    pub(super) fn given(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let states = self.state.lock();
        match states.get(&Key::of(&**pod)) {
            Some(state) if state.resize.pending.is_some() => {
                Arc::new(as_given(pod, &state.resize.given))
            }
            _ => pod.clone(),
        }
    }

    pub(super) fn resize_of(&self, key: &Key) -> Resize {
        let states = self.state.lock();
        states
            .get(key)
            .map(|state| state.resize.clone())
            .unwrap_or_default()
    }

    /// Gives the running containers of a pod what it was given.
    pub(super) async fn apply_resize(&self, key: &Key, pod: &Pod) -> Result<(), Error> {
        let resize = self.resize_of(key);
        let (true, Some(spec)) = (resize.changed, &pod.spec) else {
            return Ok(());
        };
        let sandbox = self.sandbox(pod).await?;
        let mut error = String::new();
        let mut told = false;
        for container in plan::all(spec) {
            let latest = plan::newest(sandbox.as_ref(), &container.name);
            let Some(latest) = latest.filter(|latest| plan::is_running(latest)) else {
                continue;
            };
            let wanted = limits::of(pod, container, &self.capacity());
            let have = latest.resources.as_ref().map(amounts);
            let have = have.or_else(|| resize.applied.get(&latest.id).copied());
            if have == Some(amounts(&wanted)) {
                continue;
            }
            self.set_progress(key, Some(String::new()));
            if !told {
                told = true;
                self.report(key, pod, sandbox.as_ref()).await?;
            }
            if let Err(why) = self.give_one(pod, container, latest, have, &wanted).await {
                error = why;
                continue;
            }
            if let Some(state) = self.state.lock().get_mut(key) {
                let applied = &mut state.resize.applied;
                applied.insert(latest.id.clone(), amounts(&wanted));
            }
        }
        let was = resize.in_progress;
        if error.is_empty() {
            self.set_progress(key, None);
            if told || was.is_some() {
                let completed = self::told(pod, "Pod resize completed", "");
                self.event(pod, EventType::Normal, "ResizeCompleted", completed);
            }
        } else {
            if was.as_ref() != Some(&error) {
                let failed = self::told(pod, "Pod resize error", &error);
                self.event(pod, EventType::Warning, "ResizeError", failed);
            }
            self.set_progress(key, Some(error));
        }
        Ok(())
    }

    fn set_progress(&self, key: &Key, progress: Option<String>) {
        if let Some(state) = self.state.lock().get_mut(key) {
            state.resize.in_progress = progress;
        }
    }

    async fn give_one(
        &self,
        pod: &Pod,
        container: &Spec,
        latest: &Container,
        have: Option<Amounts>,
        wanted: &LinuxResources,
    ) -> Result<(), String> {
        let anew = have.is_some_and(|have| restarts(container, have, amounts(wanted)));
        if anew {
            let why = format!("Container {} resize requires restart", container.name);
            let stopped = self.stop_one(pod, Some(container), &latest.id, why, grace(pod), None);
            return stopped.await.map_err(|error| error.to_string());
        }
        let updated = self.runtime.update_container(&latest.id, wanted).await;
        updated.map_err(|error| error.to_string())
    }
}

/// What is told of a change: what the containers ask for, as the kubelet writes it.
fn told(pod: &Pod, what: &str, error: &str) -> String {
    #[derive(Serialize)]
    struct Asked<'a> {
        name: &'a str,
        resources: ResourceRequirements,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        init_containers: Vec<Asked<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        containers: Vec<Asked<'a>>,
        generation: i64,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: &'a str,
    }
    fn asked(containers: &[Spec]) -> Vec<Asked<'_>> {
        let each = containers.iter().map(|container| Asked {
            name: &container.name,
            resources: container.resources.clone().unwrap_or_default(),
        });
        each.collect()
    }
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_deref());
    let summary = Summary {
        init_containers: asked(init.unwrap_or_default()),
        containers: spec.map_or(Vec::new(), |spec| asked(&spec.containers)),
        generation: pod.metadata.generation.unwrap_or(0),
        error,
    };
    match serde_json::to_string(&summary) {
        Ok(text) => format!("{what}: {text}"),
        Err(_) => what.to_owned(),
    }
}

/// Whether an earlier agent was at it.
fn is_under_way(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|one| one.type_ == "PodResizeInProgress")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(requests: &Value, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"}, "status": status,
            "spec": {"containers": [{
                "name": "c", "resources": {"requests": requests},
                "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
            }]},
        }))
        .unwrap()
    }

    #[test]
    fn why_not_now() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "status": {"allocatable": {"cpu": "4", "memory": "1Gi", "pods": "9"}},
        }))
        .unwrap();
        let other = Arc::new(pod(&json!({"cpu": "3"}), &Value::Null));
        for (requests, expected) in [
            (json!({"cpu": "1"}), None),
            (
                json!({"cpu": "2"}),
                Some((
                    "Deferred",
                    "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000",
                )),
            ),
            (
                json!({"cpu": "5"}),
                Some((
                    "Infeasible",
                    "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000",
                )),
            ),
            (
                json!({"memory": "2Gi"}),
                Some((
                    "Infeasible",
                    "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824",
                )),
            ),
        ] {
            let found = refusal(
                &pod(&requests, &Value::Null),
                &node,
                std::slice::from_ref(&other),
            );
            let found = found
                .as_ref()
                .map(|(reason, message)| (*reason, &**message));
            assert_eq!(found, expected, "{requests}");
        }
    }

    #[test]
    fn what_is_told_of_a_change() {
        let mut pod = pod(&json!({"cpu": "2"}), &Value::Null);
        pod.metadata.generation = Some(3);
        assert_eq!(
            told(&pod, "Pod resize Deferred", "no room"),
            "Pod resize Deferred: {\"containers\":[{\"name\":\"c\",\"resources\":{\"requests\":{\"cpu\":\"2\"}}}],\"generation\":3,\"error\":\"no room\"}"
        );
    }

    #[test]
    fn what_was_given_is_in_the_status() {
        let status = json!({"containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
        }]});
        let pod = pod(&json!({"cpu": "2"}), &status);
        let resize = Resize::of(&pod);
        assert!(resize.changed);
        let given = as_given(&pod, &resize.given);
        let resources = given.spec.unwrap().containers.remove(0).resources;
        assert_eq!(
            json!(resources),
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "3"}})
        );
    }

    #[test]
    fn some_changes_need_a_restart() {
        let pod = pod(&json!({}), &Value::Null);
        let container = &pod.spec.as_ref().unwrap().containers[0];
        for (wanted, expected) in [((2, 0, 0), false), ((4, 100, 0), false), ((2, 0, 5), true)] {
            assert_eq!(
                restarts(container, (2, 0, 0), wanted),
                expected,
                "{wanted:?}"
            );
        }
    }
}
