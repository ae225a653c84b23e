//! The tables of custom resources: a name, and what the definition's columns find
//! (`apiextensions-apiserver/pkg/registry/customresource/tableconvertor`).
use super::jsonpath::JsonPath;
use crate::apiserver::table::{Column, Columns};
use crate::object::Document;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const DESCRIPTION: &str = "Custom resource definition column (in JSONPath format): ";

/// The columns of one version, besides the name.
#[derive(Debug)]
pub(crate) struct CustomColumns {
    columns: Vec<Column>,
    cells: Vec<(Option<JsonPath>, String)>,
}

impl CustomColumns {
    /// From `additionalPrinterColumns`; without any, the age is shown.
    pub(crate) fn of(definitions: &[Value]) -> Arc<dyn Columns> {
        let age =
            [json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" })];
        let (named, definitions) = (
            !definitions.is_empty(),
            match definitions {
                [] => &age[..],
                some => some,
            },
        );
        let mut columns = Column::name_and_age();
        let age = columns.pop();
        columns.truncate(1);
        let mut cells = Vec::new();
        for definition in definitions {
            let (path, type_) = (
                definition.str_at(&["jsonPath"]),
                definition.str_at(&["type"]),
            );
            let description = definition.str_at(&["description"]);
            let description = match (&age, named) {
                (Some(age), false) => age.description.clone(),
                _ if description.is_empty() => format!("{DESCRIPTION}{path}"),
                _ => description.to_owned(),
            };
            columns.push(Column {
                name: definition.str_at(&["name"]).to_owned(),
                type_: type_.to_owned(),
                format: definition.str_at(&["format"]).to_owned(),
                description,
                priority: definition
                    .i64_at(&["priority"])
                    .and_then(|priority| i32::try_from(priority).ok())
                    .unwrap_or(0),
            });
            cells.push((JsonPath::parse(path), type_.to_owned()));
        }
        Arc::new(Self { columns, cells })
    }
}

impl Columns for CustomColumns {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut cells = vec![Value::from(object.name())];
        for (path, type_) in &self.cells {
            let found = path.as_ref().and_then(|path| path.first(object));
            cells.push(found.map_or(Value::Null, |found| cell(found, type_, now)));
        }
        cells
    }
}

fn cell(value: &Value, type_: &str, now: Timestamp) -> Value {
    match (type_, value) {
        (_, Value::Null) => Value::Null,
        ("string", Value::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(integer) => integer.into(),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "as the real server cuts off fractions"
            )]
            None => (number.as_f64().unwrap_or_default() as i64).into(),
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(then) => {
                let age = now.as_second() - then.as_second();
                crate::apiserver::table::human_duration(age).into()
            }
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}
