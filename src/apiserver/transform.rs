//! The forms in which an answer can be had: the object itself, only its metadata, or a row of a table (`as=` in `Accept`).
use super::registry::Resource;
use super::request::Query;
use super::request::negotiate::{self, As, Format};
use super::table::{Include, Table};
use crate::object::{Document, Reason, Status};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object, or a list of its kind.
    Object,
    /// `PartialObjectMetadata`, or a list of them.
    Partial,
    /// A `Table`.
    Table(Include),
}

/// What is answered, for the media types in an error message and for what may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    List,
    Watch,
}

impl Form {
    /// The form that an `Accept` header asks for.
    ///
    /// # Errors
    /// 406 when nothing it names can be given; 400 for an unknown `includeObject`.
    pub(crate) fn negotiate(
        accept: &str,
        query: &Query,
        shape: Shape,
        resource: &Resource,
    ) -> Result<Self, Status> {
        let output = negotiate::output(accept, shape != Shape::Object)?;
        if shape == Shape::Watch && output.format == Format::Yaml {
            return Err(refused(
                "only the following media types are accepted: application/json;stream=watch, \
                 application/vnd.kubernetes.protobuf;stream=watch",
            ));
        }
        match (output.as_, shape) {
            (As::Itself, _) => Ok(Self::Object),
            (As::Table, _) => Ok(Self::Table(include(query)?)),
            (As::Metadata, Shape::List) => Err(refused(&format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({}List)",
                go_type(resource)
            ))),
            (As::MetadataList, Shape::Object | Shape::Watch) => Err(refused(&format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                go_type(resource)
            ))),
            (As::Metadata | As::MetadataList, _) => Ok(Self::Partial),
        }
    }

    /// Numbers the forms that frames of a watch are kept in.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Object => 0,
            Self::Partial => 1,
            Self::Table(Include::Metadata) => 2,
            Self::Table(Include::None) => 3,
            Self::Table(Include::Object) => 4,
        }
    }
}

/// The type of the objects within the real server.
fn go_type(resource: &Resource) -> String {
    if resource.custom.is_some() {
        return "*unstructured.Unstructured".to_owned();
    }
    let group = resource.storage_group.split('.').next();
    let package = match group.unwrap_or_default() {
        "" | "events" => "core",
        group => group,
    };
    format!("*{package}.{}", resource.gvk.kind)
}

fn refused(why: &str) -> Status {
    Status::new(406, Reason::NotAcceptable, why)
}

fn include(query: &Query) -> Result<Include, Status> {
    match query.get("includeObject").unwrap_or_default() {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
        ))),
    }
}

/// One answered object in `form`. What is no object of a resource (a `Status`) stays as it is.
///
/// # Errors
/// When `answer` is no JSON.
pub(crate) fn object(
    form: Form,
    resource: &Resource,
    answer: &Bytes,
    now: Timestamp,
) -> Result<Bytes, Status> {
    let unreadable = |error: serde_json::Error| Status::internal(&error.to_string());
    match form {
        Form::Object => Ok(answer.clone()),
        Form::Partial => partial(resource, answer).map_err(unreadable),
        Form::Table(include) => {
            let document: Value = serde_json::from_slice(answer).map_err(unreadable)?;
            if document.kind() == "Status" {
                return Ok(answer.clone());
            }
            let table = Table::of_answer(resource, &document);
            let meta = match document.resource_version() {
                "" => json!({}),
                revision => json!({ "resourceVersion": revision }),
            };
            let mut out = table_head(&meta, Some(table));
            row(&mut out, (resource, table), include, &document, answer, now);
            out.extend_from_slice(b"]}");
            Ok(out.into())
        }
    }
}

/// A list in one of the forms that are not the objects themselves. `meta` is the list's metadata.
///
/// # Errors
/// When an item is no JSON.
pub(crate) fn list<'a>(
    form: Form,
    resource: &Resource,
    meta: &Value,
    items: impl Iterator<Item = &'a Bytes>,
    now: Timestamp,
) -> Result<Bytes, Status> {
    let unreadable = |error: serde_json::Error| Status::internal(&error.to_string());
    let table = Table::of(resource);
    let mut out = match form {
        Form::Table(_) => table_head(meta, Some(table)),
        _ => format!("{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{meta},\"items\":[").into_bytes(),
    };
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if let Form::Table(include) = form {
            let document: Value = serde_json::from_slice(item).map_err(unreadable)?;
            row(&mut out, (resource, table), include, &document, item, now);
        } else {
            out.extend_from_slice(&partial(resource, item).map_err(unreadable)?);
        }
    }
    out.extend_from_slice(b"]}");
    Ok(out.into())
}

/// The object of a watch event in `form`. `columns`: with the table's columns, as only the first event has them.
pub(crate) fn event(
    form: Form,
    resource: &Resource,
    answer: &Bytes,
    columns: bool,
    now: Timestamp,
) -> Bytes {
    let transformed = match form {
        Form::Object => None,
        Form::Partial => partial(resource, answer).ok(),
        Form::Table(include) => serde_json::from_slice::<Value>(answer)
            .ok()
            .map(|document| {
                let table = Table::of(resource);
                let meta = json!({ "resourceVersion": document.resource_version() });
                let mut out = table_head(&meta, columns.then_some(table));
                row(&mut out, (resource, table), include, &document, answer, now);
                out.extend_from_slice(b"]}");
                out.into()
            }),
    };
    transformed.unwrap_or_else(|| answer.clone())
}

fn table_head(meta: &Value, table: Option<Table<'_>>) -> Vec<u8> {
    let columns = table.map_or(Value::Null, |table| json!(table.columns()));
    format!("{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{meta},\"columnDefinitions\":{columns},\"rows\":[").into_bytes()
}

fn row(
    out: &mut Vec<u8>,
    (resource, table): (&Resource, Table<'_>),
    include: Include,
    document: &Value,
    answer: &Bytes,
    now: Timestamp,
) {
    let object = match include {
        Include::None => Bytes::from_static(b"null"),
        Include::Object => answer.clone(),
        Include::Metadata => {
            partial(resource, answer).unwrap_or_else(|_| Bytes::from_static(b"null"))
        }
    };
    table.write_row(out, document, &object, now);
}

/// Only the metadata; it is not decoded unless it is shown otherwise than with its object.
fn partial(resource: &Resource, answer: &[u8]) -> Result<Bytes, serde_json::Error> {
    let hidden = resource.strategy.field_annotations();
    if hidden.is_empty() {
        return cut(answer);
    }
    let mut object: Value = serde_json::from_slice(&cut(answer)?)?;
    if let Some(Value::Object(annotations)) = object.at_mut(&["metadata", "annotations"]) {
        annotations.retain(|name, _| !hidden.contains(&name.as_str()));
        if annotations.is_empty() {
            object.remove_at(&["metadata", "annotations"]);
        }
    }
    Ok(object.to_string().into())
}

fn cut(answer: &[u8]) -> Result<Bytes, serde_json::Error> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    let found: Metadata<'_> = serde_json::from_slice(answer)?;
    let metadata = found.metadata.map_or("{}", RawValue::get);
    Ok(format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata}}}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::cacher::fake::pods;

    #[test]
    fn negotiates() {
        let none = Query::default();
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        for (accept, shape, form) in [
            ("", Shape::Object, Some(Form::Object)),
            ("*/*", Shape::List, Some(Form::Object)),
            (table, Shape::List, Some(Form::Table(Include::Metadata))),
            (
                "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
                Shape::List,
                Some(Form::Object),
            ),
            (partial, Shape::Watch, Some(Form::Partial)),
            (partial, Shape::List, None),
            ("application/json;as=Bogus", Shape::List, None),
            (
                "application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io",
                Shape::List,
                Some(Form::Table(Include::Metadata)),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Shape::List,
                Some(Form::Object),
            ),
        ] {
            let found = Form::negotiate(accept, &none, shape, &pods());
            assert_eq!(found.ok(), form, "{accept}");
        }
    }

    #[test]
    fn refusals() {
        let partial = "application/json;v=v1;g=meta.k8s.io;as=PartialObjectMetadata";
        let list = format!("{partial}List");
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let all = Query(vec![("includeObject".into(), "All".into())]);
        let none = Query::default();
        for (accept, query, shape, expected) in [
            (
                partial,
                &none,
                Shape::List,
                "you requested PartialObjectMetadata, but the requested object is a list (*core.PodList)",
            ),
            (
                &list,
                &none,
                Shape::Object,
                "you requested PartialObjectMetadataList, but the requested object is not a list (*core.Pod)",
            ),
            (
                table,
                &all,
                Shape::List,
                "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', 'Object', 'None', or empty",
            ),
        ] {
            let refusal = Form::negotiate(accept, query, shape, &pods()).unwrap_err();
            assert_eq!(refusal.message, expected);
        }
    }

    #[test]
    fn metadata_is_cut_out() {
        let whole = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"}"}},"spec":{}}"#;
        let cut = cut(whole).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&cut).unwrap(),
            json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": { "name": "a", "labels": { "x": "}" } } })
        );
    }
}
