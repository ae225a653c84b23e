//! JSONPath, as printer columns use it (`client-go/util/jsonpath`): fields, indices, slices, wildcards, filters, recursion.
use super::value::unequal;
use serde_json::Value;
use std::cmp::Ordering;

/// A path.
#[derive(Clone, Debug)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Wildcard,
    Slice(Option<i64>, Option<i64>, i64),
    Index(i64),
    Filter(Term, Option<(Operator, Term)>),
    Recursive,
    Union(Vec<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Clone, Debug)]
enum Term {
    Path(JsonPath),
    Literal(Value),
}

impl JsonPath {
    /// Parses a path such as `.status.conditions[?(@.type=="Ready")].status`; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                steps.push(Step::Recursive);
                rest = after;
                if !rest.starts_with('[') {
                    let (name, after) = name(rest)?;
                    steps.push(named(name));
                    rest = after;
                }
            } else if let Some(after) = rest.strip_prefix('.') {
                if after.starts_with('[') || after.is_empty() {
                    rest = after;
                    continue;
                }
                let (name, after) = name(after)?;
                steps.push(named(name));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (inner, after) = bracket(after)?;
                steps.push(subscript(inner)?);
                rest = after;
            } else {
                let (name, after) = name(rest)?;
                steps.push(named(name));
                rest = after;
            }
        }
        Some(Self(steps))
    }

    /// The first value it finds; `None` when it finds none or leads nowhere.
    pub(crate) fn first<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.find(document).into_iter().next()
    }

    fn find<'a>(&self, document: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![document];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found
    }
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Field(name) => value.get(name).into_iter().collect(),
            Self::Wildcard => children(value),
            Self::Index(index) => match value {
                Value::Array(items) => at(items, *index).into_iter().collect(),
                _ => Vec::new(),
            },
            Self::Slice(from, to, step) => match value {
                Value::Array(items) => slice(items, *from, *to, *step),
                _ => Vec::new(),
            },
            Self::Filter(left, test) => match value {
                Value::Array(items) => items
                    .iter()
                    .filter(|item| matches(item, left, test.as_ref()))
                    .collect(),
                _ => Vec::new(),
            },
            Self::Recursive => {
                let mut all = vec![value];
                let mut next = 0;
                while let Some(value) = all.get(next).copied() {
                    all.extend(children(value));
                    next += 1;
                }
                all
            }
            Self::Union(steps) => steps.iter().flat_map(|step| step.of(value)).collect(),
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn at(items: &[Value], index: i64) -> Option<&Value> {
    let length = i64::try_from(items.len()).ok()?;
    let index = if index < 0 { index + length } else { index };
    items.get(usize::try_from(index).ok()?)
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>, step: i64) -> Vec<&Value> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |index: i64| if index < 0 { index + length } else { index };
    let from = place(from.unwrap_or(0)).clamp(0, length);
    let to = place(to.unwrap_or(length)).clamp(0, length);
    let step = usize::try_from(step).unwrap_or(1).max(1);
    (from..to)
        .step_by(step)
        .filter_map(|index| at(items, index))
        .collect()
}

fn matches(item: &Value, left: &Term, test: Option<&(Operator, Term)>) -> bool {
    let left = left.of(item);
    let Some((operator, right)) = test else {
        return left.is_some();
    };
    let (Some(left), Some(right)) = (left, right.of(item)) else {
        return false;
    };
    let order = match (&left, &right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => (!unequal(a, b)).then_some(Ordering::Equal),
    };
    match operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::NotEqual => order != Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessEqual => order.is_some_and(Ordering::is_le),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterEqual => order.is_some_and(Ordering::is_ge),
    }
}

impl Term {
    fn of(&self, item: &Value) -> Option<Value> {
        match self {
            Self::Path(path) => path.first(item).cloned(),
            Self::Literal(value) => Some(value.clone()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix('@') {
            return JsonPath::parse(path).map(Self::Path);
        }
        for quote in ['"', '\''] {
            if let Some(inner) = text.strip_prefix(quote) {
                let inner = inner.strip_suffix(quote)?;
                return Some(Self::Literal(inner.replace('\\', "").into()));
            }
        }
        serde_json::from_str(text).ok().map(Self::Literal)
    }
}

fn named(name: String) -> Step {
    if name == "*" {
        Step::Wildcard
    } else {
        Step::Field(name)
    }
}

/// A field's name, in which a backslash takes the meaning from a dot.
fn name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '.' | '[' => {
                return (!name.is_empty()).then(|| (name, text.get(at..).unwrap_or_default()));
            }
            '\\' => name.extend(characters.next().map(|(_, character)| character)),
            _ => name.push(character),
        }
    }
    (!name.is_empty()).then_some((name, ""))
}

/// What is between brackets, and what comes after.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let (mut depth, mut quote) = (0, None);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn subscript(text: &str) -> Option<Step> {
    let text = text.trim();
    if text == "*" {
        return Some(Step::Wildcard);
    }
    if let Some(filter) = text
        .strip_prefix("?(")
        .and_then(|text| text.strip_suffix(')'))
    {
        return filter_step(filter);
    }
    if text.starts_with(['"', '\'']) || text.contains(',') {
        let parts = text.split(',').map(|part| {
            let part = part.trim();
            match part.strip_prefix(['"', '\'']) {
                Some(inner) => inner
                    .strip_suffix(['"', '\''])
                    .map(|name| Step::Field(name.to_owned())),
                None => subscript(part),
            }
        });
        let mut parts: Vec<Step> = parts.collect::<Option<_>>()?;
        return if parts.len() == 1 {
            parts.pop()
        } else {
            Some(Step::Union(parts))
        };
    }
    if !text.contains(':') {
        return text.parse().ok().map(Step::Index);
    }
    let number = |part: Option<&str>| match part.map(str::trim) {
        None | Some("") => Some(None),
        Some(part) => part.parse().ok().map(Some),
    };
    let mut parts = text.split(':');
    let (from, to) = (number(parts.next())?, number(parts.next())?);
    let step = number(parts.next())?.unwrap_or(1);
    Some(Step::Slice(from, to, step))
}

fn filter_step(text: &str) -> Option<Step> {
    // Longer operators first: `<` begins `<=`.
    for (sign, operator) in [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessEqual),
        (">=", Operator::GreaterEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ] {
        if let Some((left, right)) = text.split_once(sign) {
            let test = (operator, Term::parse(right)?);
            return Some(Step::Filter(Term::parse(left)?, Some(test)));
        }
    }
    Some(Step::Filter(Term::parse(text)?, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let document = json!({
            "metadata": {"annotations": {"a.b/c": "x"}},
            "spec": {"l": ["a", "b", "c"], "o": {"x": 1}},
            "status": {"conditions": [{"type": "A", "n": 1}, {"type": "Ready", "n": 5, "status": "True"}]},
        });
        for (path, expected) in [
            (".spec.l", Some(json!(["a", "b", "c"]))),
            (".spec.l[0]", Some(json!("a"))),
            (".spec.l[-1]", Some(json!("c"))),
            (".spec.l[1:]", Some(json!("b"))),
            (".spec.l[*]", Some(json!("a"))),
            (".spec.nope.y", None),
            (".spec.l[7]", None),
            (".metadata.annotations.a\\.b/c", Some(json!("x"))),
            (".metadata.annotations['a.b/c']", Some(json!("x"))),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                Some(json!("True")),
            ),
            (".status.conditions[?(@.type=='Ready')].n", Some(json!(5))),
            (".status.conditions[?(@.n>1)].type", Some(json!("Ready"))),
            (".status.conditions[?(@.status)].type", Some(json!("Ready"))),
            ("..x", Some(json!(1))),
        ] {
            let found = JsonPath::parse(path).unwrap();
            assert_eq!(found.first(&document).cloned(), expected, "{path}");
        }
        assert!(JsonPath::parse(".spec[").is_none());
    }
}
