//! `SubjectAccessReview` and its relatives: whether somebody may do something.
use crate::apiserver::auth::{Attributes, Decision};
use crate::apiserver::handler::admit;
use crate::apiserver::handler::call::Call;
use crate::apiserver::request::User;
use crate::apiserver::schema::gojson;
use crate::object::field::{ErrorKind, Errors, Path};
use crate::object::{Document, FieldSelector, GroupKind, LabelSelector, Status, name};
use serde_json::{Map, Value, json};

/// Who is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Whoever asks.
    Own,
    /// The user that the review names.
    Anybodys,
    /// The user that the review names, in the namespace of the request only.
    AnybodysIn,
}

/// Answers.
pub(super) async fn review(
    call: &Call<'_>,
    whose: Whose,
    mut review: Value,
) -> Result<Value, Status> {
    let mut errors = Errors::new();
    check(&review, whose, &mut errors);
    check_metadata(call, &review, whose, &mut errors);
    if whose == Whose::AnybodysIn {
        check_place(&review, &mut errors);
    }
    if !errors.is_empty() {
        // Upstream looks for the kind where it is not filled in.
        return Err(Status::invalid(
            &GroupKind::new(&*call.resource.gvk.group, ""),
            "",
            &errors,
        ));
    }
    admit::validate(call, "", Some(&review), None).await?;
    let spec = review.get("spec").unwrap_or(&Value::Null);
    let named = named(spec);
    let user = match whose {
        Whose::Own => &call.request.user,
        Whose::Anybodys | Whose::AnybodysIn => &named,
    };
    let (asked, ignored) = attributes(spec);
    let decision = call
        .shared
        .authorizer
        .authorize(call.shared, user, &asked)
        .await?;
    let mut status = json!({ "allowed": decision.is_allowed() });
    let (Decision::Allow(reason) | Decision::NoOpinion(reason)) = decision;
    for (field, text) in [("reason", reason), ("evaluationError", ignored.join("; "))] {
        if !text.is_empty() {
            status[field] = text.into();
        }
    }
    review["status"] = status;
    Ok(review)
}

fn named(spec: &Value) -> User {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let extra = spec.get("extra").and_then(Value::as_object);
    User {
        name: spec.str_at(&["user"]).to_owned(),
        uid: spec.str_at(&["uid"]).to_owned(),
        groups: spec.get("groups").map(texts).unwrap_or_default(),
        extra: extra
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.clone(), texts(values)))
            .collect(),
    }
}

fn present<'a>(spec: &'a Value, field: &str) -> Option<&'a Value> {
    spec.get(field).filter(|value| !value.is_null())
}

/// As upstream's internal type is shown.
fn shown(path: &Value) -> Value {
    json!({ "Path": path.str_at(&["path"]), "Verb": path.str_at(&["verb"]) })
}

fn check(review: &Value, whose: Whose, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = review.get("spec").unwrap_or(&Value::Null);
    let resource = present(spec, "resourceAttributes");
    match (resource, present(spec, "nonResourceAttributes")) {
        (Some(_), Some(other)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.invalid(path.child("nonResourceAttributes"), shown(other), why);
        }
        (None, None) => {
            let why =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(path.child("resourceAttributes"), Value::Null, why);
        }
        _ => {}
    }
    if whose != Whose::Own
        && spec.str_at(&["user"]).is_empty()
        && spec.list_at(&["groups"]).is_empty()
    {
        let why = "at least one of user or group must be specified";
        errors.invalid(path.child("user"), "", why);
    }
    let path = path.child("resourceAttributes");
    for field in ["fieldSelector", "labelSelector"] {
        if let Some(selector) = resource.and_then(|resource| present(resource, field)) {
            check_selector(selector, field, &path.child(field), errors);
        }
    }
}

fn check_selector(selector: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let raw = selector.str_at(&["rawSelector"]);
    let requirements = selector.list_at(&["requirements"]);
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.invalid(path.child("rawSelector"), raw, why);
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.required(path.child("requirements"), &why);
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let path = path.child("requirements").index(index);
        let key = requirement.str_at(&["key"]);
        let values = requirement.list_at(&["values"]);
        if field == "fieldSelector" && key.is_empty() {
            errors.required(path.child("key"), "must be specified");
        }
        match requirement.str_at(&["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.required(path.child("values"), why);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(path.child("values"), why);
            }
            _ => {}
        }
        if field == "labelSelector" {
            for problem in name::qualified(key) {
                errors.invalid(path.child("key"), key, &problem);
            }
            for (index, value) in values.iter().enumerate() {
                let value = value.as_str().unwrap_or_default();
                for problem in name::label_value(value) {
                    errors.invalid(path.child("values").index(index), value, &problem);
                }
            }
        }
    }
}

fn check_metadata(call: &Call<'_>, review: &Value, whose: Whose, errors: &mut Errors) {
    let allowed: &[&str] = match whose {
        Whose::AnybodysIn => &["managedFields", "namespace"],
        Whose::Own | Whose::Anybodys => &["managedFields"],
    };
    let metadata = review.get("metadata").and_then(Value::as_object);
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    };
    let mut fields = metadata.into_iter().flatten();
    if fields.all(|(field, value)| allowed.contains(&field.as_str()) || is_empty(value)) {
        return;
    }
    let why = if whose == Whose::AnybodysIn {
        "must be empty except for namespace"
    } else {
        "must be empty"
    };
    let metadata = json!({ "metadata": metadata.cloned().unwrap_or_else(Map::new) });
    let text = gojson::encode(&metadata, call.resource.schema.as_deref(), None);
    let text = text.strip_prefix("{\"metadata\":").unwrap_or(&text);
    let text = text.strip_suffix('}').unwrap_or(text);
    let message = format!("Invalid value: {text}: {why}");
    errors.push(ErrorKind::Invalid, Path::new("metadata"), message);
}

fn check_place(review: &Value, errors: &mut Errors) {
    let spec = review.get("spec").unwrap_or(&Value::Null);
    if let Some(resource) = present(spec, "resourceAttributes") {
        let namespace = resource.str_at(&["namespace"]);
        if namespace != review.namespace() {
            let path = Path::new("spec.resourceAttributes.namespace");
            errors.invalid(path, namespace, "must match metadata.namespace");
        }
    }
    if let Some(other) = present(spec, "nonResourceAttributes") {
        let path = Path::new("spec.nonResourceAttributes");
        errors.invalid(path, shown(other), "disallowed on this kind of request");
    }
}

/// What is asked about, and which selectors are ignored because they cannot be read.
fn attributes(spec: &Value) -> (Attributes, Vec<String>) {
    let Some(resource) = present(spec, "resourceAttributes") else {
        let text = |field: &str| spec.str_at(&["nonResourceAttributes", field]).to_owned();
        let asked = Attributes {
            verb: text("verb"),
            path: text("path"),
            ..Attributes::default()
        };
        return (asked, Vec::new());
    };
    let text = |field: &str| resource.str_at(&[field]).to_owned();
    let version = text("version");
    let mut asked = Attributes {
        verb: text("verb"),
        resource_request: true,
        group: text("group"),
        version: if version.is_empty() {
            "*".to_owned()
        } else {
            version
        },
        resource: text("resource"),
        subresource: text("subresource"),
        namespace: text("namespace"),
        name: text("name"),
        ..Attributes::default()
    };
    let mut ignored = Vec::new();
    for field in ["fieldSelector", "labelSelector"] {
        let Some(selector) = present(resource, field) else {
            continue;
        };
        let (read, unread) = if field == "fieldSelector" {
            fields(selector, &mut asked.fields)
        } else {
            labels(selector)
        };
        if unread > 0 {
            let how = if read > 0 {
                "partially ignored"
            } else {
                "ignored"
            };
            ignored.push(format!(
                "spec.resourceAttributes.{field} {how} due to parse error"
            ));
        }
    }
    (asked, ignored)
}

/// Reads what a field selector requires; how many requirements are read and how many cannot be.
fn fields(selector: &Value, found: &mut Vec<(String, String)>) -> (usize, usize) {
    let raw = selector.str_at(&["rawSelector"]);
    if !raw.is_empty() {
        return match FieldSelector::parse(raw) {
            Ok(parsed) => {
                for field in ["spec.nodeName", "nodeName", "metadata.name"] {
                    if let Some(value) = parsed.requires(field) {
                        found.push((field.to_owned(), value.to_owned()));
                    }
                }
                (1, 0)
            }
            Err(_) => (0, 1),
        };
    }
    let (mut read, mut unread) = (0, 0);
    for requirement in selector.list_at(&["requirements"]) {
        let value = match requirement.list_at(&["values"]) {
            [value] => value.as_str(),
            _ => None,
        };
        match (requirement.str_at(&["operator"]), value) {
            ("In", Some(value)) => {
                found.push((requirement.str_at(&["key"]).to_owned(), value.to_owned()));
                read += 1;
            }
            ("NotIn", Some(_)) => read += 1,
            _ => unread += 1,
        }
    }
    (read, unread)
}

fn labels(selector: &Value) -> (usize, usize) {
    let raw = selector.str_at(&["rawSelector"]);
    if !raw.is_empty() {
        return if LabelSelector::parse(raw).is_ok() {
            (1, 0)
        } else {
            (0, 1)
        };
    }
    let known = |requirement: &&Value| {
        let operator = requirement.str_at(&["operator"]);
        matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist")
    };
    let requirements = selector.list_at(&["requirements"]);
    let read = requirements.iter().filter(known).count();
    (read, requirements.len() - read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_checked() {
        let resource = json!({ "resource": "pods", "verb": "get" });
        let with = |field: &str, selector: Value| json!({ "spec": { "resourceAttributes": { field: selector } } });
        for (whose, review, expected) in [
            (
                Whose::Own,
                json!({ "spec": { "resourceAttributes": resource } }),
                vec![],
            ),
            (
                Whose::Own,
                json!({}),
                vec![
                    "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
                ],
            ),
            (
                Whose::Own,
                json!({ "spec": { "resourceAttributes": {}, "nonResourceAttributes": { "path": "/x" } } }),
                vec![
                    "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"\"}: cannot be specified in combination with resourceAttributes",
                ],
            ),
            (
                Whose::Anybodys,
                json!({ "spec": { "resourceAttributes": resource } }),
                vec![
                    "spec.user: Invalid value: \"\": at least one of user or group must be specified",
                ],
            ),
            (
                Whose::Anybodys,
                json!({ "spec": { "resourceAttributes": resource, "groups": ["g"] } }),
                vec![],
            ),
            (
                Whose::Own,
                with("fieldSelector", json!({})),
                vec![
                    "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
                ],
            ),
            (
                Whose::Own,
                with(
                    "labelSelector",
                    json!({ "rawSelector": "a", "requirements": [{ "key": "a", "operator": "Exists" }] }),
                ),
                vec![
                    "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements",
                ],
            ),
            (
                Whose::Own,
                with(
                    "fieldSelector",
                    json!({ "requirements": [{ "operator": "In" }, { "key": "a", "operator": "Exists", "values": ["b"] }, { "key": "a", "operator": "New" }] }),
                ),
                vec![
                    "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
                    "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                    "spec.resourceAttributes.fieldSelector.requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            check(&review, whose, &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{review}");
        }
    }

    #[test]
    fn local_questions_stay_in_their_namespace() {
        let review = |namespace: &str| json!({ "metadata": { "namespace": "a" }, "spec": { "resourceAttributes": { "namespace": namespace } } });
        for (review, expected) in [
            (review("a"), vec![]),
            (
                review("b"),
                vec![
                    "spec.resourceAttributes.namespace: Invalid value: \"b\": must match metadata.namespace",
                ],
            ),
            (
                json!({ "spec": { "nonResourceAttributes": { "path": "/x", "verb": "get" } } }),
                vec![
                    "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: disallowed on this kind of request",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            check_place(&review, &mut errors);
            let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn selectors_are_read() {
        for (field, selector, expected) in [
            (
                "fieldSelector",
                json!({ "rawSelector": "spec.nodeName=n" }),
                "",
            ),
            (
                "fieldSelector",
                json!({ "rawSelector": "a" }),
                "spec.resourceAttributes.fieldSelector ignored due to parse error",
            ),
            (
                "fieldSelector",
                json!({ "requirements": [{ "key": "spec.nodeName", "operator": "In", "values": ["n"] }, { "key": "a", "operator": "Exists" }] }),
                "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
            ),
            (
                "labelSelector",
                json!({ "rawSelector": "a in (" }),
                "spec.resourceAttributes.labelSelector ignored due to parse error",
            ),
            (
                "labelSelector",
                json!({ "requirements": [{ "key": "a", "operator": "New" }] }),
                "spec.resourceAttributes.labelSelector ignored due to parse error",
            ),
        ] {
            let (asked, ignored) =
                attributes(&json!({ "resourceAttributes": { "verb": "list", field: selector } }));
            assert_eq!(ignored.join("; "), expected);
            assert!(asked.resource_request && asked.version == "*");
        }
    }
}
