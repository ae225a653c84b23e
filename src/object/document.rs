//! A view of a JSON document as a Kubernetes object.
use serde_json::{Map, Value};

/// Reads and writes a JSON document by path, and its metadata by name. Reading what is absent or of another type gives
/// `None` or an empty value; writing makes the objects on the way.
pub trait Document {
    /// The value at `path`, one segment per object key.
    fn at(&self, path: &[&str]) -> Option<&Value>;
    /// The value at `path`, to change it; `None` when absent.
    fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value>;
    /// The string at `path`, `""` when absent.
    fn str_at(&self, path: &[&str]) -> &str;
    /// The integer at `path`.
    fn i64_at(&self, path: &[&str]) -> Option<i64>;
    /// The boolean at `path`.
    fn bool_at(&self, path: &[&str]) -> Option<bool>;
    /// The items of the list at `path`; empty when absent.
    fn list_at(&self, path: &[&str]) -> &[Value];
    /// Sets `path` to `value`, making objects on the way.
    fn set_at(&mut self, path: &[&str], value: impl Into<Value>);
    /// Sets `path` to `value` unless something other than null is there (defaulting).
    fn default_at(&mut self, path: &[&str], value: impl Into<Value>);
    /// Takes out what is at `path`.
    fn remove_at(&mut self, path: &[&str]) -> Option<Value>;
    /// `apiVersion`.
    fn api_version(&self) -> &str {
        self.str_at(&["apiVersion"])
    }
    /// `kind`.
    fn kind(&self) -> &str {
        self.str_at(&["kind"])
    }
    /// `metadata.name`.
    fn name(&self) -> &str {
        self.str_at(&["metadata", "name"])
    }
    /// `metadata.namespace`, `""` when cluster-scoped.
    fn namespace(&self) -> &str {
        self.str_at(&["metadata", "namespace"])
    }
    /// `metadata.uid`.
    fn uid(&self) -> &str {
        self.str_at(&["metadata", "uid"])
    }
    /// `metadata.generation`, 0 when absent.
    fn generation(&self) -> i64 {
        self.i64_at(&["metadata", "generation"]).unwrap_or(0)
    }
    /// `metadata.resourceVersion` as text.
    fn resource_version(&self) -> &str {
        self.str_at(&["metadata", "resourceVersion"])
    }
    /// `metadata.deletionTimestamp` as text; `None` when not being deleted.
    fn deletion_timestamp(&self) -> Option<&str> {
        self.at(&["metadata", "deletionTimestamp"])
            .and_then(Value::as_str)
    }
    /// The value of label `key`.
    fn label(&self, key: &str) -> Option<&str> {
        self.at(&["metadata", "labels", key])
            .and_then(Value::as_str)
    }
    /// The value of annotation `key`.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.at(&["metadata", "annotations", key])
            .and_then(Value::as_str)
    }
    /// `metadata.finalizers`.
    fn finalizers(&self) -> Vec<&str> {
        self.list_at(&["metadata", "finalizers"])
            .iter()
            .filter_map(Value::as_str)
            .collect()
    }
    /// `metadata.ownerReferences`.
    fn owner_references(&self) -> &[Value] {
        self.list_at(&["metadata", "ownerReferences"])
    }
}

impl Document for Value {
    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter()
            .try_fold(self, |value, key| value.as_object()?.get(*key))
    }
    fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter()
            .try_fold(self, |value, key| value.as_object_mut()?.get_mut(*key))
    }
    fn str_at(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Self::as_str).unwrap_or_default()
    }
    fn i64_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path).and_then(Self::as_i64)
    }
    fn bool_at(&self, path: &[&str]) -> Option<bool> {
        self.at(path).and_then(Self::as_bool)
    }
    fn list_at(&self, path: &[&str]) -> &[Value] {
        self.at(path)
            .and_then(Self::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
    fn set_at(&mut self, path: &[&str], value: impl Into<Self>) {
        *slot(self, path) = value.into();
    }
    fn default_at(&mut self, path: &[&str], value: impl Into<Self>) {
        let slot = slot(self, path);
        if slot.is_null() {
            *slot = value.into();
        }
    }
    fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        self.at_mut(parents)?.as_object_mut()?.remove(*last)
    }
}

/// The place at `path`, made as null where it is absent; what is in the way and no object is replaced by one.
fn slot<'a>(root: &'a mut Value, path: &[&str]) -> &'a mut Value {
    path.iter().fold(root, |value, key| {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        match value {
            Value::Object(map) => map.entry(*key).or_insert(Value::Null),
            other => other,
        }
    })
}
