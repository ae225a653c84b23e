//! The kind CustomResourceDefinition: its defaults, and what becomes of its status.
mod conversion;
mod extras;
mod names;
mod openapi;
mod pattern;
mod spec;
mod structural;
#[cfg(test)]
mod tests;
mod values;

#[cfg(feature = "cel")]
pub(super) use self::extras::field_path;

use super::cel;
use super::definition::{is_true, set_condition};
use super::value::is_known_format;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};
use serde_json::{Value, json};

/// Keeps a definition until its objects are gone.
pub(super) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The strategy of CustomResourceDefinitions.
#[derive(Debug)]
pub(crate) struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn default(&self, object: &mut Value) {
        let kind = object.str_at(&["spec", "names", "kind"]).to_owned();
        let mut fill = |field: &str, value: String| {
            let path = ["spec", "names", field];
            if !value.is_empty() && object.str_at(&path).is_empty() {
                object.set_at(&path, value);
            }
        };
        fill("singular", kind.to_lowercase());
        if !kind.is_empty() {
            fill("listKind", format!("{kind}List"));
        }
        object.default_at(&["spec", "conversion"], json!({ "strategy": "None" }));
        let service = ["spec", "conversion", "webhook", "clientConfig", "service"];
        if let Some(service) = object
            .at_mut(&service)
            .filter(|service| service.is_object())
        {
            service.default_at(&["port"], 443);
        }
        if object.list_at(&["status", "storedVersions"]).is_empty()
            && let Some(version) = storage_version(object)
        {
            object.set_at(&["status", "storedVersions"], vec![version]);
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Value) {
        let stored = storage_version(object).map(|version| vec![version]);
        object["status"] = json!({
            "acceptedNames": { "plural": "", "kind": "" }, "conditions": null, "storedVersions": stored,
        });
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_some() {
            return;
        }
        match old.get("status") {
            Some(status) => object["status"] = status.clone(),
            None => {
                object.remove_at(&["status"]);
            }
        }
        let Some(version) = storage_version(object) else {
            return;
        };
        let mut stored = object.list_at(&["status", "storedVersions"]).to_vec();
        if !stored.iter().any(|known| *known == version) {
            stored.push(version.into());
            object.set_at(&["status", "storedVersions"], stored);
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Value, errors: &mut Errors) {
        let name = object.name();
        let wanted = format!(
            "{}.{}",
            object.str_at(&["spec", "names", "plural"]),
            object.str_at(&["spec", "group"])
        );
        if name != wanted && !name.is_empty() {
            errors.invalid(
                Path::new("metadata").child("name"),
                name,
                "must be spec.names.plural+\".\"+spec.group",
            );
        }
        spec::validate(object, None, errors);
        status(object, errors);
        stored_versions(object, errors);
        approval(object, None, errors);
        preserve(object, None, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_some() {
            status(object, errors);
            return;
        }
        spec::validate(object, Some(old), errors);
        let mut immutable = |path: &[&str]| {
            if object.str_at(path) != old.str_at(path) {
                errors.invalid(
                    Path::new(path.join(".")),
                    object.str_at(path),
                    "field is immutable",
                );
            }
        };
        if is_true(old, "Established") {
            immutable(&["spec", "scope"]);
            immutable(&["spec", "names", "kind"]);
        }
        immutable(&["spec", "group"]);
        immutable(&["spec", "names", "plural"]);
        status(object, errors);
        stored_versions(object, errors);
        approval(object, Some(old), errors);
        preserve(object, Some(old), errors);
    }

    fn metadata_check(&self, _: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Change
    }

    fn has_known_finalizers(&self) -> bool {
        false
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let before = old.map(unknown_formats).unwrap_or_default();
        let mut warnings = Vec::new();
        for format in unknown_formats(object) {
            if !before.contains(&format) {
                warnings.push(format!("unrecognized format {format:?}"));
            }
        }
        warnings.extend(cel::warning(object));
        warnings
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn begin_deletion(&self, object: &mut Value, now: &str) -> bool {
        let mut finalizers: Vec<Value> = object.list_at(&["metadata", "finalizers"]).to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.into());
            object.set_at(&["metadata", "finalizers"], finalizers);
        }
        set_condition(
            object,
            "Terminating",
            "True",
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            now,
        );
        true
    }
}

fn storage_version(object: &Value) -> Option<String> {
    let versions = object.list_at(&["spec", "versions"]).iter();
    let mut stored = versions.filter(|version| version.bool_at(&["storage"]) == Some(true));
    stored
        .next()
        .map(|version| version.str_at(&["name"]).to_owned())
}

fn status(object: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("acceptedNames");
    if let Some(accepted) = object.at(&["status", "acceptedNames"]) {
        names::validate(accepted, &path, errors);
    }
}

fn stored_versions(object: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("storedVersions");
    let stored = object.list_at(&["status", "storedVersions"]);
    let shown = object
        .at(&["status", "storedVersions"])
        .cloned()
        .unwrap_or_default();
    if stored.is_empty() {
        errors.invalid(path, shown, "must have at least one stored version");
        return;
    }
    let mut left: Vec<(usize, &str)> = stored
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
        .collect();
    for version in object.list_at(&["spec", "versions"]) {
        let name = version.str_at(&["name"]);
        let known = left.iter().any(|(_, stored)| *stored == name);
        if version.bool_at(&["storage"]) == Some(true) && !known {
            let why = format!("must have the storage version {name}");
            errors.invalid(path.clone(), shown.clone(), &why);
        }
        left.retain(|(_, stored)| *stored != name);
    }
    for (index, version) in left {
        let why = format!(
            "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
        );
        errors.invalid(path.index(index), version, &why);
    }
}

const APPROVED: &str = "api-approved.kubernetes.io";

/// Groups of the Kubernetes project need the approval of its reviewers.
fn approval(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let group = object.str_at(&["spec", "group"]);
    let within = |domain: &str| {
        group == domain
            || group
                .strip_suffix(domain)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if !within("k8s.io") && !within("kubernetes.io") {
        return;
    }
    let annotation = object.annotation(APPROVED).unwrap_or_default();
    // What was there before is not judged anew.
    if old.is_some_and(|old| {
        old.annotation(APPROVED).unwrap_or_default() == annotation
            && old.str_at(&["spec", "group"]) == group
    }) {
        return;
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    let url = annotation.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/')
    });
    if annotation.is_empty() {
        errors.required(
            path,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    } else if !annotation.starts_with("unapproved") && !url {
        errors.invalid(
            path,
            annotation,
            "protected groups must have approval annotation \"api-approved.kubernetes.io\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111",
        );
    }
}

fn preserve(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = ["spec", "preserveUnknownFields"];
    let set = |object: &Value| object.bool_at(&path) == Some(true);
    if set(object) && !old.is_some_and(set) {
        errors.invalid(
            Path::new(path.join(".")),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
}

/// The formats in all schemas that the server does not know.
fn unknown_formats(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    // Schemas that all versions share are looked at once.
    let mut seen: Vec<&Value> = Vec::new();
    for version in object.list_at(&["spec", "versions"]) {
        if let Some(schema) = version.at(&["schema", "openAPIV3Schema"])
            && !seen.contains(&schema)
        {
            seen.push(schema);
            walk(schema, &mut |schema| {
                let format = schema.str_at(&["format"]);
                if !format.is_empty() && !is_known_format(format) {
                    found.push(format.to_owned());
                }
            });
        }
    }
    found
}

/// Shows a schema and those within it.
pub(super) fn walk<'a>(schema: &'a Value, see: &mut dyn FnMut(&'a Value)) {
    see(schema);
    for field in ["items", "not", "additionalProperties", "additionalItems"] {
        match schema.get(field) {
            Some(inner @ Value::Object(_)) => walk(inner, see),
            Some(Value::Array(items)) => items.iter().for_each(|inner| walk(inner, see)),
            _ => {}
        }
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        for inner in schema.list_at(&[field]) {
            walk(inner, see);
        }
    }
    for field in [
        "properties",
        "patternProperties",
        "definitions",
        "dependencies",
    ] {
        let inner = schema.get(field).and_then(Value::as_object);
        for inner in inner.into_iter().flat_map(serde_json::Map::values) {
            walk(inner, see);
        }
    }
}

/// The problems of a DNS label of RFC 1035, as one text.
fn label_problems(text: &str) -> Option<String> {
    let problems = name::dns_1035_label(text);
    (!problems.is_empty()).then(|| problems.join(","))
}
