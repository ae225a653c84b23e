//! The plan, carried out against a model of the API and of the replica set controller.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetStatus};
use proptest::prelude::*;
use serde_json::json;

use super::plan::{Action, Observed, Plan, plan};
use super::revision::{self, REVISION};
use super::status::{PROGRESSING, reason};
use super::view::{self, View, find_condition};
use crate::compat::Opt;
use crate::reconcile::ownership;

/// A deployment and its sets, as the API would hold them.
struct Model {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
}

impl Model {
    fn new(replicas: i32, strategy: serde_json::Value) -> Self {
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
                "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
            },
        });
        let deployment = serde_json::from_value(deployment).unwrap();
        Self {
            deployment,
            sets: Vec::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
        }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut serde_json::Value)) {
        let mut value = serde_json::to_value(&self.deployment).unwrap();
        edit(&mut value["spec"]);
        value["metadata"]["generation"] = json!(self.deployment.metadata.generation.unwrap() + 1);
        self.deployment = serde_json::from_value(value).unwrap();
    }

    fn image(&mut self, image: &str) {
        self.edit(|spec| spec["template"]["spec"]["containers"][0]["image"] = image.into());
    }

    fn plan(&self) -> Plan {
        let view = View::of(&self.deployment).unwrap();
        let sets = revision::sort(view, self.sets.iter().cloned().map(Arc::new).collect());
        let old_pods_run = sets.old.iter().any(|set| view::actual(set) > 0);
        plan(&Observed {
            view,
            sets,
            old_pods_run,
            now: self.now,
        })
    }

    /// One reconcile; whether it changed anything.
    fn step(&mut self) -> bool {
        let plan = self.plan();
        let changed = !plan.actions.is_empty() || plan.status.is_some() || plan.revision.is_some();
        for action in plan.actions {
            self.act(action);
        }
        if let Some(status) = plan.status {
            self.deployment.status = Some(status);
        }
        if let Some(revision) = plan.revision {
            self.deployment
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(REVISION.to_owned(), revision);
        }
        changed
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Create(mut set) => {
                assert_eq!(ownership::controller_of(&*set).unwrap().uid, "d");
                self.now += SignedDuration::from_secs(1);
                set.metadata.creation_timestamp =
                    serde_json::from_value(json!(self.now.to_string())).unwrap();
                set.metadata.generation = Some(1);
                self.sets.push(*set);
            }
            Action::Update {
                set,
                replicas,
                annotations,
                ..
            } => {
                let name = view::name(&set).to_owned();
                let set = self
                    .sets
                    .iter_mut()
                    .find(|set| view::name(set) == name)
                    .unwrap();
                set.metadata
                    .annotations
                    .get_or_insert_default()
                    .extend(annotations);
                if let Some(replicas) = replicas {
                    let mut value = serde_json::to_value(&*set).unwrap();
                    value["spec"]["replicas"] = replicas.into();
                    *set = serde_json::from_value(value).unwrap();
                }
            }
            Action::Delete(set) => self
                .sets
                .retain(|other| view::name(other) != view::name(&set)),
        }
    }

    /// The replica set controller and the pods of set `index`: creates and deletes at once; up to `more` pods become available.
    fn pods(&mut self, index: usize, more: i32) {
        let Some(set) = self.sets.get_mut(index) else {
            return;
        };
        let wanted = view::wanted(set);
        let available = (view::available(set) + more).min(wanted);
        set.status = Some(ReplicaSetStatus {
            replicas: wanted,
            ready_replicas: Some(available),
            available_replicas: Some(available),
            observed_generation: set.metadata.generation,
            ..ReplicaSetStatus::default()
        });
    }

    fn wanted(&self) -> i32 {
        self.sets.iter().map(view::wanted).sum()
    }

    fn available(&self) -> i32 {
        self.sets.iter().map(view::available).sum()
    }

    /// Runs everything to its end.
    fn settle(&mut self) {
        for _ in 0..500 {
            let mut changed = self.step();
            for index in 0..self.sets.len() {
                let before = self.sets[index].status.clone();
                self.pods(index, i32::MAX / 2);
                changed |= before != self.sets[index].status;
            }
            if !changed {
                return;
            }
        }
        panic!("does not settle");
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(view::wanted).collect()
    }

    fn progressing(&self) -> String {
        let conditions = self.deployment.status.clone().unwrap().conditions.unwrap();
        find_condition(&conditions, PROGRESSING)
            .unwrap()
            .reason
            .clone()
            .unwrap()
    }
}

fn rolling(surge: &str, unavailable: &str) -> serde_json::Value {
    let number = |text: &str| {
        text.parse::<i32>()
            .map_or_else(|_| json!(text), |number| json!(number))
    };
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": number(surge), "maxUnavailable": number(unavailable)}})
}

#[test]
fn first_rollout() {
    let mut model = Model::new(3, rolling("25%", "25%"));
    model.settle();
    assert_eq!(model.sizes(), [3]);
    let status = model.deployment.status.clone().unwrap();
    assert_eq!(
        (
            status.replicas,
            status.available_replicas,
            status.unavailable_replicas
        ),
        (Some(3), Some(3), None)
    );
    assert_eq!(model.progressing(), reason::AVAILABLE);
    assert_eq!(
        model.deployment.metadata.annotations.as_ref().unwrap()[REVISION],
        "1"
    );
}

#[test]
fn rollback_reuses_the_old_set_and_history_is_limited() {
    let mut model = Model::new(2, rolling("1", "0"));
    for image in ["v1", "v2", "v3", "v4"] {
        model.image(image);
        model.settle();
    }
    // Two old ones are kept.
    assert_eq!(model.sizes(), [0, 0, 2]);
    model.image("v3");
    model.settle();
    assert_eq!(model.sizes(), [0, 2, 0]);
    let annotations = model.sets[1].metadata.annotations.clone().unwrap();
    assert_eq!(annotations[REVISION], "5");
    assert_eq!(
        annotations["deployment.kubernetes.io/revision-history"],
        "3"
    );
    assert_eq!(
        model.deployment.metadata.annotations.as_ref().unwrap()[REVISION],
        "5"
    );
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let mut model = Model::new(2, json!({"type": "Recreate"}));
    model.settle();
    model.image("v2");
    model.step();
    assert_eq!(model.sizes(), [0]);
    // The old pods still run: no new set yet.
    model.step();
    assert_eq!(model.sizes(), [0]);
    model.settle();
    assert_eq!(model.sizes(), [0, 2]);
}

#[test]
fn paused_deployments_scale_but_do_not_roll() {
    let mut model = Model::new(2, rolling("1", "0"));
    model.settle();
    model.edit(|spec| spec["paused"] = true.into());
    model.image("v2");
    model.edit(|spec| spec["replicas"] = 5.into());
    model.settle();
    assert_eq!(model.sizes(), [5]);
    assert_eq!(model.progressing(), reason::PAUSED);
    model.edit(|spec| spec["paused"] = false.into());
    model.settle();
    assert_eq!(model.sizes(), [0, 5]);
}

#[test]
fn a_stuck_rollout_times_out() {
    let mut model = Model::new(1, rolling("1", "0"));
    model.settle();
    model.image("v2");
    while model.step() {}
    model.pods(1, 0);
    while model.step() {}
    let again = model.plan().again.unwrap();
    assert!(again.as_secs() > 590, "{again:?}");
    model.now += SignedDuration::try_from(again).unwrap();
    model.step();
    assert_eq!(model.progressing(), reason::TIMED_OUT);
}

#[test]
fn scaling_in_mid_rollout_keeps_proportions() {
    let mut model = Model::new(10, rolling("3", "2"));
    model.settle();
    model.image("v2");
    while model.step() {}
    model.pods(0, 100);
    model.pods(1, 0);
    while model.step() {}
    assert_eq!(model.sizes(), [8, 5]);
    model.edit(|spec| spec["replicas"] = 15.into());
    model.step();
    // 13 pods of 10 + 3 become 18 of 15 + 3: five more, by share, the remainder to the largest.
    assert_eq!(model.sizes(), [11, 7]);
}

#[test]
fn a_rollout_goes_on_after_scaling_that_leaves_a_set_as_it_is() {
    let mut model = Model::new(10, rolling("3", "2"));
    model.settle();
    model.image("v2");
    while model.step() {}
    model.pods(0, 100);
    model.pods(1, 0);
    while model.step() {}
    assert_eq!(model.sizes(), [8, 5]);
    // One pod more: the larger set takes it.
    model.edit(|spec| spec["replicas"] = 11.into());
    model.step();
    assert_eq!(model.sizes(), [9, 5]);
    model.settle();
    assert_eq!(model.sizes(), [0, 11]);
}

proptest! {
    /// From a healthy state, no step of a rollout breaks the promises of maxSurge and maxUnavailable, and it ends.
    #[test]
    fn rollouts_keep_their_promises(
        replicas in 1..12_i32, surge in 0..5_i32, unavailable in 0..5_i32,
        steps in proptest::collection::vec((0..3_usize, 0..3_i32), 0..60),
    ) {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let mut model = Model::new(replicas, strategy);
        model.settle();
        model.image("v2");
        let view = View::of(&model.deployment).unwrap();
        let (most, least) = (replicas + view.max_surge(), replicas - view.max_unavailable());
        for (set, more) in steps {
            model.step();
            model.pods(set, more);
            prop_assert!(model.wanted() <= most, "{:?}", model.sizes());
            prop_assert!(model.available() >= least, "{:?} available {}", model.sizes(), model.available());
        }
        model.settle();
        prop_assert_eq!(model.sizes(), vec![0, replicas]);
        prop_assert_eq!(model.sets[1].spec.opt().and_then(|spec| spec.replicas), Some(replicas));
    }
}
