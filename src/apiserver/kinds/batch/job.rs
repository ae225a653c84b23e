//! Job.

use serde_json::{Value, json};

use super::{failure_policy, spec, status};
use crate::apiserver::kinds::{check, workload};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Propagation, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, LabelSelector, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct Job;

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";

/// For compatibility a deleted job leaves its pods behind unless it is asked otherwise.
const ORPHANS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

const LABELS: [&str; 2] = ["metadata", "labels"];
const TEMPLATE_LABELS: [&str; 4] = ["spec", "template", "metadata", "labels"];

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return;
        };
        if spec.i64_at(&["completions"]).is_none() && spec.i64_at(&["parallelism"]).is_none() {
            spec.set_at(&["completions"], 1);
        }
        spec.default_at(&["parallelism"], 1);
        let limit = match spec.i64_at(&["backoffLimitPerIndex"]) {
            Some(_) => i32::MAX,
            None => 6,
        };
        spec.default_at(&["backoffLimit"], limit);
        spec.default_at(&["completionMode"], "NonIndexed");
        spec.default_at(&["suspend"], false);
        spec.default_at(&["manualSelector"], false);
        let policy = spec::object_at(spec, "podFailurePolicy").is_some();
        spec.default_at(
            &["podReplacementPolicy"],
            if policy {
                "Failed"
            } else {
                "TerminatingOrFailed"
            },
        );
        if let Some(policy) = spec.get_mut("podFailurePolicy") {
            failure_policy::default(policy);
        }
        workload::default_template(object, &["spec", "template"]);
        default_labels(object);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        let shared = object.at(&LABELS) == object.at(&TEMPLATE_LABELS);
        if object.bool_at(&["spec", "manualSelector"]) != Some(true) {
            generate_selector(object);
            if shared {
                // The job took its labels from its template.
                object.remove_at(&LABELS);
            }
        }
        default_labels(object);
        workload::prepare_create(object, &["spec", "template"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        workload::prepare_update(context, object, old, &["spec", "template"]);
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_job(object, true, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            status::validate_update(object, old, errors);
            return;
        }
        let has = |label: &str| {
            old.at(&TEMPLATE_LABELS)
                .is_some_and(|labels| labels.get(label).is_some())
        };
        validate_job(object, has(NAME_LABEL) && has(UID_LABEL), errors);
        let none = Value::Null;
        let (new, before) = (
            object.get("spec").unwrap_or(&none),
            old.get("spec").unwrap_or(&none),
        );
        validate_spec(new, errors);
        validate_change(new, before, may_schedule_anew(old), errors);
    }

    fn metadata_check(&self, context: &Context<'_>) -> MetadataCheck {
        match context.subresource {
            None => MetadataCheck::Whole,
            Some(_) => MetadataCheck::Change,
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(workload::name_warning(object, workload::IN_PODS));
        }
        if old.is_none_or(|old| old.generation() != object.generation()) {
            let job = object.get("spec").unwrap_or(&Value::Null);
            warnings.extend(spec::warnings(job, &Path::new("spec")));
        }
        warnings
    }

    fn selectable_fields(&self) -> &[&str] {
        &["status.successful"]
    }

    fn field(&self, object: &Value, _field: &str) -> String {
        object
            .i64_at(&["status", "succeeded"])
            .unwrap_or(0)
            .to_string()
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn default_propagation_warning(&self) -> Option<&'static str> {
        Some(ORPHANS)
    }
}

/// A job without labels has those of its template.
fn default_labels(object: &mut Value) {
    let is_filled = |labels: &&Value| labels.as_object().is_some_and(|labels| !labels.is_empty());
    if object.at(&LABELS).as_ref().is_some_and(is_filled) {
        return;
    }
    if let Some(labels) = object.at(&TEMPLATE_LABELS).filter(is_filled).cloned() {
        object.set_at(&LABELS, labels);
    }
}

/// Labels the template with the job's name and uid, and selects by the uid.
fn generate_selector(object: &mut Value) {
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    for (label, value) in [
        (OLD_NAME_LABEL, &name),
        (NAME_LABEL, &name),
        (OLD_UID_LABEL, &uid),
        (UID_LABEL, &uid),
    ] {
        let [spec, template, meta, labels] = TEMPLATE_LABELS;
        object.default_at(&[spec, template, meta, labels, label], value.as_str());
    }
    object.default_at(&["spec", "selector", "matchLabels", UID_LABEL], uid);
}

fn validate_job(object: &Value, with_prefixed_labels: bool, errors: &mut Errors) {
    validate_generated_selector(object, with_prefixed_labels, errors);
    let job = object.get("spec").unwrap_or(&Value::Null);
    validate_spec(job, errors);
    let completions = job.i64_at(&["completions"]).unwrap_or(0);
    if spec::is_indexed(job) && completions > 0 {
        let host = format!("{}-{}", object.name(), completions - 1);
        if !name::dns_label(&host).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {host}");
            errors.invalid(Path::new("metadata").child("name"), object.name(), &why);
        }
    }
}

fn validate_spec(job: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    spec::validate(job, &path, errors);
    let selector = job.get("selector").filter(|selector| !selector.is_null());
    match selector {
        None => errors.required(path.child("selector"), ""),
        Some(selector) => check::label_selector(selector, &path.child("selector"), errors),
    }
    let template = job.get("template").unwrap_or(&Value::Null);
    if let Ok(parsed) = selector.map(LabelSelector::from_value).transpose()
        && !workload::Selector(parsed).selects(template.at(&["metadata", "labels"]))
    {
        workload::mismatch(template, &path.child("template"), errors);
    }
}

/// The selector and the labels of the template are as they are generated, unless the client makes its own.
fn validate_generated_selector(object: &Value, with_prefixed: bool, errors: &mut Errors) {
    let selector = object
        .at(&["spec", "selector"])
        .filter(|selector| !selector.is_null());
    let Some(selector) = selector else { return };
    if object.bool_at(&["spec", "manualSelector"]) == Some(true) {
        return;
    }
    let (name, uid) = (object.name(), object.uid());
    if uid.is_empty() {
        errors.required(Path::new("metadata").child("uid"), "");
    }
    let mut expected = vec![(OLD_UID_LABEL, uid), (OLD_NAME_LABEL, name)];
    if with_prefixed {
        expected.extend([(UID_LABEL, uid), (NAME_LABEL, name)]);
    }
    let labels = object.at(&TEMPLATE_LABELS);
    let path = Path::new("spec")
        .child("template")
        .child("metadata")
        .child("labels");
    for (label, value) in &expected {
        match labels
            .and_then(|labels| labels.get(*label))
            .and_then(Value::as_str)
        {
            None => errors.required(path.key(label), &format!("must be '{value}'")),
            Some(actual) if actual != *value => {
                let shown = labels.cloned().unwrap_or(Value::Null);
                errors.invalid(path.key(label), shown, &format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    let label = |key: &str| {
        expected
            .iter()
            .find(|(label, _)| *label == key)
            .map(|(_, value)| *value)
    };
    if LabelSelector::from_value(selector).is_ok_and(|selector| !selector.matches_with(label)) {
        let definition = "apimachinery.pkg.apis.meta.v1.LabelSelector";
        let why = "`selector` not auto-generated";
        let path = Path::new("spec").child("selector");
        check::invalid_struct(selector, definition, path, why, errors);
    }
}

/// Where the pods of a job run may change while it is suspended and none of them runs.
fn may_schedule_anew(old: &Value) -> bool {
    old.bool_at(&["spec", "suspend"]) == Some(true)
        && old.str_at(&["status", "startTime"]).is_empty()
}

fn validate_change(new: &Value, old: &Value, may_schedule: bool, errors: &mut Errors) {
    let path = Path::new("spec");
    let completions = new.i64_at(&["completions"]);
    if !spec::is_indexed(new) {
        check::immutable(new, old, "completions", &path, errors);
    } else if let Some(completions) = completions
        && Some(completions) != old.i64_at(&["completions"])
        && Some(completions) != new.i64_at(&["parallelism"])
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.invalid(path.child("completions"), completions, why);
    }
    let selector = "apimachinery.pkg.apis.meta.v1.LabelSelector";
    check::immutable_struct(new, old, "selector", selector, &path, errors);
    let mut before = old.clone();
    if may_schedule {
        level(new, &mut before);
    }
    let template = "api.core.v1.PodTemplateSpec";
    check::immutable_struct(new, &before, "template", template, &path, errors);
    check::immutable(new, old, "completionMode", &path, errors);
    let policy = "api.batch.v1.PodFailurePolicy";
    check::immutable_struct(new, old, "podFailurePolicy", policy, &path, errors);
    check::immutable(new, old, "backoffLimitPerIndex", &path, errors);
    check::immutable(new, old, "managedBy", &path, errors);
    let policy = "api.batch.v1.SuccessPolicy";
    check::immutable_struct(new, old, "successPolicy", policy, &path, errors);
}

/// Makes equal what says where pods may run.
fn level(new: &Value, old: &mut Value) {
    const DIRECTIVES: [&[&str]; 6] = [
        &["template", "spec", "nodeSelector"],
        &["template", "spec", "tolerations"],
        &["template", "spec", "schedulingGates"],
        &["template", "spec", "affinity", "nodeAffinity"],
        &["template", "metadata", "annotations"],
        &["template", "metadata", "labels"],
    ];
    let affinity = ["template", "spec", "affinity"];
    for path in DIRECTIVES {
        match new.at(path) {
            Some(value) => old.set_at(path, value.clone()),
            None => {
                old.remove_at(path);
            }
        }
    }
    // An affinity that was to nodes only may go as a whole.
    let is_empty = |affinity: &Value| affinity.as_object().is_some_and(serde_json::Map::is_empty);
    if new.at(&affinity).is_none() && old.at(&affinity).is_some_and(is_empty) {
        old.remove_at(&affinity);
    }
    if new.at(&["template", "metadata"]).is_some_and(is_empty) {
        old.default_at(&["template", "metadata"], json!({}));
    }
}
