//! The decision: which plugins are asked, how many nodes are looked at, what is said when none fits.

mod property;

use serde_json::json;

use super::*;
use crate::scheduler::framework::{Filter, Plugin, PreFilter, Profile, Score};
use crate::scheduler::plugins::PrioritySort;

/// Rejects, skips, panics or scores by the name of the node.
#[derive(Debug)]
struct Scripted {
    pre: Code,
    filter: fn(&str) -> Status,
    score: fn(&str) -> i64,
}

impl Default for Scripted {
    fn default() -> Self {
        Self {
            pre: Code::Success,
            filter: |_| Status::success(),
            score: |_| 0,
        }
    }
}

impl Plugin for Scripted {
    fn name(&self) -> &'static str {
        "Scripted"
    }
}

impl PreFilter for Scripted {
    fn pre_filter(&self, _: &mut CycleState, _: &PodInfo, _: &Snapshot) -> PreFiltered {
        let reasons = vec!["told before".into()];
        let status = Status {
            code: self.pre,
            reasons,
            ..Status::default()
        };
        status.into()
    }
}

impl Filter for Scripted {
    fn filter(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo) -> Status {
        (self.filter)(&node.name)
    }
}

impl Score for Scripted {
    fn score(&self, _: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        (self.score)(&node.name)
    }
}

fn snapshot(count: usize) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for index in 0..count {
        let node = json!({"metadata": {"name": format!("n{index}")}});
        let node = Arc::new(serde_json::from_value(node).unwrap());
        snapshot.entry(&format!("n{index}")).set_node(Some(node));
    }
    snapshot
}

fn pod() -> Arc<PodInfo> {
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": []}});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

type Make = fn() -> Scripted;

fn decide(decider: &mut SchedulingCycle, plugin: Make, snapshot: &Snapshot) -> String {
    let profile = Profile::empty("test", PrioritySort)
        .pre_filter(plugin())
        .filter(plugin())
        .score(plugin(), 1);
    let profile = Framework::for_tests(&profile);
    match decider.decide(&profile, &pod(), snapshot) {
        Decision::Node(node, _) => node.to_string(),
        Decision::Unfit(unfit) => {
            let rejectors: Vec<String> = unfit.rejectors.into_iter().collect();
            format!("{} [{}]", unfit.message, rejectors.join(" "))
        }
        Decision::Failed(error) => format!("failed: {error}"),
    }
}

#[test]
fn verdicts_become_messages() {
    let cases: [(Make, usize, &str); 7] = [
        (
            || Scripted {
                score: |name| i64::from(name == "n1"),
                ..Scripted::default()
            },
            3,
            "n1",
        ),
        (
            || Scripted {
                filter: |name| {
                    if name == "n0" {
                        Status::unschedulable("full")
                    } else {
                        Status::unresolvable("wrong")
                    }
                },
                ..Scripted::default()
            },
            3,
            "0/3 nodes are available: 1 full, 2 wrong. [Scripted]",
        ),
        (
            || Scripted {
                pre: Code::UnschedulableAndUnresolvable,
                ..Scripted::default()
            },
            2,
            "0/2 nodes are available: told before. [Scripted]",
        ),
        (
            || Scripted {
                pre: Code::Error,
                ..Scripted::default()
            },
            2,
            "failed: told before",
        ),
        (
            || Scripted {
                pre: Code::Skip,
                filter: |_| Status::unschedulable("full"),
                score: |name| i64::from(name == "n1"),
            },
            2,
            "n1",
        ),
        (
            || Scripted {
                filter: |_| Status::error("broken"),
                ..Scripted::default()
            },
            2,
            "failed: broken",
        ),
        (
            Scripted::default,
            0,
            "no nodes available to schedule pods [NodeName]",
        ),
    ];
    for (index, (plugin, nodes, expected)) in cases.into_iter().enumerate() {
        let mut decider = SchedulingCycle::new(Clock::seeded(1), None);
        assert_eq!(
            decide(&mut decider, plugin, &snapshot(nodes)),
            expected,
            "{index}"
        );
    }
}

#[test]
fn a_panic_fails_the_pod_only() {
    let mut decider = SchedulingCycle::new(Clock::seeded(1), None);
    let snapshot = snapshot(1);
    let broken = || Scripted {
        filter: |_| panic!("out of range"),
        ..Scripted::default()
    };
    assert_eq!(
        decide(&mut decider, broken, &snapshot),
        "failed: a plugin panicked: out of range"
    );
    assert_eq!(decide(&mut decider, Scripted::default, &snapshot), "n0");
}

#[test]
fn large_clusters_are_sampled_as_upstream_does() {
    for (nodes, percentage, wanted) in [
        (50, None, 50),
        (99, None, 99),
        (100, None, 100),
        (1000, None, 420),
        (5000, None, 500),
        (6000, None, 300),
        (100_000, None, 5000),
        (5000, Some(10), 500),
        (5000, Some(100), 5000),
        (5000, Some(0), 500),
    ] {
        let scoring = Profile::empty("test", PrioritySort).score(Scripted::default(), 1);
        let scoring = Framework::for_tests(&scoring);
        assert_eq!(
            super::wanted(&scoring, percentage, nodes),
            wanted,
            "{nodes} {percentage:?}"
        );
        // Where nothing tells them apart the first one does.
        let plain = Framework::for_tests(&Profile::empty("test", PrioritySort));
        assert_eq!(super::wanted(&plain, percentage, nodes), 1);
    }
    // A profile's own share counts more.
    let own = Profile::empty("test", PrioritySort).score(Scripted::default(), 1);
    let own = Framework::for_tests(&own.percentage_of_nodes_to_score(20));
    assert_eq!(super::wanted(&own, Some(50), 5000), 1000);
}

#[test]
fn every_share_has_all_zones() {
    let mut snapshot = Snapshot::default();
    // All nodes of a zone come before those of the next one.
    for index in 0..600 {
        let zone = ["a", "b", "c"][index / 200];
        let node = json!({"metadata": {"name": format!("n{index}"), "labels": {"topology.kubernetes.io/zone": zone}}});
        let node = Arc::new(serde_json::from_value(node).unwrap());
        snapshot.entry(&format!("n{index}")).set_node(Some(node));
    }
    let mut decider = SchedulingCycle::new(Clock::seeded(1), Some(10));
    // A hundred are looked at; the last of them that came is of the last zone.
    let last: Make = || Scripted {
        score: |name| name.trim_start_matches('n').parse().unwrap(),
        ..Scripted::default()
    };
    assert_eq!(decide(&mut decider, last, &snapshot), "n432");
    assert_eq!(decide(&mut decider, last, &snapshot), "n465");
    // The only node of a zone is among the first of the next round, and those that are gone are left out.
    let far = json!({"metadata": {"name": "n999", "labels": {"topology.kubernetes.io/zone": "d"}}});
    let far = Arc::new(serde_json::from_value(far).unwrap());
    snapshot.entry("n999").set_node(Some(far));
    for index in 400..600 {
        snapshot.set_node(&format!("n{index}"), None);
    }
    let mut decider = SchedulingCycle::new(Clock::seeded(1), Some(10));
    assert_eq!(decide(&mut decider, last, &snapshot), "n999");
    assert_eq!(decide(&mut decider, last, &snapshot), "n298");
}

#[test]
fn what_a_pre_filter_says_is_followed_by_what_preemption_says() {
    let profile = |code| {
        let plugin = Scripted {
            pre: code,
            ..Scripted::default()
        };
        let profile = Profile::empty("test", PrioritySort).pre_filter(plugin);
        Framework::for_tests(
            &profile.post_filter(crate::scheduler::plugins::DefaultPreemption::default()),
        )
    };
    for (code, preemption) in [
        (
            Code::UnschedulableAndUnresolvable,
            "2 Preemption is not helpful for scheduling",
        ),
        (
            Code::Unschedulable,
            "2 No preemption victims found for incoming pod",
        ),
    ] {
        let mut decider = SchedulingCycle::new(Clock::seeded(1), None);
        let Decision::Unfit(unfit) = decider.decide(&profile(code), &pod(), &snapshot(2)) else {
            panic!("it fits");
        };
        let message = format!(
            "0/2 nodes are available: told before. preemption: 0/2 nodes are available: {preemption}."
        );
        assert_eq!(unfit.message, message);
        assert_eq!(unfit.rejectors, BTreeSet::from(["Scripted".to_owned()]));
    }
}

#[test]
fn the_search_goes_round() {
    let mut decider = SchedulingCycle::new(Clock::seeded(1), Some(10));
    let snapshot = snapshot(250);
    // One decision sees a hundred nodes, the next one goes on from there.
    let after_first: fn() -> Scripted = || Scripted {
        score: |name| name.trim_start_matches('n').parse().unwrap(),
        ..Scripted::default()
    };
    let seen: Vec<String> = (0..3)
        .map(|_| decide(&mut decider, after_first, &snapshot))
        .collect();
    assert_eq!(seen, ["n99", "n199", "n249"]);
}

#[test]
fn chance_decides_among_equals() {
    let snapshot = snapshot(10);
    let mut decider = SchedulingCycle::new(Clock::seeded(1), None);
    let chosen: BTreeSet<String> = (0..40)
        .map(|_| decide(&mut decider, Scripted::default, &snapshot))
        .collect();
    assert!(chosen.len() > 5, "{chosen:?}");
}
