//! Pod groups, which Kubernetes 1.36 and 1.37 have as an alpha and a beta kind that is off by default: as much of them as a
//! scheduler needs.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! pod_group {
    ($version:tt) => {
        /// What is wanted of a pod group. Fields that are not named here are kept as they are.
        ///
        /// The kind `PodGroup` of the group `scheduling.k8s.io`: version `v1alpha2` with the types of Kubernetes 1.36 and
        /// `v1beta1` with those of 1.37.
        ///
        /// A [cluster](crate::cluster::ClusterBuilder::resource) or an [API
        /// server](crate::apiserver::ApiServerBuilder::resource) that is told to serve [`PodGroup`] behaves as one with the
        /// feature gate `GenericWorkload`: pods keep their `spec.schedulingGroup`.
        #[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[kube(
            group = "scheduling.k8s.io",
            version = $version,
            kind = "PodGroup",
            plural = "podgroups",
            namespaced,
            status = "PodGroupStatus",
            annotation("api-approved.kubernetes.io", "unapproved, stands in for the native kind")
        )]
        #[serde(rename_all = "camelCase")]
        #[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
        pub struct PodGroupSpec {
            /// How its pods are scheduled.
            pub scheduling_policy: PodGroupSchedulingPolicy,
        }
    };
}

k8s_openapi::k8s_if_le_1_36! {
    pod_group!("v1alpha2");
    /// The type of the condition that says whether enough of a group had a node at once.
    pub const POD_GROUP_SCHEDULED: &str = "PodGroupScheduled";
}
k8s_openapi::k8s_if_ge_1_37! {
    pod_group!("v1beta1");
    /// The type of the condition that says whether enough of a group had a node at once.
    pub const POD_GROUP_SCHEDULED: &str = "PodGroupInitiallyScheduled";
}

/// How the pods of a group are scheduled: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["basic"]}, {"required": ["gang"]}]))]
pub struct PodGroupSchedulingPolicy {
    /// One by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSchedulingPolicy>,
    /// Together or not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<GangSchedulingPolicy>,
}

/// Pods that are scheduled one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BasicSchedulingPolicy {}

/// Pods that are scheduled together or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GangSchedulingPolicy {
    /// So many of them must have room at once. At least 1.
    #[schemars(range(min = 1))]
    pub min_count: i32,
}

/// What became of a pod group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct PodGroupStatus {
    /// What is known of it; of the type [`POD_GROUP_SCHEDULED`] from the scheduler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PodGroupCondition>,
}

/// Something that is known of a pod group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodGroupCondition {
    /// What this is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default)]
    pub message: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// Of which generation of the group this was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
