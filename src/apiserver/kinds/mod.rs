//! THE list of built-in kinds. Adding a kind's behaviour is one file and one line in [`strategy`].
//!
//! Architecture invariant: pure. What a kind needs to know of other objects is admission's or an allocator's matter.

mod admissionregistration;
mod apiservice;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod check;
mod coordination;
mod core;
#[cfg(test)]
mod coverage;
mod difference;
mod endpoint_slice;
mod events;
mod flowcontrol;
mod generic;
mod ip;
pub(crate) mod meta;
pub(crate) mod names;
mod networking;
mod node;
mod node_selector;
mod policy;
mod rbac;
mod resource;
mod resource_name;
mod scheduling;
mod storage;
mod table;
#[cfg(test)]
mod testing;
pub(crate) mod webhook_config;
mod workload;

pub(crate) use self::core::validate_service_addresses as service_addresses;

use std::sync::Arc;

use self::generic::Generic;
use super::crd::CustomResourceDefinition;
use super::registry::{Resource, strategy::Strategy};

/// Every built-in resource, from one table, with its strategy.
pub(crate) fn builtin() -> Vec<Resource> {
    table::resources()
}

/// Pods that may name the pod group they belong to: for servers that serve pod groups.
pub(crate) fn grouped_pods() -> Option<Resource> {
    let mut resources = table::resources().into_iter();
    let pods = resources.find(|pods| pods.gvk.group.is_empty() && pods.plural == "pods")?;
    let strategy = Arc::new(core::Pod { grouped: true });
    Some(Resource { strategy, ..pods })
}

/// What nodes and pods use, as resources.
pub(crate) fn metrics() -> Vec<Resource> {
    table::metrics()
}

/// The behaviour of a kind.
fn strategy(group: &str, plural: &str) -> Arc<dyn Strategy> {
    match (group, plural) {
        ("", "namespaces") => Arc::new(core::Namespace),
        ("", "pods") => Arc::new(core::Pod::PLAIN),
        ("", "podtemplates") => Arc::new(core::PodTemplate),
        ("", "nodes") => Arc::new(core::Node),
        ("", "configmaps") => Arc::new(core::ConfigMap),
        ("", "secrets") => Arc::new(core::Secret),
        ("", "services") => Arc::new(core::Service),
        ("admissionregistration.k8s.io", _) => admission(plural),
        ("apiextensions.k8s.io", "customresourcedefinitions") => Arc::new(CustomResourceDefinition),
        ("", "endpoints") => Arc::new(core::Endpoints),
        ("", "serviceaccounts") => Arc::new(core::ServiceAccount),
        ("", "limitranges") => Arc::new(core::LimitRange),
        ("", "resourcequotas") => Arc::new(core::ResourceQuota),
        ("", "persistentvolumes") => Arc::new(core::PersistentVolume),
        ("", "persistentvolumeclaims") => Arc::new(core::PersistentVolumeClaim),
        ("apiregistration.k8s.io", "apiservices") => Arc::new(apiservice::ApiService),
        ("discovery.k8s.io", "endpointslices") => Arc::new(endpoint_slice::EndpointSlice),
        ("networking.k8s.io", _) => network(plural),
        ("storage.k8s.io", _) => storage(plural),
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
        ("", "componentstatuses") => Arc::new(Generic {
            deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"),
        }),
        _ => unstored(),
    }
}

fn unstored() -> Arc<dyn Strategy> {
    Arc::new(Generic { deprecation: None })
}

/// The kinds that configure admission.
fn admission(plural: &str) -> Arc<dyn Strategy> {
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
        _ => unstored(),
    }
}

/// The kinds about the network.
fn network(plural: &str) -> Arc<dyn Strategy> {
    match plural {
        "ingresses" => Arc::new(networking::Ingress),
        "ingressclasses" => Arc::new(networking::IngressClass),
        "ipaddresses" => Arc::new(networking::IpAddress),
        "networkpolicies" => Arc::new(networking::NetworkPolicy),
        "servicecidrs" => Arc::new(networking::ServiceCidr),
        _ => unstored(),
    }
}

/// The kinds about storage.
fn storage(plural: &str) -> Arc<dyn Strategy> {
    match plural {
        "csidrivers" => Arc::new(storage::CsiDriver),
        "csinodes" => Arc::new(storage::CsiNode),
        "csistoragecapacities" => Arc::new(storage::CsiStorageCapacity),
        "storageclasses" => Arc::new(storage::StorageClass),
        "volumeattachments" => Arc::new(storage::VolumeAttachment),
        "volumeattributesclasses" => Arc::new(storage::VolumeAttributesClass),
        _ => unstored(),
    }
}
