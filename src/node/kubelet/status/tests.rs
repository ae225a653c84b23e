//! Phases, conditions and container statuses, one table each.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Observed, status};
use crate::cri::{Container, ContainerState, Sandbox};
use crate::node::kubelet::plan::{Failure, Health, Memory};

/// A container: `a` runs and is well, `a~` runs and is not, `a=3` has ended so.
fn container(text: &str) -> Container {
    let started = "2026-01-01T00:00:00Z".parse().unwrap();
    let (name, state) = match text.split_once('=') {
        None => (
            text.trim_end_matches('~'),
            ContainerState::Running { started },
        ),
        Some((name, code)) => {
            let code = code.parse().unwrap();
            let reason = if code == 0 { "Completed" } else { "Error" };
            let state = ContainerState::Exited {
                started,
                finished: "2026-01-01T00:00:05Z".parse().unwrap(),
                code,
                reason: reason.into(),
                message: String::new(),
            };
            (name, state)
        }
    };
    Container {
        id: format!("id-{name}"),
        name: name.into(),
        attempt: 0,
        image: String::new(),
        image_id: "digest".into(),
        state,
        ..Container::default()
    }
}

fn sandbox(containers: &[&str]) -> Sandbox {
    Sandbox {
        id: "s".into(),
        ready: true,
        ip: "10.0.0.2".into(),
        containers: containers.iter().map(|text| container(text)).collect(),
        ..Sandbox::default()
    }
}

fn healthy(containers: &[&str]) -> BTreeMap<String, Memory> {
    let running = containers.iter().filter(|text| !text.contains('='));
    let memory = running.map(|text| {
        let name = text.trim_end_matches('~');
        let health = Health {
            id: format!("id-{name}"),
            started: !text.ends_with('~'),
            ready: !text.ends_with('~'),
            failed: None,
        };
        (
            name.to_owned(),
            Memory {
                health,
                ..Memory::default()
            },
        )
    });
    memory.collect()
}

fn pod(spec: &Value, known: &Value) -> Pod {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 3}, "spec": spec, "status": known});
    serde_json::from_value(pod).unwrap()
}

struct Case {
    pod: Pod,
    sandbox: Option<Sandbox>,
    memory: BTreeMap<String, Memory>,
    over: bool,
}

impl Case {
    fn new(spec: &Value, containers: &[&str]) -> Self {
        Self {
            pod: pod(spec, &json!({})),
            sandbox: Some(sandbox(containers)),
            memory: healthy(containers),
            over: false,
        }
    }

    fn status(&self) -> Value {
        status(&Observed {
            pod: &self.pod,
            known: self.pod.status.as_ref(),
            sandbox: self.sandbox.as_ref(),
            memory: &self.memory,
            host: "192.168.0.1",
            now: "2026-01-01T00:01:00Z".parse().unwrap(),
            debuggers: &[],
            restarting: false,
            over: self.over,
            failure: None,
        })
    }
}

fn condition<'a>(status: &'a Value, type_: &str) -> (&'a str, &'a str, &'a str) {
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    let found = conditions
        .find(|condition| condition["type"] == type_)
        .unwrap();
    let text = |key: &str| found[key].as_str().unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}

#[test]
fn phases() {
    let two = |policy: &str| json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]});
    let init = |policy: &str| json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]});
    let sidecar = json!({"restartPolicy": "Never", "initContainers": [{"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]});
    for (spec, containers, over, expected) in [
        (two("Always"), vec![], false, "Pending"),
        (two("Always"), vec!["a"], false, "Pending"),
        (two("Always"), vec!["a", "b"], false, "Running"),
        (two("Always"), vec!["a=1", "b=0"], false, "Running"),
        (two("OnFailure"), vec!["a=1", "b=0"], false, "Running"),
        (two("OnFailure"), vec!["a=0", "b=0"], false, "Succeeded"),
        (two("Never"), vec!["a=0", "b"], false, "Running"),
        (two("Never"), vec!["a=0", "b=0"], false, "Succeeded"),
        (two("Never"), vec!["a=0", "b=2"], false, "Failed"),
        (two("Always"), vec!["a=0", "b=0"], true, "Succeeded"),
        (two("Always"), vec!["a=0", "b=143"], true, "Failed"),
        // Never started, and never will be.
        (two("Always"), vec![], true, "Failed"),
        (init("Always"), vec!["i"], false, "Pending"),
        (init("Always"), vec!["i=1"], false, "Pending"),
        (init("Never"), vec!["i=1"], false, "Failed"),
        (init("Never"), vec!["i=0", "a"], false, "Running"),
        (sidecar.clone(), vec!["s~"], false, "Pending"),
        (sidecar.clone(), vec!["s", "a"], false, "Running"),
        // A sidecar that comes back does not make a running pod pending again.
        (sidecar.clone(), vec!["s~", "a"], false, "Running"),
        (sidecar, vec!["s=0", "a=0"], false, "Succeeded"),
    ] {
        let case = Case {
            over,
            ..Case::new(&spec, &containers)
        };
        assert_eq!(
            case.status()["phase"],
            expected,
            "{spec} {containers:?} {over}"
        );
    }
}

#[test]
fn conditions_say_which_containers() {
    let spec =
        json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}, {"name": "b"}]});
    let pending = Case::new(&spec, &["i"]).status();
    assert_eq!(
        condition(&pending, "Initialized"),
        (
            "False",
            "ContainersNotInitialized",
            "containers with incomplete status: [i]"
        )
    );
    assert_eq!(
        condition(&pending, "Ready"),
        (
            "False",
            "ContainersNotReady",
            "containers with unready status: [a b]"
        )
    );
    assert_eq!(condition(&pending, "PodReadyToStartContainers").0, "True");
    let running = Case::new(&spec, &["i=0", "a", "b"]).status();
    for type_ in ["Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&running, type_), ("True", "", ""), "{type_}");
    }
    assert_eq!(running["observedGeneration"], 3);
    assert_eq!(running["initContainerStatuses"][0]["ready"], true);
    let never = json!({"restartPolicy": "Never", "containers": [{"name": "a"}]});
    let over = |containers: &[&str]| {
        Case {
            over: true,
            ..Case::new(&never, containers)
        }
        .status()
    };
    assert_eq!(
        condition(&over(&["a=0"]), "Initialized"),
        ("True", "PodCompleted", "")
    );
    assert_eq!(
        condition(&over(&["a=0"]), "Ready"),
        ("False", "PodCompleted", "")
    );
    assert_eq!(
        condition(&over(&["a=1"]), "ContainersReady"),
        ("False", "PodFailed", "")
    );
    assert_eq!(
        condition(&over(&["a=1"]), "PodReadyToStartContainers").0,
        "False"
    );
}

#[test]
fn gates_hold_back_readiness() {
    let spec = json!({"readinessGates": [{"conditionType": "example.com/ok"}], "containers": [{"name": "a"}]});
    for (known, expected) in [
        (
            json!([]),
            (
                "False",
                "ReadinessGatesNotReady",
                "corresponding condition of pod readiness gate \"example.com/ok\" does not exist.",
            ),
        ),
        (
            json!([{"type": "example.com/ok", "status": "False"}]),
            (
                "False",
                "ReadinessGatesNotReady",
                "the status of pod readiness gate \"example.com/ok\" is not \"True\", but False",
            ),
        ),
        (
            json!([{"type": "example.com/ok", "status": "True"}]),
            ("True", "", ""),
        ),
    ] {
        let case = Case {
            pod: pod(&spec, &json!({"conditions": known})),
            ..Case::new(&spec, &["a"])
        };
        let status = case.status();
        assert_eq!(condition(&status, "Ready"), expected);
        assert_eq!(condition(&status, "ContainersReady").0, "True");
    }
}

#[tokio::test(start_paused = true)]
async fn containers_wait_for_reasons() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "a"}]});
    let state = |case: &Case| case.status()["containerStatuses"][0].clone();
    let fresh = state(&Case::new(&spec, &[]));
    assert_eq!(fresh["state"]["waiting"]["reason"], "ContainerCreating");
    let failure = |reason: &'static str| {
        Some(Failure {
            reason,
            message: "why".into(),
            image: String::new(),
            times: 1,
        })
    };
    let mut case = Case::new(&spec, &["a=3"]);
    assert_eq!(state(&case)["state"]["terminated"]["exitCode"], 3);
    case.memory.insert(
        "a".into(),
        Memory {
            crashes: 3,
            not_before: Some(Instant::now() + std::time::Duration::from_secs(20)),
            ..Memory::default()
        },
    );
    let crashing = state(&case);
    assert_eq!(crashing["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(
        crashing["state"]["waiting"]["message"],
        "back-off 20s restarting failed container=a pod=p_ns(u)"
    );
    assert_eq!(crashing["lastState"]["terminated"]["exitCode"], 3);
    case.memory.get_mut("a").unwrap().failure = failure("ErrImagePull");
    assert_eq!(
        state(&case)["state"]["waiting"],
        json!({"reason": "ErrImagePull", "message": "why"})
    );
    // A container that is not started again does not wait, whatever it did before.
    case.pod = pod(
        &json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}),
        &json!({}),
    );
    assert_eq!(state(&case)["state"]["terminated"]["exitCode"], 3);
}

#[test]
fn nothing_waits_in_a_pod_that_is_over() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}, {"name": "b"}]});
    let plain = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    for (spec, containers, lost) in [
        (&plain, vec![], vec!["a", "b"]),
        (&plain, vec!["a=0"], vec!["b"]),
        (&spec, vec![], vec!["i"]),
        (&spec, vec!["i=1"], vec![]),
        (&spec, vec!["i=0", "j=1"], vec![]),
        (&spec, vec!["j=1"], vec!["i"]),
        (&spec, vec!["i=0", "j=0"], vec!["a", "b"]),
        (&spec, vec!["i=0", "a=0"], vec!["b"]),
    ] {
        let case = Case {
            over: true,
            ..Case::new(spec, &containers)
        };
        let status = case.status();
        let lists = ["initContainerStatuses", "containerStatuses"];
        let statuses = lists.iter().filter_map(|list| status[list].as_array());
        let unknown = statuses.flatten().filter(|one| {
            let terminated = &one["state"]["terminated"];
            terminated["reason"] == "ContainerStatusUnknown" && terminated["exitCode"] == 137
        });
        let unknown: Vec<&Value> = unknown.map(|one| &one["name"]).collect();
        assert_eq!(unknown, lost, "{spec} {containers:?}");
    }
}

#[test]
fn lost_containers_are_counted() {
    let was = |state: Value| json!({"containerStatuses": [{"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 2, "containerID": "old", "state": state}]});
    let running = was(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}));
    for (policy, phase) in [("Always", "Running"), ("Never", "Failed")] {
        let spec = json!({"restartPolicy": policy, "containers": [{"name": "a"}]});
        let case = Case {
            pod: pod(&spec, &running),
            sandbox: None,
            ..Case::new(&spec, &[])
        };
        let status = case.status();
        let container = &status["containerStatuses"][0];
        assert_eq!(status["phase"], phase);
        assert_eq!(container["restartCount"], 3);
        assert_eq!(
            container["lastState"]["terminated"]["reason"],
            "ContainerStatusUnknown"
        );
        let over = Case { over: true, ..case }.status();
        assert_eq!(
            over["containerStatuses"][0]["state"]["terminated"]["exitCode"],
            137
        );
        assert_eq!(over["phase"], "Failed");
    }
}
