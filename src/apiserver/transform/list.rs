//! The body of a list: what goes before the items, the items, what goes after them.
use super::part::Assembler;
use super::{Form, View, table_head};
use crate::apiserver::protobuf;
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::Cached;
use crate::apiserver::render;
use crate::apiserver::request::negotiate::Format;
use crate::apiserver::response::{self, Body, Response};
use crate::apiserver::table::Table;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A list's body is put together in pieces of about this size, so that a long list is never in memory as a whole.
const PIECE: usize = 128 * 1024;

/// A list of the resource's objects with this metadata, as its reader wants it.
pub(crate) fn list(
    view: View,
    resource: &Arc<Resource>,
    meta: &Value,
    items: Vec<Arc<Cached>>,
    now: Timestamp,
) -> Response {
    let list = List {
        view,
        resource: resource.clone(),
        now,
        bare: Assembler::new(view, resource, now).bare,
    };
    let length = list.length(&items);
    let (head, end) = list.frame(meta, length, items.is_empty());
    let body = ListBody {
        left: (head.len() + length + end.len()) as u64,
        head,
        items: items.into_iter(),
        end,
        first: true,
        list,
    };
    let content_type = match view.format {
        Format::Json => response::JSON,
        Format::Yaml => response::YAML,
        Format::Protobuf => HeaderValue::from_static(protobuf::MEDIA),
    };
    response::content(StatusCode::OK, content_type, Body::new(body))
}

/// What a list is put together by.
#[derive(Debug)]
struct List {
    view: View,
    resource: Arc<Resource>,
    now: Timestamp,
    bare: bool,
}

impl List {
    fn assembler(&self) -> Assembler<'_> {
        Assembler {
            view: self.view,
            resource: &self.resource,
            now: self.now,
            bare: self.bare,
        }
    }

    /// What goes between two items.
    fn separator(&self) -> &'static [u8] {
        match self.view.format {
            Format::Json => b",",
            Format::Yaml | Format::Protobuf => b"",
        }
    }

    /// How long the items are, with what goes between them.
    fn length(&self, items: &[Arc<Cached>]) -> usize {
        let assembler = self.assembler();
        let mut length = self.separator().len() * items.len().saturating_sub(1);
        for item in items {
            assembler.item(item, &mut |piece| length += piece.len());
        }
        length
    }

    /// What goes before items of this length, and after them.
    fn frame(&self, meta: &Value, length: usize, empty: bool) -> (Bytes, Bytes) {
        let gvk = &self.resource.gvk;
        let (version, kind) = match self.view.form {
            Form::Object => (gvk.api_version(), &*self.resource.list_kind),
            Form::Partial(version) => (version.to_owned(), "PartialObjectMetadataList"),
            Form::Table(version, _) => (version.to_owned(), "Table"),
        };
        let head = match self.view.form {
            Form::Table(version, _) => table_head(version, meta, Some(Table::of(&self.resource))),
            _ => format!(
                "{{\"kind\":{kind:?},\"apiVersion\":{version:?},\"metadata\":{meta},\"items\":["
            )
            .into_bytes(),
        };
        match self.view.format {
            Format::Json => (head.into(), Bytes::from_static(b"]}\n")),
            Format::Yaml => {
                let document = serde_json::from_slice(&[&head, &b"]}"[..]].concat());
                let (head, end) = render::yaml_around(&document.unwrap_or_default(), empty);
                (head.into(), end.into())
            }
            Format::Protobuf => {
                let list = protobuf::list_start(meta);
                let mut head = protobuf::start(&version, kind, list.len() + length);
                head.extend(list);
                (head.into(), Bytes::from_static(protobuf::END))
            }
        }
    }
}

/// Copies items into pieces as they are asked for.
#[derive(Debug)]
struct ListBody {
    list: List,
    head: Bytes,
    items: std::vec::IntoIter<Arc<Cached>>,
    end: Bytes,
    first: bool,
    /// Bytes still to come.
    left: u64,
}

impl http_body::Body for ListBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = BytesMut::with_capacity(wanted);
        piece.extend_from_slice(&std::mem::take(&mut self.head));
        while piece.len() < PIECE {
            let Some(item) = self.items.next() else {
                piece.extend_from_slice(&self.end);
                break;
            };
            if !std::mem::take(&mut self.first) {
                piece.extend_from_slice(self.list.separator());
            }
            let assembler = self.list.assembler();
            assembler.item(&item, &mut |part| piece.extend_from_slice(part));
        }
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
