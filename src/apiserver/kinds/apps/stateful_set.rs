//! StatefulSet.

use serde_json::{Value, json};

use super::{template_warnings, validate_counters};
use crate::apiserver::kinds::{check, names, workload};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Scale, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct StatefulSet;

/// What an update may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

const COUNTERS: [&str; 7] = [
    "replicas",
    "readyReplicas",
    "currentReplicas",
    "updatedReplicas",
    "availableReplicas",
    "observedGeneration",
    "collisionCount",
];

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        if object.str_at(&["spec", "podManagementPolicy"]).is_empty() {
            object.set_at(&["spec", "podManagementPolicy"], "OrderedReady");
        }
        let strategy = ["spec", "updateStrategy", "type"];
        let rolling = ["spec", "updateStrategy", "rollingUpdate"];
        if object.str_at(&strategy).is_empty() {
            object.set_at(&strategy, "RollingUpdate");
            object.default_at(&rolling, json!({}));
        }
        if object.str_at(&strategy) == "RollingUpdate" && object.at(&rolling).is_some() {
            let [spec, update, rolling] = rolling;
            object.default_at(&[spec, update, rolling, "partition"], 0);
        }
        for when in ["whenDeleted", "whenScaled"] {
            let path = ["spec", "persistentVolumeClaimRetentionPolicy", when];
            if object.str_at(&path).is_empty() {
                object.set_at(&path, "Retain");
            }
        }
        object.default_at(&["spec", "replicas"], 1);
        object.default_at(&["spec", "revisionHistoryLimit"], 10);
        workload::default_template(object, &["spec", "template"]);
        for claim in object
            .at_mut(&["spec", "volumeClaimTemplates"])
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            claim.set_at(&["apiVersion"], "v1");
            claim.set_at(&["kind"], "PersistentVolumeClaim");
            claim.default_at(&["spec", "volumeMode"], "Filesystem");
            claim.default_at(&["status", "phase"], "Pending");
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        workload::prepare_create(object, &["spec", "template"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        workload::prepare_update(context, object, old, &["spec", "template"]);
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate_spec(spec, errors);
        let service = spec.str_at(&["serviceName"]);
        if !service.is_empty() {
            let path = Path::new("spec").child("serviceName");
            check::problems(service, name::dns_label(service), &path, errors);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            let (status, before) = (&object["status"], &old["status"]);
            let parts = [
                "readyReplicas",
                "currentReplicas",
                "updatedReplicas",
                "availableReplicas",
            ];
            validate_counters(status, &COUNTERS, &parts, errors);
            let (path, ready) = (Path::new("status"), "readyReplicas");
            let name = "status.readyReplicas";
            check::at_most(status, "availableReplicas", ready, name, &path, errors);
            check::not_decremented(status, before, "collisionCount", &path, errors);
            return;
        }
        validate_spec(object.get("spec").unwrap_or(&Value::Null), errors);
        if fixed(object) != fixed(old) {
            errors.forbidden(
                Path::new("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
            );
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::dns_label(name, prefix)
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = template_warnings(object, old);
        if object
            .i64_at(&["spec", "revisionHistoryLimit"])
            .is_some_and(|limit| limit < 0)
        {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                    .to_owned(),
            );
        }
        warnings
    }

    fn scale(&self) -> Option<Scale> {
        Some(workload::scale())
    }
}

/// The part of the spec that cannot change.
fn fixed(object: &Value) -> Value {
    let mut spec = object.get("spec").cloned().unwrap_or(Value::Null);
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|field, _| !MUTABLE.contains(&field.as_str()));
    }
    spec
}

fn validate_spec(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    match spec.str_at(&["podManagementPolicy"]) {
        "" => errors.required(path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(
            path.child("podManagementPolicy"),
            other,
            "must be 'OrderedReady' or 'Parallel'",
        ),
    }
    validate_strategy(
        spec.get("updateStrategy").unwrap_or(&Value::Null),
        &path.child("updateStrategy"),
        errors,
    );
    for when in ["whenDeleted", "whenScaled"] {
        let retention = "persistentVolumeClaimRetentionPolicy";
        let policy = spec.str_at(&[retention, when]);
        if !matches!(policy, "Retain" | "Delete") {
            let at = path.child(retention).child(when);
            errors.not_supported(at, policy, &["Retain", "Delete"]);
        }
    }
    check::not_negative(spec, "replicas", &path, errors);
    check::not_negative(spec, "minReadySeconds", &path, errors);
    if let Some(ordinals) = spec.get("ordinals") {
        check::not_negative(ordinals, "start", &path.child("ordinals"), errors);
    }
    let messages = ("empty selector is invalid for statefulset", "");
    let template_path = path.child("template");
    let template = with_claims(spec);
    if let Some(selector) = workload::validate_selector(spec, &path, messages, errors) {
        selector.validate_labels(&template, &template_path, errors);
        workload::validate_template(&template, &template_path, errors);
    }
    workload::runs_forever(&template, "StatefulSet", &template_path, errors);
}

/// The template as its pods will be: with a volume for each of the set's claims.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec.get("template").cloned().unwrap_or(Value::Null);
    let claims = spec.list_at(&["volumeClaimTemplates"]).iter();
    let claims: Vec<&str> = claims
        .map(|claim| claim.str_at(&["metadata", "name"]))
        .filter(|claim| !claim.is_empty())
        .collect();
    if claims.is_empty() || !template.get("spec").is_some_and(Value::is_object) {
        return template;
    }
    let mut volumes = template.list_at(&["spec", "volumes"]).to_vec();
    for claim in claims {
        if volumes
            .iter()
            .all(|volume| volume.str_at(&["name"]) != claim)
        {
            volumes.push(json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
        }
    }
    template.set_at(&["spec", "volumes"], volumes);
    template
}

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut Errors) {
    const STRATEGY: &str = "api.apps.v1.StatefulSetUpdateStrategy";
    const ROLLING: &str = "api.apps.v1.RollingUpdateStatefulSetStrategy";
    let rolling = strategy
        .get("rollingUpdate")
        .filter(|rolling| !rolling.is_null());
    match strategy.str_at(&["type"]) {
        "" => errors.required(path.clone(), ""),
        "OnDelete" => {
            if let Some(rolling) = rolling {
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                check::invalid_struct(rolling, ROLLING, path.child("rollingUpdate"), why, errors);
            }
        }
        "RollingUpdate" => {
            let Some(rolling) = rolling else { return };
            let path = path.child("rollingUpdate");
            check::not_negative(rolling, "partition", &path, errors);
            let at = path.child("maxUnavailable");
            if let Some(unavailable) = rolling
                .get("maxUnavailable")
                .filter(|value| !value.is_null())
            {
                check::int_or_percent(unavailable, &at, errors);
                if check::int_or_percent_value(unavailable) == 0 {
                    errors.invalid(at.clone(), unavailable.clone(), "cannot be 0");
                }
                check::at_most_all(unavailable, &at, errors);
            }
        }
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            check::invalid_struct(strategy, STRATEGY, path.clone(), why, errors);
        }
    }
}
