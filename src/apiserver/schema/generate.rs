//! Makes `builtin.tsv` from k8s-openapi's schemas and `facts.tsv`, or checks that it is current.
//! `HOMEOSTAT_BLESS=1 K8S_OPENAPI_ENABLED_VERSION=1.36 cargo test schema::generate` rewrites it.
#![expect(clippy::unwrap_used, reason = "a test")]

use super::catalog;
use k8s_openapi::schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

type Kinds = BTreeMap<String, Vec<String>>;

struct Collector {
    generator: SchemaGenerator,
    kinds: Kinds,
}

impl catalog::Visitor for Collector {
    fn generator(&mut self) -> &mut SchemaGenerator {
        &mut self.generator
    }
    fn is_kind(&mut self, name: String, kind: String) {
        self.kinds.entry(name).or_default().push(kind);
    }
}

/// All definitions of k8s-openapi by name, and the kinds of those that have one.
fn definitions() -> (BTreeMap<String, Value>, Kinds) {
    let mut collector = Collector {
        generator: SchemaSettings::openapi3().into_generator(),
        kinds: Kinds::new(),
    };
    catalog::visit(&mut collector);
    let definitions = collector.generator.take_definitions(true);
    (definitions.into_iter().collect(), collector.kinds)
}

/// What `facts.tsv` says: by definition the marks of its head, and its fields in order, each with presence and marks.
type Facts<'a> = BTreeMap<&'a str, (Vec<&'a str>, Vec<(&'a str, &'a str, Vec<&'a str>)>)>;

fn facts(text: &str) -> Facts<'_> {
    text.split("\n=")
        .skip(1)
        .map(|block| {
            let mut lines = block.lines();
            let mut head = lines.next().unwrap().split('\t');
            let name = head.next().unwrap();
            let fields = lines
                .map(|line| {
                    let mut parts = line.split('\t');
                    (
                        parts.next().unwrap(),
                        parts.next().unwrap(),
                        parts.collect(),
                    )
                })
                .collect();
            (name, (head.collect(), fields))
        })
        .collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix("io.k8s.").unwrap_or(name)
}

/// The type of a schema, in the text of the table.
fn type_text(schema: &Value) -> String {
    let reference = schema
        .get("$ref")
        .or_else(|| schema.pointer("/allOf/0/$ref"));
    if let Some(reference) = reference.and_then(Value::as_str) {
        let name = short(reference.rsplit('/').next().unwrap());
        let (package, kind) = name.rsplit_once('.').unwrap();
        let or = |or: &str| format!("?{or}{package}.JSONSchemaProps");
        return match kind {
            "Quantity" => "quantity".into(),
            "IntOrString" => "intstr".into(),
            "Time" => "time".into(),
            "MicroTime" => "microtime".into(),
            "RawExtension" | "FieldsV1" | "JSON" => "any".into(),
            "JSONSchemaPropsOrBool" => or("b"),
            "JSONSchemaPropsOrArray" => or("a"),
            "JSONSchemaPropsOrStringArray" => or("s"),
            _ => format!("@{name}"),
        };
    }
    let format = schema.get("format").and_then(Value::as_str);
    match (schema.get("type").and_then(Value::as_str), format) {
        (Some("string"), Some("byte")) => "bytes".into(),
        (Some("string"), _) => "string".into(),
        (Some("boolean"), _) => "bool".into(),
        (Some("integer"), Some("int32")) => "int32".into(),
        (Some("integer"), _) => "int64".into(),
        (Some("number"), _) => "double".into(),
        (Some("array"), _) => format!("[{}", type_text(&schema["items"])),
        (Some("object"), _) => match schema.get("additionalProperties") {
            Some(values) => format!("{{{}", type_text(values)),
            None => "any".into(),
        },
        _ => "any".into(),
    }
}

/// How a field without facts is written: by the conventions that new fields follow.
fn presence_by_rule(name: &str, ty: &str, required: bool) -> &'static str {
    match (name, ty.as_bytes().first()) {
        ("kind" | "apiVersion" | "metadata", _) => "?",
        ("status", Some(b'@')) => "~",
        _ if required => "!",
        (_, Some(b'[' | b'{')) => "?",
        _ if ty == "string" => "?",
        _ => "*",
    }
}

fn generate() -> String {
    let (definitions, kinds) = definitions();
    let facts_text = include_str!("facts.tsv");
    let facts = facts(facts_text);
    let mut text = String::from(
        "# Made by the test schema::generate from k8s-openapi and facts.tsv. Do not edit.",
    );
    let first = ["kind", "apiVersion", "metadata", "spec", "status"];
    for (name, schema) in &definitions {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            if !matches!(
                type_text(&serde_json::json!({"$ref": name})).as_bytes()[0],
                b'@'
            ) {
                continue;
            }
            write!(text, "\n={}", short(name)).unwrap();
            continue;
        };
        let none = (Vec::new(), Vec::new());
        let (head, known) = facts.get(name.as_str()).unwrap_or(&none);
        write!(text, "\n={}", short(name)).unwrap();
        for mark in kinds.get(name).into_iter().flatten() {
            write!(text, "\t{mark}").unwrap();
        }
        for mark in head {
            write!(text, "\t{mark}").unwrap();
        }
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<&str> = properties.keys().map(String::as_str).collect();
        names.sort_by_key(|field| {
            let position = known
                .iter()
                .position(|(known, presence, _)| known == field && !presence.is_empty());
            let usual = first.iter().position(|first| first == field);
            (position.is_none(), position, usual.is_none(), usual, *field)
        });
        for field in names {
            let ty = type_text(&properties[field]);
            let is_required = required.iter().any(|name| name == field);
            let fact = known.iter().find(|(known, ..)| known == &field);
            let presence = match fact {
                Some((_, presence, _)) if !presence.is_empty() => presence,
                _ => presence_by_rule(field, &ty, is_required),
            };
            write!(text, "\n{field}\t{ty}\t{presence}").unwrap();
            // k8s-openapi wants metadata everywhere, and names that have a default; the API does not.
            let fixed = field == "metadata" || matches!(fact, Some((_, _, marks)) if marks.contains(&"default=\"\""));
            if is_required != matches!(presence, "!" | "&") && !fixed {
                write!(text, "\trequired={is_required}").unwrap();
            }
            for mark in fact.into_iter().flat_map(|(_, _, marks)| marks) {
                write!(text, "\t{mark}").unwrap();
            }
        }
    }
    text.push('\n');
    text
}

#[test]
fn table_is_current() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/apiserver/schema/builtin.tsv"
    );
    let made = generate();
    if std::env::var_os("HOMEOSTAT_BLESS").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    assert!(
        made == std::fs::read_to_string(path).unwrap(),
        "builtin.tsv is old: HOMEOSTAT_BLESS=1 cargo test schema::generate"
    );
}
