//! The status of a pod, from its spec and what the runtime has of it. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Spec, Pod, PodSpec, PodStatus};
use serde_json::{Value, json};

use super::conditions;
use super::containers::{self, Role, Shown, State};
use super::plan::Memory;
use super::restart::{init_restarts, restarts};
use crate::cri::Sandbox;
use crate::node::driver::rfc3339;

/// What a status is made from.
pub(super) struct Observed<'a> {
    pub pod: &'a Pod,
    /// What the API has.
    pub known: Option<&'a PodStatus>,
    pub sandbox: Option<&'a Sandbox>,
    pub memory: &'a BTreeMap<String, Memory>,
    pub host: &'a str,
    pub now: Timestamp,
    /// Its ephemeral containers.
    pub debuggers: &'a [Spec],
    /// All its containers are being restarted.
    pub restarting: bool,
    /// Nothing of the pod runs any more, and nothing will.
    pub over: bool,
    /// Why it failed, when that does not follow from its containers.
    pub failure: Option<(&'a str, &'a str)>,
}

/// The status, as a strategic merge patch of it.
pub(super) fn status(observed: &Observed<'_>) -> Value {
    let Some(spec) = &observed.pod.spec else {
        return json!({});
    };
    let shown = containers::shown(observed, spec);
    let phase = observed.phase(spec, &shown);
    let started = observed
        .known
        .and_then(|status| status.start_time.as_ref())
        .map_or(observed.now, |time| time.0);
    let of = |role: fn(Role) -> bool| -> Vec<Value> {
        let shown = shown.iter().filter(|shown| role(shown.role));
        shown.map(Shown::value).collect()
    };
    // As the kubelet lists them: those that start in order as the spec has them, all others by name.
    let by_name = |mut statuses: Vec<Value>| {
        statuses.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        statuses
    };
    let mut status = json!({
        "phase": phase,
        "startTime": rfc3339(started),
        "hostIP": observed.host,
        "hostIPs": [{"ip": observed.host}],
        "containerStatuses": by_name(of(|role| role == Role::Main)),
        "conditions": conditions::all(observed, spec, &shown, phase),
        "observedGeneration": observed.pod.metadata.generation,
    });
    for (field, statuses) in [
        (
            "initContainerStatuses",
            of(|role| matches!(role, Role::Init | Role::Sidecar)),
        ),
        (
            "ephemeralContainerStatuses",
            by_name(of(|role| role == Role::Ephemeral)),
        ),
    ] {
        if !statuses.is_empty() {
            status[field] = statuses.into();
        }
    }
    if let Some((reason, message)) = observed.failure {
        status["reason"] = reason.into();
        status["message"] = message.into();
    }
    if let Some(ip) = observed.ip(spec) {
        status["podIP"] = ip.into();
        status["podIPs"] = json!([{"ip": ip}]);
    }
    status
}

impl Observed<'_> {
    fn ip(&self, spec: &PodSpec) -> Option<&str> {
        if spec.host_network == Some(true) {
            return Some(self.host);
        }
        let kept = self.known.and_then(|status| status.pod_ip.as_deref());
        self.sandbox
            .map(|sandbox| sandbox.ip.as_str())
            .filter(|ip| !ip.is_empty())
            .or(kept)
    }

    /// The phase follows from the states of the containers; what a pod came to is never taken back.
    fn phase(&self, spec: &PodSpec, shown: &[Shown<'_>]) -> &'static str {
        match self.known.and_then(|status| status.phase.as_deref()) {
            Some("Succeeded") => return "Succeeded",
            Some("Failed") => return "Failed",
            _ => {}
        }
        if self.failure.is_some() {
            return "Failed";
        }
        let phase = phase(spec, shown, self.over);
        // A pod that ends without having run has not succeeded.
        if self.over && !matches!(phase, "Succeeded" | "Failed") {
            return "Failed";
        }
        phase
    }
}

/// `getPhase` of the kubelet.
fn phase(spec: &PodSpec, shown: &[Shown<'_>], over: bool) -> &'static str {
    let (mut pending_init, mut failed_init, mut pending_sidecars) = (false, false, false);
    let (mut running, mut waiting, mut initialized) = (false, false, false);
    let (mut stopped, mut for_good, mut succeeded) = (0, 0, 0);
    for container in shown {
        let ended = container.ended();
        match container.role {
            Role::Init => match ended {
                Some(code) => {
                    let again = container.is_reset() || init_restarts(spec, container.spec, code);
                    failed_init |= code != 0 && !again;
                    // Started anew after a failure, it still counts as failed, not as pending, while it waits.
                }
                None => pending_init = true,
            },
            Role::Sidecar => match (&container.state, ended) {
                (State::Running(_), _) => {
                    pending_sidecars |= !container.started;
                    running = true;
                }
                (_, Some(_)) => {}
                (_, None) => (pending_sidecars, waiting) = (true, true),
            },
            Role::Main => match (&container.state, ended) {
                (State::Running(_), _) => (running, initialized) = (true, true),
                (_, Some(code)) => {
                    stopped += 1;
                    let again = container.is_reset() || restarts(spec, container.spec, code);
                    for_good += i32::from(!again);
                    succeeded += i32::from(code == 0);
                }
                (_, None) => waiting = true,
            },
            Role::Ephemeral => {}
        }
    }
    if failed_init {
        return "Failed";
    }
    if pending_init || (pending_sidecars && !initialized) || waiting {
        return "Pending";
    }
    if running {
        return "Running";
    }
    if stopped == 0 {
        return "Pending";
    }
    if !over && stopped != for_good {
        return "Running";
    }
    if stopped == succeeded {
        "Succeeded"
    } else {
        "Failed"
    }
}

#[cfg(test)]
mod tests;
