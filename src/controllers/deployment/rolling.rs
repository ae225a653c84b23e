//! How many pods each replica set should have: rolling update, recreate, and scaling in the middle of a rollout.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::revision::{DESIRED, MAX};
use super::view::{self, Sets, View};

/// A replica set and its new size.
pub(super) type Resize = (Arc<ReplicaSet>, i32);

fn total(sets: &Sets) -> i32 {
    sets.all().map(|set| view::wanted(set)).sum()
}

/// The size that a set for the present template may have now, given what all sets want together.
pub(super) fn new_size(view: View<'_>, wanted_by_all: i32, wanted_by_new: i32) -> i32 {
    if !view.is_rolling() {
        return view.replicas();
    }
    let room = view.replicas().saturating_add(view.max_surge()) - wanted_by_all;
    if room <= 0 {
        return wanted_by_new;
    }
    wanted_by_new + room.min(view.replicas() - wanted_by_new)
}

/// Moves the new set towards its full size.
pub(super) fn grow(view: View<'_>, sets: &Sets) -> Option<Resize> {
    let new = sets.new.as_ref()?;
    let wanted = view::wanted(new);
    let size = if wanted > view.replicas() {
        view.replicas()
    } else {
        new_size(view, total(sets), wanted)
    };
    (size != wanted).then(|| (new.clone(), size))
}

/// Moves the old sets towards zero as far as availability allows: first pods that are not available anyway, then others.
pub(super) fn shrink(view: View<'_>, sets: &Sets) -> Vec<Resize> {
    let mut sizes: Vec<(Arc<ReplicaSet>, i32)> = sets
        .old
        .iter()
        .map(|set| (set.clone(), view::wanted(set)))
        .collect();
    if sizes.iter().all(|(_, size)| *size == 0) {
        return Vec::new();
    }
    let least_available = view.replicas() - view.max_unavailable();
    let unavailable_in_new = sets
        .new
        .as_ref()
        .map_or(0, |new| view::wanted(new) - view::available(new));
    let mut removable = total(sets) - least_available - unavailable_in_new;
    if removable <= 0 {
        return Vec::new();
    }
    for (set, size) in &mut sizes {
        let unhealthy = (*size - view::available(set)).clamp(0, removable.max(0));
        *size -= unhealthy;
        removable -= unhealthy;
    }
    // A set that was scaled down a moment ago may still report pods that are about to go: they do not count.
    let available: i32 = sets
        .all()
        .map(|set| view::available(set).min(view::wanted(set)))
        .sum();
    let mut spare = (available - least_available).max(0);
    for (_, size) in &mut sizes {
        let less = (*size).min(spare);
        *size -= less;
        spare -= less;
    }
    changed(sizes)
}

/// All old sets to zero.
pub(super) fn retire(sets: &Sets) -> Vec<Resize> {
    changed(sets.old.iter().map(|set| (set.clone(), 0)).collect())
}

fn changed(sizes: Vec<Resize>) -> Vec<Resize> {
    sizes
        .into_iter()
        .filter(|(set, size)| view::wanted(set) != *size)
        .collect()
}

/// Whether the deployment's replicas were changed since its sets were last scaled.
pub(super) fn is_scaling(view: View<'_>, sets: &Sets) -> bool {
    sets.active().any(|set| {
        view::annotated::<i32>(set, DESIRED).is_some_and(|desired| desired != view.replicas())
    })
}

/// Scales a paused or half rolled-out deployment: one active set takes all; when the new set is saturated the old ones go;
/// otherwise each set keeps its share.
pub(super) fn scale(view: View<'_>, sets: &Sets) -> Vec<Resize> {
    let active: Vec<_> = sets.active().cloned().collect();
    if active.len() <= 1 {
        let newest = || sets.new.clone().or_else(|| sets.old.last().cloned());
        let only = active.first().cloned().or_else(newest);
        return changed(only.into_iter().map(|set| (set, view.replicas())).collect());
    }
    if sets.new.as_ref().is_some_and(|new| is_saturated(view, new)) {
        return retire(sets);
    }
    if view.is_rolling() {
        proportionally(view, active)
    } else {
        Vec::new()
    }
}

fn is_saturated(view: View<'_>, set: &ReplicaSet) -> bool {
    let replicas = view.replicas();
    view::annotated(set, DESIRED) == Some(replicas)
        && view::wanted(set) == replicas
        && view::available(set) == replicas
}

/// Spreads a change of the deployment's size over its active sets, each by its share; what rounding leaves goes to the largest.
fn proportionally(view: View<'_>, mut active: Vec<Arc<ReplicaSet>>) -> Vec<Resize> {
    let allowed = if view.replicas() > 0 {
        view.replicas().saturating_add(view.max_surge())
    } else {
        0
    };
    let to_add = allowed - active.iter().map(|set| view::wanted(set)).sum::<i32>();
    // The largest first; among equals the newest when growing, the oldest when shrinking.
    active.sort_by(|a, b| {
        let by_age = view::created(b).cmp(&view::created(a));
        let by_age = if to_add < 0 { by_age.reverse() } else { by_age };
        view::wanted(b).cmp(&view::wanted(a)).then(by_age)
    });
    let mut added = 0;
    let mut sizes: Vec<Resize> = Vec::with_capacity(active.len());
    for set in active {
        let left = to_add - added;
        let share = share(view, &set);
        let part = if to_add > 0 {
            share.min(left)
        } else {
            share.max(left)
        };
        let part = if to_add == 0 { 0 } else { part };
        added += part;
        let size = view::wanted(&set) + part;
        sizes.push((set, size));
    }
    if let Some((_, size)) = sizes.first_mut().filter(|_| to_add != 0) {
        *size = (*size + to_add - added).max(0);
    }
    // A set that keeps its size learns what that was computed from: else the deployment would look as if it were being
    // scaled for ever, and the rollout would not go on.
    sizes.retain(|(set, size)| view::wanted(set) != *size || !knows_size(view, set));
    sizes
}

/// Whether the size of a set was computed from the deployment as it is.
fn knows_size(view: View<'_>, set: &ReplicaSet) -> bool {
    let max = view.replicas().saturating_add(view.max_surge());
    view::annotated(set, DESIRED) == Some(view.replicas()) && view::annotated(set, MAX) == Some(max)
}

/// How much a set grows (or shrinks) if it keeps its share of the whole.
fn share(view: View<'_>, set: &ReplicaSet) -> i32 {
    let wanted = view::wanted(set);
    if view.replicas() == 0 {
        return -wanted;
    }
    let max = view.replicas().saturating_add(view.max_surge());
    let before = view::annotated::<i32>(set, MAX)
        .filter(|before| *before > 0)
        .or_else(|| view.status().replicas)
        .unwrap_or(0);
    if before == 0 {
        return 0;
    }
    let (product, before) = (i64::from(wanted) * i64::from(max), i64::from(before));
    // Rounded half up; all numbers are positive.
    let size = (2 * product + before) / (2 * before);
    i32::try_from(size).unwrap_or(i32::MAX) - wanted
}
