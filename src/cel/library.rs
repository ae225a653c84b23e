//! Functions of the libraries that do otherwise in kube-cel than in the real server.
use super::eval::Failure;
use super::url::Url;
use super::{Value, function, operator, value};
use std::sync::Arc;

/// What a function gives; `None`: kube-cel's does as it should.
pub(super) fn call(
    name: &str,
    receiver: Option<&Value>,
    arguments: &[Value],
) -> Option<Result<Value, Failure>> {
    match (receiver, arguments) {
        (Some(Value::Opaque(url)), []) => match url.downcast_ref::<Url>() {
            Some(url) => url.get(name).map(Ok),
            None if name == "isInteger" => {
                let number = function::call("asInteger", receiver, arguments);
                Some(Ok(Value::Bool(number.is_ok())))
            }
            None => None,
        },
        (Some(Value::List(items)), []) => of_list(name, items),
        (Some(Value::String(text)), arguments) => of_text(name, text, arguments),
        (None, [Value::String(text), lenient @ ..]) => of_string(name, text, lenient),
        (None, [Value::Timestamp(at)]) => match name {
            "int" => Some(Ok(Value::Int(at.timestamp()))),
            "string" => arguments.first().map(|at| Ok(string(value::time(at)))),
            _ => None,
        },
        (None, [Value::Int(seconds)]) if name == "timestamp" => Some(since_epoch(*seconds)),
        _ => None,
    }
}

fn string(text: impl Into<String>) -> Value {
    Value::String(Arc::new(text.into()))
}

fn of_list(name: &str, items: &[Value]) -> Option<Result<Value, Failure>> {
    match (name, items) {
        ("min" | "max", []) => {
            let why = format!("{name} called on empty list");
            Some(Err(Failure::Error(why)))
        }
        ("sum", [first @ Value::Duration(_), rest @ ..]) => {
            let sum = rest
                .iter()
                .try_fold(first.clone(), |sum, one| operator::add(sum, one.clone()));
            Some(sum)
        }
        ("isSorted", [Value::Bytes(_), ..]) => {
            let bytes = items.iter().map(|item| match item {
                Value::Bytes(bytes) => Some(bytes.as_slice()),
                _ => None,
            });
            let bytes: Option<Vec<&[u8]>> = bytes.collect();
            Some(Ok(Value::Bool(bytes?.is_sorted())))
        }
        _ => None,
    }
}

/// Functions that are called on a text.
fn of_text(name: &str, text: &str, arguments: &[Value]) -> Option<Result<Value, Failure>> {
    match (name, arguments) {
        ("replace", [Value::String(from), Value::String(to), Value::Int(most)]) => {
            // Less than nothing is everything.
            let most = usize::try_from(*most).unwrap_or(usize::MAX);
            Some(Ok(string(text.replacen(from.as_str(), to, most))))
        }
        ("split", [Value::String(by), most @ ..]) if by.is_empty() => {
            let most = match most {
                [Value::Int(most)] => usize::try_from(*most).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let mut parts = Vec::new();
            let mut rest = text;
            while let Some(first) = rest.chars().next().filter(|_| parts.len() < most) {
                let last = parts.len() + 1 == most;
                let (part, after) = rest.split_at(if last { rest.len() } else { first.len_utf8() });
                parts.push(string(part));
                rest = after;
            }
            Some(Ok(Value::List(Arc::new(parts))))
        }
        ("charAt" | "substring", [Value::Int(from), to @ ..]) => {
            let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
            let to = match to {
                [Value::Int(to)] => *to,
                _ => length,
            };
            let mut outside = [*from, to]
                .into_iter()
                .filter(|at| !(0..=length).contains(at));
            let why = match outside.next() {
                Some(at) => format!("index out of range: {at}"),
                None if *from > to => {
                    format!("invalid substring range. start: {from}, end: {to}")
                }
                None => return None,
            };
            Some(Err(Failure::Error(why)))
        }
        _ => None,
    }
}

/// Functions whose first argument is a text.
fn of_string(name: &str, text: &Arc<String>, lenient: &[Value]) -> Option<Result<Value, Failure>> {
    match (name, lenient) {
        ("url", []) => Some(
            Url::parse(text)
                .map(|url| Value::Opaque(Arc::new(url)))
                .map_err(|why| {
                    let why = format!("URL parse error during conversion from string: {why}");
                    Failure::Error(why)
                }),
        ),
        ("isURL", []) => Some(Ok(Value::Bool(Url::parse(text).is_ok()))),
        ("semver", _) => {
            // What a version was built from says nothing of its order.
            let (version, _) = text.split_once('+')?;
            let argument = Value::String(text.clone());
            let asked = [&[argument], lenient].concat();
            let Ok(Value::Bool(true)) = function::call("isSemver", None, &asked) else {
                return None;
            };
            let asked = [&[string(version)], lenient].concat();
            Some(function::call("semver", None, &asked))
        }
        _ => None,
    }
}

/// That many seconds after the beginning of 1970.
fn since_epoch(seconds: i64) -> Result<Value, Failure> {
    let epoch = function::call("timestamp", None, &[string("1970-01-01T00:00:00Z")])?;
    let after = function::call("duration", None, &[string(format!("{seconds}s"))])?;
    operator::add(epoch, after)
}

/// An error of a library in the real server's words; `None`: kube-cel's are as good.
pub(super) fn explain(name: &str, arguments: &[Value], message: &str) -> Option<String> {
    let Some(Value::String(text)) = arguments.first() else {
        let too_large = name == "asInteger";
        return too_large.then(|| "cannot convert value to integer".to_owned());
    };
    let failed = "parse error during conversion from string";
    match name {
        "ip" | "ip.isCanonical" if text.contains('%') => Some(format!(
            "IP address {text:?} with zone value is not allowed"
        )),
        "ip" | "ip.isCanonical" if message.contains("IPv4-mapped") => {
            Some(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        "ip" | "ip.isCanonical" => Some(format!(
            "IP Address {text:?} {failed}: ParseAddr({text:?}): unable to parse IP"
        )),
        "cidr" => Some(format!(
            "network address {failed}: netip.ParsePrefix({text:?}): unable to parse prefix"
        )),
        "semver" => Some(not_semver(text)),
        _ => None,
    }
}

/// What is wrong with a text that is no version, in the words of blang/semver.
fn not_semver(text: &str) -> String {
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    if parts.len() != 3 {
        return "No Major.Minor.Patch elements found".into();
    }
    let rest = parts[2]
        .find(['-', '+'])
        .map_or(parts[2], |end| &parts[2][..end]);
    for (what, part) in [("Major", parts[0]), ("Minor", parts[1]), ("Patch", rest)] {
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            let what = what.to_lowercase();
            return format!("Invalid character(s) found in {what} number {part:?}");
        }
        if part.len() > 1 && part.starts_with('0') {
            return format!("{what} number must not contain leading zeroes {part:?}");
        }
    }
    format!("invalid version {text:?}")
}
