//! KWOK's `Stage` documents (`kwok.x-k8s.io/v1alpha1`): how pretended pods and nodes come from one state to the next.
//!
//! A stage says which objects it is for, how long they wait, and what happens to them then: a new status from a template, an
//! event, other finalizers, the end. Of several stages that an object fits, chance decides by their weights.

mod play;
mod query;
mod read;
mod template;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

pub(super) use self::play::{Outcome, Place};
use self::query::Query;
use self::template::Template;
use crate::clock::Clock;

/// Why a document cannot be used as a stage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The text is no YAML.
    #[error("document {document}: {why}")]
    Syntax {
        /// Which document, from 1.
        document: usize,
        /// Where and why.
        why: String,
    },
    /// A field has a value that is not allowed or not supported.
    #[error("stage {stage:?}: {field}: {why}")]
    Field {
        /// The stage's name.
        stage: String,
        /// The path of the field: `spec.next.statusTemplate`.
        field: String,
        /// Why.
        why: String,
    },
}

/// A step in the life of pods or nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    name: String,
    pub(super) kind: Kind,
    /// `None`: it is for nobody.
    selector: Option<Selector>,
    weight: i64,
    weight_from: Option<Query>,
    delay: Option<Delay>,
    steps: Vec<Step>,
}

/// What a stage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Node,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Selector {
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
    expressions: Vec<(Query, Operator)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

/// How long an object waits: so long, or what it says itself.
#[derive(Clone, Debug, PartialEq)]
struct Delay {
    least: Duration,
    least_from: Option<Query>,
    most: Option<Duration>,
    most_from: Option<Query>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Event {
        type_: String,
        reason: String,
        message: Template,
    },
    Finalizers {
        add: Vec<String>,
        remove: Vec<String>,
        empty: bool,
    },
    Delete,
    Status {
        template: Template,
        strategic: bool,
    },
}

impl Stage {
    /// The stages in a YAML text of one or several documents.
    ///
    /// # Errors
    /// When one is no stage for pods or nodes, or says something that is not supported; the field is named.
    pub fn parse(text: &str) -> Result<Vec<Self>, StageError> {
        read::all(text)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is for this object.
    fn fits(&self, object: &Value) -> bool {
        let Some(selector) = &self.selector else {
            return false;
        };
        let has = |field: &str, (key, value): &(String, String)| {
            let found = object.pointer(&format!("/metadata/{field}"));
            found.and_then(|found| found.get(key)?.as_str()) == Some(value.as_str())
        };
        selector.labels.iter().all(|pair| has("labels", pair))
            && selector
                .annotations
                .iter()
                .all(|pair| has("annotations", pair))
            && selector
                .expressions
                .iter()
                .all(|(query, operator)| operator.holds(query.find(object)))
    }

    /// How likely it is taken among others; `None`: the object says something that is no weight.
    fn weight(&self, object: &Value) -> Option<i64> {
        let Some(query) = &self.weight_from else {
            return Some(self.weight);
        };
        match first(query, object) {
            None => Some(self.weight),
            Some(Value::String(text)) => text.parse().ok(),
            Some(other) => other.as_i64(),
        }
    }

    /// How long an object waits in it, by chance between two bounds.
    pub(in crate::node) fn wait(&self, object: &Value, clock: &Clock) -> Duration {
        let Some(delay) = &self.delay else {
            return Duration::ZERO;
        };
        let now = clock.now();
        let said = |query: &Option<Query>, otherwise: Option<Duration>| {
            let found = query.as_ref().and_then(|query| first(query, object));
            match found {
                None => otherwise,
                Some(value) => value.as_str().and_then(|text| duration(text, now)),
            }
        };
        let least = said(&delay.least_from, Some(delay.least)).unwrap_or_default();
        match said(&delay.most_from, delay.most) {
            None => least,
            Some(most) if most <= least => most,
            Some(most) => {
                let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
                least + Duration::from_nanos(clock.below(span.max(1)))
            }
        }
    }
}

/// The first thing that a query finds, if it is something.
fn first<'a>(query: &Query, object: &'a Value) -> Option<&'a Value> {
    let found = query.find(object)?.into_iter().next()?;
    (!found.is_null()).then_some(found)
}

/// The text, number or word of JSON that a text begins with, and the rest.
fn literal(text: &str) -> Option<(Value, &str)> {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let value = values.next()?.ok()?;
        return Some((value, text.get(values.byte_offset()..)?));
    }
    let is_part =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '-' | '.');
    let end = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    Some((serde_json::from_str(number).ok()?, rest))
}

/// A time from now on, or a duration as Go writes it (`1m30s`).
fn duration(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(Duration::try_from(time.duration_since(now)).unwrap_or_default());
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, after) = rest.split_at(digits);
        let units = [
            ("ms", 0.001),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ns", 1e-9),
            ("h", 3600.0),
            ("m", 60.0),
            ("s", 1.0),
        ];
        let (unit, seconds) = units.iter().find(|(unit, _)| after.starts_with(unit))?;
        let part = number.parse::<f64>().ok()? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = after.strip_prefix(unit)?;
    }
    Some(total)
}

impl Operator {
    fn holds(&self, found: Option<Vec<&Value>>) -> bool {
        let found = found.unwrap_or_default();
        let is_one_of = |values: &[String]| {
            found.iter().any(|value| match value {
                Value::String(text) => values.contains(text),
                Value::Bool(_) | Value::Number(_) => values.contains(&value.to_string()),
                _ => false,
            })
        };
        let exists = || found.iter().any(|value| !value.is_null());
        match self {
            Self::In(values) => is_one_of(values),
            Self::NotIn(values) => !is_one_of(values),
            Self::Exists => exists(),
            Self::DoesNotExist => !exists(),
        }
    }
}

/// The stage that an object comes to next: of those it fits one by chance, by weight.
pub(super) fn next(stages: &[Stage], object: &Value, clock: &Clock) -> Option<usize> {
    let fit: Vec<usize> = (0..stages.len())
        .filter(|at| stages.get(*at).is_some_and(|stage| stage.fits(object)))
        .collect();
    if fit.len() <= 1 {
        return fit.first().copied();
    }
    let weighed = |at: &usize| {
        let weight = stages.get(*at).and_then(|stage| stage.weight(object));
        weight.map(|weight| (*at, u64::try_from(weight).unwrap_or(0)))
    };
    let weighed: Vec<(usize, u64)> = fit.iter().filter_map(weighed).collect();
    let total: u64 = weighed.iter().map(|(_, weight)| weight).sum();
    if total == 0 {
        // None has more than another; those of which nothing is known come last.
        let among = if weighed.is_empty() {
            fit
        } else {
            weighed.into_iter().map(|(at, _)| at).collect()
        };
        let at = clock.below(u64::try_from(among.len()).unwrap_or(1));
        return among.get(usize::try_from(at).unwrap_or(0)).copied();
    }
    let mut left = clock.below(total);
    for (at, weight) in weighed {
        if left < weight {
            return Some(at);
        }
        left -= weight;
    }
    None
}

#[cfg(test)]
mod tests;
