//! The rules of `metadata`, which all kinds share (`ValidateObjectMeta` and `ValidateObjectMetaUpdate` of Kubernetes).

use std::collections::BTreeSet;

use serde_json::Value;

use super::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupVersion, name};

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// How the metadata of a kind is checked.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// The problems of a name, or of the prefix of one.
    pub name: &'a dyn Fn(&str, bool) -> Vec<String>,
    /// Whether a finalizer without a domain must be a standard one.
    pub known_finalizers: bool,
}

/// Checks the metadata of an object.
pub(crate) fn validate(meta: &Value, rules: Rules<'_>, path: &Path, errors: &mut Errors) {
    let (name, generate_name) = (meta.str_at(&["name"]), meta.str_at(&["generateName"]));
    if !generate_name.is_empty() {
        check::problems(
            generate_name,
            (rules.name)(generate_name, true),
            &path.child("generateName"),
            errors,
        );
    }
    if name.is_empty() {
        errors.required(path.child("name"), "name or generateName is required");
    } else {
        check::problems(name, (rules.name)(name, false), &path.child("name"), errors);
    }
    let namespace = meta.str_at(&["namespace"]);
    if !rules.namespaced {
        if !namespace.is_empty() {
            errors.forbidden(path.child("namespace"), "not allowed on this type");
        }
    } else if namespace.is_empty() {
        errors.required(path.child("namespace"), "");
    } else {
        check::problems(
            namespace,
            name::dns_label(namespace),
            &path.child("namespace"),
            errors,
        );
    }
    check::not_negative(meta, "generation", path, errors);
    common(meta, path, errors);
    finalizers(meta, &path.child("finalizers"), errors);
    if rules.known_finalizers {
        known_finalizers(meta, &path.child("finalizers"), errors);
    }
}

/// What is checked of new and of changed metadata.
fn common(meta: &Value, path: &Path, errors: &mut Errors) {
    check::labels(meta.get("labels"), &path.child("labels"), errors);
    check::annotations(meta.get("annotations"), &path.child("annotations"), errors);
    owners(
        meta.list_at(&["ownerReferences"]),
        &path.child("ownerReferences"),
        errors,
    );
}

fn owners(owners: &[Value], path: &Path, errors: &mut Errors) {
    let mut controller: Option<&Value> = None;
    for owner in owners {
        let api_version = owner.str_at(&["apiVersion"]);
        let parsed = GroupVersion::parse(api_version).unwrap_or_default();
        if parsed.version.is_empty() {
            errors.invalid(
                path.child("apiVersion"),
                api_version,
                "version must not be empty",
            );
        }
        for field in ["kind", "name", "uid"] {
            if owner.str_at(&[field]).is_empty() {
                errors.invalid(path.child(field), "", "must not be empty");
            }
        }
        if owner.kind() == "Event" && api_version == "v1" {
            errors.invalid_text(
                path.clone(),
                &shown_owner(owner),
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if owner.bool_at(&["controller"]) == Some(true) {
            if let Some(first) = controller {
                let named = |owner: &Value| format!("{}/{}", owner.kind(), owner.str_at(&["name"]));
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                    named(first),
                    named(owner)
                );
                let shown: Vec<String> = owners.iter().map(shown_owner).collect();
                errors.invalid_text(path.clone(), &format!("[{}]", shown.join(",")), &why);
            }
            controller = controller.or(Some(owner));
        }
    }
}

/// An owner reference in the order of its fields.
fn shown_owner(owner: &Value) -> String {
    let required = ["apiVersion", "kind", "name", "uid"]
        .iter()
        .map(|field| (*field, Value::from(owner.str_at(&[field]))));
    let optional = ["controller", "blockOwnerDeletion"]
        .iter()
        .filter_map(|field| Some((*field, Value::from(owner.bool_at(&[field])?))));
    let fields: Vec<String> = required
        .chain(optional)
        .map(|(name, value)| format!("{name:?}:{value}"))
        .collect();
    format!("{{{}}}", fields.join(","))
}

fn finalizers(meta: &Value, path: &Path, errors: &mut Errors) {
    let finalizers: Vec<&str> = texts(meta, "finalizers").collect();
    for finalizer in &finalizers {
        check::problems(finalizer, name::qualified(finalizer), path, errors);
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(path.clone(), finalizers, why);
    }
}

fn known_finalizers(meta: &Value, path: &Path, errors: &mut Errors) {
    for (index, finalizer) in texts(meta, "finalizers").enumerate() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(path.index(index), finalizer, why);
        }
    }
}

fn texts<'a>(meta: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    meta.list_at(&[field]).iter().filter_map(Value::as_str)
}

/// Checks what an update changes in the metadata of an object.
pub(crate) fn validate_update(
    new: &Value,
    old: &Value,
    rules: Rules<'_>,
    path: &Path,
    errors: &mut Errors,
) {
    if old
        .get("deletionTimestamp")
        .is_some_and(|time| !time.is_null())
    {
        let had: Vec<&str> = texts(old, "finalizers").collect();
        let added: BTreeSet<&str> = texts(new, "finalizers")
            .filter(|finalizer| !had.contains(finalizer))
            .collect();
        if !added.is_empty() {
            let shown: Vec<String> = added
                .iter()
                .map(|finalizer| format!("{finalizer:?}"))
                .collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.join(", ")
            );
            errors.forbidden(path.child("finalizers"), &why);
        }
    }
    let generation = |meta: &Value| meta.i64_at(&["generation"]).unwrap_or(0);
    if generation(new) < generation(old) {
        let why = "must not be decremented";
        errors.invalid(path.child("generation"), generation(new), why);
    }
    for field in ["name", "namespace", "uid"] {
        let text = new.str_at(&[field]);
        if text != old.str_at(&[field]) {
            errors.invalid(path.child(field), text, "field is immutable");
        }
    }
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        check::immutable(new, old, field, path, errors);
    }
    common(new, path, errors);
    if rules.known_finalizers {
        known_finalizers(new, &path.child("finalizers"), errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::names;

    const RULES: Rules<'_> = Rules {
        namespaced: true,
        name: &names::dns_subdomain,
        known_finalizers: true,
    };

    fn check(meta: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        validate(meta, RULES, &Path::new("metadata"), &mut errors);
        errors
            .0
            .iter()
            .map(|error| error.to_string().chars().take(60).collect())
            .collect()
    }

    #[test]
    fn rules() {
        for (change, expected) in [
            (json!({}), vec![]),
            (
                json!({"name": ""}),
                vec!["metadata.name: Required value: name or generateName is requi"],
            ),
            (
                json!({"name": "UP"}),
                vec!["metadata.name: Invalid value: \"UP\": a lowercase RFC 1123 sub"],
            ),
            (
                json!({"generation": -1}),
                vec!["metadata.generation: Invalid value: -1: must be greater than"],
            ),
            (
                json!({"labels": {"a b": "x"}}),
                vec!["metadata.labels: Invalid value: \"a b\": name part must consis"],
            ),
            (
                json!({"labels": {"a": "b c"}}),
                vec!["metadata.labels: Invalid value: \"b c\": a valid label must be"],
            ),
            (
                json!({"finalizers": ["plain"]}),
                vec!["metadata.finalizers[0]: Invalid value: \"plain\": name is neit"],
            ),
            (
                json!({"annotations": {"a": "x".repeat(300_000)}}),
                vec!["metadata.annotations: Too long: may not be more than 262144 "],
            ),
            (
                json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
                vec!["metadata.ownerReferences.uid: Invalid value: \"\": must not be"],
            ),
        ] {
            let mut meta = json!({"name": "a", "namespace": "ns"});
            meta.as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            assert_eq!(check(&meta), expected);
        }
    }

    #[test]
    fn update_rules() {
        let old = json!({"name": "a", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/a"]});
        for (change, expected) in [
            (json!({"finalizers": []}), 0),
            (json!({"finalizers": ["x/a", "x/b"]}), 1),
            (json!({"uid": "2"}), 1),
            (json!({"deletionTimestamp": null}), 1),
        ] {
            let mut new = old.clone();
            new.as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            let mut errors = Errors::new();
            validate_update(&new, &old, RULES, &Path::new("metadata"), &mut errors);
            assert_eq!(errors.0.len(), expected, "{errors:?}");
        }
    }
}
