//! The next step of a deployment (`pkg/controller/deployment` of Kubernetes): which set to make, resize or delete, and what
//! to report. One step at a time: what a step changes wakes the controller for the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentStatus, ReplicaSet};

use super::revision::{self, REVISION};
use super::rolling;
use super::status::{self, PROGRESSING, reason};
use super::view::{self, Sets, View};

/// What is seen.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    pub view: View<'a>,
    pub sets: Sets,
    /// Whether pods of old templates still run; only Recreate asks.
    pub old_pods_run: bool,
    pub now: Timestamp,
}

/// One change of a replica set.
#[derive(Debug)]
pub(super) enum Action {
    /// Make the set of the present template.
    Create(Box<ReplicaSet>),
    /// Change a set's size (if given), annotations and `minReadySeconds`.
    Update {
        set: Arc<ReplicaSet>,
        replicas: Option<i32>,
        annotations: BTreeMap<String, String>,
        min_ready_seconds: Option<i32>,
    },
    /// Delete a set that history no longer needs.
    Delete(Arc<ReplicaSet>),
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub actions: Vec<Action>,
    /// The revision annotation that the deployment should carry, when it does not.
    pub revision: Option<String>,
    /// The status to report, when it differs.
    pub status: Option<DeploymentStatus>,
    /// When to look again.
    pub again: Option<Duration>,
}

pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let Observed {
        view, sets, now, ..
    } = observed;
    let (view, now) = (*view, *now);
    if view.deployment.metadata.deletion_timestamp.is_some() {
        return Plan::default().report(view, status::counts(view, sets, now));
    }
    if let Some(status) = pause_or_resume(view, now) {
        return Plan::default().report(view, status);
    }
    if view.paused() || rolling::is_scaling(view, sets) {
        let mut plan = Plan {
            actions: resize(view, rolling::scale(view, sets)),
            ..Plan::default()
        };
        if view.paused() {
            plan.actions.extend(
                revision::surplus(view, &sets.old)
                    .into_iter()
                    .map(Action::Delete),
            );
        }
        return plan.report(view, status::counts(view, sets, now));
    }
    let plan = if view.is_rolling() {
        roll(observed)
    } else {
        recreate(observed)
    };
    plan.unwrap_or_else(|| rest(observed))
}

/// A paused deployment makes no progress, and none is expected of it: the condition says so.
fn pause_or_resume(view: View<'_>, now: Timestamp) -> Option<DeploymentStatus> {
    view.progress_deadline()?;
    let current = view
        .condition(PROGRESSING)
        .and_then(|condition| condition.reason.as_deref());
    let (reason, message) = match (view.paused(), current) {
        (_, Some(reason::TIMED_OUT)) => return None,
        (true, current) if current != Some(reason::PAUSED) => {
            (reason::PAUSED, "Deployment is paused")
        }
        (false, Some(reason::PAUSED)) => (reason::RESUMED, "Deployment is resumed"),
        _ => return None,
    };
    let mut status = view.status();
    let condition = status::condition(PROGRESSING, "Unknown", reason, message.to_owned(), now);
    status::set(status.conditions.get_or_insert_default(), condition);
    Some(status)
}

/// Rolling update: make the new set, grow it, shrink the old ones. `None`: nothing to change.
fn roll(observed: &Observed<'_>) -> Option<Plan> {
    let Observed {
        view, sets, now, ..
    } = observed;
    if let Some(plan) = new_set(observed) {
        return Some(plan);
    }
    let resizes = match rolling::grow(*view, sets) {
        Some(grow) => vec![grow],
        None => rolling::shrink(*view, sets),
    };
    resized(*view, sets, resizes, *now)
}

/// Recreate: retire the old sets, wait until their pods are gone, make the new set and let it grow.
fn recreate(observed: &Observed<'_>) -> Option<Plan> {
    let Observed {
        view,
        sets,
        now,
        old_pods_run,
    } = observed;
    if let Some(plan) = resized(*view, sets, rolling::retire(sets), *now) {
        return Some(plan);
    }
    if *old_pods_run || sets.old.iter().any(|set| view::actual(set) > 0) {
        return Some(Plan::default().report(*view, status::rollout(*view, sets, *now)));
    }
    if let Some(plan) = new_set(observed) {
        return Some(plan);
    }
    resized(
        *view,
        sets,
        rolling::grow(*view, sets).into_iter().collect(),
        *now,
    )
}

fn resized(
    view: View<'_>,
    sets: &Sets,
    resizes: Vec<rolling::Resize>,
    now: Timestamp,
) -> Option<Plan> {
    if resizes.is_empty() {
        return None;
    }
    let plan = Plan {
        actions: resize(view, resizes),
        ..Plan::default()
    };
    Some(plan.report(view, status::rollout(view, sets, now)))
}

fn resize(view: View<'_>, resizes: Vec<rolling::Resize>) -> Vec<Action> {
    let update = |(set, replicas): rolling::Resize| Action::Update {
        replicas: (view::wanted(&set) != replicas).then_some(replicas),
        annotations: revision::size_annotations(view),
        min_ready_seconds: None,
        set,
    };
    resizes.into_iter().map(update).collect()
}

/// Makes the set of the present template, or brings the annotations of the one that exists up to date.
fn new_set(observed: &Observed<'_>) -> Option<Plan> {
    let Observed {
        view, sets, now, ..
    } = observed;
    let revision = revision::next_revision(&sets.old);
    let Some(new) = &sets.new else {
        let wanted = sets.old.iter().map(|set| view::wanted(set)).sum();
        let set = revision::new_set(*view, revision, rolling::new_size(*view, wanted, 0));
        let name = view::name(&set).to_owned();
        let mut plan = Plan {
            actions: vec![Action::Create(Box::new(set))],
            ..Plan::default()
        };
        plan.set_revision(*view, &revision.to_string());
        return Some(plan.progress(
            *view,
            reason::CREATED,
            format!("Created new replica set {name:?}"),
            *now,
        ));
    };
    let annotations = revision::missing_annotations(*view, new, revision);
    let min_ready = view.min_ready_seconds().unwrap_or(0);
    let set_min_ready = crate::compat::Opt::opt(&new.spec)
        .and_then(|spec: &k8s_openapi::api::apps::v1::ReplicaSetSpec| spec.min_ready_seconds);
    let new_min_ready = (set_min_ready.unwrap_or(0) != min_ready).then_some(min_ready);
    if !annotations.is_empty() || new_min_ready.is_some() {
        let update = Action::Update {
            set: new.clone(),
            replicas: None,
            annotations,
            min_ready_seconds: new_min_ready,
        };
        return Some(Plan {
            actions: vec![update],
            ..Plan::default()
        });
    }
    let mut plan = Plan::default();
    plan.set_revision(*view, view::annotation(new, REVISION).unwrap_or_default());
    if view.progress_deadline().is_some() && view.condition(PROGRESSING).is_none() {
        let message = format!("Found new replica set {:?}", view::name(new));
        plan = plan.progress(*view, reason::FOUND, message, *now);
    }
    (plan.revision.is_some() || plan.status.is_some()).then_some(plan)
}

/// Nothing to resize: clean up when the rollout is over, and report.
fn rest(observed: &Observed<'_>) -> Plan {
    let Observed {
        view, sets, now, ..
    } = observed;
    let status = status::rollout(*view, sets, *now);
    let mut plan = Plan {
        again: status::check_again(*view, &status, *now),
        ..Plan::default()
    };
    if status::is_complete(*view, &view.status()) {
        plan.actions.extend(
            revision::surplus(*view, &sets.old)
                .into_iter()
                .map(Action::Delete),
        );
    }
    plan.report(*view, status)
}

impl Plan {
    /// Reports `status` if it differs from the present one.
    fn report(mut self, view: View<'_>, status: DeploymentStatus) -> Self {
        if view.deployment.status.as_ref() != Some(&status) {
            self.status = Some(status);
        }
        self
    }

    fn set_revision(&mut self, view: View<'_>, revision: &str) {
        if view
            .annotations()
            .get(REVISION)
            .is_none_or(|have| have != revision)
        {
            self.revision = Some(revision.to_owned());
        }
    }

    /// Reports that a rollout has begun, if anybody waits for its progress.
    fn progress(mut self, view: View<'_>, reason: &str, message: String, now: Timestamp) -> Self {
        if view.progress_deadline().is_some() {
            let mut status = view.status();
            let condition = status::condition(PROGRESSING, "True", reason, message, now);
            status::set(status.conditions.get_or_insert_default(), condition);
            self.status = Some(status);
        }
        self
    }
}
