//! The specification: scope, versions, and what each of them has.
//!
//! What all versions have in common the real server keeps once for all of them, and so do the paths of errors.
use super::super::schema::Props;
use super::{conversion, extras, label_problems, names, openapi};
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, name};
use serde_json::{Value, json};

/// What of a version is kept once when all versions agree: the field, and what it is then called.
const SHARED: [(&str, &str); 4] = [
    ("schema", "validation"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
];

/// Checks `spec` of a new definition, or of one that replaces `old`.
pub(super) fn validate(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let old_spec = old.and_then(|old| old.get("spec"));
    let path = Path::new("spec");
    group(spec.str_at(&["group"]), &path.child("group"), errors);
    match spec.str_at(&["scope"]) {
        "" => errors.required(path.child("scope"), ""),
        "Cluster" | "Namespaced" => {}
        other => errors.not_supported(path.child("scope"), other, &["Cluster", "Namespaced"]),
    }
    versions(spec, old_spec, &path, errors);
    let empty = json!({});
    let named = spec.get("names").unwrap_or(&empty);
    names::required(named, &path.child("names"), errors);
    names::validate(named, &path.child("names"), errors);
    if let Some(conversion) = spec.get("conversion").filter(|value| value.is_object()) {
        let old_conversion = old_spec.and_then(|spec| spec.get("conversion"));
        let established = old.is_some_and(|old| super::is_true(old, "Established"));
        conversion::validate(
            conversion,
            old.is_none() || conversion::recognizes(old_conversion),
            !established,
            &path.child("conversion"),
            errors,
        );
    }
}

fn group(group: &str, path: &Path, errors: &mut Errors) {
    let problems = name::dns_subdomain(group);
    if group.is_empty() {
        errors.required(path.clone(), "");
    } else if !problems.is_empty() {
        errors.invalid(path.clone(), group, &problems.join(","));
    } else if !group.contains('.') {
        errors.invalid(
            path.clone(),
            group,
            "should be a domain with at least one dot",
        );
    }
}

fn versions(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut Errors) {
    let versions = spec.list_at(&["versions"]);
    let shared = |field: &str| shared(versions, field);
    let at = path.child("versions");
    for (index, version) in versions.iter().enumerate() {
        let at = at.index(index);
        if version
            .at(&["schema", "openAPIV3Schema"])
            .is_none_or(Value::is_null)
        {
            errors.required(at.child("schema").child("openAPIV3Schema"), "");
        }
        let name = version.str_at(&["name"]);
        if let Some(problem) = label_problems(name) {
            if index == 0 {
                errors.invalid(path.child("version"), name, &problem);
            }
            errors.invalid(at.child("name"), name, &problem);
        }
        extras::deprecation(version, &at.child("deprecationWarning"), errors);
        for (field, _) in SHARED.iter().filter(|(field, _)| shared(field).is_none()) {
            if let Some(value) = version.get(field) {
                part(field, value, version, old, &at.child(field), errors);
            }
        }
    }
    for (field, name) in SHARED {
        if let (Some(value), Some(version)) = (shared(field), versions.first()) {
            part(field, value, version, old, &path.child(name), errors);
        }
    }
    let repeated = |(index, version): (usize, &Value)| {
        let name = version.str_at(&["name"]);
        versions
            .iter()
            .take(index)
            .any(|before| before.str_at(&["name"]) == name)
    };
    if versions.iter().enumerate().any(repeated) {
        let message = format!(
            "Invalid value: {}: must contain unique version names",
            shown(versions)
        );
        errors.push(ErrorKind::Invalid, at.clone(), message);
    }
    let stored = versions
        .iter()
        .filter(|version| version.bool_at(&["storage"]) == Some(true));
    if stored.count() != 1 {
        let message = format!(
            "Invalid value: {}: must have exactly one version marked as storage version",
            shown(versions)
        );
        errors.push(ErrorKind::Invalid, at, message);
    }
}

/// The value of a field that all versions have in common.
fn shared<'a>(versions: &'a [Value], field: &str) -> Option<&'a Value> {
    let first = versions
        .first()?
        .get(field)
        .filter(|value| !value.is_null())?;
    let same = |version: &Value| version.get(field) == Some(first);
    versions.iter().all(same).then_some(first)
}

/// The versions as the real server keeps them, which messages show as they are. Raw text: the order of fields is theirs.
fn shown(versions: &[Value]) -> String {
    let text = |value: Option<&Value>| value.map_or_else(|| "null".to_owned(), ToString::to_string);
    let shown: Vec<String> = versions
        .iter()
        .map(|version| {
            let flag = |field: &str| version.bool_at(&[field]) == Some(true);
            let own = |field: &str| {
                let value = version.get(field).filter(|_| shared(versions, field).is_none());
                text(value)
            };
            format!(
                "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{},\"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
                text(version.get("name")),
                flag("served"),
                flag("storage"),
                flag("deprecated"),
                text(version.get("deprecationWarning")),
                own("schema"),
                own("subresources"),
                own("additionalPrinterColumns"),
                own("selectableFields"),
            )
        })
        .collect();
    format!("[{}]", shown.join(","))
}

/// Checks one of the [`SHARED`] fields of a version.
fn part(
    field: &str,
    value: &Value,
    version: &Value,
    old: Option<&Value>,
    path: &Path,
    errors: &mut Errors,
) {
    match field {
        "schema" => {
            let has_status = version
                .at(&["subresources", "status"])
                .is_some_and(|status| !status.is_null());
            if let Some(schema) = value
                .get("openAPIV3Schema")
                .filter(|value| value.is_object())
            {
                let name = version.str_at(&["name"]);
                let unchanged = old_schema(old, name) == Some(schema);
                openapi::validate(
                    schema,
                    has_status,
                    unchanged,
                    &path.child("openAPIV3Schema"),
                    errors,
                );
            }
        }
        "subresources" => extras::subresources(value, path, errors),
        "additionalPrinterColumns" => {
            for (index, column) in value.as_array().into_iter().flatten().enumerate() {
                extras::column(column, &path.index(index), errors);
            }
        }
        _ => {
            let schema = version.at(&["schema", "openAPIV3Schema"]);
            let fields = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(schema) = schema {
                extras::selectable(fields, &Props::parse(schema), path, errors);
            }
        }
    }
}

/// The schema that a version had before.
fn old_schema<'a>(old: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    let versions = old?.list_at(&["versions"]);
    let mut found = versions
        .iter()
        .filter(|version| version.str_at(&["name"]) == name);
    found.next()?.at(&["schema", "openAPIV3Schema"])
}
