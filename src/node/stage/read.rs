//! Reading stages from documents. What is not supported is refused with the path of its field.

use std::time::Duration;

use serde_json::{Map, Value};

use super::query::Query;
use super::template::Template;
use super::{Delay, Kind, Operator, Selector, Stage, StageError, Step};
use crate::object::Document as _;

/// The version of the documents.
const VERSION: &str = "kwok.x-k8s.io/v1alpha1";

pub(super) fn all(text: &str) -> Result<Vec<Stage>, StageError> {
    let documents = serde_saphyr::from_multiple::<Value>(text);
    let documents = documents.map_err(|error| StageError::Syntax {
        document: 1,
        why: error.to_string(),
    })?;
    let objects = documents.into_iter().filter(|one| !one.is_null());
    objects.map(|object| stage(&object)).collect()
}

fn stage(object: &Value) -> Result<Stage, StageError> {
    let name = object.name().to_owned();
    let wrong = |At { path, why }: At| StageError::Field {
        stage: name.clone(),
        field: path,
        why,
    };
    read(object).map_err(wrong)
}

/// What is wrong, and where.
struct At {
    path: String,
    why: String,
}

/// A value and its path.
#[derive(Clone)]
struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    fn fail<T>(&self, why: impl Into<String>) -> Result<T, At> {
        Err(At {
            path: self.path.clone(),
            why: why.into(),
        })
    }

    /// The fields, of which only these are known.
    fn fields(&self, known: &[&str]) -> Result<&'a Map<String, Value>, At> {
        let Value::Object(fields) = self.value else {
            return self.fail("must be an object");
        };
        match fields.keys().find(|key| !known.contains(&key.as_str())) {
            Some(unknown) => Err(At {
                path: format!("{}.{unknown}", self.path),
                why: "not supported".to_owned(),
            }),
            None => Ok(fields),
        }
    }

    fn get(&self, key: &str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Self {
            path: format!("{}.{key}", self.path),
            value,
        })
    }

    fn items(&self) -> Result<Vec<Self>, At> {
        let Value::Array(items) = self.value else {
            return self.fail("must be a list");
        };
        let each = items.iter().enumerate().map(|(at, value)| Self {
            path: format!("{}[{at}]", self.path),
            value,
        });
        Ok(each.collect())
    }

    fn text(&self) -> Result<&'a str, At> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => self.fail("must be a string"),
        }
    }

    fn whole(&self) -> Result<i64, At> {
        match self.value.as_i64() {
            Some(number) => Ok(number),
            None => self.fail("must be a whole number"),
        }
    }

    fn flag(&self) -> Result<bool, At> {
        match self.value {
            Value::Bool(flag) => Ok(*flag),
            _ => self.fail("must be true or false"),
        }
    }

    fn query(&self) -> Result<Query, At> {
        Query::parse(self.text()?).or_else(|why| self.fail(why))
    }

    fn template(&self) -> Result<Template, At> {
        Template::parse(self.text()?).or_else(|why| self.fail(why))
    }

    fn texts(&self) -> Result<Vec<String>, At> {
        let items = self.items()?;
        items
            .iter()
            .map(|item| item.text().map(str::to_owned))
            .collect()
    }

    fn pairs(&self) -> Result<Vec<(String, String)>, At> {
        let Value::Object(fields) = self.value else {
            return self.fail("must be an object");
        };
        let pair = |key: &String| {
            let value = self.get(key).map_or(Ok(""), |value| value.text())?;
            Ok((key.clone(), value.to_owned()))
        };
        fields.keys().map(pair).collect()
    }
}

fn read(object: &Value) -> Result<Stage, At> {
    let wrong = |path: &str, why: String| {
        Err(At {
            path: path.to_owned(),
            why,
        })
    };
    if object.api_version() != VERSION {
        return wrong("apiVersion", format!("must be {VERSION}"));
    }
    if object.kind() != "Stage" {
        return wrong("kind", "must be Stage".to_owned());
    }
    let spec = Node {
        path: "spec".to_owned(),
        value: object.at(&["spec"]).unwrap_or(&Value::Null),
    };
    spec.fields(&[
        "resourceRef",
        "selector",
        "weight",
        "weightFrom",
        "delay",
        "next",
        "steps",
        "immediateNextStage",
    ])?;
    let Some(reference) = spec.get("resourceRef") else {
        return wrong("spec.resourceRef", "is required".to_owned());
    };
    let mut steps = match spec.get("next") {
        Some(next) => next_steps(&next)?,
        None => Vec::new(),
    };
    if let Some(more) = spec.get("steps") {
        for step in more.items()? {
            steps.extend(next_steps(&step)?);
        }
    }
    if let Some(immediate) = spec.get("immediateNextStage") {
        // The watch brings the next state as soon.
        immediate.flag()?;
    }
    Ok(Stage {
        name: object.name().to_owned(),
        kind: kind(&reference)?,
        selector: spec.get("selector").as_ref().map(selector).transpose()?,
        weight: spec.get("weight").map_or(Ok(0), |weight| weight.whole())?,
        weight_from: spec
            .get("weightFrom")
            .as_ref()
            .map(expression)
            .transpose()?,
        delay: spec.get("delay").as_ref().map(delay).transpose()?,
        steps,
    })
}

fn kind(reference: &Node<'_>) -> Result<Kind, At> {
    reference.fields(&["apiGroup", "kind"])?;
    if let Some(group) = reference.get("apiGroup")
        && !matches!(group.text()?, "" | "v1")
    {
        return group.fail("only pods and nodes have stages");
    }
    match reference.get("kind") {
        Some(kind) => match kind.text()? {
            "Pod" => Ok(Kind::Pod),
            "Node" => Ok(Kind::Node),
            _ => kind.fail("only pods and nodes have stages"),
        },
        None => reference.fail("kind is required"),
    }
}

fn selector(node: &Node<'_>) -> Result<Selector, At> {
    node.fields(&["matchLabels", "matchAnnotations", "matchExpressions"])?;
    let pairs = |key: &str| node.get(key).map_or(Ok(Vec::new()), |pairs| pairs.pairs());
    let mut selector = Selector {
        labels: pairs("matchLabels")?,
        annotations: pairs("matchAnnotations")?,
        expressions: Vec::new(),
    };
    let expressions = node.get("matchExpressions");
    for one in expressions.map_or(Ok(Vec::new()), |all| all.items())? {
        let one = match one.get("jq") {
            Some(inner) => {
                one.fields(&["jq"])?;
                inner
            }
            None => one,
        };
        one.fields(&["key", "operator", "values"])?;
        let Some(key) = one.get("key") else {
            return one.fail("key is required");
        };
        selector.expressions.push((key.query()?, operator(&one)?));
    }
    Ok(selector)
}

fn operator(node: &Node<'_>) -> Result<Operator, At> {
    let values = node.get("values");
    let values = values.map_or(Ok(Vec::new()), |values| values.texts())?;
    let Some(operator) = node.get("operator") else {
        return node.fail("operator is required");
    };
    let text = operator.text()?;
    match (text, values.is_empty()) {
        ("In", false) => Ok(Operator::In(values)),
        ("NotIn", false) => Ok(Operator::NotIn(values)),
        ("Exists", true) => Ok(Operator::Exists),
        ("DoesNotExist", true) => Ok(Operator::DoesNotExist),
        ("In" | "NotIn", true) => {
            operator.fail("for 'in', 'notin' operators, values set can't be empty")
        }
        ("Exists" | "DoesNotExist", false) => {
            operator.fail("values set must be empty for exists and does not exist")
        }
        _ => operator.fail(format!("operator {text:?} is not supported")),
    }
}

/// Where a value is to be taken from: `expressionFrom: …` or `jq: {expression: …}`.
fn expression(node: &Node<'_>) -> Result<Query, At> {
    node.fields(&["expressionFrom", "jq"])?;
    if let Some(jq) = node.get("jq") {
        jq.fields(&["expression"])?;
        if let Some(expression) = jq.get("expression") {
            return expression.query();
        }
    }
    match node.get("expressionFrom") {
        Some(expression) => expression.query(),
        None => node.fail("expressionFrom is required"),
    }
}

fn delay(node: &Node<'_>) -> Result<Delay, At> {
    node.fields(&[
        "durationMilliseconds",
        "durationFrom",
        "jitterDurationMilliseconds",
        "jitterDurationFrom",
    ])?;
    let millis = |key: &str| -> Result<Option<Duration>, At> {
        let Some(node) = node.get(key) else {
            return Ok(None);
        };
        match u64::try_from(node.whole()?) {
            Ok(millis) => Ok(Some(Duration::from_millis(millis))),
            Err(_) => node.fail("must not be negative"),
        }
    };
    let from = |key: &str| node.get(key).as_ref().map(expression).transpose();
    Ok(Delay {
        least: millis("durationMilliseconds")?.unwrap_or_default(),
        least_from: from("durationFrom")?,
        most: millis("jitterDurationMilliseconds")?,
        most_from: from("jitterDurationFrom")?,
    })
}

/// What happens, in KWOK's order: event, finalizers, then the end or a new status.
fn next_steps(node: &Node<'_>) -> Result<Vec<Step>, At> {
    node.fields(&[
        "event",
        "finalizers",
        "delete",
        "statusTemplate",
        "statusSubresource",
        "patch",
        "patches",
    ])?;
    let mut steps = Vec::new();
    if let Some(event) = node.get("event") {
        event.fields(&["type", "reason", "message"])?;
        let text = |key: &str| event.get(key).map_or(Ok(""), |text| text.text());
        let message = match event.get("message") {
            Some(message) => message.template()?,
            None => Template::parse("").or_else(|why| event.fail(why))?,
        };
        steps.push(Step::Event {
            type_: text("type")?.to_owned(),
            reason: text("reason")?.to_owned(),
            message,
        });
    }
    if let Some(finalizers) = node.get("finalizers") {
        finalizers.fields(&["add", "remove", "empty"])?;
        let values = |key: &str| -> Result<Vec<String>, At> {
            let items = finalizers.get(key);
            let items = items.map_or(Ok(Vec::new()), |items| items.items())?;
            let value = |item: &Node<'_>| {
                item.fields(&["value"])?;
                let value = item.get("value").map_or(Ok(""), |value| value.text())?;
                Ok(value.to_owned())
            };
            items.iter().map(value).collect()
        };
        steps.push(Step::Finalizers {
            add: values("add")?,
            remove: values("remove")?,
            empty: finalizers
                .get("empty")
                .map_or(Ok(false), |flag| flag.flag())?,
        });
    }
    if let Some(delete) = node.get("delete")
        && delete.flag()?
    {
        steps.push(Step::Delete);
    }
    if let Some(subresource) = node.get("statusSubresource")
        && subresource.text()? != "status"
    {
        return subresource.fail("only the status is written");
    }
    if let Some(template) = node.get("statusTemplate") {
        // KWOK's documents may have an empty one beside what else happens.
        if !template.text()?.trim().is_empty() {
            steps.push(Step::Status {
                template: template.template()?,
                strategic: true,
            });
        }
    }
    let patches = node.get("patches");
    let patches = patches.map_or(Ok(Vec::new()), |all| all.items())?;
    for patch in node.get("patch").into_iter().chain(patches) {
        steps.push(status_patch(&patch)?);
    }
    Ok(steps)
}

fn status_patch(patch: &Node<'_>) -> Result<Step, At> {
    patch.fields(&["subresource", "root", "template", "type"])?;
    for key in ["subresource", "root"] {
        let found = patch.get(key);
        match found {
            Some(found) if found.text()? != "status" => {
                return found.fail("only the status is written");
            }
            Some(_) => {}
            None => return patch.fail(format!("{key} must be status")),
        }
    }
    let strategic = match patch.get("type") {
        None => true,
        Some(type_) => match type_.text()? {
            "strategic" => true,
            "merge" => false,
            other => return type_.fail(format!("patches of type {other:?} are not supported")),
        },
    };
    match patch.get("template") {
        Some(template) => Ok(Step::Status {
            template: template.template()?,
            strategic,
        }),
        None => patch.fail("template is required"),
    }
}
