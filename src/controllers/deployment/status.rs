//! The status of a deployment: counts and the conditions Available, Progressing and ReplicaFailure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::view::{self, Sets, View, find_condition};
use crate::compat::Opt;

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The reasons of condition Progressing.
pub(super) mod reason {
    pub(in super::super) const CREATED: &str = "NewReplicaSetCreated";
    pub(in super::super) const FOUND: &str = "FoundNewReplicaSet";
    pub(in super::super) const UPDATED: &str = "ReplicaSetUpdated";
    pub(in super::super) const AVAILABLE: &str = "NewReplicaSetAvailable";
    pub(in super::super) const TIMED_OUT: &str = "ProgressDeadlineExceeded";
    pub(in super::super) const PAUSED: &str = "DeploymentPaused";
    pub(in super::super) const RESUMED: &str = "DeploymentResumed";
    pub(in super::super) const CREATE_FAILED: &str = "ReplicaSetCreateError";
}

/// A condition that holds from `now`.
pub(super) fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned().into(),
        status: status.to_owned().into(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Puts `condition` in unless one of the same status and reason is there; the transition time changes with the status only.
pub(super) fn set(conditions: &mut Vec<DeploymentCondition>, mut condition: DeploymentCondition) {
    let type_ = text(&condition.type_).to_owned();
    if let Some(old) = find_condition(conditions, &type_) {
        if old.status == condition.status && old.reason == condition.reason {
            return;
        }
        if old.status == condition.status {
            condition
                .last_transition_time
                .clone_from(&old.last_transition_time);
        }
    }
    remove(conditions, &type_);
    conditions.push(condition);
}

fn remove(conditions: &mut Vec<DeploymentCondition>, type_: &str) {
    conditions.retain(|condition| text(&condition.type_) != type_);
}

fn text(value: &impl Opt<String>) -> &str {
    value.opt().map(String::as_str).unwrap_or_default()
}

/// The counts, and condition Available.
pub(super) fn counts(view: View<'_>, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let sum = |of: fn(&k8s_openapi::api::apps::v1::ReplicaSet) -> i32| {
        sets.all().map(|set| of(set)).sum::<i32>()
    };
    let terminating = sets
        .all()
        .map(|set| {
            set.status
                .as_ref()
                .and_then(|status| status.terminating_replicas)
        })
        .sum();
    let available = sum(view::available);
    let some = |count: i32| (count > 0).then_some(count);
    let old = view.status();
    let mut conditions = old.conditions.unwrap_or_default();
    let enough = available >= view.replicas() - view.max_unavailable();
    set(
        &mut conditions,
        if enough {
            let message = "Deployment has minimum availability.".to_owned();
            condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
        } else {
            let message = "Deployment does not have minimum availability.".to_owned();
            condition(
                AVAILABLE,
                "False",
                "MinimumReplicasUnavailable",
                message,
                now,
            )
        },
    );
    DeploymentStatus {
        observed_generation: view.deployment.metadata.generation,
        replicas: some(sum(view::actual)),
        updated_replicas: sets.new.as_ref().and_then(|new| some(view::actual(new))),
        ready_replicas: some(sum(view::ready)),
        available_replicas: some(available),
        unavailable_replicas: some(sum(view::wanted) - available),
        terminating_replicas: terminating,
        collision_count: old.collision_count,
        conditions: Some(conditions),
        ..DeploymentStatus::default()
    }
}

/// The status during a rollout, with Progressing and ReplicaFailure.
pub(super) fn rollout(view: View<'_>, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let mut status = counts(view, sets, now);
    let mut conditions = status.conditions.take().unwrap_or_default();
    let current = find_condition(&conditions, PROGRESSING).cloned();
    let done = status.replicas == status.updated_replicas
        && current
            .as_ref()
            .and_then(|current| current.reason.as_deref())
            == Some(reason::AVAILABLE);
    if view.progress_deadline().is_none() {
        remove(&mut conditions, PROGRESSING);
    } else if !done {
        let subject = match &sets.new {
            Some(new) => format!("ReplicaSet {:?}", view::name(new)),
            None => format!("Deployment {:?}", view.name()),
        };
        if is_complete(view, &status) {
            let message = format!("{subject} has successfully progressed.");
            set(
                &mut conditions,
                condition(PROGRESSING, "True", reason::AVAILABLE, message, now),
            );
        } else if is_progressing(view, &status) {
            let message = format!("{subject} is progressing.");
            let mut progressing = condition(PROGRESSING, "True", reason::UPDATED, message, now);
            // Each step of progress renews the update time, from which the deadline runs.
            if let Some(current) = current.filter(|current| text(&current.status) == "True") {
                progressing.last_transition_time = current.last_transition_time;
            }
            remove(&mut conditions, PROGRESSING);
            conditions.push(progressing);
        } else if is_timed_out(view, now) {
            let message = format!("{subject} has timed out progressing.");
            set(
                &mut conditions,
                condition(PROGRESSING, "False", reason::TIMED_OUT, message, now),
            );
        }
    }
    match failure(sets) {
        Some(failure) => set(&mut conditions, failure),
        None => remove(&mut conditions, REPLICA_FAILURE),
    }
    status.conditions = Some(conditions);
    status
}

/// Whether the rollout is over: every pod is of the new template and available.
pub(super) fn is_complete(view: View<'_>, status: &DeploymentStatus) -> bool {
    let wanted = view.replicas();
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation.unwrap_or(0)
            >= view.deployment.metadata.generation.unwrap_or(0)
}

/// Whether anything moved forward since the last status.
fn is_progressing(view: View<'_>, new: &DeploymentStatus) -> bool {
    let old = view.status();
    let outdated = |status: &DeploymentStatus| {
        status.replicas.unwrap_or(0) - status.updated_replicas.unwrap_or(0)
    };
    new.updated_replicas > old.updated_replicas
        || outdated(new) < outdated(&old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

/// Whether the deadline has passed since the last progress.
fn is_timed_out(view: View<'_>, now: Timestamp) -> bool {
    let Some(condition) = view.condition(PROGRESSING) else {
        return false;
    };
    match condition.reason.as_deref() {
        Some(reason::AVAILABLE) => false,
        Some(reason::TIMED_OUT) => true,
        _ => deadline(view, condition).is_some_and(|deadline| deadline < now),
    }
}

fn deadline(view: View<'_>, progressing: &DeploymentCondition) -> Option<Timestamp> {
    let from = progressing.last_update_time.as_ref().map(|time| time.0)?;
    from.checked_add(SignedDuration::from_secs(i64::from(
        view.progress_deadline()?,
    )))
    .ok()
}

/// When to look again whether a rollout that does not move has timed out.
pub(super) fn check_again(
    view: View<'_>,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let progressing = find_condition(conditions, PROGRESSING)?;
    let waits = !matches!(
        progressing.reason.as_deref(),
        Some(reason::TIMED_OUT | reason::AVAILABLE | reason::PAUSED)
    );
    if !waits || is_complete(view, status) {
        return None;
    }
    let left = Duration::try_from(deadline(view, progressing)?.duration_since(now))
        .unwrap_or(Duration::ZERO);
    // A second later than due, as upstream, so that the deadline has passed when we look.
    Some(left + Duration::from_secs(1))
}

/// What keeps a replica set from managing its pods: the new set's trouble first.
fn failure(sets: &Sets) -> Option<DeploymentCondition> {
    let all = sets.new.iter().chain(&sets.old);
    let mut conditions = all.flat_map(|set| {
        set.status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten())
    });
    conditions
        .find(|condition| text(&condition.type_) == REPLICA_FAILURE)
        .map(|failure| DeploymentCondition {
            type_: failure.type_.clone(),
            status: failure.status.clone(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            last_transition_time: failure.last_transition_time.clone(),
            last_update_time: failure.last_transition_time.clone(),
        })
}
