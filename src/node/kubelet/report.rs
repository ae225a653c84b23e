//! Writing a pod's status, and letting go of pods that are to be deleted.

use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::status::{Observed, status};
use super::{Inner, containers, is_terminal, name};
use crate::client;
use crate::cri::Sandbox;
use crate::reconcile::{Error, Key};

impl Inner {
    /// Writes the status of a pod that goes on.
    pub(super) async fn report(
        &self,
        key: &Key,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
    ) -> Result<(), Error> {
        self.write(key, pod, sandbox, false, None).await
    }

    /// Writes the last status of a pod, of which nothing runs any more.
    pub(super) async fn report_end(
        &self,
        key: &Key,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        failure: Option<(&str, &str)>,
    ) -> Result<(), Error> {
        self.write(key, pod, sandbox, true, failure).await
    }

    /// What the pod's status would be.
    pub(super) fn observe(
        &self,
        key: &Key,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        over: bool,
        failure: Option<(&str, &str)>,
    ) -> Value {
        let known = self.known(key, pod);
        let memory = self.memory(key);
        let debuggers = debuggers(pod);
        let restarting = self
            .state
            .lock()
            .get(key)
            .is_some_and(|state| state.restarting);
        status(&Observed {
            pod,
            known: known.as_deref().unwrap_or(pod).status.as_ref(),
            sandbox,
            memory: &memory,
            host: &self.spec.address,
            now: self.clock.now(),
            debuggers: &debuggers,
            restarting,
            over,
            failure,
        })
    }

    /// The pod as the API has it now.
    fn known(&self, key: &Key, pod: &Pod) -> Option<std::sync::Arc<Pod>> {
        self.pods
            .get(key)
            .filter(|known| known.metadata.uid == pod.metadata.uid)
    }

    async fn write(
        &self,
        key: &Key,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        over: bool,
        failure: Option<(&str, &str)>,
    ) -> Result<(), Error> {
        let mut status = self.observe(key, pod, sandbox, over, failure);
        let known = self.known(key, pod);
        let written = self.pods.in_api(key, pod);
        let have = written.or_else(|| known.clone());
        let have = serde_json::to_value(&have.as_deref().unwrap_or(pod).status)?;
        let mut resolved = Vec::new();
        if let Some(conditions) = status["conditions"].as_array_mut() {
            let now = self.clock.now();
            let ousting = self.ousting(key).filter(|_| over);
            conditions.extend(ousting.and_then(|own| own.condition(known.as_deref(), now)));
            let resize = self.resize_of(key);
            conditions.extend(resize.conditions(known.as_deref(), now));
            // Those of a change in place go when it is over.
            for type_ in ["PodResizePending", "PodResizeInProgress"] {
                let has = |list: &[Value]| list.iter().any(|one| one["type"] == type_);
                let known = have["conditions"].as_array();
                if !has(conditions) && known.is_some_and(|known| has(known)) {
                    resolved.push(json!({"$patch": "delete", "type": type_}));
                }
            }
        }
        if resolved.is_empty() && covers(&have, &status) {
            return Ok(());
        }
        if let Some(conditions) = status["conditions"].as_array_mut() {
            conditions.append(&mut resolved);
        }
        // Addresses are merged by their value: an old one has to be taken out.
        let addresses = &have["podIPs"];
        if addresses.is_array() && *addresses != status["podIPs"] {
            status["podIPs"] = json!([{"$patch": "replace"}, {"ip": status["podIP"]}]);
        }
        self.patch(pod, status).await
    }

    /// Writes that the pod was refused.
    pub(super) async fn report_rejection(
        &self,
        pod: &Pod,
        reason: &str,
        message: &str,
    ) -> Result<(), Error> {
        let status = json!({
            "phase": "Failed", "reason": reason, "message": format!("Pod was rejected: {message}"),
            "startTime": crate::node::driver::rfc3339(self.clock.now()),
            "observedGeneration": pod.metadata.generation,
        });
        self.patch(pod, status).await
    }

    async fn patch(&self, pod: &Pod, status: Value) -> Result<(), Error> {
        let key = Key::of(pod);
        if self.pods.is_static(&key) {
            return self.report_static(&key, pod, status).await;
        }
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        let patched = self
            .api(pod)
            .patch_status(name(pod), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        gone_is_fine(patched.map(drop))
    }

    /// Tells the API that nothing of the pod is left here.
    pub(super) async fn let_go(&self, pod: &Pod) -> Result<(), Error> {
        let key = Key::of(pod);
        if self.pods.is_static(&key) {
            // What comes after it, or its mirror's end, is the next look's.
            self.pods.ended(&key);
            self.nudge(key);
            return Ok(());
        }
        let meta = &pod.metadata;
        let held = meta
            .finalizers
            .as_ref()
            .is_some_and(|finalizers| !finalizers.is_empty());
        if held && is_terminal(pod) && meta.deletion_grace_period_seconds == Some(0) {
            // Only finalizers hold it, which are others' to remove.
            return Ok(());
        }
        let params = client::only(&pod.metadata).grace_period(0);
        gone_is_fine(self.api(pod).delete(name(pod), &params).await.map(drop))
    }

    pub(super) fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(
            self.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }
}

/// The ephemeral containers of a pod, as containers.
pub(super) fn debuggers(pod: &Pod) -> Vec<Spec> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.ephemeral_containers.iter().flatten())
        .map(containers::plain)
        .collect()
}

pub(super) fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), Error> {
    match result {
        Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => Ok(()),
        other => other.map_err(Into::into),
    }
}

/// Whether `have` already says all that `wanted` says; conditions are compared by type.
fn covers(have: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (have, wanted) {
        (Value::Object(have), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| match have.get(key) {
                Some(have) => covers(have, value),
                None => value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty),
            })
        }
        (Value::Array(have), Value::Array(wanted)) => {
            let typed = |value: &Value| value.get("type").cloned();
            if wanted.iter().all(|value| typed(value).is_some()) {
                return wanted.iter().all(|value| {
                    have.iter()
                        .any(|have| typed(have) == typed(value) && covers(have, value))
                });
            }
            have.len() == wanted.len()
                && have
                    .iter()
                    .zip(wanted)
                    .all(|(have, wanted)| covers(have, wanted))
        }
        (have, Value::Null) => have.is_null(),
        (have, wanted) => have == wanted,
    }
}
