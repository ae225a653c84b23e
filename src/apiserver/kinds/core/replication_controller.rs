//! ReplicationController.

use serde_json::Value;

use crate::apiserver::kinds::apps::validate_replicas_status;
use crate::apiserver::kinds::{check, workload};
use crate::apiserver::registry::strategy::{Context, Propagation, Scale, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, LabelSelector};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = object.at(&["spec", "template", "metadata", "labels"]);
        if let Some(labels) = labels.filter(|labels| is_filled(labels)).cloned() {
            for path in [["spec", "selector"], ["metadata", "labels"]] {
                if !object.at(&path).is_some_and(is_filled) {
                    object.set_at(&path, labels.clone());
                }
            }
        }
        object.default_at(&["spec", "replicas"], 1);
        workload::default_template(object, &["spec", "template"]);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        workload::prepare_create(object, &["spec", "template"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        workload::prepare_update(context, object, old, &["spec", "template"]);
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object.get("spec").unwrap_or(&Value::Null), errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource == Some("status") {
            validate_replicas_status(&object["status"], errors);
            return;
        }
        // The real server checks an update as a new object and as a change, and reports what both find.
        self.validate(context, object, errors);
        self.validate(context, object, errors);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(workload::name_warning(object, workload::IN_PODS));
        }
        if old.is_none_or(|old| old.generation() != object.generation()) {
            let path = Path::new("spec").child("template");
            warnings.extend(workload::template_warnings(
                object.at(&["spec", "template"]),
                &path,
            ));
        }
        warnings
    }

    fn selectable_fields(&self) -> &[&str] {
        &["status.replicas"]
    }

    fn field(&self, object: &Value, _field: &str) -> String {
        object
            .i64_at(&["status", "replicas"])
            .unwrap_or(0)
            .to_string()
    }

    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn scale(&self) -> Option<Scale> {
        Some(workload::scale())
    }
}

fn is_filled(map: &Value) -> bool {
    map.as_object().is_some_and(|map| !map.is_empty())
}

fn validate_spec(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    check::not_negative(spec, "minReadySeconds", &path, errors);
    let selector = spec.get("selector").filter(|selector| is_filled(selector));
    if selector.is_none() {
        errors.required(path.child("selector"), "");
    }
    check::not_negative(spec, "replicas", &path, errors);
    let at = path.child("template");
    let Some(template) = spec.get("template").filter(|template| template.is_object()) else {
        errors.required(at, "");
        return;
    };
    let pairs = selector.and_then(Value::as_object).into_iter().flatten();
    let pairs = pairs.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
    workload::Selector(Some(LabelSelector::from_pairs(pairs)))
        .validate_labels(template, &at, errors);
    workload::validate_template(template, &at, errors);
    workload::runs_forever(template, "ReplicationController", &at, errors);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn controller(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": spec});
        ReplicationController.default(&mut object);
        object
    }

    #[test]
    fn what_the_template_fills_in() {
        let object =
            controller(json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}));
        assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(object["spec"]["selector"], json!({"a": "b"}));
        assert_eq!(object["spec"]["replicas"], 1);
        let object = controller(
            json!({"selector": {"x": "y"}, "template": {"metadata": {"labels": {"a": "b"}}}}),
        );
        assert_eq!(object["spec"]["selector"], json!({"x": "y"}));
    }

    #[test]
    fn rules() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        for (spec, expected) in [
            (json!({"template": template}), vec![]),
            (
                json!({"selector": {"a": "c"}, "template": template}),
                vec![
                    "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({"replicas": -1, "minReadySeconds": -1, "template": template}),
                vec![
                    "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                json!({}),
                vec![
                    "spec.selector: Required value",
                    "spec.template: Required value",
                ],
            ),
        ] {
            let (context, mut errors) = (
                Context {
                    now: "",
                    subresource: None,
                    user: "",
                },
                Errors::new(),
            );
            ReplicationController.validate(&context, &controller(spec), &mut errors);
            let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected);
        }
    }
}
