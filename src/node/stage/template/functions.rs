//! The functions of templates: Go's own, those of KWOK, and the few of sprig's that its stages use.

use serde_json::{Map, Value, json};

use crate::node::driver::HEALTHY;

/// What templates may ask about besides the object.
pub(in crate::node::stage) trait Surroundings {
    /// The time now.
    fn now(&self) -> String;
    /// The address of a node; of that at hand, when the name is empty.
    fn node_ip(&self, node: &str) -> String;
    /// The name of the node at hand.
    fn node_name(&self) -> String;
    /// Where its agent's server listens.
    fn node_port(&self) -> u16;
    /// An address for a pod on a node.
    fn pod_ip(&self, node: &str) -> String;
}

const KNOWN: [&str; 29] = [
    "NodeConditions",
    "NodeIP",
    "NodeIPWith",
    "NodeName",
    "NodePort",
    "Now",
    "PodIPWith",
    "Quote",
    "Version",
    "YAML",
    "add",
    "add1",
    "and",
    "default",
    "dict",
    "eq",
    "ge",
    "gt",
    "index",
    "le",
    "len",
    "list",
    "lt",
    "ne",
    "not",
    "or",
    "print",
    "printf",
    "quote",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Whether a value counts as true: it is not the zero of its kind.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A value as it is printed.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Calls a function.
///
/// # Errors
/// Why it cannot be called with these.
pub(super) fn call(
    name: &str,
    arguments: &[Value],
    around: &dyn Surroundings,
) -> Result<Value, String> {
    let argument = |at: usize| {
        let missing = || format!("wrong number of args for {name}: got {}", arguments.len());
        arguments.get(at).ok_or_else(missing)
    };
    let text = |at: usize| argument(at).map(|value| value.as_str().unwrap_or_default());
    Ok(match name {
        "Now" => around.now().into(),
        "Version" => env!("CARGO_PKG_VERSION").into(),
        "NodeConditions" => node_conditions(),
        "NodeIP" => around.node_ip("").into(),
        "NodeName" => around.node_name().into(),
        "NodePort" => around.node_port().into(),
        "NodeIPWith" => around.node_ip(text(0)?).into(),
        "PodIPWith" if is_true(argument(1)?) => around.node_ip(text(0)?).into(),
        "PodIPWith" => around.pod_ip(text(0)?).into(),
        "Quote" | "quote" => quote(argument(0)?).into(),
        "YAML" => yaml(argument(0)?, arguments.get(1))?.into(),
        "or" => chosen(arguments, true),
        "and" => chosen(arguments, false),
        "not" => (!is_true(argument(0)?)).into(),
        "eq" => {
            let first = argument(0)?;
            argument(1)?;
            let mut others = arguments.iter().skip(1);
            others.any(|other| other == first).into()
        }
        "ne" => (argument(0)? != argument(1)?).into(),
        "lt" | "le" | "gt" | "ge" => {
            let order = compare(argument(0)?, argument(1)?)?;
            match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
            .into()
        }
        "len" => match argument(0)? {
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            Value::String(text) => text.len(),
            other => return Err(format!("len of type {other}")),
        }
        .into(),
        "index" => index(argument(0)?, arguments.get(1..).unwrap_or_default())?,
        "dict" => dict(arguments),
        "list" => arguments.to_vec().into(),
        "default" if arguments.get(1).is_some_and(is_true) => argument(1)?.clone(),
        "default" => argument(0)?.clone(),
        "add1" => (whole(argument(0)?) + 1).into(),
        "add" => arguments.iter().map(whole).sum::<i64>().into(),
        "print" => arguments.iter().map(shown).collect::<String>().into(),
        "printf" => printf(text(0)?, arguments.get(1..).unwrap_or_default())?.into(),
        other => return Err(format!("function {other:?} not defined")),
    })
}

fn whole(value: &Value) -> i64 {
    match value {
        Value::String(text) => text.parse().unwrap_or(0),
        other => other.as_i64().unwrap_or(0),
    }
}

/// The first argument that is (not) true, or the last.
fn chosen(arguments: &[Value], wanted: bool) -> Value {
    let found = arguments.iter().find(|value| is_true(value) == wanted);
    let found = found.or_else(|| arguments.last());
    found.cloned().unwrap_or_default()
}

/// A text in quotes; what is no text in JSON first.
fn quote(value: &Value) -> String {
    match value {
        Value::String(_) => value.to_string(),
        other => Value::from(other.to_string()).to_string(),
    }
}

/// A value as YAML, each line so much further to the right, and on lines of its own.
fn yaml(value: &Value, indent: Option<&Value>) -> Result<String, String> {
    let text = serde_saphyr::to_string(value).map_err(|error| error.to_string())?;
    let indent = indent.and_then(Value::as_u64).unwrap_or(0).min(16);
    if indent == 0 {
        return Ok(text);
    }
    let pad = " ".repeat(usize::try_from(indent).unwrap_or(0) * 2);
    Ok(format!("\n{text}").replace('\n', &format!("\n{pad}")))
}

fn compare(a: &Value, b: &Value) -> Result<std::cmp::Ordering, String> {
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => a
            .as_f64()
            .zip(b.as_f64())
            .and_then(|(a, b)| a.partial_cmp(&b)),
    };
    order.ok_or_else(|| "incompatible types for comparison".to_owned())
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut found = value;
    for key in keys {
        found = match (found, key) {
            (Value::Array(items), Value::Number(at)) => {
                let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                let item = at.and_then(|at| items.get(at));
                item.ok_or_else(|| format!("index out of range: {key}"))?
            }
            (Value::Object(fields), Value::String(key)) => fields.get(key).unwrap_or(&Value::Null),
            // Nothing is in nothing: stages ask for what the last one wrote before there was one.
            (Value::Null, _) => &Value::Null,
            (other, _) => return Err(format!("can't index item of {other}")),
        };
    }
    Ok(found.clone())
}

fn dict(arguments: &[Value]) -> Value {
    let pairs = arguments.chunks(2).map(|pair| {
        let key = pair.first().map(shown).unwrap_or_default();
        (key, pair.get(1).cloned().unwrap_or_else(|| "".into()))
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// A format with `%s`, `%v`, `%d` and `%q`.
fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let (mut text, mut arguments) = (String::new(), arguments.iter());
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let verb = letters.next();
        if verb == Some('%') {
            text.push('%');
            continue;
        }
        let value = arguments.next().ok_or("a value is missing")?;
        match verb {
            Some('s' | 'v' | 'd') => text.push_str(&shown(value)),
            Some('q') => text.push_str(&quote(value)),
            other => return Err(format!("the verb {other:?} is not supported")),
        }
    }
    Ok(text)
}

/// The conditions of a healthy node, in the order that KWOK gives them.
fn node_conditions() -> Value {
    let [memory, disk, processes, ready] = HEALTHY;
    let network = (
        "NetworkUnavailable",
        "False",
        "RouteCreated",
        "RouteController created a route",
    );
    let rows = [ready, memory, disk, processes, network];
    let condition = |(type_, status, reason, message)| json!({"type": type_, "status": status, "reason": reason, "message": message});
    rows.map(condition).to_vec().into()
}
