//! PodTemplate.

use serde_json::Value;

use super::pod;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(template) = object.get_mut("template") {
            pod::default_template(template);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object.set_at(&["metadata", "generation"], 1);
        if let Some(template) = object.get_mut("template") {
            pod::prepare_template(template);
        }
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Value, old: &Value) {
        if let Some(template) = object.get_mut("template") {
            pod::prepare_template(template);
        }
        if object["template"] != old["template"] {
            object.set_at(&["metadata", "generation"], old.generation() + 1);
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        pod::validate_template(&object["template"], &Path::new("template"), errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        pod::template_warnings(&object["template"], &Path::new("template"))
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{context, defaulted, errors_of, errors_of_update};

    fn object(template: Value) -> Value {
        let object = json!({"metadata": {"name": "t", "namespace": "ns"}, "template": template});
        defaulted(&PodTemplate, object)
    }

    fn fine() -> Value {
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    }

    #[test]
    fn the_template_is_filled_in() {
        let object = object(fine());
        let spec = &object["template"]["spec"];
        assert_eq!(spec["restartPolicy"], "Always");
        assert_eq!(spec["dnsPolicy"], "ClusterFirst");
        assert_eq!(spec["terminationGracePeriodSeconds"], 30);
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["terminationMessagePath"], "/dev/termination-log");
    }

    #[test]
    fn rules() {
        let labelled = json!({"metadata": {"labels": {"a": "-"}}, "spec": fine()["spec"]});
        for (template, expected) in [
            (fine(), ""),
            (
                json!({"spec": {}}),
                "template.spec.containers: Required value",
            ),
            (
                json!({"spec": {"containers": [{"name": "C", "image": "i"}]}}),
                "template.spec.containers[0].name: Invalid value: \"C\": a lowercase RFC 1123 label must consist of",
            ),
            (
                json!({"spec": {"containers": [{"name": "c"}]}}),
                "template.spec.containers[0].image: Required value",
            ),
            (
                json!({"spec": {"containers": [{"name": "c", "image": "i"}], "dnsPolicy": "x"}}),
                "template.spec.dnsPolicy: Unsupported value: \"x\"",
            ),
            (
                labelled,
                "template.labels: Invalid value: \"-\": a valid label must be an empty string or",
            ),
        ] {
            let object = object(template.clone());
            for found in [
                errors_of(&PodTemplate, &object),
                errors_of_update(&PodTemplate, None, &object, &self::object(fine())),
            ] {
                let fits = found.starts_with(expected) && found.is_empty() == expected.is_empty();
                assert!(fits, "{template}: {found}");
            }
        }
    }

    #[test]
    fn a_generation_counts_changes_of_the_template() {
        let mut old = object(fine());
        PodTemplate.prepare_create(&context(None), &mut old);
        assert_eq!(old.generation(), 1);
        let mut labelled = old.clone();
        labelled["metadata"]["labels"] = json!({"x": "y"});
        PodTemplate.prepare_update(&context(None), &mut labelled, &old);
        assert_eq!(labelled.generation(), 1);
        let mut changed = old.clone();
        changed["template"]["spec"]["hostname"] = json!("h");
        PodTemplate.prepare_update(&context(None), &mut changed, &old);
        assert_eq!(changed.generation(), 2);
    }
}
