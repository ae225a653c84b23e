//! Expressions over a request: what they see, and what they give.
use super::matching::{self, Match};
use super::{AdmissionRequest, Operation, attributes, authorizer};
use crate::apiserver::auth::{Attributes, Snapshot};
use crate::apiserver::cel::{self, Activation, Authorize, Failure, Permission, Program};
use crate::apiserver::request::User;
use crate::object::{Document, Status};
use serde_json::Value;

/// A compiled expression, or why there is none.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub source: String,
    program: Result<Program, String>,
}

impl Expression {
    pub(super) fn new(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            program: Program::parse(source),
        }
    }

    /// How it is said that this one has no value.
    pub(super) fn failed(&self, failure: &Failure) -> String {
        if self.program.is_err() {
            return failure.to_string();
        }
        format!("expression '{}' resulted in error: {failure}", self.source)
    }

    /// The program; `None` when there is none.
    pub(super) fn program(&self) -> Option<&Program> {
        self.program.as_ref().ok()
    }
}

/// The outcome of an expression.
#[derive(Clone, Debug)]
pub(super) struct Outcome(pub cel::Value);

impl Outcome {
    pub(super) fn is_true(&self) -> bool {
        self.0 == cel::Value::Bool(true)
    }
    pub(super) fn is_false(&self) -> bool {
        self.0 == cel::Value::Bool(false)
    }
    pub(super) fn text(&self) -> Option<&str> {
        match &self.0 {
            cel::Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// What expressions may know of a request, put together once.
pub(super) struct Facts {
    request: cel::Value,
    namespace: cel::Value,
    authorizer: Option<Answers>,
    about: Permission,
    new: cel::Value,
    old: cel::Value,
}

/// Who answers what the authorizer is asked.
struct Answers {
    snapshot: Snapshot,
    user: User,
}

impl Authorize for Answers {
    fn check(&self, permission: &Permission) -> (bool, String) {
        let (namespace, account) = &permission.service_account;
        let service;
        let user = if account.is_empty() {
            &self.user
        } else {
            service = User {
                name: format!("system:serviceaccount:{namespace}:{account}"),
                groups: vec![
                    "system:serviceaccounts".to_owned(),
                    format!("system:serviceaccounts:{namespace}"),
                    "system:authenticated".to_owned(),
                ],
                ..User::default()
            };
            &service
        };
        let asked = match &permission.path {
            Some(path) => Attributes {
                verb: permission.verb.clone(),
                path: path.clone(),
                ..Attributes::default()
            },
            None => Attributes {
                verb: permission.verb.clone(),
                resource_request: true,
                group: permission.group.clone(),
                version: "*".to_owned(),
                resource: permission.resource.clone(),
                subresource: permission.subresource.clone(),
                namespace: permission.namespace.clone(),
                name: permission.name.clone(),
                ..Attributes::default()
            },
        };
        self.snapshot.check(user, &asked)
    }
}

impl Facts {
    /// What is known of a request that matched so. `wants_authorizer`: expressions may ask the authorizer.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn of(
        request: &AdmissionRequest<'_>,
        found: &Match,
        object: Option<&Value>,
        wants_authorizer: bool,
    ) -> Result<Self, Status> {
        let namespace = if request.namespace.is_empty() || request.is_for("", "namespaces") {
            None
        } else {
            matching::namespace(request, request.namespace).await?
        };
        let authorizer = match request.view.shared().filter(|_| wants_authorizer) {
            Some(shared) => Some(Answers {
                snapshot: shared.authorizer.snapshot(shared).await?,
                user: authorizer::user(request.user),
            }),
            None => None,
        };
        let value = |object: Option<&Value>| {
            object.map_or(cel::Value::Null, |object| {
                cel::from_json(&found.convert(object))
            })
        };
        Ok(Self {
            request: cel::from_json(&asked(request, found)),
            namespace: namespace.map_or(cel::Value::Null, |namespace| {
                cel::from_json(&shown(&namespace))
            }),
            authorizer,
            about: Permission {
                group: found.group.clone(),
                resource: request.resource.resource.clone(),
                subresource: request.subresource.to_owned(),
                namespace: request.namespace.to_owned(),
                name: request.name.to_owned(),
                ..Permission::default()
            },
            new: value(object.filter(|_| request.operation != Operation::Delete)),
            old: value(request.old),
        })
    }

    /// The object changed.
    pub(super) fn set_object(&mut self, object: &Value) {
        self.new = cel::from_json(object);
    }

    /// What expressions see; `budget` is what they may cost together.
    pub(super) fn context<'a>(
        &'a self,
        params: Option<&Value>,
        variables: &'a [(String, Expression)],
        budget: u64,
    ) -> Context<'a> {
        let answers = self.authorizer.as_ref();
        let programs = variables
            .iter()
            .filter_map(|(name, expression)| Some((name.as_str(), expression.program()?)))
            .collect();
        Context(
            Activation::new(budget)
                .with("object", self.new.clone())
                .with("oldObject", self.old.clone())
                .with("request", self.request.clone())
                .with("namespaceObject", self.namespace.clone())
                .with("params", params.map_or(cel::Value::Null, cel::from_json))
                .with_authorizer(
                    answers.map(|answers| answers as &dyn Authorize),
                    &self.about,
                )
                .with_variables(programs),
        )
    }
}

/// What expressions see.
pub(super) struct Context<'a>(Activation<'a>);

impl Context<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    /// That it has none.
    pub(super) fn evaluate(&self, expression: &Expression) -> Result<Outcome, Failure> {
        match &expression.program {
            Ok(program) => self.0.evaluate(program).map(Outcome),
            Err(why) => Err(Failure::Error(format!("compilation error: {why}"))),
        }
    }
}

/// `request`: the attributes, and the fields that are always there.
fn asked(request: &AdmissionRequest<'_>, found: &Match) -> Value {
    let mut asked = attributes::of(request, found);
    for (field, value) in [
        ("uid", "".into()),
        ("object", Value::Null),
        ("oldObject", Value::Null),
    ] {
        asked[field] = value;
    }
    asked
}

/// The namespace as expressions see it.
fn shown(namespace: &Value) -> Value {
    const FIELDS: [&str; 12] = [
        "name",
        "generateName",
        "namespace",
        "labels",
        "annotations",
        "uid",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "resourceVersion",
        "finalizers",
    ];
    let mut shown = namespace.clone();
    if let Some(Value::Object(metadata)) = shown.at_mut(&["metadata"]) {
        metadata.retain(|key, _| FIELDS.contains(&key.as_str()));
        if let Some(uid) = metadata.get("uid").cloned() {
            metadata.insert("UID".into(), uid);
        }
    }
    shown
}
