//! Evaluation: the rules of every part of an object, those of the whole first (`apiextensions-apiserver/pkg/apiserver/schema/cel`).
use super::super::schema::{Props, Rule};
use super::super::value::{Shown, correlated};
use super::value::value;
use crate::apiserver::crd::kind::field_path;
use crate::cel::{Activation, Failure, Lists, Program, Value as Cel};
use crate::object::field::{Error, ErrorKind, Errors, Path};
use serde_json::Value;
use std::collections::BTreeMap;

/// What all rules together may cost for one object.
const BUDGET: u64 = 10_000_000;
/// Longer messages are not shown.
const LONGEST_MESSAGE: usize = 5 * 1024;
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of a schema and of those within it.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    own: Vec<Compiled>,
    all_of: Vec<Self>,
    items: Option<Box<Self>>,
    additional: Option<Box<Self>>,
    properties: BTreeMap<String, Self>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    program: Result<Program, String>,
    message: Option<Program>,
    /// Whether it compares with what was before.
    transition: bool,
    /// Below where its rule is, where its error is.
    field_path: String,
}

impl Rules {
    /// The rules of a schema; `None`: there are none.
    pub(crate) fn compile(schema: &Props) -> Option<Self> {
        let boxed = |schema: &Props| Self::compile(schema).map(Box::new);
        let rules = Self {
            own: schema
                .rules
                .iter()
                .filter(|rule| !rule.rule.trim().is_empty())
                .map(|rule| Compiled::of(schema, rule))
                .collect(),
            all_of: schema.all_of.iter().filter_map(Self::compile).collect(),
            items: schema.items.as_deref().and_then(boxed),
            additional: schema.additional_schema().and_then(boxed),
            properties: schema
                .properties
                .iter()
                .filter_map(|(name, property)| Some((name.clone(), Self::compile(property)?)))
                .collect(),
        };
        let some = !rules.own.is_empty()
            || !rules.all_of.is_empty()
            || rules.items.is_some()
            || rules.additional.is_some()
            || !rules.properties.is_empty();
        some.then_some(rules)
    }

    /// Checks an object that replaces `old`. Gives the warnings: what is wrong where nothing was changed.
    pub(crate) fn validate(
        &self,
        schema: &Props,
        object: &Value,
        old: Option<&Value>,
        errors: &mut Errors,
    ) -> Vec<String> {
        let mut run = Run {
            left: BUDGET,
            errors,
            warnings: Vec::new(),
        };
        run.node(
            self,
            schema,
            object,
            old,
            Place {
                path: None,
                root: true,
                same: None,
            },
        );
        run.warnings
    }

    /// As [`Rules::validate`], of a value somewhere.
    pub(super) fn validate_at(
        &self,
        schema: &Props,
        value: &Value,
        old: Option<&Value>,
        path: Option<&Path>,
        errors: &mut Errors,
    ) {
        let mut run = Run {
            left: BUDGET,
            errors,
            warnings: Vec::new(),
        };
        let place = Place {
            path: path.cloned(),
            root: schema.embedded,
            same: Some(false),
        };
        run.node(self, schema, value, old, place);
    }
}

impl Compiled {
    fn of(schema: &Props, rule: &Rule) -> Self {
        let program = Program::parse(&rule.rule);
        Self {
            transition: program
                .as_ref()
                .is_ok_and(|program| program.mentions("oldSelf")),
            message: Some(&rule.message_expression)
                .filter(|expression| !expression.trim().is_empty())
                .and_then(|expression| Program::parse(expression).ok()),
            field_path: Some(&rule.field_path)
                .filter(|path| !path.is_empty())
                .and_then(|path| field_path(path, schema, true).ok())
                .map(|(path, _)| path)
                .unwrap_or_default(),
            program,
            rule: rule.clone(),
        }
    }

    /// How the rule is called in messages.
    fn name(&self) -> &str {
        if self.rule.message.is_empty() {
            self.rule.rule.trim()
        } else {
            self.rule.message.trim()
        }
    }
}

/// Where a value is.
#[derive(Clone)]
struct Place {
    path: Option<Path>,
    /// Whether it is an object of its own.
    root: bool,
    /// Whether the nearest value around it that can be told apart stays as it was; `None`: that is for this one to say.
    same: Option<bool>,
}

impl Place {
    fn below(&self, path: Path, root: bool, old: Option<&Value>, value: &Value, own: bool) -> Self {
        Self {
            path: Some(path),
            root,
            same: match old {
                Some(old) => Some(old == value),
                None if own => self.same,
                None => self.same.or(Some(false)),
            },
        }
    }
    fn child(&self, name: &str) -> Path {
        self.path
            .as_ref()
            .map_or_else(|| Path::new(name), |path| path.child(name))
    }
    fn key(&self, name: &str) -> Path {
        self.path.clone().unwrap_or_default().key(name)
    }
    fn index(&self, index: usize) -> Path {
        self.path.clone().unwrap_or_default().index(index)
    }
    fn shown(&self) -> Path {
        self.path.clone().unwrap_or_else(|| Path::new("<nil>"))
    }
}

struct Run<'e> {
    left: u64,
    errors: &'e mut Errors,
    warnings: Vec<String>,
}

/// Nothing more is to be evaluated.
struct Stop;

impl Run<'_> {
    fn node(
        &mut self,
        rules: &Rules,
        schema: &Props,
        object: &Value,
        old: Option<&Value>,
        place: Place,
    ) {
        let same = place.same.or_else(|| old.map(|old| old == object));
        let place = Place { same, ..place };
        // Whoever stops has said so.
        let _ = self.walk(rules, schema, object, old, &place);
    }

    fn walk(
        &mut self,
        rules: &Rules,
        schema: &Props,
        object: &Value,
        old: Option<&Value>,
        place: &Place,
    ) -> Result<(), Stop> {
        if object.is_null() {
            return Ok(());
        }
        self.own(rules, schema, object, old, place)?;
        for (part, rules) in schema
            .all_of
            .iter()
            .filter(|part| part.has_rules())
            .zip(&rules.all_of)
        {
            self.walk(rules, part, object, old, place)?;
        }
        match object {
            Value::Array(items) => {
                let (Some(rules), Some(schema_of_items)) = (&rules.items, schema.items.as_deref())
                else {
                    return Ok(());
                };
                let old_items = old.and_then(Value::as_array).map(Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    let before = old_items.and_then(|old| correlated(schema, item, index, old));
                    let below = place.below(
                        place.index(index),
                        schema_of_items.embedded,
                        before,
                        item,
                        true,
                    );
                    // Only items of maps can be compared with what they were.
                    let comparable = before.filter(|_| schema.list_type == "map");
                    self.walk(rules, schema_of_items, item, comparable, &below)?;
                }
            }
            Value::Object(map) => {
                for (name, item) in map {
                    let before = old.and_then(|old| old.get(name));
                    if let (Some(rules), Some(property)) =
                        (rules.properties.get(name), schema.properties.get(name))
                    {
                        let below =
                            place.below(place.child(name), property.embedded, before, item, true);
                        self.walk(rules, property, item, before, &below)?;
                    } else if let (Some(rules), Some(additional)) =
                        (&rules.additional, schema.additional_schema())
                    {
                        let below =
                            place.below(place.key(name), additional.embedded, before, item, true);
                        self.walk(rules, additional, item, before, &below)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn own(
        &mut self,
        rules: &Rules,
        schema: &Props,
        object: &Value,
        old: Option<&Value>,
        place: &Place,
    ) -> Result<(), Stop> {
        if rules.own.is_empty() {
            return Ok(());
        }
        let type_ = schema.type_.as_str();
        let wrong = |why: &str| Error {
            kind: ErrorKind::Invalid,
            path: place.shown(),
            message: format!("Invalid value: {type_:?}: {why}"),
        };
        if self.left == 0 {
            self.errors.0.push(wrong(OUT_OF_BUDGET));
            return Err(Stop);
        }
        let mut lists = Lists::default();
        let current = value(schema, object, place.root, &mut lists);
        let before = old
            .filter(|_| rules.own.iter().any(|rule| rule.transition))
            .map(|old| value(schema, old, place.root, &mut lists));
        for compiled in &rules.own {
            let program = match &compiled.program {
                Ok(program) => program,
                Err(why) => {
                    self.errors
                        .0
                        .push(wrong(&format!("rule compile error: {why}")));
                    continue;
                }
            };
            let optional = compiled.rule.optional_old_self == Some(true);
            if compiled.transition && before.is_none() && !optional {
                continue;
            }
            let activation = |left: u64| {
                let activation = Activation::new(left)
                    .with("self", current.clone())
                    .with_unordered(lists.clone());
                match (optional, &before) {
                    (true, before) => {
                        activation.with("oldSelf", crate::cel::optional(before.clone()))
                    }
                    (false, Some(before)) => activation.with("oldSelf", before.clone()),
                    (false, None) => activation,
                }
            };
            let evaluation = activation(self.left);
            let outcome = evaluation.evaluate(program);
            self.left = evaluation.left();
            let name = compiled.name();
            match outcome {
                Ok(Cel::Bool(true)) => continue,
                Ok(_) => {}
                Err(Failure::Error(why)) if why.starts_with("no such overload") => {
                    let why = format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                    );
                    self.errors.0.push(wrong(&why));
                    continue;
                }
                Err(Failure::Error(why)) => {
                    self.errors
                        .0
                        .push(wrong(&format!("{why} evaluating rule: {name}")));
                    continue;
                }
                Err(failure @ Failure::TooCostly) => {
                    let why = format!(
                        "'{failure}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                    );
                    self.errors.0.push(wrong(&why));
                    return Err(Stop);
                }
                Err(Failure::OutOfBudget) => {
                    self.errors.0.push(wrong(OUT_OF_BUDGET));
                    return Err(Stop);
                }
            }
            let detail = match &compiled.message {
                Some(message) => {
                    let evaluation = activation(self.left.max(1));
                    let text = evaluation.evaluate(message);
                    self.left = evaluation.left();
                    usable(&text)
                }
                None => None,
            };
            let detail = detail.unwrap_or_else(|| {
                if compiled.rule.message.is_empty() {
                    format!("failed rule: {name}")
                } else {
                    name.to_owned()
                }
            });
            let error = failed(compiled, type_, object, &detail, place);
            // What is wrong in a part that stays as it was keeps nobody from changing another.
            if !compiled.transition && place.same == Some(true) {
                self.warnings.push(error.to_string());
            } else {
                self.errors.0.push(error);
            }
        }
        Ok(())
    }
}

/// The text of a message expression, when it can be shown.
fn usable(text: &Result<Cel, Failure>) -> Option<String> {
    let Ok(Cel::String(text)) = text else {
        return None;
    };
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n');
    fits.then(|| text.to_owned())
}

/// The error of a rule that does not hold.
fn failed(compiled: &Compiled, type_: &str, object: &Value, detail: &str, place: &Place) -> Error {
    let path = match compiled.field_path.as_str() {
        "" => place.shown(),
        below => place.child(below),
    };
    let shown = (!matches!(type_, "object" | "array")).then(|| Shown(object).to_string());
    let with_value = |what: &str| {
        shown
            .as_ref()
            .map_or_else(|| what.to_owned(), |shown| format!("{what}: {shown}"))
    };
    let (kind, message) = match compiled.rule.reason.as_deref() {
        Some("FieldValueForbidden") => (ErrorKind::Forbidden, format!("Forbidden: {detail}")),
        Some("FieldValueRequired") => (ErrorKind::Required, format!("Required value: {detail}")),
        Some("FieldValueDuplicate") => (ErrorKind::Duplicate, with_value("Duplicate value")),
        _ => (
            ErrorKind::Invalid,
            format!("{}: {detail}", with_value("Invalid value")),
        ),
    };
    Error {
        kind,
        path,
        message,
    }
}
