//! `authorizer`: what may be asked of it, and how a question is put together.
use super::Value;
use super::eval::Failure;
use super::value::map;
use kube::core::cel::cel::objects::Key;

/// A question to the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permission {
    /// `""`: the user of the request.
    pub service_account: (String, String),
    /// A path that is no resource.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub verb: String,
}

/// Answers what `authorizer` is asked: whether it is allowed, and why (not).
pub(crate) trait Authorize: Send + Sync {
    fn check(&self, permission: &Permission) -> (bool, String);
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
    let next = match (kind.as_str(), name) {
        ("Decision", "allowed") => return field_of(receiver, "allowed"),
        ("Decision", "reason") => return field_of(receiver, "reason"),
        ("Decision", "errored") => return Some(Ok(Value::Bool(false))),
        ("Decision", "error") => return Some(Ok("".into())),
        ("Authorizer", "serviceAccount") => {
            asked.service_account = (text(0), text(1));
            "Authorizer"
        }
        ("Authorizer", "path") => {
            asked.path = Some(text(0));
            "PathCheck"
        }
        ("Authorizer", "group") => {
            asked.group = text(0);
            "GroupCheck"
        }
        ("GroupCheck", "resource") => {
            asked.resource = text(0);
            "ResourceCheck"
        }
        ("ResourceCheck", "subresource") => {
            asked.subresource = text(0);
            "ResourceCheck"
        }
        ("ResourceCheck", "namespace") => {
            asked.namespace = text(0);
            "ResourceCheck"
        }
        ("ResourceCheck", "name") => {
            asked.name = text(0);
            "ResourceCheck"
        }
        ("ResourceCheck", "fieldSelector" | "labelSelector") => "ResourceCheck",
        ("ResourceCheck" | "PathCheck", "check") => {
            asked.verb = text(0);
            let Some(authorizer) = authorizer else {
                return Some(Err(Failure::error("no authorizer is configured")));
            };
            let (allowed, reason) = authorizer.check(&asked);
            return Some(Ok(map([
                ("@kind".into(), Value::from("Decision")),
                ("allowed".into(), Value::Bool(allowed)),
                ("reason".into(), Value::from(reason)),
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
        verb: String::new(),
    };
    Some((text("@kind")?, asked))
}
