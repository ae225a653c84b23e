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

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}
