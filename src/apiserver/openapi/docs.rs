//! What k8s-openapi says about the types: descriptions, and the names of types that hold any JSON.
use crate::apiserver::schema::catalog;
use k8s_openapi::schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;

struct Collector(SchemaGenerator);

impl catalog::Visitor for Collector {
    fn generator(&mut self) -> &mut SchemaGenerator {
        &mut self.0
    }
    fn is_kind(&mut self, _: String, _: String) {}
}

fn definitions() -> &'static BTreeMap<String, Value> {
    static DEFINITIONS: OnceLock<BTreeMap<String, Value>> = OnceLock::new();
    DEFINITIONS.get_or_init(|| {
        let mut collector = Collector(SchemaSettings::openapi3().into_generator());
        catalog::visit(&mut collector);
        collector.0.take_definitions(true).into_iter().collect()
    })
}

/// What is said of one definition.
#[derive(Clone, Copy)]
pub(super) struct Docs(Option<&'static Value>);

impl Docs {
    /// Of the definition of this name, without the leading `io.k8s.`.
    pub(super) fn of(name: &str) -> Self {
        Self(definitions().get(&format!("io.k8s.{name}")))
    }
    pub(super) fn description(self) -> Option<&'static str> {
        text(self.0?, "description")
    }
    /// What is said of a field.
    pub(super) fn field(self, name: &str) -> Self {
        let fields = self.0.and_then(|schema| schema.get("properties"));
        Self(fields.and_then(|fields| fields.get(name)))
    }
    /// What is said of the items of a list or the values of a map.
    pub(super) fn item(self) -> Self {
        let items = self.0.and_then(|schema| {
            let of = |key| schema.get(key);
            of("items").or_else(|| of("additionalProperties"))
        });
        Self(items)
    }
    /// The name of the definition that is referred to.
    pub(super) fn reference(self) -> Option<&'static str> {
        let schema = self.0?;
        let all = || schema.pointer("/allOf/0/$ref").and_then(Value::as_str);
        let reference = text(schema, "$ref").or_else(all)?;
        reference.rsplit('/').next()
    }
}

fn text(schema: &'static Value, key: &str) -> Option<&'static str> {
    schema.get(key).and_then(Value::as_str)
}
