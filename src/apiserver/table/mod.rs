//! `meta.k8s.io/v1` tables: the columns and cells that `kubectl get` shows.
//!
//! The cells of a kind are made by one function; this file lists them. Kinds without one have a name and an age.
mod cells;
mod columns;
mod core;
mod format;
mod pod;
mod policy;
mod rbac;
mod storage;
mod traffic;
mod workload;

pub(crate) use self::columns::Column;
pub(crate) use self::format::human_duration;
use crate::apiserver::registry::Resource;
use crate::object::Document;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Makes the cells of an object.
pub(crate) type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// The kinds with cells of their own, by `plural.group`.
const KINDS: &[(&str, Cells)] = &[
    ("apiservices.apiregistration.k8s.io", policy::api_service),
    (
        "certificatesigningrequests.certificates.k8s.io",
        rbac::signing_request,
    ),
    (
        "clusterrolebindings.rbac.authorization.k8s.io",
        rbac::binding,
    ),
    ("clusterroles.rbac.authorization.k8s.io", core::created),
    ("componentstatuses", core::component_status),
    ("configmaps", core::config_map),
    ("controllerrevisions.apps", workload::controller_revision),
    ("cronjobs.batch", workload::cron_job),
    ("csidrivers.storage.k8s.io", storage::csi_driver),
    ("csinodes.storage.k8s.io", storage::csi_node),
    ("csistoragecapacities.storage.k8s.io", core::created),
    (
        "customresourcedefinitions.apiextensions.k8s.io",
        core::created,
    ),
    ("daemonsets.apps", workload::daemon_set),
    ("deployments.apps", workload::deployment),
    ("endpoints", traffic::endpoints),
    ("endpointslices.discovery.k8s.io", traffic::endpoint_slice),
    ("events", core::event),
    ("events.events.k8s.io", core::event),
    (
        "flowschemas.flowcontrol.apiserver.k8s.io",
        policy::flow_schema,
    ),
    ("horizontalpodautoscalers.autoscaling", workload::autoscaler),
    ("ingressclasses.networking.k8s.io", traffic::ingress_class),
    ("ingresses.networking.k8s.io", traffic::ingress),
    ("ipaddresses.networking.k8s.io", traffic::ip_address),
    ("jobs.batch", workload::job),
    ("leases.coordination.k8s.io", core::lease),
    ("limitranges", core::created),
    (
        "mutatingadmissionpolicies.admissionregistration.k8s.io",
        policy::mutating_policy,
    ),
    (
        "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
        policy::policy_binding,
    ),
    (
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        policy::webhooks,
    ),
    ("namespaces", core::namespace),
    ("networkpolicies.networking.k8s.io", traffic::network_policy),
    ("nodes", core::node),
    ("persistentvolumeclaims", storage::claim),
    ("persistentvolumes", storage::volume),
    ("poddisruptionbudgets.policy", workload::disruption_budget),
    ("pods", pod::cells),
    ("podtemplates", workload::pod_template),
    ("priorityclasses.scheduling.k8s.io", policy::priority_class),
    (
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        policy::priority_level,
    ),
    ("replicasets.apps", workload::replica_set),
    ("replicationcontrollers", workload::replication_controller),
    ("resourceclaims.resource.k8s.io", storage::resource_claim),
    ("resourcequotas", core::resource_quota),
    ("resourceslices.resource.k8s.io", storage::resource_slice),
    ("rolebindings.rbac.authorization.k8s.io", rbac::binding),
    ("roles.rbac.authorization.k8s.io", core::created),
    ("runtimeclasses.node.k8s.io", policy::runtime_class),
    ("scales.autoscaling", workload::scale),
    ("secrets", core::secret),
    ("servicecidrs.networking.k8s.io", traffic::service_cidr),
    ("services", traffic::service),
    ("statefulsets.apps", workload::stateful_set),
    ("storageclasses.storage.k8s.io", storage::storage_class),
    (
        "validatingadmissionpolicies.admissionregistration.k8s.io",
        policy::validating_policy,
    ),
    (
        "validatingadmissionpolicybindings.admissionregistration.k8s.io",
        policy::policy_binding,
    ),
    (
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        policy::webhooks,
    ),
    ("volumeattachments.storage.k8s.io", storage::attachment),
    (
        "volumeattributesclasses.storage.k8s.io",
        storage::attributes_class,
    ),
];

/// What of each object a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Metadata,
    None,
    Object,
}

/// Columns and cells that are known only while the server runs.
pub(crate) trait Columns: std::fmt::Debug + Send + Sync {
    /// The columns.
    fn columns(&self) -> &[Column];
    /// The cells of an object.
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value>;
}

/// The table of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table<'a> {
    BuiltIn(&'static [Column], Cells),
    Custom(&'a dyn Columns),
}

impl<'a> Table<'a> {
    /// The table of objects of `resource`.
    pub(crate) fn of(resource: &'a Resource) -> Self {
        if let Some(custom) = &resource.custom {
            return Self::Custom(&*custom.columns);
        }
        Self::named(&resource.group_resource().to_string())
    }

    /// The table of one answer of `resource`: a subresource may answer another kind.
    pub(crate) fn of_answer(resource: &'a Resource, document: &Value) -> Self {
        if document.kind() == "Scale" {
            Self::named("scales.autoscaling")
        } else {
            Self::of(resource)
        }
    }

    fn named(name: &str) -> Self {
        let found = KINDS.binary_search_by(|(known, _)| (*known).cmp(name));
        let cells = found
            .ok()
            .and_then(|index| KINDS.get(index))
            .map_or(core::named_with_age as Cells, |(_, cells)| *cells);
        Self::BuiltIn(columns::of(name), cells)
    }

    /// The columns.
    pub(crate) fn columns(self) -> &'a [Column] {
        match self {
            Self::BuiltIn(columns, _) => columns,
            Self::Custom(custom) => custom.columns(),
        }
    }

    fn cells(self, document: &Value, now: Timestamp) -> Vec<Value> {
        match self {
            Self::BuiltIn(_, cells) => cells(document, now),
            Self::Custom(custom) => custom.cells(document, now),
        }
    }

    /// The fields of a row but for its object, without braces: the cells, and for pods that ended a condition by which clients
    /// grey them out.
    pub(crate) fn row(self, document: &Value, now: Timestamp) -> String {
        let mut fields = format!("\"cells\":{}", Value::Array(self.cells(document, now)));
        if let Some(condition) = (document.kind() == "Pod")
            .then(|| pod::row_condition(document))
            .flatten()
        {
            // Writing to a string does not fail.
            let _ = write!(fields, ",\"conditions\":{}", json!([condition]));
        }
        fields
    }
}

#[cfg(test)]
mod tests;
