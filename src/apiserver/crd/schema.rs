//! The `openAPIV3Schema` of a version, compiled: what values are checked against.
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A schema, and those within it.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the document"
)]
pub(crate) struct Props {
    /// `""`: any.
    pub type_: String,
    pub format: String,
    pub nullable: bool,
    pub int_or_string: bool,
    pub embedded: bool,
    /// `""`: not said.
    pub list_type: String,
    pub map_keys: Vec<String>,
    pub maximum: Option<f64>,
    pub minimum: Option<f64>,
    pub exclusive_maximum: bool,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub unique_items: bool,
    pub pattern: Option<Pattern>,
    pub enum_: Option<Vec<Value>>,
    pub required: Vec<String>,
    pub properties: BTreeMap<String, Self>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Self>>,
    pub all_of: Vec<Self>,
    pub any_of: Vec<Self>,
    pub one_of: Vec<Self>,
    pub not: Option<Box<Self>>,
    #[cfg_attr(
        not(feature = "cel"),
        expect(dead_code, reason = "only rules look at defaults")
    )]
    pub default: Option<Value>,
    pub rules: Vec<Rule>,
}

/// A regular expression with its text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub text: String,
    /// `None`: not valid here, so nothing is checked by it.
    pub regex: Option<Regex>,
}

/// `additionalProperties`.
#[derive(Clone, Debug)]
pub(crate) enum Additional {
    Allowed(bool),
    Schema(Box<Props>),
}

/// One of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    not(feature = "cel"),
    expect(dead_code, reason = "rules are kept, not enforced")
)]
pub(crate) struct Rule {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: Option<String>,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

impl Props {
    /// Compiles a schema; what is not understood checks nothing.
    pub(crate) fn parse(schema: &Value) -> Self {
        let Value::Object(map) = schema else {
            return Self::default();
        };
        let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default();
        let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or_default();
        let number = |name: &str| map.get(name).and_then(Value::as_f64);
        let integer = |name: &str| map.get(name).and_then(Value::as_i64);
        Self {
            type_: text("type").to_owned(),
            format: text("format").to_owned(),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            list_type: text("x-kubernetes-list-type").to_owned(),
            map_keys: strings(map, "x-kubernetes-list-map-keys"),
            maximum: number("maximum"),
            minimum: number("minimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: integer("maxLength"),
            min_length: integer("minLength"),
            max_items: integer("maxItems"),
            min_items: integer("minItems"),
            max_properties: integer("maxProperties"),
            min_properties: integer("minProperties"),
            unique_items: flag("uniqueItems"),
            pattern: Some(text("pattern"))
                .filter(|text| !text.is_empty())
                .map(Pattern::new),
            enum_: map.get("enum").and_then(Value::as_array).cloned(),
            required: strings(map, "required"),
            properties: map
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), Self::parse(schema)))
                .collect(),
            additional: match map.get("additionalProperties") {
                Some(Value::Bool(allowed)) => Some(Additional::Allowed(*allowed)),
                Some(schema @ Value::Object(_)) => {
                    Some(Additional::Schema(Box::new(Self::parse(schema))))
                }
                _ => None,
            },
            items: map
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| Box::new(Self::parse(items))),
            all_of: list(map, "allOf"),
            any_of: list(map, "anyOf"),
            one_of: list(map, "oneOf"),
            not: map
                .get("not")
                .filter(|not| not.is_object())
                .map(|not| Box::new(Self::parse(not))),
            default: map.get("default").filter(|value| !value.is_null()).cloned(),
            rules: map
                .get("x-kubernetes-validations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(Rule::parse)
                .collect(),
        }
    }

    /// The schema of values under names that are no properties.
    pub(crate) fn additional_schema(&self) -> Option<&Self> {
        match &self.additional {
            Some(Additional::Schema(schema)) => Some(schema),
            _ => None,
        }
    }

    /// Whether there are rules in it or below it.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Self::has_rules)
            || self.additional_schema().is_some_and(Self::has_rules)
            || self.items.as_deref().is_some_and(Self::has_rules)
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            regex: Regex::new(text).ok(),
        }
    }
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let text = |name: &str| {
            let text = rule.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: rule
                .get("reason")
                .and_then(Value::as_str)
                .map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
        }
    }
}

fn strings(map: &Map<String, Value>, name: &str) -> Vec<String> {
    let items = map.get(name).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn list(map: &Map<String, Value>, name: &str) -> Vec<Props> {
    let items = map.get(name).and_then(Value::as_array);
    items.into_iter().flatten().map(Props::parse).collect()
}
