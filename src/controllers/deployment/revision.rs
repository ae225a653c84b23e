//! Revisions: which replica set is the one of the present template, how a new one is made, and which old ones are let go.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::view::{self, HASH_LABEL, Sets, View};
use crate::compat::Opt;
use crate::reconcile::ownership;

/// Which rollout a set belongs to; the deployment carries the newest.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions that a set had before a rollback made it current again.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The deployment's replicas when the set was last scaled.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The most pods that the deployment allowed when the set was last scaled.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a deployment that its sets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// The longest revision history kept on a set, in bytes.
const HISTORY_LIMIT: usize = 2000;

/// Sorts a deployment's sets into new and old. Of several sets with the present template the oldest is the new one.
pub(super) fn sort(view: View<'_>, mut sets: Vec<Arc<ReplicaSet>>) -> Sets {
    sets.sort_by(|a, b| (view::created(a), view::name(a)).cmp(&(view::created(b), view::name(b))));
    let template = view.template();
    let position = sets
        .iter()
        .position(|set| same_template(set_template(set), &template));
    let new = position.map(|position| sets.remove(position));
    Sets { new, old: sets }
}

fn set_template(set: &ReplicaSet) -> Option<&PodTemplateSpec> {
    set.spec.opt()?.template.as_ref()
}

/// Whether a set's template is the deployment's, but for the hash label.
fn same_template(of_set: Option<&PodTemplateSpec>, wanted: &PodTemplateSpec) -> bool {
    let Some(mut template) = of_set.cloned() else {
        return false;
    };
    let labels = template
        .metadata
        .as_mut()
        .and_then(|metadata| metadata.labels.as_mut());
    if let Some(labels) = labels {
        labels.remove(HASH_LABEL);
    }
    normalized(template) == normalized(wanted.clone())
}

/// An absent map of labels and an empty one are the same.
fn normalized(mut template: PodTemplateSpec) -> PodTemplateSpec {
    let metadata = template.metadata.get_or_insert_default();
    metadata.labels = metadata.labels.take().filter(|labels| !labels.is_empty());
    metadata.annotations = metadata
        .annotations
        .take()
        .filter(|annotations| !annotations.is_empty());
    metadata.creation_timestamp = None;
    template
}

/// The set for the present template, wanting `replicas`.
pub(super) fn new_set(view: View<'_>, revision: i64, replicas: i32) -> ReplicaSet {
    let mut template = view.template();
    let hash = hash(&template, view.status().collision_count);
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = view.spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = inherited(view);
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.extend(size_annotations(view));
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", view.name())),
            namespace: view.deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![ownership::controller_reference(view.deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: view.min_ready_seconds(),
            selector,
            template: Some(template),
            ..ReplicaSetSpec::default()
        }
        .into(),
        status: None,
    }
}

/// What the sizes of a set were computed from; proportional scaling needs it later.
pub(super) fn size_annotations(view: View<'_>) -> BTreeMap<String, String> {
    let max = view.replicas().saturating_add(view.max_surge());
    [
        (DESIRED.to_owned(), view.replicas().to_string()),
        (MAX.to_owned(), max.to_string()),
    ]
    .into()
}

fn inherited(view: View<'_>) -> BTreeMap<String, String> {
    let annotations = view
        .annotations()
        .iter()
        .filter(|(key, _)| !NOT_INHERITED.contains(&key.as_str()));
    annotations
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The revision that the new set has to have: one more than any old one's.
pub(super) fn next_revision(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter()
        .filter_map(|set| view::annotated(set, REVISION))
        .max()
        .unwrap_or(0)
        + 1
}

/// The annotations that the existing new set lacks: the deployment's own, and its revision where it is behind (a rollback
/// makes an old set the newest again; the revision it had goes to its history).
pub(super) fn missing_annotations(
    view: View<'_>,
    set: &ReplicaSet,
    revision: i64,
) -> BTreeMap<String, String> {
    let mut missing = inherited(view);
    let have: Option<i64> = view::annotated(set, REVISION);
    if have.is_none_or(|have| have < revision) {
        missing.insert(REVISION.to_owned(), revision.to_string());
        if let Some(have) = have {
            let history = view::annotation(set, REVISION_HISTORY).unwrap_or_default();
            missing.insert(REVISION_HISTORY.to_owned(), extended(history, have));
        }
    }
    missing.retain(|key, value| view::annotation(set, key) != Some(value));
    missing
}

/// A revision history with one more, without its oldest entries where it would grow too long.
fn extended(history: &str, revision: i64) -> String {
    let mut revisions: Vec<String> = history
        .split(',')
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect();
    revisions.push(revision.to_string());
    while revisions.iter().map(|entry| entry.len() + 1).sum::<usize>() > HISTORY_LIMIT {
        revisions.remove(0);
    }
    revisions.join(",")
}

/// The old sets beyond the history limit that can go, the oldest revisions first.
pub(super) fn surplus(view: View<'_>, old: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    let Some(limit) = view
        .spec
        .revision_history_limit
        .filter(|limit| *limit != i32::MAX)
    else {
        return Vec::new();
    };
    let mut sets: Vec<_> = old
        .iter()
        .filter(|set| set.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    let surplus = sets
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or(0));
    sets.sort_by_key(|set| view::annotated::<i64>(set, REVISION).unwrap_or(0));
    sets.truncate(surplus);
    sets.retain(|set| view::wanted(set) == 0 && view::actual(set) == 0 && is_observed(set));
    sets
}

/// Whether a set's status belongs to its present spec.
fn is_observed(set: &ReplicaSet) -> bool {
    let observed = set
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    observed.unwrap_or(0) >= set.metadata.generation.unwrap_or(0)
}

/// A short name for a template: 32-bit FNV-1a over its JSON and the number of collisions so far, in the alphabet of
/// generated names. Upstream hashes a Go dump, so the values differ from its; nothing may depend on them.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    // A template of the typed API always has a JSON form.
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(collisions) = collisions {
        bytes.extend_from_slice(&collisions.to_le_bytes());
    }
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    let digits = hash.to_string();
    digits
        .bytes()
        .map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()]))
        .collect()
}
