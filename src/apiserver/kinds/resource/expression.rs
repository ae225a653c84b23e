//! Expressions that select devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cel::cost::{Declared, estimate};
use crate::cel::{Environment, Type};

/// What an expression may say of a device.
fn device() -> Type {
    let by_name = |values| Type::map(Type::String, Type::map(Type::String, values));
    let fields = [
        ("driver", Type::String),
        ("attributes", by_name(Type::Dyn)),
        ("capacity", by_name(Type::Unknown)),
        ("allowMultipleAllocations", Type::Bool),
    ];
    let fields = fields.map(|(name, kind)| (name.to_owned(), kind));
    Type::Declared(Arc::new(BTreeMap::from(fields)))
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It does not compile, or gives something else than yes or no.
    Invalid(String),
    /// It may cost more than an expression may.
    TooCostly,
}

/// What an expression may cost at most, by estimate (`CELSelectorExpressionMaxCost`).
const MOST_COST: u64 = 1_000_000;
/// Attributes and capacities of a device at most.
const MOST_ATTRIBUTES: u64 = 32;
/// Characters of the value of an attribute at most.
const LONGEST_VALUE: u64 = 64;
/// Characters of the domain of an attribute at most.
const LONGEST_DOMAIN: u64 = 63;
/// Characters of the name of an attribute within its domain at most.
const LONGEST_ID: u64 = 32;
/// Characters of the name of a driver at most.
const LONGEST_DRIVER: u64 = 63;

/// How large a device can get (`k8s.io/dynamic-resource-allocation/cel/compile.go`).
fn sizes() -> Declared {
    let map = |key: u64, item: Declared| Declared {
        most: MOST_ATTRIBUTES,
        item: Some(Box::new(item)),
        map: true,
        key,
        ..Declared::default()
    };
    let of = |most: u64, text: bool| Declared {
        most,
        text,
        ..Declared::default()
    };
    let by_name = |item: Declared| map(LONGEST_DOMAIN, map(LONGEST_ID, item));
    let fields = [
        ("driver", of(LONGEST_DRIVER, true)),
        ("attributes", by_name(of(LONGEST_VALUE, false))),
        ("capacity", by_name(of(0, false))),
        ("allowMultipleAllocations", of(0, false)),
    ];
    Declared {
        fields: fields.map(|(name, size)| (name.to_owned(), size)).into(),
        ..Declared::default()
    }
}

/// What is wrong with an expression; `None`: nothing.
pub(super) fn problem(source: &str) -> Option<Problem> {
    let environment = Environment {
        only: Some(vec![("device", device())]),
        ..Environment::default()
    };
    let (program, found) = match environment.compile(source, &[]) {
        Ok(compiled) => compiled,
        Err(why) => return Some(Problem::Invalid(why)),
    };
    if !matches!(found, Type::Bool | Type::Dyn) && !found.is_unknown() {
        let why = format!("must evaluate to bool or the unknown type, not {found}");
        return Some(Problem::Invalid(why));
    }
    let cost = estimate(&program, &[("device", &sizes())]);
    (cost > MOST_COST).then_some(Problem::TooCostly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]";
        let nested = |list: &str, depth: usize| {
            let mut source = "true".to_owned();
            for level in 0..depth {
                source = format!("{list}.all(x{level}, {source})");
            }
            source
        };
        let attributes = "device.attributes['d.example.com']";
        let invalid = |why: &str| Some(Problem::Invalid(why.to_owned()));
        for (source, expected) in [
            ("true".to_owned(), None),
            ("device.driver == 'd.example.com'".to_owned(), None),
            (format!("{attributes}.model == 'a100'"), None),
            (format!("{attributes}.model.matches('^a[0-9]+$')"), None),
            (
                "1".to_owned(),
                invalid("must evaluate to bool or the unknown type, not int"),
            ),
            (nested(ten, 3), None),
            (nested(ten, 6), Some(Problem::TooCostly)),
            (nested(attributes, 2), None),
            (nested(attributes, 4), Some(Problem::TooCostly)),
        ] {
            assert_eq!(problem(&source), expected, "{source}");
        }
        let starts = "compilation failed: ERROR: <input>:1:8: Syntax error:";
        let broken = problem("device.");
        assert!(matches!(broken, Some(Problem::Invalid(why)) if why.starts_with(starts)));
        assert!(problem("nothing == 1").is_some());
    }
}
