//! What objects of the cache are put together from in other forms than their own: each part is made once for all readers.
use super::{Form, View, metadata_of};
use crate::apiserver::protobuf;
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::Cached;
use crate::apiserver::render;
use crate::apiserver::request::negotiate::Format;
use crate::apiserver::table::{Include, Table};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What is made of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its metadata in JSON.
    Metadata,
    /// The fields of its row in a table.
    Row,
    /// Itself as a protobuf message.
    Message,
    /// Its metadata as the protobuf message of a `PartialObjectMetadata`.
    MetadataMessage,
    /// An item of a list in YAML.
    Yaml(Form),
}

/// Puts an object together in the form and format of a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assembler<'a> {
    pub view: View,
    pub resource: &'a Resource,
    pub now: Timestamp,
    /// Whether items leave out what the list has said already: their `apiVersion` and `kind`.
    pub bare: bool,
}

impl<'a> Assembler<'a> {
    pub(crate) fn new(view: View, resource: &'a Resource, now: Timestamp) -> Self {
        Self {
            view,
            resource,
            now,
            bare: view.form == Form::Object && !resource.strategy.custom(),
        }
    }

    /// The object as the answer to a get, or in an event. `columns`: a table with its columns, as only the first of a watch.
    pub(crate) fn object(&self, object: &Cached, columns: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(object.bytes.len() + 128);
        let mut put = |piece: &[u8]| out.extend_from_slice(piece);
        match (self.view.format, self.view.form) {
            (Format::Protobuf, form) => {
                let message = self.message(object);
                let gvk = &self.resource.gvk;
                let (version, kind) = match form {
                    Form::Partial(version) => (version.to_owned(), "PartialObjectMetadata"),
                    _ => (gvk.api_version(), &*gvk.kind),
                };
                put(&protobuf::start(&version, kind, message.len()));
                put(&message);
                put(protobuf::END);
            }
            (_, Form::Table(version, _)) => {
                let table = columns.then(|| Table::of(self.resource));
                let revision =
                    serde_json::json!({ "resourceVersion": object.revision.to_string() });
                put(&super::table_head(version, &revision, table));
                self.json(object, &mut put);
                put(b"]}");
            }
            _ => self.json(object, &mut put),
        }
        out
    }

    /// The object as an item of a list, piece by piece.
    pub(super) fn item(&self, object: &Cached, put: &mut dyn FnMut(&[u8])) {
        match self.view.format {
            Format::Json => self.json_item(object, put),
            Format::Yaml => {
                let make = || {
                    let mut json = Vec::new();
                    self.json_item(object, &mut |piece| json.extend_from_slice(piece));
                    let item = serde_json::from_slice(&json).unwrap_or(Value::Null);
                    render::yaml_item(item).into()
                };
                put(&object
                    .parts()
                    .get(Part::Yaml(self.view.form), self.second(), make));
            }
            Format::Protobuf => {
                let message = self.message(object);
                put(&protobuf::item_start(message.len()));
                put(&message);
            }
        }
    }

    /// What the object is good for when it tells ages.
    pub(crate) fn second(&self) -> i64 {
        match self.view.form {
            Form::Table(..) => self.now.as_second(),
            _ => 0,
        }
    }

    fn json_item(&self, object: &Cached, put: &mut dyn FnMut(&[u8])) {
        if self.bare {
            let (open, rest) = object.item();
            put(open);
            put(rest);
        } else {
            self.json(object, put);
        }
    }

    fn json(&self, object: &Cached, put: &mut dyn FnMut(&[u8])) {
        match self.view.form {
            Form::Object => put(&object.bytes),
            Form::Partial(version) => self.partial(object, version, put),
            Form::Table(version, include) => {
                let make = || {
                    let document = object.document().unwrap_or_default();
                    let table = Table::of(self.resource);
                    // The same for everyone in one second, also in length: that is told before the rows are put together.
                    let now = Timestamp::from_second(self.second()).unwrap_or(self.now);
                    table.row(&document, now).into()
                };
                put(b"{");
                put(&object.parts().get(Part::Row, self.second(), make));
                put(b",\"object\":");
                match include {
                    Include::None => put(b"null"),
                    Include::Object => put(&object.bytes),
                    Include::Metadata => self.partial(object, version, put),
                }
                put(b"}");
            }
        }
    }

    fn partial(&self, object: &Cached, version: &str, put: &mut dyn FnMut(&[u8])) {
        put(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
        put(version.as_bytes());
        put(b"\",\"metadata\":");
        put(&self.metadata(object));
        put(b"}");
    }

    fn metadata(&self, object: &Cached) -> Bytes {
        object.parts().get(Part::Metadata, 0, || {
            metadata_of(self.resource, &object.bytes).unwrap_or_else(|_| Bytes::from_static(b"{}"))
        })
    }

    /// The object as a protobuf message. Whoever asks has been told that there is one.
    fn message(&self, object: &Cached) -> Bytes {
        if let Form::Partial(version) = self.view.form {
            object.parts().get(Part::MetadataMessage, 0, || {
                let metadata = serde_json::from_slice(&self.metadata(object));
                let mut partial = Map::new();
                partial.insert("kind".into(), "PartialObjectMetadata".into());
                partial.insert("apiVersion".into(), version.into());
                partial.insert("metadata".into(), metadata.unwrap_or(Value::Null));
                let message = protobuf::message(&partial.into());
                message.unwrap_or_default().into()
            })
        } else {
            object.parts().get(Part::Message, 0, || {
                let document = object.document().unwrap_or_default();
                protobuf::message(&document).unwrap_or_default().into()
            })
        }
    }
}
