//! The behaviour of custom resources (`apiextensions-apiserver/pkg/registry/customresource`).
use super::cel::Rules;
use super::jsonpath::JsonPath;
use super::schema::Props;
use super::{embedded, lists, value};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Scale, Strategy};
use crate::apiserver::schema::Schema;
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, name};
use serde_json::Value;
use std::sync::Arc;

/// What was not looked at because what it looks at is not as it should be.
const NOT_CHECKED: &str = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// The strategy of one version of a custom resource.
#[derive(Debug)]
pub(crate) struct CustomResource {
    pub props: Props,
    pub schema: Arc<Schema>,
    pub rules: Option<Rules>,
    pub has_status: bool,
    /// The paths of wanted replicas, actual replicas and selector.
    pub scale: Option<[String; 3]>,
    pub selectable: Vec<(String, Option<JsonPath>)>,
    pub deprecation: Option<String>,
}

impl CustomResource {
    fn check(&self, object: &Value, old: Option<&Value>, whole: bool, errors: &mut Errors) {
        let before = errors.0.len();
        if whole {
            value::validate(&self.props, object, old, None, errors);
            self.replicas(object, 0, errors);
            self.replicas(object, 1, errors);
            self.selector(object, errors);
            embedded::validate(&self.props, object, &Path::default(), errors);
        } else {
            if let (Some(schema), Some(status)) =
                (self.props.properties.get("status"), object.get("status"))
            {
                let old = old.and_then(|old| old.get("status"));
                // At its own root a status is never the same as another: only its parts are.
                value::validate(schema, status, old, Some(&Path::new("status")), errors);
            }
            self.replicas(object, 1, errors);
            self.selector(object, errors);
        }
        self.lists(object, old, errors);
        let Some(rules) = &self.rules else {
            return;
        };
        let blocks = |kind: ErrorKind| {
            matches!(
                kind,
                ErrorKind::NotSupported
                    | ErrorKind::Required
                    | ErrorKind::TooLong
                    | ErrorKind::TooMany
                    | ErrorKind::TypeInvalid
            )
        };
        if errors.0.iter().skip(before).any(|error| blocks(error.kind)) {
            errors.push(ErrorKind::Invalid, Path::new("<nil>"), NOT_CHECKED);
        } else {
            rules.validate(&self.props, object, old, errors);
        }
    }

    /// What is wrong with parts that an update leaves as they were.
    fn unchanged(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        match (&self.rules, old) {
            (Some(rules), Some(_)) => rules.validate(&self.props, object, old, &mut Errors::new()),
            _ => Vec::new(),
        }
    }

    /// Sets and maps have no item twice, unless they had before.
    fn lists(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let check = |object: &Value| {
            let mut found = Errors::new();
            lists::validate(&self.props, object, &Path::default(), &mut found);
            found
        };
        if old.is_none_or(|old| check(old).is_empty()) {
            errors.0.extend(check(object).0);
        }
    }

    /// The number of replicas at one of the scale's paths.
    fn replicas(&self, object: &Value, which: usize, errors: &mut Errors) {
        let Some(path) = self.scale.as_ref().and_then(|paths| paths.get(which)) else {
            return;
        };
        let at = || Path::new(path.as_str());
        match nested(object, path) {
            Err(why) => errors.invalid(at(), 0, &why),
            Ok(None) => {}
            Ok(Some(Value::Number(number))) if number.is_i64() => {
                let replicas = number.as_i64().unwrap_or_default();
                if replicas < 0 {
                    errors.invalid(at(), replicas, "should be a non-negative integer");
                } else if replicas > i64::from(i32::MAX) {
                    let why = format!("should be less than or equal to {}", i32::MAX);
                    errors.invalid(at(), replicas, &why);
                }
            }
            Ok(Some(other)) => {
                let why = accessor_error(path, other, "int64");
                errors.invalid(at(), 0, &why);
            }
        }
    }

    fn selector(&self, object: &Value, errors: &mut Errors) {
        let path = self.scale.as_ref().map(|paths| paths[2].as_str());
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return;
        };
        match nested(object, path) {
            Err(why) => errors.invalid(Path::new(path), "", &why),
            Ok(None | Some(Value::String(_))) => {}
            Ok(Some(other)) => {
                let why = accessor_error(path, other, "string");
                errors.invalid(Path::new(path), "", &why);
            }
        }
    }
}

/// What is at a dotted path.
///
/// # Errors
/// When something on the way is no object.
fn nested<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut value = object;
    let mut walked = String::new();
    for name in path.trim_start_matches('.').split('.') {
        match value {
            Value::Object(map) => match map.get(name) {
                None => return Ok(None),
                Some(inner) => value = inner,
            },
            other => {
                return Err(format!(
                    "{walked} accessor error: {} is of the type {}, expected map[string]interface{{}}",
                    go_value(other),
                    go_type(other)
                ));
            }
        }
        walked.push('.');
        walked.push_str(name);
    }
    Ok(Some(value))
}

fn accessor_error(path: &str, value: &Value, wanted: &str) -> String {
    format!(
        ".{} accessor error: {} is of the type {}, expected {wanted}",
        path.trim_start_matches('.'),
        go_value(value),
        go_type(value)
    )
}

/// A value as Go's `%v` writes it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_value).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{name}:{}", go_value(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

impl Strategy for CustomResource {
    fn default(&self, object: &mut Value) {
        self.schema.apply_defaults(object);
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Value) {
        if self.has_status {
            object.remove_at(&["status"]);
        }
    }

    fn status_keeps(&self) -> &[&[&str]] {
        &[
            &["metadata", "annotations"],
            &["metadata", "finalizers"],
            &["metadata", "generateName"],
            &["metadata", "labels"],
            &["metadata", "ownerReferences"],
        ]
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource == Some("status") {
            // Of the metadata a status update changes nothing.
            let mut metadata = old.get("metadata").cloned().unwrap_or_default();
            for field in ["resourceVersion", "managedFields"] {
                match object.at(&["metadata", field]) {
                    Some(value) => metadata[field] = value.clone(),
                    None => {
                        metadata.remove_at(&[field]);
                    }
                }
            }
            object["metadata"] = metadata;
            return;
        }
        if self.has_status {
            match old.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => {
                    object.remove_at(&["status"]);
                }
            }
        } else if object.get("status") != old.get("status") {
            // Without a subresource the status is a part like any other.
            object.set_at(&["metadata", "generation"], old.generation() + 1);
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Value, errors: &mut Errors) {
        self.check(object, None, true, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        let whole = context.subresource != Some("status");
        self.check(object, Some(old), whole, errors);
    }

    fn metadata_check(&self, _: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let before = old.map(|old| old.finalizers()).unwrap_or_default();
        let mut added = object.finalizers();
        added.sort_unstable();
        added.dedup();
        let mut warnings = self.unchanged(object, old);
        let finalizers = added
            .into_iter()
            .filter(|finalizer| !before.contains(finalizer))
            .filter(|finalizer| name::qualified(finalizer).is_empty() && !finalizer.contains('/'))
            .filter(|finalizer| !matches!(*finalizer, "kubernetes" | "orphan" | "foregroundDeletion"))
            .map(|finalizer| {
                format!("metadata.finalizers: {finalizer:?}: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers")
            })
;
        warnings.extend(finalizers);
        warnings
    }

    fn deprecation(&self) -> Option<&str> {
        self.deprecation.as_deref()
    }

    fn field(&self, object: &Value, field: &str) -> String {
        let known = self.selectable.iter().find(|(name, _)| name == field);
        let path = known.and_then(|(_, path)| path.as_ref());
        match path.and_then(|path| path.first(object)) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn scale(&self) -> Option<Scale> {
        let [wanted, actual, selector] = self.scale.as_ref()?;
        let path = |text: &str| {
            let names = text.trim_start_matches('.').split('.');
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        Some(Scale {
            spec_replicas: path(wanted),
            status_replicas: path(actual),
            selector: (!selector.is_empty()).then(|| path(selector)),
        })
    }

    fn custom(&self) -> bool {
        true
    }
}
