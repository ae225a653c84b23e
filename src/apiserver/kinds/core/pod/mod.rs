//! Pod.

mod container;
mod defaults;
mod qos;
mod spec;

use serde_json::{Value, json};

pub(in crate::apiserver::kinds) use self::defaults::default_spec;
pub(in crate::apiserver::kinds) use self::spec::validate_spec;
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, DeleteOptions, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Pod;

/// The lists of containers in a pod.
pub(super) const CONTAINER_LISTS: [&str; 3] =
    ["initContainers", "containers", "ephemeralContainers"];

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            default_spec(spec);
            defaults::default_requests(spec);
            spec.default_at(&["enableServiceLinks"], true);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({"phase": "Pending", "qosClass": qos::class(&object["spec"])});
        if !object.list_at(&["spec", "schedulingGates"]).is_empty() {
            object["status"]["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null, "lastTransitionTime": null,
            }]);
        }
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource == Some("status") {
            object.set_at(&["status", "qosClass"], old.str_at(&["status", "qosClass"]));
        } else {
            object["status"] = old["status"].clone();
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec");
        validate_spec(object.get("spec").unwrap_or(&Value::Null), &path, errors);
        if !object.list_at(&["spec", "ephemeralContainers"]).is_empty() {
            errors.forbidden(path.child("ephemeralContainers"), "cannot be set on create");
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        match context.subresource {
            Some("status") => {
                let node = object.str_at(&["status", "nominatedNodeName"]);
                if !node.is_empty() {
                    check::problems(
                        node,
                        crate::object::name::dns_subdomain(node),
                        &Path::new("status").child("nominatedNodeName"),
                        errors,
                    );
                }
            }
            Some(_) => {}
            None => {
                spec::validate_change(&object["spec"], &old["spec"], &Path::new("spec"), errors);
            }
        }
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        spec::warnings(&object["spec"])
    }

    fn selectable_fields(&self) -> &[&str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }

    fn field(&self, object: &Value, field: &str) -> String {
        match field {
            "spec.hostNetwork" => object
                .bool_at(&["spec", "hostNetwork"])
                .unwrap_or(false)
                .to_string(),
            "status.podIPs" | "status.podIP" => object.str_at(&["status", "podIP"]).to_owned(),
            other => match other.split_once('.') {
                Some((part, name)) => object.str_at(&[part, name]).to_owned(),
                None => String::new(),
            },
        }
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }

    /// A pod that no node has, or that has finished, goes at once.
    fn grace(&self, object: &Value, options: &DeleteOptions) -> Option<i64> {
        let phase = object.str_at(&["status", "phase"]);
        if object.str_at(&["spec", "nodeName"]).is_empty()
            || matches!(phase, "Failed" | "Succeeded")
        {
            return Some(0);
        }
        let own = object.i64_at(&["spec", "terminationGracePeriodSeconds"]);
        let wanted = options.grace_period_seconds.or(own).unwrap_or(30);
        // A negative grace has always meant one second.
        Some(if wanted < 0 { 1 } else { wanted })
    }
}
