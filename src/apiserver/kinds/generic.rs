//! Kinds without rules of their own yet: what the table says of them, and what their group has in common.

use serde_json::{Value, json};

use super::names;
use crate::apiserver::registry::strategy::{Context, Propagation, Scale, Strategy};

/// For compatibility a deleted job leaves its pods behind unless it is asked otherwise.
const JOBS_ORPHAN: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

/// A kind that is stored as it comes, its status apart.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one answer of the contract each"
)]
pub(super) struct Generic {
    has_status: bool,
    has_generation: bool,
    allow_create_on_update: bool,
    allow_unconditional_update: bool,
    returns_deleted_object: bool,
    propagation: Propagation,
    propagation_warning: Option<&'static str>,
    has_path_names: bool,
    deprecation: Option<&'static str>,
    scale: Option<Scale>,
}

impl Generic {
    pub(super) fn of(group: &str, plural: &str, has_status: bool) -> Self {
        let plain = matches!(
            (group, plural),
            (
                "",
                "serviceaccounts"
                    | "endpoints"
                    | "limitranges"
                    | "resourcequotas"
                    | "persistentvolumes"
                    | "persistentvolumeclaims"
            ) | ("apps", "controllerrevisions")
                | (
                    "batch"
                        | "rbac.authorization.k8s.io"
                        | "storage.k8s.io"
                        | "coordination.k8s.io"
                        | "node.k8s.io"
                        | "scheduling.k8s.io"
                        | "certificates.k8s.io",
                    _
                )
        ) && !matches!((group, plural), ("batch", _));
        let scalable = matches!(
            (group, plural),
            ("apps", "statefulsets") | ("", "replicationcontrollers")
        );
        let path = |parts: [&str; 2]| parts.map(str::to_owned).to_vec();
        Self {
            has_status,
            has_generation: !plain,
            allow_create_on_update: matches!(
                (group, plural),
                ("coordination.k8s.io" | "rbac.authorization.k8s.io", _)
                    | ("", "endpoints" | "limitranges")
            ),
            allow_unconditional_update: !matches!(
                (group, plural),
                (
                    "admissionregistration.k8s.io"
                        | "apiextensions.k8s.io"
                        | "apiregistration.k8s.io"
                        | "coordination.k8s.io"
                        | "node.k8s.io"
                        | "policy",
                    _
                ) | (
                    "storage.k8s.io",
                    "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments"
                )
            ),
            returns_deleted_object: matches!(
                (group, plural),
                (
                    "",
                    "persistentvolumeclaims"
                        | "persistentvolumes"
                        | "resourcequotas"
                        | "serviceaccounts"
                ) | ("resource.k8s.io", _)
            ) || (group == "storage.k8s.io"
                && plural != "csistoragecapacities"),
            propagation: match (group, plural) {
                ("", "replicationcontrollers") | ("batch", "jobs") => Propagation::Orphan,
                _ => Propagation::Background,
            },
            propagation_warning: ((group, plural) == ("batch", "jobs")).then_some(JOBS_ORPHAN),
            has_path_names: group == "rbac.authorization.k8s.io",
            deprecation: match (group, plural) {
                ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
                ("", "endpoints") => Some(
                    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
                ),
                _ => None,
            },
            scale: scalable.then(|| Scale {
                spec_replicas: path(["spec", "replicas"]),
                status_replicas: path(["status", "replicas"]),
                selector: Some(path(["spec", "selector"])),
            }),
        }
    }
}

impl Strategy for Generic {
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        if self.has_status {
            object["status"] = json!({});
        }
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if self.has_status && context.subresource.is_none() {
            match old.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => {
                    object.as_object_mut().map(|object| object.remove("status"));
                }
            }
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        if self.has_path_names {
            names::path_segment(name, prefix)
        } else {
            names::dns_subdomain(name, prefix)
        }
    }

    fn has_generation(&self) -> bool {
        self.has_generation
    }

    fn allow_create_on_update(&self) -> bool {
        self.allow_create_on_update
    }

    fn allow_unconditional_update(&self) -> bool {
        self.allow_unconditional_update
    }

    fn returns_deleted_object(&self) -> bool {
        self.returns_deleted_object
    }

    fn default_propagation(&self) -> Propagation {
        self.propagation
    }

    fn default_propagation_warning(&self) -> Option<&'static str> {
        self.propagation_warning
    }

    fn deprecation(&self) -> Option<&'static str> {
        self.deprecation
    }

    fn scale(&self) -> Option<Scale> {
        self.scale.clone()
    }
}
