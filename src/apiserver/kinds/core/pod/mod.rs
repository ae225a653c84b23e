//! Pod: its rules, which templates of pods share.

mod affinity;
mod annotations;
mod claim_template;
mod container;
mod defaults;
mod disabled;
mod env;
mod handler;
mod mount;
mod projected;
mod qos;
mod resources;
mod security;
mod selectors;
mod spec;
mod status;
mod template;
mod totals;
mod update;
mod volume;
mod warnings;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

pub(in crate::apiserver::kinds) use self::defaults::default_spec;
use self::disabled::drop_disabled;
pub(in crate::apiserver::kinds) use self::resources::overhead as validate_overhead;
use self::spec::Scope;
pub(in crate::apiserver::kinds) use self::template::{
    default_template, prepare_template, template_warnings, validate_template,
};
pub(in crate::apiserver::kinds::core) use self::volume::{azure_disk_kind, flex_options};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, DeleteOptions, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Pod {
    /// Whether pods may name the pod group they belong to.
    pub grouped: bool,
}

impl Pod {
    /// As they are without pod groups.
    pub(in crate::apiserver::kinds) const PLAIN: Self = Self { grouped: false };
}

/// The lists of containers in a pod, in the order in which they are looked through.
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Metadata that a write of these subresources leaves as it is.
const KEPT_METADATA: [&str; 6] = [
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "deletionTimestamp",
    "selfLink",
];

/// Calls `visit` for every container of a spec at `path`.
fn each_container(spec: &Value, path: &Path, visit: &mut dyn FnMut(&Value, &Path)) {
    for list in CONTAINER_LISTS {
        for (index, container) in spec.list_at(&[list]).iter().enumerate() {
            visit(container, &path.child(list).index(index));
        }
    }
}

/// Checks the spec of a pod in a template.
pub(in crate::apiserver::kinds) fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    spec::validate(spec, None, path, errors);
}

/// Checks tolerations; runtime classes have them too.
pub(in crate::apiserver::kinds) fn validate_tolerations(
    tolerations: &[Value],
    path: &Path,
    errors: &mut Errors,
) {
    affinity::tolerations(tolerations, path, errors);
}

fn validate_whole(object: &Value, errors: &mut Errors) {
    let metadata = &object["metadata"];
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let at = Path::new("metadata").child("annotations");
    annotations::validate(metadata, spec, &at, errors);
    let path = Path::new("spec");
    spec::validate(spec, Some(object.name()), &path, errors);
    if spec.str_at(&["serviceAccountName"]).is_empty() {
        no_tokens(spec, &path.child("volumes"), errors);
    }
    for list in ["containers", "initContainers"] {
        for (index, own) in spec.list_at(&[list]).iter().enumerate() {
            container::image_of_pod(own, &path.child(list).index(index), errors);
        }
    }
}

/// Without an account there are no tokens of one.
fn no_tokens(spec: &Value, path: &Path, errors: &mut Errors) {
    for (index, volume) in spec.list_at(&["volumes"]).iter().enumerate() {
        let sources = volume.list_at(&["projected", "sources"]);
        for (number, source) in sources.iter().enumerate() {
            if check::given(source, "serviceAccountToken").is_some() {
                let at = path.index(index).child("projected").child("sources");
                let why = "must not be specified when serviceAccountName is not set";
                errors.forbidden(at.index(number).child("serviceAccountToken"), why);
            }
        }
    }
}

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) {
            default_spec(spec);
            defaults::default_pod(spec);
        }
        if let Some(status) = object.get_mut("status").filter(|status| status.is_object()) {
            status::default(status);
        }
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec") {
            drop_disabled(spec, self.grouped);
        }
        object["status"] = json!({"phase": "Pending", "qosClass": qos::class(&object["spec"])});
        if !object.list_at(&["spec", "schedulingGates"]).is_empty() {
            object["status"]["conditions"] = json!([{
                "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates", "lastProbeTime": null, "lastTransitionTime": context.now,
            }]);
        }
        selectors::merge_label_keys(object);
        annotations::to_fields(object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        match context.subresource {
            Some("status") => status::keep(object, old),
            Some("ephemeralcontainers" | "resize") => {
                object["status"] = old["status"].clone();
                for field in KEPT_METADATA {
                    match old.at(&["metadata", field]) {
                        Some(value) => object.set_at(&["metadata", field], value.clone()),
                        None => {
                            object.remove_at(&["metadata", field]);
                        }
                    }
                }
                if context.subresource == Some("resize") {
                    update::keep_all_but_resources(object, old);
                } else {
                    update::keep_all_but_ephemeral(object, old);
                }
            }
            _ => {
                object["status"] = old["status"].clone();
                if let Some(spec) = object.get_mut("spec") {
                    drop_disabled(spec, self.grouped);
                }
            }
        }
    }

    fn status_keeps(&self) -> &[&[&str]] {
        &[&["metadata", "ownerReferences"]]
    }

    fn metadata_check(&self, context: &Context<'_>) -> MetadataCheck {
        match context.subresource {
            Some("status") => MetadataCheck::Change,
            _ => MetadataCheck::Whole,
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_whole(object, errors);
        let (path, spec) = (Path::new("spec"), &object["spec"]);
        if !spec.list_at(&["ephemeralContainers"]).is_empty() {
            errors.forbidden(path.child("ephemeralContainers"), "cannot be set on create");
        }
        if !spec.str_at(&["nodeName"]).is_empty() && !spec.list_at(&["schedulingGates"]).is_empty()
        {
            let why = "cannot be set until all schedulingGates have been cleared";
            errors.forbidden(path.child("nodeName"), why);
        }
        annotations::agree(&object["metadata"], spec, &path, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let change = |errors: &mut Errors| {
            let at = Path::new("metadata").child("annotations");
            annotations::validate_change(&object["metadata"], &old["metadata"], &at, errors);
            annotations::validate(&object["metadata"], &object["spec"], &at, errors);
        };
        match context.subresource {
            Some("status") => {
                change(errors);
                status::validate(object, old, errors);
            }
            Some("ephemeralcontainers") => {
                validate_whole(object, errors);
                change(errors);
                update::validate_ephemeral(object, old, errors);
            }
            Some("resize") => {
                validate_whole(object, errors);
                update::validate_resize(object, old, errors);
            }
            _ => {
                validate_whole(object, errors);
                change(errors);
                update::validate(object, old, errors);
            }
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        // People do not change pods by hand, so nobody would read what an update is warned of; but kubelets write statuses.
        if let Some(old) = old {
            return if object["status"] == old["status"] {
                Vec::new()
            } else {
                status::warnings(&object["status"])
            };
        }
        let mut warnings = Vec::new();
        let problems = name::dns_label(object.name());
        if !problems.is_empty() {
            warnings.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
                problems.join(" ")
            ));
        }
        warnings.extend(warnings::of(object, &Path::default()));
        warnings
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
        let wanted = options.grace_period_seconds.or(own).unwrap_or(0);
        // A negative grace has always meant one second.
        Some(if wanted < 0 { 1 } else { wanted })
    }
}
