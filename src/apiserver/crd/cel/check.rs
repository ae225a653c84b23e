//! Rules as they are written: whether they compile, what they may cost, and whether what they compare can be compared.
use super::super::schema::Props;
use super::declare::{REQUEST, declare};
use crate::cel::cost::{Declared, estimate};
use crate::cel::{Environment, Type};
use crate::object::Document;
use crate::object::field::{ErrorKind, Errors, Path};
use serde_json::Value;

/// What one rule may cost, over all places it is evaluated at.
const PER_RULE: u64 = 10_000_000;
/// What all rules of a schema may cost.
const PER_SCHEMA: u64 = 100_000_000;

/// Checks the rules in a schema. `unchanged`: the schema was accepted before, so that its rules may cost what they cost.
pub(crate) fn check_schema(schema: &Value, unchanged: bool, path: &Path, errors: &mut Errors) {
    let mut check = Check {
        unchanged,
        errors,
        total: 0,
        costs: Vec::new(),
    };
    let root = Spot {
        path: path.clone(),
        root: true,
        times: Some(1),
        uncorrelated: None,
    };
    check.walk(schema, &root);
    let Check {
        total, mut costs, ..
    } = check;
    if total > PER_SCHEMA {
        costs.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, _) in costs.into_iter().take(4) {
            errors.forbidden(
                path,
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            );
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path.clone(), &exceeds(what, total, PER_SCHEMA));
    }
}

/// A place in a schema.
struct Spot {
    path: Path,
    root: bool,
    /// How many values there can be; `None`: as many as fit into a request.
    times: Option<u64>,
    /// The place above which values cannot be compared with what they were.
    uncorrelated: Option<Path>,
}

struct Check<'e> {
    unchanged: bool,
    errors: &'e mut Errors,
    total: u64,
    costs: Vec<(Path, u64)>,
}

impl Check<'_> {
    fn walk(&mut self, schema: &Value, spot: &Spot) {
        let times = |limit: &str| {
            let limit = schema
                .i64_at(&[limit])
                .and_then(|limit| u64::try_from(limit).ok());
            spot.times
                .zip(limit)
                .map(|(times, limit)| times.saturating_mul(limit))
        };
        let below = |path: Path, schema: &Value, times: Option<u64>| Spot {
            path,
            root: schema.bool_at(&["x-kubernetes-embedded-resource"]) == Some(true),
            times,
            uncorrelated: spot.uncorrelated.clone(),
        };
        if let Some(additional) = schema
            .get("additionalProperties")
            .filter(|value| value.is_object())
        {
            let path = spot.path.child("additionalProperties");
            self.walk(additional, &below(path, additional, times("maxProperties")));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let path = spot.path.child("properties").key(name);
            self.walk(property, &below(path, property, spot.times));
        }
        if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
            let mut inner = below(spot.path.child("items"), items, times("maxItems"));
            if schema.str_at(&["x-kubernetes-list-type"]) != "map" {
                inner.uncorrelated.get_or_insert_with(|| spot.path.clone());
            }
            self.walk(items, &inner);
        }
        let rules = schema.list_at(&["x-kubernetes-validations"]);
        if rules.is_empty() {
            return;
        }
        let props = Props::parse(schema);
        let at = spot.path.child("x-kubernetes-validations");
        let Some((type_, declared)) = declare(&props, spot.root) else {
            let why =
                "internal error: failed to retrieve type information for x-kubernetes-validations";
            self.errors
                .push(ErrorKind::Internal, at, format!("Internal error: {why}"));
            return;
        };
        for (index, rule) in rules.iter().enumerate() {
            self.rule(rule, &at.index(index), &type_, &declared, spot);
        }
    }

    fn rule(&mut self, rule: &Value, path: &Path, type_: &Type, declared: &Declared, spot: &Spot) {
        let text = rule.str_at(&["rule"]);
        if text.trim().is_empty() {
            return;
        }
        let optional = rule.bool_at(&["optionalOldSelf"]) == Some(true);
        let old = if optional {
            Type::Unknown
        } else {
            type_.clone()
        };
        let environment = Environment {
            only: Some(vec![("self", type_.clone()), ("oldSelf", old)]),
            ..Environment::default()
        };
        let at = path.child("rule");
        let (program, found) = match environment.compile(text, &[]) {
            Ok(compiled) => compiled,
            Err(why) => {
                self.refuse(at, rule, &why);
                return;
            }
        };
        if !found.is_unknown() && found != Type::Bool {
            self.refuse(at, rule, "cel expression must evaluate to a bool");
            return;
        }
        let times = spot.times.unwrap_or(REQUEST / (declared.least_bytes + 1));
        let roots = [("self", declared), ("oldSelf", declared)];
        let cost = estimate(&program, &roots).saturating_mul(times);
        self.observe("estimated rule cost", at.clone(), cost);
        let message = rule.str_at(&["messageExpression"]);
        if !message.is_empty() {
            let at = path.child("messageExpression");
            match environment.compile(message, &[]) {
                Err(why) => self.refuse(at, rule, &format!("messageExpression {why}")),
                Ok((_, found)) if !found.is_unknown() && found != Type::String => {
                    self.refuse(at, rule, "messageExpression must evaluate to a string");
                }
                Ok((program, _)) => {
                    let cost = estimate(&program, &roots);
                    self.observe("estimated messageExpression cost", at, cost);
                }
            }
        }
        if program.mentions("oldSelf") {
            if let Some(within) = &spot.uncorrelated {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
                );
                self.errors.invalid(at, text, &why);
            }
        } else if rule.get("optionalOldSelf").is_some_and(Value::is_boolean) {
            self.errors.invalid(
                path.child("optionalOldSelf"),
                optional,
                "may not be set if oldSelf is not used in rule",
            );
        }
    }

    fn observe(&mut self, what: &str, path: Path, cost: u64) {
        if cost > PER_RULE && !self.unchanged {
            self.errors
                .forbidden(path.clone(), &exceeds(what, cost, PER_RULE));
        }
        self.total = self.total.saturating_add(cost);
        if cost > 0 {
            self.costs.push((path, cost));
        }
    }

    /// An error that shows the rule, as the real server keeps it.
    fn refuse(&mut self, path: Path, rule: &Value, why: &str) {
        let text = |field: &str| Value::from(rule.str_at(&[field]));
        let or_null = |field: &str| rule.get(field).cloned().unwrap_or_default();
        let shown = format!(
            "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
            go(&text("rule")),
            go(&text("message")),
            go(&text("messageExpression")),
            or_null("reason"),
            go(&text("fieldPath")),
            or_null("optionalOldSelf"),
        );
        let message = format!("Invalid value: {shown}: {why}");
        self.errors.push(ErrorKind::Invalid, path, message);
    }
}

/// JSON as Go writes it: what means something in HTML is escaped.
fn go(value: &Value) -> String {
    let mut text = value.to_string();
    for (sign, escaped) in [("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")] {
        text = text.replace(sign, escaped);
    }
    text
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
