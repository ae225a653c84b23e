//! Expressions over a request: what they see, and what they give.
use super::matching::{self, Match};
use super::{AdmissionRequest, Operation, attributes, authorizer};
use crate::cel::{self, Activation, Authorize, Failure, Permission, Program, Verdict};
use crate::object::{Document, Status};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;

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
    answers: Answers,
    about: Permission,
    new: cel::Value,
    old: cel::Value,
}

/// What expressions asked the authorizer, and what it said. Evaluation does not wait: what cannot be told yet is asked after
/// it, and then it is repeated ([`Facts::settle`]).
#[derive(Default)]
struct Answers(Mutex<BTreeMap<Permission, Option<Verdict>>>);

impl Answers {
    /// The questions without an answer.
    fn open(&self) -> Vec<Permission> {
        let known = self.0.lock();
        let open = known.iter().filter(|(_, verdict)| verdict.is_none());
        open.map(|(asked, _)| asked.clone()).collect()
    }
}

impl Authorize for Answers {
    fn check(&self, permission: &Permission) -> Option<Verdict> {
        let mut known = self.0.lock();
        known.entry(permission.clone()).or_default().clone()
    }
}

impl Facts {
    /// What is known of a request that matched so.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn of(
        request: &AdmissionRequest<'_>,
        found: &Match,
        object: Option<&Value>,
    ) -> Result<Self, Status> {
        let namespace = if request.namespace.is_empty() || request.is_for("", "namespaces") {
            None
        } else {
            matching::namespace(request, request.namespace).await?
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
            answers: Answers::default(),
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

    /// What `evaluate` comes to, which is repeated until the authorizer has said all that it wants to know. What expressions
    /// may cost bounds how often that is.
    pub(super) async fn settle<T: Send>(
        &self,
        request: &AdmissionRequest<'_>,
        evaluate: impl Fn() -> T + Send,
    ) -> T {
        loop {
            let outcome = evaluate();
            let open = self.answers.open();
            if open.is_empty() {
                return outcome;
            }
            for asked in open {
                let verdict = authorizer::verdict(request, &asked).await;
                self.answers.0.lock().insert(asked, Some(verdict));
            }
        }
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
                .with_authorizer(&self.answers, &self.about)
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
