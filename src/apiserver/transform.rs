//! The forms in which an answer can be had: the object itself, only its metadata, or a row of a table (`as=` in `Accept`).
mod list;
mod part;

pub(crate) use self::list::list;
pub(crate) use self::part::{Assembler, Part};
use super::registry::Resource;
use super::request::negotiate::{self, As, Endpoint, Format};
use super::request::{Query, ResourceRequest};
use super::table::{Include, Table};
use crate::object::{Document, Reason, Status};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The form of an answer; with the version of `meta.k8s.io` that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object, or a list of its kind.
    Object,
    /// `PartialObjectMetadata`, or a list of them.
    Partial(&'static str),
    /// A `Table`.
    Table(&'static str, Include),
}

/// How a reader gets objects: in which form, written in which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub form: Form,
    pub format: Format,
}

/// What is answered, for the media types in an error message and for what may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    List,
    Watch,
}

impl View {
    /// How the answer to a request is wanted.
    ///
    /// # Errors
    /// 406 when nothing that the `Accept` header names can be given; 400 for an unknown `includeObject`.
    pub(crate) fn negotiate(request: &ResourceRequest, shape: Shape) -> Result<Self, Status> {
        let view = Self::of(&request.accept, &request.query, shape, &request.resource)?;
        let format = match view.format {
            // It is brought into the format of the client at the very end.
            _ if shape == Shape::List && request.logged => Format::Json,
            format => format,
        };
        Ok(Self { format, ..view })
    }

    fn of(accept: &str, query: &Query, shape: Shape, resource: &Resource) -> Result<Self, Status> {
        let endpoint = Endpoint::of(resource, shape != Shape::Object);
        let output = negotiate::output(accept, endpoint)?;
        if shape == Shape::Watch && output.format == Format::Yaml {
            return Err(refused(
                "only the following media types are accepted: application/json;stream=watch, \
                 application/vnd.kubernetes.protobuf;stream=watch",
            ));
        }
        let form = match (output.as_, shape) {
            (As::Itself, _) => Form::Object,
            (As::Table(version), _) => Form::Table(version, include(query)?),
            (As::Metadata(_), Shape::List) => {
                return Err(refused(format!(
                    "you requested PartialObjectMetadata, but the requested object is a list ({})",
                    go_type(resource, true)
                )));
            }
            (As::MetadataList(_), Shape::Object | Shape::Watch) => {
                return Err(refused(format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                    go_type(resource, false)
                )));
            }
            (As::Metadata(version) | As::MetadataList(version), _) => Form::Partial(version),
        };
        Ok(Self {
            form,
            format: output.format,
        })
    }
}

/// What the real server calls the type of the resource's objects, or of a list of them.
fn go_type(resource: &Resource, list: bool) -> String {
    let suffix = if list { "List" } else { "" };
    if resource.strategy.custom() {
        return format!("*unstructured.Unstructured{suffix}");
    }
    let package = match resource.storage_group.split('.').next() {
        None | Some("") => "core",
        Some("internal") => "apiserverinternal",
        Some(group) => group,
    };
    format!("*{package}.{}{suffix}", resource.gvk.kind)
}

fn refused(why: impl Into<String>) -> Status {
    Status::new(406, Reason::NotAcceptable, why)
}

fn include(query: &Query) -> Result<Include, Status> {
    match query.get("includeObject").unwrap_or_default() {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: \
             must be 'Metadata', 'Object', 'None', or empty"
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
        Form::Partial(version) => partial(version, resource, answer).map_err(unreadable),
        Form::Table(version, include) => {
            let document: Value = serde_json::from_slice(answer).map_err(unreadable)?;
            if document.kind() == "Status" {
                return Ok(answer.clone());
            }
            let table = Table::of_answer(resource, &document);
            let meta = match document.resource_version() {
                "" => json!({}),
                revision => json!({ "resourceVersion": revision }),
            };
            let object = match include {
                Include::None => Bytes::from_static(b"null"),
                Include::Object => answer.clone(),
                Include::Metadata => partial(version, resource, answer).map_err(unreadable)?,
            };
            let mut out = table_head(version, &meta, Some(table));
            let row = table.row(&document, now);
            for piece in [b"{", row.as_bytes(), b",\"object\":", &object, b"}]}"] {
                out.extend_from_slice(piece);
            }
            Ok(out.into())
        }
    }
}

fn table_head(version: &str, meta: &Value, table: Option<Table<'_>>) -> Vec<u8> {
    let columns = table.map_or(Value::Null, |table| json!(table.columns()));
    format!("{{\"kind\":\"Table\",\"apiVersion\":\"{version}\",\"metadata\":{meta},\"columnDefinitions\":{columns},\"rows\":[").into_bytes()
}

/// Only the metadata.
fn partial(version: &str, resource: &Resource, answer: &Bytes) -> Result<Bytes, serde_json::Error> {
    let metadata = metadata_of(resource, answer)?;
    let head =
        format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{version}\",\"metadata\":");
    Ok([head.as_bytes(), &metadata, b"}"].concat().into())
}

/// The metadata of an answer, a piece of its bytes unless it is shown otherwise than with its object.
fn metadata_of(resource: &Resource, answer: &Bytes) -> Result<Bytes, serde_json::Error> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    let found: Metadata<'_> = serde_json::from_slice(answer)?;
    let Some(metadata) = found.metadata else {
        return Ok(Bytes::from_static(b"{}"));
    };
    let hidden = resource.strategy.field_annotations();
    if hidden.is_empty() {
        return Ok(answer.slice_ref(metadata.get().as_bytes()));
    }
    let mut metadata: Value = serde_json::from_str(metadata.get())?;
    if let Some(Value::Object(annotations)) = metadata.at_mut(&["annotations"]) {
        annotations.retain(|name, _| !hidden.contains(&name.as_str()));
        if annotations.is_empty() {
            metadata.remove_at(&["annotations"]);
        }
    }
    Ok(metadata.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::cacher::fake;

    #[test]
    fn negotiates() {
        let pods = fake::pods();
        let none = Query::default();
        let of = |accept: &str, query: &Query, shape| View::of(accept, query, shape, &pods);
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let beta = "application/json;as=PartialObjectMetadata;v=v1beta1;g=meta.k8s.io";
        let version = "meta.k8s.io/v1";
        let metadata = Form::Table(version, Include::Metadata);
        for (accept, shape, form) in [
            ("", Shape::Object, Some(Form::Object)),
            ("*/*", Shape::List, Some(Form::Object)),
            (table, Shape::List, Some(metadata)),
            (
                "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
                Shape::List,
                Some(Form::Object),
            ),
            (partial, Shape::Watch, Some(Form::Partial(version))),
            (
                beta,
                Shape::Object,
                Some(Form::Partial("meta.k8s.io/v1beta1")),
            ),
            (partial, Shape::List, None),
            ("application/json;as=Bogus", Shape::List, None),
            (
                "application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io",
                Shape::List,
                Some(metadata),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Shape::List,
                Some(Form::Object),
            ),
        ] {
            let found = of(accept, &none, shape).map(|view| view.form);
            assert_eq!(found.ok(), form, "{accept}");
        }
        for (accept, query, shape, code, message) in [
            (
                table,
                vec![("includeObject", "All")],
                Shape::List,
                400,
                "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": \
                 must be 'Metadata', 'Object', 'None', or empty",
            ),
            (
                partial,
                vec![],
                Shape::List,
                406,
                "you requested PartialObjectMetadata, but the requested object is a list (*core.PodList)",
            ),
        ] {
            let query = query
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()));
            let refused = of(accept, &Query(query.collect()), shape).unwrap_err();
            assert_eq!((refused.code, &*refused.message), (code, message));
        }
    }

    #[test]
    fn metadata_is_cut_out() {
        let whole = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"}"}},"spec":{}}"#;
        let whole = Bytes::from_static(whole);
        let cut = partial("meta.k8s.io/v1", &fake::pods(), &whole).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&cut).unwrap(),
            json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": { "name": "a", "labels": { "x": "}" } } })
        );
    }
}
