//! Functions: which there are and what they give, and those whose errors must read as cel-go's, which are done here.
//! The rest is kube-cel's.
use super::eval::Failure;
use super::library;
use super::types::Type;
use super::value::{self, type_name};
use super::zone;
use kube::core::cel::KubeCelExt;
use kube::core::cel::cel::common::ast::{CallExpr, Expr};
use kube::core::cel::cel::parser::Expression;
use kube::core::cel::cel::{Context, ExecutionError, Value};
use std::sync::{Arc, LazyLock};

/// What every text that is no quantity is told.
const QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The libraries. They hold no variables, so all evaluations share them.
static LIBRARIES: LazyLock<Context<'static>> = LazyLock::new(|| Context::default().with_all());

/// What a function gives, by its name alone; `None`: there is no such function.
pub(super) fn result_of(name: &str) -> Option<Type> {
    Some(match name {
        "size" | "int" | "indexOf" | "lastIndexOf" | "compareTo" | "sign" | "asInteger"
        | "major" | "minor" | "prefixLength" | "family" | "getFullYear" | "getMonth"
        | "getDayOfYear" | "getDayOfMonth" | "getDate" | "getDayOfWeek" | "getHours"
        | "getMinutes" | "getSeconds" | "getMilliseconds" => Type::Int,
        "uint" => Type::Uint,
        "double" | "asApproximateFloat" | "math.ceil" | "math.floor" | "math.round"
        | "math.trunc" | "math.sqrt" => Type::Double,
        "bytes" | "base64.decode" => Type::Bytes,
        "bool" | "contains" | "startsWith" | "endsWith" | "matches" | "isSorted" | "isURL"
        | "isIP" | "isCIDR" | "isQuantity" | "isSemver" | "isInteger" | "isGreaterThan"
        | "isLessThan" | "containsIP" | "containsCIDR" | "isUnspecified" | "isLoopback"
        | "isLinkLocalMulticast" | "isLinkLocalUnicast" | "isGlobalUnicast" | "ip.isCanonical"
        | "sets.contains" | "sets.equivalent" | "sets.intersects" | "hasValue" | "math.isInf"
        | "math.isNaN" | "math.isFinite" | "allowed" | "errored" | "isMasked" => Type::Bool,
        "string" | "lowerAscii" | "upperAscii" | "replace" | "substring" | "trim" | "join"
        | "charAt" | "strings.quote" | "format" | "find" | "getScheme" | "getHost"
        | "getHostname" | "getPort" | "getEscapedPath" | "base64.encode" | "reason" | "error"
        | "jsonpatch.escapeKey" => Type::String,
        "split" | "findAll" => Type::list(Type::String),
        "getQuery" => Type::map(Type::String, Type::list(Type::String)),
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "dyn" => Type::Dyn,
        "type" => Type::Type,
        super::macros::INSERT => Type::Unknown,
        "min" | "max" | "sum" | "first" | "last" | "slice" | "sort" | "flatten" | "distinct"
        | "reverse" | "lists.range" | "math.abs" | "math.sign" | "math.bitAnd" | "math.bitOr"
        | "math.bitXor" | "math.bitNot" | "math.bitShiftLeft" | "math.bitShiftRight"
        | "math.greatest" | "math.least" | "add" | "sub" | "patch" | "quantity" | "semver"
        | "url" | "ip" | "cidr" | "masked" | "format.named" | "validate" | "optional.none"
        | "optional.of" | "optional.ofNonZeroValue" | "value" | "or" | "orValue"
        // What is asked of the authorizer.
        | "path" | "group" | "resource" | "subresource" | "namespace" | "name" | "check"
        | "serviceAccount" | "fieldSelector" | "labelSelector"
        | "format.dns1123Label" | "format.dns1123Subdomain" | "format.dns1035Label"
        | "format.dns1035LabelPrefix" | "format.dns1123LabelPrefix"
        | "format.dns1123SubdomainPrefix" | "format.qualifiedName" | "format.labelValue"
        | "format.uri" | "format.uuid" | "format.byte" | "format.date" | "format.datetime" => {
            Type::Unknown
        }
        _ => return None,
    })
}

/// What a function gives whose outcome depends on what it is called on.
pub(super) fn refine(name: &str, receiver: &Type, found: Type) -> Type {
    match (name, receiver) {
        ("slice" | "sort" | "distinct" | "reverse", Type::List(_)) => receiver.clone(),
        // `ip(…).ip()` and others have one name for several things.
        ("reverse", Type::String) | ("string" | "reason" | "error" | "find", _) => Type::String,
        _ => found,
    }
}

/// Calls a function with what its arguments are worth.
pub(super) fn call(
    name: &str,
    receiver: Option<&Value>,
    arguments: &[Value],
) -> Result<Value, Failure> {
    let own = convert(name, receiver, arguments);
    if let Some(own) = own.or_else(|| library::call(name, receiver, arguments)) {
        return own;
    }
    let mut scope = LIBRARIES.new_inner_scope();
    let mut bind = |name: String, value: &Value| {
        scope.add_variable_from_value(name.clone(), value.clone());
        Expression {
            id: 0,
            expr: Expr::Ident(name),
        }
    };
    let target = receiver.map(|receiver| Box::new(bind("@target".into(), receiver)));
    let args = arguments
        .iter()
        .enumerate()
        .map(|(index, argument)| bind(format!("@{index}"), argument))
        .collect();
    let call = Expression {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: name.to_owned(),
            target,
            args,
        }),
    };
    let found = Value::resolve(&call, &scope)
        .map_err(|error| Failure::Error(explain(name, receiver, arguments, &error)))?;
    Ok(match (name, found) {
        // There is a format of that name, or not.
        ("format.named", Value::Null) => value::to_optional(None),
        ("format.named", found) => value::to_optional(Some(found)),
        (_, found) => found,
    })
}

/// Whether the libraries have a function of this name.
pub(super) fn is_qualified(name: &str) -> bool {
    name.contains('.') && result_of(name).is_some()
}

/// Conversions between types, and what optionals can do.
fn convert(
    name: &str,
    receiver: Option<&Value>,
    arguments: &[Value],
) -> Option<Result<Value, Failure>> {
    if let Some(held) = receiver.and_then(value::optional) {
        return Some(match (name, arguments, held) {
            ("hasValue", [], held) => Ok(Value::Bool(held.is_some())),
            ("value", [], Some(held)) | ("orValue", [_], Some(held)) => Ok(held),
            ("value", [], None) => Err(Failure::error("optional.none() dereference")),
            ("orValue" | "or", [other], None) => Ok(other.clone()),
            ("or", [_], Some(held)) => Ok(value::to_optional(Some(held))),
            _ => return None,
        });
    }
    if let (Some(at @ Value::Timestamp(_)), [Value::String(zone)]) = (receiver, arguments)
        && name.starts_with("get")
    {
        let at = zone::local(at, zone);
        return Some(at.and_then(|at| call(name, Some(&at), &[])));
    }
    let ([one], None) = (arguments, receiver) else {
        return match (name, receiver, arguments) {
            ("optional.none", None, []) => Some(Ok(value::to_optional(None))),
            _ => None,
        };
    };
    let failed = |to: &str| {
        Err(Failure::Error(format!(
            "type conversion error from '{}' to '{to}'",
            type_name(one)
        )))
    };
    Some(match (name, one) {
        ("type", _) => Ok(Value::String(Arc::new(type_name(one)))),
        ("optional.of", _) => Ok(value::to_optional(Some(one.clone()))),
        ("dyn", _)
        | ("int", Value::Int(_))
        | ("uint", Value::UInt(_))
        | ("double", Value::Float(_))
        | ("bool", Value::Bool(_))
        | ("string", Value::String(_)) => Ok(one.clone()),
        ("int", Value::UInt(number)) => i64::try_from(*number)
            .map(Value::Int)
            .map_err(|_| Failure::error("integer overflow")),
        ("int", Value::Float(number)) => whole(*number)
            .map(Value::Int)
            .ok_or_else(|| Failure::error("integer overflow")),
        ("int", Value::String(text)) => text.parse().map(Value::Int).or_else(|_| failed("int")),
        ("uint", Value::Int(number)) => u64::try_from(*number)
            .map(Value::UInt)
            .map_err(|_| Failure::error("unsigned integer overflow")),
        ("uint", Value::String(text)) => text.parse().map(Value::UInt).or_else(|_| failed("uint")),
        ("double", Value::Int(number)) => Ok(Value::Float(approximate(*number))),
        ("double", Value::String(text)) => {
            text.parse().map(Value::Float).or_else(|_| failed("double"))
        }
        ("bool", Value::String(text)) => match text.as_str() {
            "1" | "t" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => failed("bool"),
        },
        ("string", Value::Bool(value)) => Ok(Value::String(Arc::new(value.to_string()))),
        ("string", Value::Duration(duration)) => Ok(Value::String(Arc::new(value::seconds(
            duration.num_nanoseconds().unwrap_or(i64::MAX),
        )))),
        ("int" | "uint" | "double" | "bool", _)
            if !matches!(one, Value::Timestamp(_) | Value::Float(_) | Value::UInt(_)) =>
        {
            Err(Failure::error("no such overload"))
        }
        _ => return None,
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what a conversion to double does"
)]
fn approximate(number: i64) -> f64 {
    number as f64
}

/// The whole number before the point.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_807.0;
    (number > -LIMIT && number < LIMIT).then_some(number as i64)
}

/// The error of a library in the words of cel-go, as near as can be.
fn explain(
    name: &str,
    receiver: Option<&Value>,
    arguments: &[Value],
    error: &ExecutionError,
) -> String {
    let to = match name {
        "timestamp" => "google.protobuf.Timestamp",
        "duration" => "google.protobuf.Duration",
        _ => "",
    };
    match error {
        ExecutionError::FunctionError { .. } if !to.is_empty() => arguments.first().map_or_else(
            || "no such overload".into(),
            |one| format!("type conversion error from '{}' to '{to}'", type_name(one)),
        ),
        ExecutionError::FunctionError { .. } if name == "quantity" => QUANTITY.into(),
        ExecutionError::FunctionError { message, .. } => {
            let own = library::explain(name, arguments, message);
            own.unwrap_or_else(|| message.clone())
        }
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::IndexOutOfBounds(_) => "index out of bounds".into(),
        ExecutionError::DivisionByZero(_) => "division by zero".into(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".into(),
        ExecutionError::Overflow(..) => "integer overflow".into(),
        _ => overload(name, receiver, arguments),
    }
}

/// `no such overload: string.startsWith(int)`
pub(super) fn overload(name: &str, receiver: Option<&Value>, arguments: &[Value]) -> String {
    let shown: Vec<String> = arguments.iter().map(type_name).collect();
    match receiver {
        Some(receiver) => format!(
            "no such overload: {}.{name}({})",
            type_name(receiver),
            shown.join(", ")
        ),
        None => format!("no such overload: {name}({})", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests;
