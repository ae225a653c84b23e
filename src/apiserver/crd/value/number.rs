//! Numbers: ranges of their formats, bounds, multiples; and how Go shows and compares them.
use super::{Outcome, Props, within};
use crate::object::field::ErrorKind;
use serde_json::{Number, Value};
use std::fmt;

/// Integers above are not exact as floating point numbers.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// Whether a number has no fraction.
pub(super) fn is_integral(value: &Value) -> bool {
    value.as_i64().is_some() || value.as_f64().is_some_and(is_whole)
}

fn is_whole(value: f64) -> bool {
    value.abs() <= EXACT && value.fract() == 0.0
}

/// Whether two values differ; numbers are compared by value.
pub(crate) fn unequal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a != b && a.as_f64() != b.as_f64(),
        _ => a != b,
    }
}

pub(super) fn check(schema: &Props, number: &Number, name: &str, outcome: &mut Outcome) {
    let type_ = if schema.int_or_string {
        ""
    } else {
        schema.type_.as_str()
    };
    let value = number.as_f64().unwrap_or_default();
    if !in_range(type_, &schema.format, number.as_i64(), value) {
        outcome.loose(&range("Checked", type_, &schema.format, name));
    }
    let shown = Value::Number(number.clone());
    let invalid = |outcome: &mut Outcome, why: String| {
        let why = format!("{} {why}", within(name));
        outcome.invalid(ErrorKind::Invalid, name, &shown, &why);
    };
    let bound = |outcome: &mut Outcome, what: &str, bound: f64| {
        if !in_range(type_, &schema.format, None, bound) {
            outcome.loose(&range(what, type_, &schema.format, name));
        }
    };
    if let Some(factor) = schema.multiple_of {
        bound(outcome, "MultipleOf", factor);
        if factor <= 0.0 {
            invalid(
                outcome,
                format!(
                    "factor MultipleOf declared for {name} must be positive: {}",
                    Float(factor)
                ),
            );
        } else if !is_whole(value / factor) {
            invalid(
                outcome,
                format!("should be a multiple of {}", Float(factor)),
            );
        }
    }
    if let Some(most) = schema.maximum {
        bound(outcome, "Maximum boundary", most);
        if schema.exclusive_maximum && value >= most {
            invalid(outcome, format!("should be less than {}", Float(most)));
        } else if !schema.exclusive_maximum && value > most {
            invalid(
                outcome,
                format!("should be less than or equal to {}", Float(most)),
            );
        }
    }
    if let Some(least) = schema.minimum {
        bound(outcome, "Minimum boundary", least);
        if schema.exclusive_minimum && value <= least {
            invalid(outcome, format!("should be greater than {}", Float(least)));
        } else if !schema.exclusive_minimum && value < least {
            invalid(
                outcome,
                format!("should be greater than or equal to {}", Float(least)),
            );
        }
    }
    outcome.right += 1;
}

/// Whether a number is one of the type and the format.
fn in_range(type_: &str, format: &str, integer: Option<i64>, value: f64) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the loss is what is asked about"
    )]
    match (type_, format) {
        ("integer", "int32") => match integer {
            Some(integer) => i32::try_from(integer).is_ok(),
            None => {
                value.fract() == 0.0 && value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX)
            }
        },
        ("integer", "uint32") => {
            value.fract() == 0.0 && value >= 0.0 && value <= f64::from(u32::MAX)
        }
        ("integer", "uint64") => value.fract() == 0.0 && (0.0..1.9e19).contains(&value),
        ("integer", _) => integer.is_some() || (value.fract() == 0.0 && value.abs() < 9.3e18),
        (_, "float" | "float32") => (value as f32).is_finite(),
        _ => true,
    }
}

fn range(what: &str, type_: &str, format: &str, name: &str) -> String {
    if format.is_empty() {
        format!("{what} value must be of type {type_} (default format) in {name}")
    } else {
        format!("{what} value must be of type {type_} with format {format} in {name}")
    }
}

/// A value as field errors show it: strings quoted, the rest as JSON with Go's numbers.
pub(crate) struct Shown<'a>(pub &'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => write!(f, "{text:?}"),
            Value::Number(number) if number.is_f64() => {
                write!(f, "{}", Float(number.as_f64().unwrap_or_default()))
            }
            other => write!(f, "{other}"),
        }
    }
}

/// A floating point number as Go's `%v` writes it.
pub(super) struct Float(pub f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.abs();
        if magnitude == 0.0 || (1e-4..1e21).contains(&magnitude) {
            return write!(f, "{}", self.0);
        }
        let text = format!("{:e}", self.0);
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        write!(f, "{mantissa}e{sign}{digits:0>2}")
    }
}
