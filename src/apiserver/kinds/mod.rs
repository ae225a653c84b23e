//! THE list of built-in kinds. Adding a kind's behaviour is one file and one line in [`strategy`].
//!
//! Architecture invariant: pure. What a kind needs to know of other objects is admission's or an allocator's matter.

mod admissionregistration;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod check;
mod coordination;
mod core;
mod events;
mod flowcontrol;
mod generic;
pub(crate) mod meta;
pub(crate) mod names;
mod node;
mod policy;
mod rbac;
mod resource;
mod scheduling;
mod table;
pub(crate) mod webhook_config;
mod workload;

use std::sync::Arc;

use self::generic::Generic;
use super::crd::CustomResourceDefinition;
use super::registry::{Resource, strategy::Strategy};

/// Every built-in resource, from one table, with its strategy.
pub(crate) fn builtin() -> Vec<Resource> {
    table::resources()
}

/// The behaviour of a kind.
fn strategy(group: &str, plural: &str, has_status: bool) -> Arc<dyn Strategy> {
    match (group, plural) {
        ("", "namespaces") => Arc::new(core::Namespace),
        ("", "pods") => Arc::new(core::Pod),
        ("", "podtemplates") => Arc::new(core::PodTemplate),
        ("", "nodes") => Arc::new(core::Node),
        ("", "configmaps") => Arc::new(core::ConfigMap),
        ("", "secrets") => Arc::new(core::Secret),
        ("", "services") => Arc::new(core::Service),
        ("admissionregistration.k8s.io", _) => admission(plural, has_status),
        ("apiextensions.k8s.io", "customresourcedefinitions") => Arc::new(CustomResourceDefinition),
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => Arc::new(rbac::Role {
            namespaced: plural == "roles",
        }),
        ("rbac.authorization.k8s.io", _) => Arc::new(rbac::Binding {
            namespaced: plural == "rolebindings",
        }),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            Arc::new(certificates::SigningRequest)
        }
        ("", "replicationcontrollers") => Arc::new(core::ReplicationController),
        ("", "events") => Arc::new(events::Event::Core),
        ("events.k8s.io", "events") => Arc::new(events::Event::Events),
        ("apps", "deployments") => Arc::new(apps::Deployment),
        ("apps", "replicasets") => Arc::new(apps::ReplicaSet),
        ("apps", "statefulsets") => Arc::new(apps::StatefulSet),
        ("apps", "daemonsets") => Arc::new(apps::DaemonSet),
        ("apps", "controllerrevisions") => Arc::new(apps::ControllerRevision),
        ("batch", "jobs") => Arc::new(batch::Job),
        ("batch", "cronjobs") => Arc::new(batch::CronJob),
        ("autoscaling", "horizontalpodautoscalers") => {
            Arc::new(autoscaling::HorizontalPodAutoscaler)
        }
        ("policy", "poddisruptionbudgets") => Arc::new(policy::PodDisruptionBudget),
        ("scheduling.k8s.io", "priorityclasses") => Arc::new(scheduling::PriorityClass),
        ("node.k8s.io", "runtimeclasses") => Arc::new(node::RuntimeClass),
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => Arc::new(flowcontrol::FlowSchema),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => {
            Arc::new(flowcontrol::PriorityLevelConfiguration)
        }
        ("resource.k8s.io", "deviceclasses") => Arc::new(resource::DeviceClass),
        ("resource.k8s.io", "resourceclaims") => Arc::new(resource::ResourceClaim),
        ("resource.k8s.io", "resourceclaimtemplates") => Arc::new(resource::ResourceClaimTemplate),
        ("resource.k8s.io", "resourceslices") => Arc::new(resource::ResourceSlice),
        ("coordination.k8s.io", "leases") => Arc::new(coordination::Lease),
        _ => Arc::new(Generic::of(group, plural, has_status)),
    }
}

/// The kinds that configure admission.
fn admission(plural: &str, has_status: bool) -> Arc<dyn Strategy> {
    use admissionregistration as kinds;
    match plural {
        "mutatingwebhookconfigurations" => Arc::new(kinds::WebhookConfiguration { mutating: true }),
        "validatingwebhookconfigurations" => {
            Arc::new(kinds::WebhookConfiguration { mutating: false })
        }
        "validatingadmissionpolicies" => Arc::new(kinds::ValidatingAdmissionPolicy),
        "validatingadmissionpolicybindings" => Arc::new(kinds::Binding { mutating: false }),
        "mutatingadmissionpolicies" => Arc::new(kinds::MutatingAdmissionPolicy),
        "mutatingadmissionpolicybindings" => Arc::new(kinds::Binding { mutating: true }),
        _ => Arc::new(Generic::of(
            "admissionregistration.k8s.io",
            plural,
            has_status,
        )),
    }
}
