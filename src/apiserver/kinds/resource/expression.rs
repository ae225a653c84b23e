//! Expressions that select devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::apiserver::cel::{Environment, Type};

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
pub(super) fn problem(source: &str) -> Option<String> {
    let environment = Environment {
        only: Some(vec![("device", device())]),
        ..Environment::default()
    };
    match environment.compile(source, &[]) {
        Err(why) => Some(why),
        Ok((_, Type::Bool | Type::Dyn)) => None,
        Ok((_, found)) if found.is_unknown() => None,
        Ok((_, found)) => Some(format!(
            "must evaluate to bool or the unknown type, not {found}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for (source, expected) in [
            ("true", ""),
            ("device.driver == 'd.example.com'", ""),
            ("device.attributes['d.example.com'].model == 'a100'", ""),
            ("1", "must evaluate to bool or the unknown type, not int"),
        ] {
            assert_eq!(problem(source).unwrap_or_default(), expected, "{source}");
        }
        assert!(problem("device.").is_some_and(|why| {
            why.starts_with("compilation failed: ERROR: <input>:1:8: Syntax error:")
        }));
        assert!(problem("nothing == 1").is_some());
    }
}
