//! What a scalar of YAML stands for, by the rules of Go's parser.
use crate::object::base64;
use serde_json::{Number, Value};

/// The tags that the rules know.
const CORE: &str = "tag:yaml.org,2002:";

/// A scalar, without quotes or with, and with the tag that is written before it.
///
/// # Errors
/// When it is not what the tag says, or cannot be told in JSON.
pub(super) fn resolve(text: &str, plain: bool, tag: Option<String>) -> Result<Value, String> {
    let own = || Value::String(text.to_owned());
    let Some(tag) = tag else {
        return if plain { guess(text) } else { Ok(own()) };
    };
    let Some(wanted) = tag.strip_prefix(CORE) else {
        return Ok(own());
    };
    if wanted == "binary" {
        let decoded = base64::decode(text);
        let why = "yaml: !!binary value contains invalid base64 data";
        let bytes = decoded.ok_or_else(|| why.to_owned())?;
        return Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    }
    if !matches!(wanted, "bool" | "int" | "float" | "null") {
        return Ok(own());
    }
    let value = guess(text)?;
    let found = match &value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) if wanted == "float" => "float",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        _ => "str",
    };
    if found == wanted {
        Ok(value)
    } else {
        Err(format!(
            "yaml: cannot decode !!{found} `{text}` as a !!{wanted}"
        ))
    }
}

/// What a text without quotes stands for.
fn guess(text: &str) -> Result<Value, String> {
    Ok(match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            true.into()
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            false.into()
        }
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        ".nan" | ".NaN" | ".NAN" => return Err(unsupported("NaN")),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Err(unsupported("+Inf")),
        "-.inf" | "-.Inf" | "-.INF" => return Err(unsupported("-Inf")),
        _ => number(text).unwrap_or_else(|| text.into()),
    })
}

fn unsupported(number: &str) -> String {
    format!("json: unsupported value: {number}")
}

fn number(text: &str) -> Option<Value> {
    let first = text.bytes().next()?;
    if !matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.') {
        return None;
    }
    let plain = text.replace('_', "");
    if first != b'.'
        && let Some(integer) = integer(&plain)
    {
        return Some(integer);
    }
    is_float(&plain)
        .then(|| plain.parse().ok())
        .flatten()
        .map(shown)
}

/// An integer in Go's notation, whose base is told by how it begins.
fn integer(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, lower.get(2..)?),
        [b'0', b'b', ..] => (2, lower.get(2..)?),
        [b'0', b'o', ..] => (8, lower.get(2..)?),
        [b'0', _, ..] => (8, lower.get(1..)?),
        _ => (10, &*lower),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let Ok(size) = u64::from_str_radix(digits, base) else {
        // Beyond 64 bits it is a float for whoever reads the JSON.
        let large = digits.chars().fold(0.0, |sum, digit| {
            sum * f64::from(base) + f64::from(digit.to_digit(base).unwrap_or(0))
        });
        return Some(shown(if negative { -large } else { large }));
    };
    if negative {
        let value = 0_i64.checked_sub_unsigned(size);
        #[expect(clippy::cast_precision_loss, reason = "as Go's JSON decoder")]
        return Some(value.map_or_else(|| shown(-(size as f64)), Value::from));
    }
    Some(size.into())
}

/// Whether it is written as YAML writes floats.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = match mantissa.split_once('.') {
        Some((whole, part)) => (whole, Some(part)),
        None => (mantissa, None),
    };
    let mantissa = digits(whole)
        && part.is_none_or(digits)
        && (!whole.is_empty() || part.is_some_and(|part| !part.is_empty()));
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    mantissa && exponent
}

/// A float as it is after it has been written in JSON and read again: a whole one that is not too large is an integer.
fn shown(float: f64) -> Value {
    const LONGEST: f64 = 1e21;
    if float.fract() == 0.0 && float.abs() < LONGEST {
        let text = format!("{float:.0}");
        if let Ok(integer) = text.parse::<i64>() {
            return integer.into();
        }
        if let Ok(integer) = text.parse::<u64>() {
            return integer.into();
        }
    }
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}
