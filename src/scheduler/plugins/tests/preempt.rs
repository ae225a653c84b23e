//! DefaultPreemption, through whole decisions.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{cluster, named, whole};
use crate::clock::Clock;
use crate::reconcile::Key;
use crate::scheduler::cycle::SchedulingCycle;
use crate::scheduler::framework::{Decision, Framework, PodInfo, Profile, Snapshot};

fn pod(name: &str, cpu: &str, priority: i32) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    })
}

fn since(mut pod: Value, time: &str) -> Value {
    pod["status"] = json!({"startTime": time});
    pod
}

fn nodes(count: usize) -> Vec<Value> {
    (1..=count)
        .map(|index| named(&format!("n{index}"), &json!({})))
        .collect()
}

/// `node: victims`, or the message.
fn outcome(pod: &PodInfo, snapshot: &Snapshot) -> String {
    let mut decider = SchedulingCycle::new(Clock::seeded(1), None);
    let pod = Arc::new(pod.clone());
    match decider.decide(&Framework::for_tests(&Profile::default()), &pod, snapshot) {
        Decision::Unfit(unfit) => match unfit.room {
            Some((node, victims)) => {
                let names: Vec<&str> = victims.iter().map(|victim| &*victim.key.name).collect();
                format!("{node}: {}", names.join(" "))
            }
            None => unfit.message,
        },
        Decision::Node(node, _) => format!("goes to {node}"),
        Decision::Failed(error) => error,
    }
}

#[test]
fn the_least_harm_is_done() {
    let never = {
        let mut pod = pod("new", "3", 100);
        pod["spec"]["preemptionPolicy"] = "Never".into();
        pod
    };
    let old = "2026-01-01T00:00:00Z";
    let young = "2026-01-02T00:00:00Z";
    for (new, count, there, expected) in [
        // As few as possible, the least important ones.
        (
            pod("new", "2", 100),
            1,
            vec![("n1", pod("a", "2", 10)), ("n1", pod("b", "2", 5))],
            "n1: b",
        ),
        (
            pod("new", "4", 100),
            1,
            vec![("n1", pod("a", "2", 10)), ("n1", pod("b", "2", 5))],
            "n1: a b",
        ),
        // Those that have run for longer stay.
        (
            pod("new", "2", 100),
            1,
            vec![
                ("n1", since(pod("a", "2", 5), young)),
                ("n1", since(pod("b", "2", 5), old)),
            ],
            "n1: a",
        ),
        // The node whose most important victim is the least important.
        (
            pod("new", "4", 100),
            2,
            vec![("n1", pod("a", "2", 50)), ("n2", pod("b", "2", 5))],
            "n2: b",
        ),
        // Then the smallest sum, then the fewest.
        (
            pod("new", "4", 100),
            2,
            vec![
                ("n1", pod("a", "2", 5)),
                ("n1", pod("b", "2", 5)),
                ("n2", pod("c", "3", 5)),
            ],
            "n2: c",
        ),
        // Then the one whose victims are younger.
        (
            pod("new", "4", 100),
            2,
            vec![
                ("n1", since(pod("a", "2", 5), old)),
                ("n2", since(pod("b", "2", 5), young)),
            ],
            "n2: b",
        ),
        // Equal priority is no reason.
        (
            pod("new", "4", 5),
            1,
            vec![("n1", pod("a", "2", 5))],
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (
            never,
            1,
            vec![("n1", pod("a", "2", 5))],
            "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
        ),
        // Too large for any node.
        (
            pod("new", "5", 100),
            2,
            vec![("n1", pod("a", "2", 5))],
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
        ),
    ] {
        assert_eq!(
            outcome(&whole(new.clone()), &cluster(&nodes(count), &there)),
            expected,
            "{new} {there:?}"
        );
    }
}

#[test]
fn disruption_budgets_are_respected_where_that_is_possible() {
    let budget = |allowed: i32, disrupted: Value| {
        json!({
            "metadata": {"name": "pdb", "namespace": "ns"},
            "spec": {"selector": {"matchLabels": {"app": "a"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1, "disruptedPods": disrupted},
        })
    };
    let there = || vec![("n1", pod("a", "2", 1)), ("n2", pod("b", "2", 50))];
    for (budget, expected) in [
        (budget(0, json!({})), "n2: b"),
        (budget(1, json!({})), "n1: a"),
        // It is being evicted already.
        (budget(0, json!({"a": "2026-01-01T00:00:00Z"})), "n1: a"),
    ] {
        let mut snapshot = cluster(&nodes(2), &there());
        let parsed = Arc::new(serde_json::from_value(budget.clone()).unwrap());
        snapshot.set_budget(Key::new("ns", "pdb"), Some(parsed));
        assert_eq!(
            outcome(&whole(pod("new", "4", 100)), &snapshot),
            expected,
            "{budget}"
        );
    }
    // Nowhere: the budget is broken rather than the pod left.
    let mut snapshot = cluster(&nodes(1), &[("n1", pod("a", "2", 1))]);
    let parsed = Arc::new(serde_json::from_value(budget(0, json!({}))).unwrap());
    snapshot.set_budget(Key::new("ns", "pdb"), Some(parsed));
    assert_eq!(outcome(&whole(pod("new", "4", 100)), &snapshot), "n1: a");
}

#[test]
fn nominated_pods_count_as_there() {
    let mut snapshot = cluster(&nodes(1), &[]);
    let waits = Arc::new(whole(pod("waits", "3", 50)));
    snapshot.nominate(&waits, "n1");
    for (priority, expected) in [
        (
            10,
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (100, "goes to n1"),
    ] {
        assert_eq!(
            outcome(&whole(pod("new", "2", priority)), &snapshot),
            expected,
            "{priority}"
        );
    }
    // It does not stand in its own way.
    assert_eq!(outcome(&waits, &snapshot), "goes to n1");
    snapshot.withdraw(&waits.key);
    assert_eq!(
        outcome(&whole(pod("new", "2", 10)), &snapshot),
        "goes to n1"
    );
}

#[test]
fn a_pod_whose_victims_are_leaving_waits() {
    let mut leaving = pod("a", "4", 5);
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    let new = Arc::new(whole(pod("new", "4", 100)));
    // One that leaves for another reason is not waited for.
    let mut snapshot = cluster(&nodes(1), &[("n1", leaving.clone())]);
    snapshot.nominate(&new, "n1");
    assert_eq!(outcome(&new, &snapshot), "n1: a");
    let asked =
        json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"});
    leaving["status"] = json!({"conditions": [asked]});
    let mut snapshot = cluster(&nodes(2), &[("n1", leaving), ("n2", pod("b", "4", 5))]);
    snapshot.nominate(&new, "n1");
    assert_eq!(
        outcome(&new, &snapshot),
        "0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due to a terminating pod on the nominated node."
    );
}
