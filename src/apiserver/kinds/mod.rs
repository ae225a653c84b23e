//! THE list of built-in kinds. Adding a kind's behaviour is one file and one line in [`strategy`].
//!
//! Architecture invariant: pure. What a kind needs to know of other objects is admission's or an allocator's matter.

mod admissionregistration;
mod apps;
mod certificates;
mod check;
mod core;
mod generic;
mod lease;
pub(crate) mod meta;
pub(crate) mod names;
mod rbac;
mod table;
pub(crate) mod webhook_config;

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
        ("" | "events.k8s.io", "events") => Arc::new(core::Event),
        ("admissionregistration.k8s.io", _) => admission(plural, has_status),
        ("apps", "deployments") => Arc::new(apps::Deployment),
        ("apps", "replicasets") => Arc::new(apps::ReplicaSet),
        ("apiextensions.k8s.io", "customresourcedefinitions") => Arc::new(CustomResourceDefinition),
        ("coordination.k8s.io", "leases") => Arc::new(lease::Lease),
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => Arc::new(rbac::Role {
            namespaced: plural == "roles",
        }),
        ("rbac.authorization.k8s.io", _) => Arc::new(rbac::Binding {
            namespaced: plural == "rolebindings",
        }),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            Arc::new(certificates::SigningRequest)
        }
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
