//! What kinds that run pods have in common: their pod template, their selector, their scale.

use serde_json::{Value, json};

use super::check;
use super::core::pod;
pub(super) use super::core::pod::validate_template;
use crate::apiserver::registry::strategy::{Context, Scale};
use crate::apiserver::schema::internal;
use crate::object::field::{Errors, Path};
use crate::object::{Document, LabelSelector, name};

const LABEL_SELECTOR: &str = "apimachinery.pkg.apis.meta.v1.LabelSelector";
/// What a template's labels are told that the selector does not fit.
const MISMATCH: &str = "`selector` does not match template `labels`";

/// The scale of a workload with a selector.
pub(super) fn scale() -> Scale {
    let path = |parts: [&str; 2]| parts.map(str::to_owned).to_vec();
    Scale {
        spec_replicas: path(["spec", "replicas"]),
        status_replicas: path(["status", "replicas"]),
        selector: Some(path(["spec", "selector"])),
    }
}

/// Fills in the pod template at `path`.
pub(super) fn default_template(object: &mut Value, path: &[&str]) {
    if let Some(template) = object.at_mut(path) {
        pod::default_template(template);
    }
}

/// Prepares a new workload with its pod template at `path`: without a status, and without fields of features that are off.
pub(super) fn prepare_create(object: &mut Value, path: &[&str]) {
    object["status"] = json!({});
    if let Some(template) = object.at_mut(path) {
        pod::prepare_template(template);
    }
}

/// Prepares a changed workload: the status stays, unless it is the status that is written.
pub(super) fn prepare_update(
    context: &Context<'_>,
    object: &mut Value,
    old: &Value,
    path: &[&str],
) {
    if context.subresource.is_some() {
        return;
    }
    object["status"] = old.get("status").cloned().unwrap_or_else(|| json!({}));
    if let Some(template) = object.at_mut(path) {
        pod::prepare_template(template);
    }
}

/// The pods of a template run until they are deleted; `kind` is what the message calls the workload.
pub(super) fn runs_forever(template: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let path = path.child("spec");
    let spec = template.get("spec").unwrap_or(&Value::Null);
    let policy = spec.str_at(&["restartPolicy"]);
    if policy != "Always" {
        errors.not_supported(path.child("restartPolicy"), policy, &["Always"]);
    }
    if spec.i64_at(&["activeDeadlineSeconds"]).is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(path.child("activeDeadlineSeconds"), &why);
    }
}

/// The selector of a workload: there, not empty, valid. `empty` and `bad` are the messages for one that selects everything
/// and one that cannot be understood. Gives the selector when the labels of the template are to be compared with it.
pub(super) fn validate_selector(
    spec: &Value,
    path: &Path,
    (empty, bad): (&str, &str),
    errors: &mut Errors,
) -> Option<Selector> {
    let path = path.child("selector");
    let Some(selector) = spec.get("selector").filter(|selector| !selector.is_null()) else {
        errors.required(path, "");
        return Some(Selector(None));
    };
    check::label_selector(selector, &path, errors);
    if selects_everything(selector) {
        errors.invalid(path.clone(), json!({}), empty);
    }
    if let Ok(selector) = LabelSelector::from_value(selector) {
        Some(Selector(Some(selector)))
    } else {
        errors.invalid_text(path, &internal::text(LABEL_SELECTOR, selector), bad);
        None
    }
}

/// Whether a selector has no condition.
pub(super) fn selects_everything(selector: &Value) -> bool {
    check::map_at(selector, &["matchLabels"]).is_none_or(serde_json::Map::is_empty)
        && selector.list_at(&["matchExpressions"]).is_empty()
}

/// A parsed selector; without one nothing is selected.
#[derive(Debug)]
pub(super) struct Selector(pub Option<LabelSelector>);

impl Selector {
    /// The labels of the template must be selected, unless the selector selects everything.
    pub(super) fn validate_labels(&self, template: &Value, path: &Path, errors: &mut Errors) {
        if self.0.as_ref().is_some_and(LabelSelector::is_empty) {
            return;
        }
        if !self.selects(template.at(&["metadata", "labels"])) {
            mismatch(template, path, errors);
        }
    }
    /// Whether it selects these labels.
    pub(super) fn selects(&self, labels: Option<&Value>) -> bool {
        let label = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .and_then(Value::as_str)
        };
        self.0
            .as_ref()
            .is_some_and(|selector| selector.matches_with(label))
    }
}

/// The labels of the template are not what the selector selects.
pub(super) fn mismatch(template: &Value, path: &Path, errors: &mut Errors) {
    let labels = template.at(&["metadata", "labels"]).cloned();
    errors.invalid(
        path.child("metadata").child("labels"),
        labels.unwrap_or(Value::Null),
        MISMATCH,
    );
}

/// The selector cannot change.
pub(super) fn same_selector(object: &Value, old: &Value, errors: &mut Errors) {
    let none = Value::Null;
    let spec = |object: &Value| object.get("spec").unwrap_or(&none).clone();
    check::immutable_struct(
        &spec(object),
        &spec(old),
        "selector",
        LABEL_SELECTOR,
        &Path::new("spec"),
        errors,
    );
}

/// What is said of a name that makes no good names of pods; `used` says in what it is used.
pub(super) fn name_warning(object: &Value, used: &str) -> Option<String> {
    let problems = name::dns_label(object.name());
    (!problems.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {used}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        )
    })
}

/// What works in a pod template but should not be done.
pub(super) fn template_warnings(template: Option<&Value>, path: &Path) -> Vec<String> {
    pod::template_warnings(template.unwrap_or(&Value::Null), path)
}

/// Where a [`name_warning`] says that names of most workloads are used.
pub(super) const IN_PODS: &str = "Pod names and hostnames";

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &Errors) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn selectors() {
        let labels = json!({"a": "b"});
        for (selector, expected) in [
            (json!({"matchLabels": {"a": "b"}}), vec![]),
            (
                Value::Null,
                vec![
                    "spec.selector: Required value",
                    "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
                ],
            ),
            (json!({}), vec!["spec.selector: Invalid value: {}: empty"]),
            (
                json!({"matchLabels": {"a": "c"}}),
                vec![
                    "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
                vec![
                    "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                    "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\"}]}: bad",
                ],
            ),
        ] {
            let (mut errors, path) = (Errors::new(), Path::new("spec"));
            let template = json!({"metadata": {"labels": labels}});
            let spec = json!({"selector": selector});
            if let Some(selector) = validate_selector(&spec, &path, ("empty", "bad"), &mut errors) {
                selector.validate_labels(&template, &path.child("template"), &mut errors);
            }
            assert_eq!(texts(&errors), expected);
        }
    }

    #[test]
    fn pods_that_run_forever() {
        let mut errors = Errors::new();
        let template = json!({"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 5}});
        runs_forever(&template, "DaemonSet", &Path::new("t"), &mut errors);
        assert_eq!(
            texts(&errors),
            [
                "t.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                "t.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
            ]
        );
    }

    #[test]
    fn names() {
        let object = |name: &str| json!({"metadata": {"name": name}});
        assert_eq!(name_warning(&object("a-b"), IN_PODS), None);
        let warning = name_warning(&object("a.b"), IN_PODS).unwrap();
        assert!(
            warning
                .starts_with("metadata.name: this is used in Pod names and hostnames, which can")
        );
    }
}
