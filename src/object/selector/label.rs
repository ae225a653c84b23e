//! Label selectors, equality and set based (`k8s.io/apimachinery/pkg/labels`).

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::Value;

use super::super::field::{Errors, Path};
use super::super::name;

/// The operators that a requirement with values may have, in the order upstream names them.
const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// A parsed label selector: the requirements, all of which must hold. The default selects everything.
///
/// ```
/// use homeostat::object::LabelSelector;
/// let selector = LabelSelector::parse("app=web,tier notin (db,cache),!canary").unwrap();
/// assert!(selector.matches(&[("app".to_owned(), "web".to_owned())].into()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what, sorted.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// The value is one of these.
    In,
    /// The label is absent or its value is none of these.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// Its value is an integer greater than this.
    GreaterThan,
    /// Its value is an integer less than this.
    LessThan,
}

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    ///
    /// # Errors
    /// The text that Kubernetes gives for it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Parser::new(text).parse()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }

    /// From its requirements.
    #[must_use]
    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }

    /// From a typed selector. An absent selector is the caller's matter: it selects nothing in most places.
    ///
    /// # Errors
    /// An operator that does not exist or whose values do not fit.
    pub fn from_typed(selector: &meta::LabelSelector) -> Result<Self, String> {
        let pairs = selector
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| equal(key, value));
        let mut requirements: Vec<Requirement> = pairs.collect();
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.iter().flatten().map(String::as_str);
            requirements.push(requirement(&expression.key, &expression.operator, values)?);
        }
        Ok(Self { requirements })
    }

    /// From the JSON form of a `metav1.LabelSelector`.
    ///
    /// # Errors
    /// As [`LabelSelector::from_typed`].
    pub fn from_value(selector: &Value) -> Result<Self, String> {
        let labels = selector
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let mut requirements: Vec<Requirement> = labels
            .map(|(key, value)| equal(key, value.as_str().unwrap_or_default()))
            .collect();
        for expression in selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = |field: &str| {
                expression
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let values = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            requirements.push(requirement(
                text("key"),
                text("operator"),
                values.filter_map(Value::as_str),
            )?);
        }
        Ok(Self { requirements })
    }

    /// From equality pairs.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self {
            requirements: pairs
                .into_iter()
                .map(|(key, value)| equal(key, value))
                .collect(),
        }
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether an object fits whose labels `lookup` gives.
    pub fn matches_with<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(lookup(&requirement.key)))
    }

    /// Whether `labels` fit.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether `labels`, absent meaning none, fit.
    #[must_use]
    pub fn matches_optional(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_with(|key| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
        })
    }
}

/// The text form, which [`LabelSelector::parse`] reads back.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{requirement}")?;
        }
        Ok(())
    }
}

impl Requirement {
    /// Whether a label with this value (`None`: absent) fits.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let is_one = |value: &str| self.values.iter().any(|wanted| wanted == value);
        let compare = |greater: bool| {
            let number = value.and_then(|value| value.parse::<i64>().ok());
            let bound = self
                .values
                .first()
                .and_then(|bound| bound.parse::<i64>().ok());
            number.zip(bound).is_some_and(|(number, bound)| {
                if greater {
                    number > bound
                } else {
                    number < bound
                }
            })
        };
        match self.operator {
            Operator::In => value.is_some_and(is_one),
            Operator::NotIn => !value.is_some_and(is_one),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(true),
            Operator::LessThan => compare(false),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::In if self.values.len() == 1 => write!(f, "{key}={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn if self.values.len() == 1 => write!(f, "{key}!={values}"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

fn equal(key: &str, value: &str) -> Requirement {
    Requirement {
        key: key.to_owned(),
        operator: Operator::In,
        values: vec![value.to_owned()],
    }
}

/// A requirement of a `metav1.LabelSelector`.
fn requirement<'a>(
    key: &str,
    operator: &str,
    values: impl Iterator<Item = &'a str>,
) -> Result<Requirement, String> {
    let mut values: Vec<String> = values.map(str::to_owned).collect();
    values.sort();
    let operator = match operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(format!("{other:?} is not a valid label selector operator")),
    };
    let takes_values = matches!(operator, Operator::In | Operator::NotIn);
    if takes_values && values.is_empty() {
        return Err(
            "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
                .to_owned(),
        );
    }
    if !takes_values && !values.is_empty() {
        let shown = serde_json::json!(values);
        return Err(format!(
            "values: Invalid value: {shown}: values set must be empty for exists and does not exist"
        ));
    }
    Ok(Requirement {
        key: key.to_owned(),
        operator,
        values,
    })
}

/// A recursive-descent parser over the selector's tokens.
struct Parser<'a> {
    tokens: Vec<&'a str>,
    next: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            tokens: tokens(text),
            next: 0,
        }
    }

    /// The token at hand; `""` at the end.
    fn peek(&self) -> &'a str {
        self.tokens.get(self.next).copied().unwrap_or_default()
    }

    fn take(&mut self) -> &'a str {
        let token = self.peek();
        self.next += 1;
        token
    }

    fn parse(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            let token = self.peek();
            if token.is_empty() {
                return Ok(requirements);
            }
            if !is_identifier(token) && token != "!" {
                return Err(format!(
                    "found '{token}', expected: !, identifier, or 'end of string'"
                ));
            }
            let requirement = self
                .requirement()
                .map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirements.push(requirement);
            match self.take() {
                "" => return Ok(requirements),
                "," => {
                    let token = self.peek();
                    if !is_identifier(token) && token != "!" {
                        return Err(format!("found '{token}', expected: identifier after ','"));
                    }
                }
                token => return Err(format!("found '{token}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == "!";
        if absent {
            self.take();
        }
        let key = self.take();
        if !is_identifier(key) {
            return Err(format!("found '{key}', expected: identifier"));
        }
        check_key(key)?;
        let token = self.peek();
        if absent || token.is_empty() || token == "," {
            let operator = if absent {
                Operator::DoesNotExist
            } else {
                Operator::Exists
            };
            return Ok(Requirement {
                key: key.to_owned(),
                operator,
                values: Vec::new(),
            });
        }
        self.take();
        let (operator, set) = match token {
            "=" | "==" => (Operator::In, false),
            "!=" => (Operator::NotIn, false),
            "in" => (Operator::In, true),
            "notin" => (Operator::NotIn, true),
            ">" => (Operator::GreaterThan, false),
            "<" => (Operator::LessThan, false),
            other => return Err(format!("found '{other}', expected: {BINARY_OPERATORS}")),
        };
        let mut values = if set {
            self.values()?
        } else {
            vec![self.value()?.to_owned()]
        };
        values.sort();
        values.dedup();
        check_values(key, operator, &values)?;
        Ok(Requirement {
            key: key.to_owned(),
            operator,
            values,
        })
    }

    /// One value; it may be empty.
    fn value(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            "" | "," => Ok(""),
            token if is_identifier(token) => Ok(self.take()),
            token => Err(format!("found '{token}', expected: identifier")),
        }
    }

    /// Values in parentheses; each may be empty.
    fn values(&mut self) -> Result<Vec<String>, String> {
        let token = self.take();
        if token != "(" {
            return Err(format!("found '{token}' expected: '('"));
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                token if is_identifier(token) => {
                    values.push(self.take().to_owned());
                    match self.take() {
                        ")" => return Ok(values),
                        "," => {
                            if self.peek() == ")" {
                                self.take();
                                values.push(String::new());
                                return Ok(values);
                            }
                        }
                        token => return Err(format!("found '{token}', expected: ',' or ')'")),
                    }
                }
                "," => {
                    self.take();
                    values.push(String::new());
                    if self.peek() == ")" {
                        self.take();
                        values.push(String::new());
                        return Ok(values);
                    }
                }
                ")" => {
                    self.take();
                    values.push(String::new());
                    return Ok(values);
                }
                token => return Err(format!("found '{token}', expected: ',', ')' or identifier")),
            }
        }
    }
}

/// Splits into identifiers (everything between white space and the special characters) and operators.
fn tokens(text: &str) -> Vec<&str> {
    let is_special = |c: char| "=!(),<>".contains(c);
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = if is_special(first) {
            if rest.starts_with("==") || rest.starts_with("!=") {
                2
            } else {
                1
            }
        } else {
            rest.find(|c: char| is_special(c) || c.is_whitespace())
                .unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

fn is_identifier(token: &str) -> bool {
    token.starts_with(|c: char| !"=!(),<>".contains(c))
}

fn check_key(key: &str) -> Result<(), String> {
    first_error("<nil>", key, name::qualified(key))
}

fn check_values(key: &str, operator: Operator, values: &[String]) -> Result<(), String> {
    let numeric = matches!(operator, Operator::GreaterThan | Operator::LessThan);
    for (index, value) in values.iter().enumerate() {
        if numeric && value.parse::<i64>().is_err() {
            let problem = "for 'Gt', 'Lt' operators, the value must be an integer".to_owned();
            return first_error(&format!("values[{index}]"), value, vec![problem]);
        }
        first_error(
            &format!("values[{index}][{key}]"),
            value,
            name::label_value(value),
        )?;
    }
    Ok(())
}

fn first_error(path: &str, value: &str, problems: Vec<String>) -> Result<(), String> {
    let Some(problem) = problems.into_iter().next() else {
        return Ok(());
    };
    let mut errors = Errors::new();
    errors.invalid(Path::new(path), value, &problem);
    Err(errors.0.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matches_as_documented() {
        let labels = BTreeMap::from([
            ("app".to_owned(), "web".to_owned()),
            ("size".to_owned(), "3".to_owned()),
        ]);
        for (text, fits) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("x!=web", true),
            ("app in (web,db)", true),
            ("app in (db)", false),
            ("x in (a)", false),
            ("app notin (db)", true),
            ("x notin (a)", true),
            ("!x", true),
            ("size>2", true),
            ("size>3", false),
            ("size<4", true),
            ("x>1", false),
            ("app=", false),
            ("app in (,web)", true),
            (" app = web , size in ( 3 ) ", true),
            ("app=web,size=4", false),
        ] {
            assert_eq!(
                LabelSelector::parse(text).map(|selector| selector.matches(&labels)),
                Ok(fits),
                "{text}"
            );
        }
    }

    #[test]
    fn refusals() {
        for (text, error) in [
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            (
                "=b",
                "found '=', expected: !, identifier, or 'end of string'",
            ),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            (
                "a in b",
                "unable to parse requirement: found 'b' expected: '('",
            ),
            ("a,", "found '', expected: identifier after ','"),
            (
                "!",
                "unable to parse requirement: found '', expected: identifier",
            ),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(LabelSelector::parse(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn typed_and_json_forms_agree() {
        let json = serde_json::json!({
            "matchLabels": {"app": "web"},
            "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}, {"key": "x", "operator": "DoesNotExist"}],
        });
        let typed: meta::LabelSelector = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(
            LabelSelector::from_typed(&typed),
            LabelSelector::from_value(&json)
        );
        assert_eq!(
            LabelSelector::from_value(&json).unwrap().to_string(),
            "app=web,tier!=db,!x"
        );
        assert!(
            LabelSelector::from_value(
                &serde_json::json!({"matchExpressions": [{"key": "a", "operator": "In"}]})
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-c=!(),<> 1in.\\-/]*") {
            let _ = LabelSelector::parse(&text);
        }

        #[test]
        fn reads_back_what_it_shows(text in "[a-c]{1,3}(=[a-c]{0,2}|!=[a-c]{1,2}| in \\([a-c],[d-f]\\)|>[0-9]{1,3})?(,![g-h])?") {
            let selector = LabelSelector::parse(&text).unwrap();
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
        }
    }
}
