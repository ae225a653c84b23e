//! A deployment and its replica sets, read without the options of the typed API.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::compat::Opt;

/// The label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// A deployment, with defaults where the API would have put them.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub deployment: &'a Deployment,
    pub spec: &'a DeploymentSpec,
}

impl<'a> View<'a> {
    /// `None` for a deployment without a spec, which the API does not store.
    pub(super) fn of(deployment: &'a Deployment) -> Option<Self> {
        Some(Self {
            deployment,
            spec: deployment.spec.opt()?,
        })
    }

    pub(super) fn name(&self) -> &'a str {
        self.deployment.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn status(&self) -> DeploymentStatus {
        self.deployment.status.clone().unwrap_or_default()
    }

    pub(super) fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    pub(super) fn paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    pub(super) fn is_rolling(&self) -> bool {
        self.spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.type_.as_deref())
            != Some("Recreate")
    }

    pub(super) fn min_ready_seconds(&self) -> Option<i32> {
        self.spec.min_ready_seconds
    }

    pub(super) fn template(&self) -> PodTemplateSpec {
        self.spec.template.clone()
    }

    /// `None` when no deadline is set: upstream's way to say that is the largest 32-bit number.
    pub(super) fn progress_deadline(&self) -> Option<i32> {
        self.spec
            .progress_deadline_seconds
            .filter(|seconds| *seconds != i32::MAX)
    }

    /// How many pods there may be beyond the wanted ones, and how many of the wanted ones may be missing.
    /// If both come out as zero, one may be missing, so that a rollout can move at all.
    fn fenceposts(&self) -> (i32, i32) {
        let rolling = self
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let surge = surge.map_or(0, |value| resolve(value, self.replicas(), true));
        let unavailable = unavailable.map_or(0, |value| resolve(value, self.replicas(), false));
        if surge == 0 && unavailable == 0 {
            (0, 1)
        } else {
            (surge, unavailable)
        }
    }

    pub(super) fn max_surge(&self) -> i32 {
        if self.is_rolling() {
            self.fenceposts().0
        } else {
            0
        }
    }

    pub(super) fn max_unavailable(&self) -> i32 {
        if !self.is_rolling() || self.replicas() == 0 {
            return 0;
        }
        self.fenceposts().1.min(self.replicas())
    }

    pub(super) fn annotations(&self) -> &'a BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.deployment
            .metadata
            .annotations
            .as_ref()
            .unwrap_or(&NONE)
    }

    /// The status condition of the given type.
    pub(super) fn condition(&self, type_: &str) -> Option<&'a DeploymentCondition> {
        find_condition(
            self.deployment.status.as_ref()?.conditions.as_deref()?,
            type_,
        )
    }
}

/// The condition of the given type.
pub(super) fn find_condition<'a>(
    conditions: &'a [DeploymentCondition],
    type_: &str,
) -> Option<&'a DeploymentCondition> {
    conditions
        .iter()
        .find(|condition| Opt::<String>::opt(&condition.type_).is_some_and(|have| have == type_))
}

/// The replica sets of a deployment: the one of its present template, and all others.
#[derive(Debug, Clone, Default)]
pub(super) struct Sets {
    pub new: Option<Arc<ReplicaSet>>,
    /// Ordered by creation.
    pub old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    /// Those that want pods.
    pub(super) fn active(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.all().filter(|set| wanted(set) > 0)
    }
}

/// The replicas a set wants.
pub(super) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.opt().and_then(|spec| spec.replicas).unwrap_or(0)
}

/// The replicas a set has.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// The ready replicas of a set.
pub(super) fn ready(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0)
}

/// The available replicas of a set.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

/// The annotation of a set.
pub(super) fn annotation<'a>(set: &'a ReplicaSet, key: &str) -> Option<&'a str> {
    set.metadata
        .annotations
        .as_ref()?
        .get(key)
        .map(String::as_str)
}

/// The number in an annotation of a set.
pub(super) fn annotated<T: std::str::FromStr>(set: &ReplicaSet, key: &str) -> Option<T> {
    annotation(set, key)?.parse().ok()
}

/// When a set was made.
pub(super) fn created(set: &ReplicaSet) -> Timestamp {
    set.metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::MIN, |time| time.0)
}

/// The name of a set.
pub(super) fn name(set: &ReplicaSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

/// A number, or a percentage of `total` rounded up or down.
fn resolve(value: &IntOrString, total: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text
                .strip_suffix('%')
                .and_then(|text| text.parse().ok())
                .unwrap_or(0);
            let hundredfold = percent * i64::from(total);
            let share = if up {
                hundredfold.saturating_add(99) / 100
            } else {
                hundredfold / 100
            };
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}
