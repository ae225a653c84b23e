//! The conditions that the kubelet owns (`pkg/kubelet/status/generate.go`). Pure.

use k8s_openapi::api::core::v1::{PodCondition, PodSpec};
use serde_json::{Value, json};

use super::containers::{Role, Shown};
use super::reset;
use super::restart::may_restart_all;
use super::status::Observed;
use crate::node::driver::rfc3339;

/// Whether a condition holds, and why (not).
struct Verdict {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    const fn holds(reason: &'static str) -> Self {
        Self {
            holds: true,
            reason,
            message: String::new(),
        }
    }

    const fn fails(reason: &'static str, message: String) -> Self {
        Self {
            holds: false,
            reason,
            message,
        }
    }
}

/// All of them, in the kubelet's order.
pub(super) fn all(
    observed: &Observed<'_>,
    spec: &PodSpec,
    shown: &[Shown<'_>],
    phase: &str,
) -> Vec<Value> {
    let sandbox = if observed.sandbox.is_some() && !observed.over {
        Verdict::holds("")
    } else {
        Verdict::fails("", String::new())
    };
    let containers = containers_ready(shown, phase);
    let rows = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(shown, phase)),
        ("Ready", ready(observed, spec, &containers)),
        ("ContainersReady", containers),
        ("PodScheduled", Verdict::holds("")),
    ];
    let restarting = may_restart_all(spec).then(|| (reset::CONDITION, restarting(observed, phase)));
    rows.into_iter()
        .chain(restarting)
        .map(|(type_, verdict)| condition(observed, type_, &verdict))
        .collect()
}

fn known<'a>(observed: &Observed<'a>, type_: &str) -> Option<&'a PodCondition> {
    let conditions = observed.known?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

fn condition(observed: &Observed<'_>, type_: &str, verdict: &Verdict) -> Value {
    let status = if verdict.holds { "True" } else { "False" };
    let since = known(observed, type_)
        .filter(|old| old.status == status)
        .and_then(|old| old.last_transition_time.as_ref())
        .map_or(observed.now, |time| time.0);
    let text = |text: &str| {
        if text.is_empty() {
            Value::Null
        } else {
            text.into()
        }
    };
    json!({
        "type": type_, "status": status, "reason": text(verdict.reason), "message": text(&verdict.message),
        "lastProbeTime": null, "lastTransitionTime": rfc3339(since),
        "observedGeneration": observed.pod.metadata.generation,
    })
}

/// Names as Go prints a list of them.
fn names<'a>(shown: impl Iterator<Item = &'a Shown<'a>>) -> Option<String> {
    let names: Vec<&str> = shown.map(|shown| shown.spec.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("[{}]", names.join(" ")))
}

fn initialized(shown: &[Shown<'_>], phase: &str) -> Verdict {
    if phase == "Succeeded" {
        return Verdict::holds("PodCompleted");
    }
    // One main container that ran is proof enough; a sidecar may be on its way back.
    if shown
        .iter()
        .any(|shown| shown.role == Role::Main && shown.ran)
    {
        return Verdict::holds("");
    }
    let open = shown.iter().filter(|shown| match shown.role {
        Role::Init => !shown.ready,
        Role::Sidecar => !shown.started,
        _ => false,
    });
    names(open).map_or(Verdict::holds(""), |names| {
        Verdict::fails(
            "ContainersNotInitialized",
            format!("containers with incomplete status: {names}"),
        )
    })
}

fn restarting(observed: &Observed<'_>, phase: &str) -> Verdict {
    match phase {
        "Succeeded" => Verdict::fails("PodCompleted", String::new()),
        "Failed" => Verdict::fails("PodFailed", String::new()),
        _ if observed.restarting => Verdict {
            message: "container exited with restart policy rule".to_owned(),
            ..Verdict::holds("RestartAllContainersStarted")
        },
        _ => Verdict::fails("", String::new()),
    }
}

fn containers_ready(shown: &[Shown<'_>], phase: &str) -> Verdict {
    match phase {
        "Succeeded" => return Verdict::fails("PodCompleted", String::new()),
        "Failed" => return Verdict::fails("PodFailed", String::new()),
        _ => {}
    }
    let unready = shown
        .iter()
        .filter(|shown| matches!(shown.role, Role::Main | Role::Sidecar) && !shown.ready);
    names(unready).map_or(Verdict::holds(""), |names| {
        Verdict::fails(
            "ContainersNotReady",
            format!("containers with unready status: {names}"),
        )
    })
}

/// Ready containers, and every gate open.
fn ready(observed: &Observed<'_>, spec: &PodSpec, containers: &Verdict) -> Verdict {
    if !containers.holds {
        return Verdict::fails(containers.reason, containers.message.clone());
    }
    let closed = spec.readiness_gates.iter().flatten().filter_map(|gate| {
        let type_ = &gate.condition_type;
        match known(observed, type_) {
            None => Some(format!(
                "corresponding condition of pod readiness gate {type_:?} does not exist."
            )),
            Some(condition) if condition.status != "True" => Some(format!(
                "the status of pod readiness gate {type_:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => None,
        }
    });
    let closed: Vec<String> = closed.collect();
    if closed.is_empty() {
        Verdict::holds("")
    } else {
        Verdict::fails("ReadinessGatesNotReady", closed.join(", "))
    }
}
