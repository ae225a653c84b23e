//! Lists of custom resources that are sets or maps: they are equal whatever the order of their items, and adding to one of
//! them does not repeat what is there.
use super::Value;
use kube::core::cel::cel::common::ast::operators;
use kube::core::cel::cel::objects::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which lists of an activation are sets or maps, by where they are in memory: values share their lists, and the activation
/// keeps them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(BTreeMap<usize, Kind>);

/// What a list is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Set,
    /// With the fields that tell items apart.
    Map(Vec<String>),
}

impl Lists {
    /// Notes that a list is a set or a map.
    pub(crate) fn note(&mut self, list: &Value, kind: Kind) {
        if let Value::List(items) = list {
            self.0.insert(place(items), kind);
        }
    }

    /// What an operator gives when one of its sides is such a list; `None`: it is as with any other values.
    pub(super) fn binary(&self, name: &str, left: &Value, right: &Value) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let (Value::List(left), Value::List(right)) = (left, right) else {
            return None;
        };
        let kind = |items: &Arc<Vec<Value>>| self.0.get(&place(items));
        match name {
            operators::EQUALS | operators::NOT_EQUALS => {
                kind(left).or_else(|| kind(right))?;
                let equal = left.len() == right.len()
                    && left.iter().all(|item| right.contains(item))
                    && right.iter().all(|item| left.contains(item));
                Some(Value::Bool(equal == (name == operators::EQUALS)))
            }
            operators::ADD => {
                let mut items = left.to_vec();
                for added in right.iter() {
                    let same = |item: &Value| match kind(left) {
                        Some(Kind::Map(keys)) => {
                            keys.iter().all(|key| field(item, key) == field(added, key))
                        }
                        _ => item == added,
                    };
                    match items.iter_mut().find(|item| same(item)) {
                        Some(item) => *item = added.clone(),
                        None => items.push(added.clone()),
                    }
                }
                kind(left).map(|_| Value::List(Arc::new(items)))
            }
            _ => None,
        }
    }
}

fn place(items: &Arc<Vec<Value>>) -> usize {
    Arc::as_ptr(items) as usize
}

fn field<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    match item {
        Value::Map(fields) => fields.map.get(&Key::from(key)),
        _ => None,
    }
}
