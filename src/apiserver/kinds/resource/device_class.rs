//! DeviceClass.

use serde_json::Value;

use super::{request, words};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct DeviceClass;

const MOST_CONFIGS: usize = 32;

impl Strategy for DeviceClass {
    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let selectors = spec.list_at(&["selectors"]);
        let path = Path::new("spec");
        request::validate_selectors(selectors, &path.child("selectors"), errors);
        validate_rest(spec, &path, errors);
    }

    fn validate_update(
        &self,
        _context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let selectors = spec.list_at(&["selectors"]);
        // What is stored is not judged anew.
        if selectors != old.list_at(&["spec", "selectors"]) {
            request::validate_selectors(selectors, &path.child("selectors"), errors);
        }
        validate_rest(spec, &path, errors);
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn validate_rest(spec: &Value, path: &Path, errors: &mut Errors) {
    let (configs, at) = (spec.list_at(&["config"]), path.child("config"));
    if words::bounded(configs, MOST_CONFIGS, &at, errors) {
        for (index, config) in configs.iter().enumerate() {
            words::opaque(config, &at.index(index), errors);
        }
    }
    if let Some(resource) = spec.get("extendedResourceName").and_then(Value::as_str)
        && !is_extended(resource)
    {
        let why = "must be a valid extended resource name";
        errors.invalid(path.child("extendedResourceName"), resource, why);
    }
}

/// Whether it names a resource that is not Kubernetes' own.
fn is_extended(resource: &str) -> bool {
    resource
        .split_once('/')
        .is_some_and(|(domain, _)| !domain.ends_with("kubernetes.io"))
        && !resource.starts_with("requests.")
        && name::qualified(&format!("requests.{resource}")).is_empty()
}
