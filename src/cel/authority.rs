//! `authorizer`: what may be asked of it, and how a question is put together.
use super::Value;
use super::eval::Failure;
use super::types::Type;
use super::value::map;
use crate::object::name;
use kube::core::cel::cel::objects::Key;

/// A question to the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Permission {
    /// Namespace and name of a service account; `""`: it is about the user of the request.
    pub service_account: (String, String),
    /// A path that is no resource.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
    pub verb: String,
}

/// What the authorizer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub allowed: bool,
    /// Why (not).
    pub reason: String,
    /// What went wrong; `""`: nothing.
    pub error: String,
}

/// Answers what `authorizer` is asked.
pub(crate) trait Authorize: Send + Sync {
    /// `None`: this cannot be told yet. The expression is evaluated again when it can.
    fn check(&self, permission: &Permission) -> Option<Verdict>;
}

/// The names of the types of questions and answers start so.
const TYPES: &str = "kubernetes.authorization.";

/// The type of a question or an answer.
pub(super) fn type_of(kind: &str) -> Type {
    Type::named(&format!("{TYPES}{kind}"))
}

/// What a function gives that is called on a question or an answer; `Some(None)`: there is no such one.
#[expect(
    clippy::option_option,
    reason = "two questions in one: is it about the authorizer, and what does it give"
)]
pub(super) fn result_of(name: &str, receiver: &Type, arguments: &[Type]) -> Option<Option<Type>> {
    let Type::Named(receiver) = receiver else {
        return None;
    };
    let kind = receiver.strip_prefix(TYPES)?;
    let found = match (kind, name) {
        ("Authorizer", "serviceAccount") => (2, type_of("Authorizer")),
        ("Authorizer", "path") => (1, type_of("PathCheck")),
        ("Authorizer", "group") => (1, type_of("GroupCheck")),
        ("GroupCheck", "resource")
        | (
            "ResourceCheck",
            "subresource" | "namespace" | "name" | "fieldSelector" | "labelSelector",
        ) => (1, type_of("ResourceCheck")),
        ("ResourceCheck" | "PathCheck", "check") => (1, type_of("Decision")),
        ("Decision", "allowed" | "errored") => (0, Type::Bool),
        ("Decision", "reason" | "error") => (0, Type::String),
        _ => return Some(None),
    };
    let (count, given) = found;
    let fit = arguments
        .iter()
        .all(|argument| argument.fits(&Type::String));
    Some((arguments.len() == count && fit).then_some(given))
}

/// What is asked of `authorizer`: `authorizer.group('apps').resource('deployments').check('create').allowed()`.
pub(super) fn ask(
    authorizer: Option<&dyn Authorize>,
    name: &str,
    receiver: &Value,
    arguments: &[Value],
) -> Option<Result<Value, Failure>> {
    let (kind, mut asked) = questioned(receiver)?;
    let text = |index: usize| match arguments.get(index) {
        Some(Value::String(text)) => text.to_string(),
        _ => String::new(),
    };
    let wrong = |why: &str| Some(Err(Failure::error(why)));
    let next = match (kind.as_str(), name) {
        ("Decision", "allowed" | "reason" | "error") => return field_of(receiver, name),
        ("Decision", "errored") => {
            let error = field_of(receiver, "error")?;
            return Some(error.map(|error| Value::Bool(error != Value::from(""))));
        }
        ("Authorizer", "serviceAccount") => {
            asked.service_account = (text(0), text(1));
            let (namespace, name) = &asked.service_account;
            if !name::dns_subdomain(name).is_empty() {
                return wrong("Invalid service account name");
            }
            if !name::dns_label(namespace).is_empty() {
                return wrong("Invalid service account namespace");
            }
            "Authorizer"
        }
        ("Authorizer", "path") => {
            if text(0).trim().is_empty() {
                return wrong("path must not be empty");
            }
            asked.path = Some(text(0));
            "PathCheck"
        }
        ("Authorizer", "group") => {
            asked.group = text(0);
            "GroupCheck"
        }
        ("GroupCheck", "resource") => {
            if text(0).trim().is_empty() {
                return wrong("resource must not be empty");
            }
            asked.resource = text(0);
            "ResourceCheck"
        }
        ("ResourceCheck", part) if part != "check" => {
            *match part {
                "subresource" => &mut asked.subresource,
                "namespace" => &mut asked.namespace,
                "name" => &mut asked.name,
                "fieldSelector" => &mut asked.field_selector,
                "labelSelector" => &mut asked.label_selector,
                _ => return None,
            } = text(0);
            "ResourceCheck"
        }
        ("ResourceCheck" | "PathCheck", "check") => {
            asked.verb = text(0);
            let Some(authorizer) = authorizer else {
                return wrong("no authorizer is configured");
            };
            let Some(verdict) = authorizer.check(&asked) else {
                return wrong("the authorizer has not answered yet");
            };
            return Some(Ok(map([
                ("@kind".into(), Value::from("Decision")),
                ("allowed".into(), Value::Bool(verdict.allowed)),
                ("reason".into(), Value::from(verdict.reason)),
                ("error".into(), Value::from(verdict.error)),
            ])));
        }
        _ => return None,
    };
    Some(Ok(question(next, &asked)))
}

fn field_of(value: &Value, field: &str) -> Option<Result<Value, Failure>> {
    let Value::Map(fields) = value else {
        return None;
    };
    fields.map.get(&Key::from(field)).cloned().map(Ok)
}

/// A question in the making, as a value.
pub(super) fn question(kind: &str, asked: &Permission) -> Value {
    let mut fields: Vec<(Key, Value)> = vec![("@kind".into(), Value::from(kind))];
    for (field, text) in [
        ("@account", &asked.service_account.0),
        ("@accountName", &asked.service_account.1),
        ("@group", &asked.group),
        ("@resource", &asked.resource),
        ("@subresource", &asked.subresource),
        ("@namespace", &asked.namespace),
        ("@name", &asked.name),
        ("@fields", &asked.field_selector),
        ("@labels", &asked.label_selector),
    ] {
        fields.push((field.into(), Value::from(text.as_str())));
    }
    if let Some(path) = &asked.path {
        fields.push(("@path".into(), Value::from(path.as_str())));
    }
    map(fields)
}

fn questioned(value: &Value) -> Option<(String, Permission)> {
    let Value::Map(fields) = value else {
        return None;
    };
    let text = |field: &str| match fields.map.get(&Key::from(field)) {
        Some(Value::String(text)) => Some(text.to_string()),
        _ => None,
    };
    let part = |field: &str| text(field).unwrap_or_default();
    let asked = Permission {
        service_account: (part("@account"), part("@accountName")),
        path: text("@path"),
        group: part("@group"),
        resource: part("@resource"),
        subresource: part("@subresource"),
        namespace: part("@namespace"),
        name: part("@name"),
        field_selector: part("@fields"),
        label_selector: part("@labels"),
        verb: String::new(),
    };
    Some((text("@kind")?, asked))
}
