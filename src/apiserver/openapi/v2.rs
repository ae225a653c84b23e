//! The OpenAPI v2 document: all v3 documents together, in the older form, which knows less.
use super::hash;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Parts of v3 schemas that v2 does not have.
const UNKNOWN: &[&str] = &[
    "default",
    "oneOf",
    "anyOf",
    "not",
    "nullable",
    "x-kubernetes-validations",
];

/// Puts v3 documents together.
pub(super) fn document(documents: impl Iterator<Item = Value>) -> Value {
    let mut all = Document::default();
    for mut document in documents {
        if let Some(Value::Object(schemas)) =
            document.pointer_mut("/components/schemas").map(Value::take)
        {
            for (name, mut schema) in schemas {
                if !all.definitions.contains_key(&name) {
                    convert(&mut schema);
                    all.definitions.insert(name, schema);
                }
            }
        }
        if let Some(Value::Object(paths)) = document.get_mut("paths").map(Value::take) {
            for (path, item) in paths {
                let item = all.item(&item);
                all.paths.insert(path, item);
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": crate::apiserver::discovery::git_version() },
        "paths": all.paths, "definitions": all.definitions, "parameters": all.parameters,
        "securityDefinitions": { "BearerToken": {
            "type": "apiKey", "description": "Bearer Token authentication", "in": "header", "name": "authorization",
        }},
        "security": [{ "BearerToken": [] }],
    })
}

#[derive(Default)]
struct Document {
    definitions: Map<String, Value>,
    paths: Map<String, Value>,
    /// Those that operations share.
    parameters: Map<String, Value>,
}

impl Document {
    fn item(&mut self, item: &Value) -> Value {
        let fields = item.as_object().into_iter().flatten();
        let converted = fields.map(|(method, operation)| {
            let converted = if method == "parameters" {
                self.parameters(operation)
            } else {
                self.operation(operation)
            };
            (method.clone(), converted)
        });
        converted.collect::<Map<_, _>>().into()
    }

    fn parameters(&mut self, parameters: &Value) -> Value {
        let parameters = parameters.as_array().into_iter().flatten();
        parameters.map(|one| self.parameter(one)).collect()
    }

    /// Moves a parameter to the shared ones and refers to it.
    fn parameter(&mut self, parameter: &Value) -> Value {
        let mut parameter = parameter.clone();
        if let Some(parameter) = parameter.as_object_mut()
            && let Some(Value::Object(schema)) = parameter.remove("schema")
        {
            parameter.extend(schema);
        }
        let digest = hash(&parameter.to_string()).to_ascii_lowercase();
        let short: String = digest.chars().take(8).collect();
        let name = parameter["name"].as_str().unwrap_or_default();
        let name = format!("{name}-{short}");
        let reference = json!({ "$ref": format!("#/parameters/{name}") });
        self.parameters.insert(name, parameter);
        reference
    }

    fn operation(&mut self, operation: &Value) -> Value {
        let mut converted = operation.clone();
        let mut parameters = match operation.get("parameters") {
            Some(parameters) => self.parameters(parameters),
            None => json!([]),
        };
        converted["schemes"] = json!(["https"]);
        let body = operation.get("requestBody");
        if let Some(content) = body
            .and_then(|body| body.get("content"))
            .and_then(Value::as_object)
        {
            converted["consumes"] = content.keys().map(String::as_str).collect();
            let mut schema = content
                .values()
                .next()
                .map_or(Value::Null, |media| media["schema"].clone());
            convert(&mut schema);
            let mut parameter = json!({ "in": "body", "name": "body", "schema": schema });
            if let Some(required) = body.and_then(|body| body.get("required")) {
                parameter["required"] = required.clone();
            }
            if let Some(parameters) = parameters.as_array_mut() {
                parameters.push(parameter);
            }
        }
        if parameters != json!([]) {
            converted["parameters"] = parameters;
        }
        let mut produces = BTreeSet::new();
        for response in converted["responses"]
            .as_object_mut()
            .into_iter()
            .flat_map(Map::values_mut)
        {
            let Some(Value::Object(content)) = response
                .as_object_mut()
                .and_then(|one| one.remove("content"))
            else {
                continue;
            };
            let mut schema = content
                .values()
                .next()
                .map_or(Value::Null, |media| media["schema"].clone());
            convert(&mut schema);
            response["schema"] = schema;
            produces.extend(content.into_iter().map(|(media, _)| media));
        }
        if !produces.is_empty() {
            converted["produces"] = produces.into_iter().collect();
        }
        if let Some(converted) = converted.as_object_mut() {
            converted.remove("requestBody");
        }
        converted
    }
}

/// Makes a v3 schema one of v2.
fn convert(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    let is_quantity = map.contains_key("oneOf") && !map.contains_key("type");
    if is_quantity {
        map.insert("type".into(), "string".into());
    }
    // What may be null, or a number as well as a string, has no type in v2.
    let loose = ["nullable", "x-kubernetes-int-or-string"];
    if loose
        .iter()
        .any(|mark| map.get(*mark) == Some(&true.into()))
    {
        map.remove("type");
    }
    for part in UNKNOWN {
        map.remove(*part);
    }
    match map.remove("allOf") {
        Some(Value::Array(all)) if all.len() == 1 => {
            if let Some(reference) = all
                .into_iter()
                .next()
                .and_then(|mut one| one.get_mut("$ref").map(Value::take))
            {
                map.insert("$ref".into(), reference);
            }
        }
        _ => {}
    }
    if let Some(Value::String(reference)) = map.get_mut("$ref") {
        *reference = reference.replace("#/components/schemas/", "#/definitions/");
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(convert);
    }
    for part in ["items", "additionalProperties"] {
        if let Some(schema) = map.get_mut(part) {
            convert(schema);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_says_less() {
        let reference = json!({ "$ref": "#/components/schemas/a.B" });
        let query = json!({ "in": "query", "name": "pretty", "schema": { "type": "string" } });
        let v3 = json!({
            "components": { "schemas": { "a.B": { "type": "object", "properties": {
                "one": { "allOf": [reference], "default": {}, "description": "d" },
                "two": { "x-kubernetes-int-or-string": true, "type": "string", "anyOf": [] },
                "three": { "type": "array", "items": reference },
            }}}},
            "paths": { "/p": { "parameters": [query], "put": {
                "requestBody": { "required": true, "content": { "*/*": { "schema": reference } } },
                "responses": { "200": { "description": "OK", "content": { "application/json": { "schema": reference } } } },
            }}},
        });
        let v2 = document([v3].into_iter());
        let properties = &v2["definitions"]["a.B"]["properties"];
        let expected = json!({
            "one": { "$ref": "#/definitions/a.B", "description": "d" },
            "two": { "x-kubernetes-int-or-string": true },
            "three": { "type": "array", "items": { "$ref": "#/definitions/a.B" } },
        });
        assert_eq!(*properties, expected);
        let (name, parameter) = v2["parameters"].as_object().unwrap().iter().next().unwrap();
        assert_eq!(
            *parameter,
            json!({ "in": "query", "name": "pretty", "type": "string" })
        );
        let expected = json!({
            "parameters": [{ "$ref": format!("#/parameters/{name}") }],
            "put": {
                "consumes": ["*/*"], "produces": ["application/json"], "schemes": ["https"],
                "parameters": [{ "in": "body", "name": "body", "required": true, "schema": { "$ref": "#/definitions/a.B" } }],
                "responses": { "200": { "description": "OK", "schema": { "$ref": "#/definitions/a.B" } } },
            },
        });
        assert_eq!(v2["paths"]["/p"], expected);
    }
}
