//! `GET` of a collection with `watch`: a stream of events, one JSON document a line, or protobuf messages with their lengths.
pub(crate) mod websocket;

use crate::apiserver::crd::convert::Caller;
use crate::apiserver::protobuf;
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::cacher::{
    Cached, Cacher, Event, EventType, Kind, Selection, Stop, Subscription, parse_revision, prefix,
    unparsable_revision,
};
use crate::apiserver::request::list::select_as_shown;
use crate::apiserver::request::negotiate::Format;
use crate::apiserver::request::{ListOptions, ResourceRequest};
use crate::apiserver::response::{self, Body, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::transform::{Assembler, Form, Shape, View};
use crate::clock::Clock;
use crate::object::{FieldSelector, LabelSelector, Status};
use crate::signal::Waiter;
use crate::store::Revision;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A watch without a timeout of its own lasts this long, and up to twice as long.
const SHORTEST: Duration = Duration::from_secs(1800);
/// Time between bookmarks.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A last bookmark comes this long before the end.
const BEFORE_END: Duration = Duration::from_secs(2);
/// The content type of a stream of events in protobuf.
const PROTOBUF: HeaderValue =
    HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");
/// Events taken from the cache at a time.
const BATCH: usize = 128;

/// Answers the stream of changes that the request selects.
///
/// # Errors
/// What can be said before the stream begins: 400 and 500 for what cannot be read, failing stores. A revision that is too old
/// or still to come is told in the stream, as the real server does.
pub(crate) async fn handle(shared: &Shared, request: &ResourceRequest) -> Result<Response, Status> {
    let view = View::negotiate(request, Shape::Watch)?;
    let options = &ListOptions::parse(request)?;
    let asked = options.resource_version.as_deref().unwrap_or_default();
    let revision = parse_revision(asked).map_err(unparsable_revision)?;
    // From an unset revision or 0 a watch starts with the objects there are, unless it says otherwise.
    let initial = options.send_initial_events.unwrap_or(revision == 0);
    let kind = shared.cacher.kind(&request.resource).await?;
    let started = if initial {
        with_objects(&shared.cacher, &kind, request, options, asked, revision).await?
    } else {
        after(&shared.cacher, &kind, request, options, revision)
    };
    let chosen = || shared.clock.jitter(SHORTEST, 1.0);
    let timeout = options.timeout.unwrap_or_else(chosen);
    let lines = match started {
        Ok(source) => Lines::new(source, shared, view, options, request, timeout),
        Err(status) => {
            let body = response::full(failure(view, &status));
            return Ok(response::content(StatusCode::OK, content_type(view), body));
        }
    };
    let frames = stream::unfold(lines, |mut lines| async {
        let line = lines.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(line)), lines))
    });
    Ok(response::content(
        StatusCode::OK,
        content_type(view),
        Body::new(StreamBody::new(frames)),
    ))
}

/// What a watch starts from.
struct Source {
    subscription: Subscription,
    initial: VecDeque<Arc<Cached>>,
    backlog: VecDeque<Arc<Event>>,
    /// What the client has seen when it has seen the initial objects.
    revision: Revision,
    /// Whether the end of the initial objects is to be marked.
    mark: bool,
}

async fn with_objects(
    cacher: &Cacher,
    kind: &Arc<Kind>,
    request: &ResourceRequest,
    options: &ListOptions,
    asked: &str,
    revision: Revision,
) -> Result<Result<Source, Status>, Status> {
    let applied = if asked.is_empty() {
        cacher.fresh().await?
    } else {
        match cacher.at_least(revision).await {
            Ok(applied) => applied,
            Err(status) => return Ok(Err(status)),
        }
    };
    let within = within(request);
    let mut selection = Selection::all(&within);
    // What is selected as it is shown is left out later, when that is known.
    if !select_as_shown(&request.resource, &options.labels, &options.fields) {
        selection.labels = Some(&options.labels);
        selection.fields = Some(&options.fields);
    }
    let (selected, subscription) = kind.watch_all(&request.namespace, &options.fields, &selection);
    Ok(Ok(Source {
        subscription,
        initial: selected.items.into(),
        backlog: VecDeque::new(),
        revision: selected.changed.max(applied),
        mark: options.allow_watch_bookmarks,
    }))
}

fn after(
    cacher: &Cacher,
    kind: &Arc<Kind>,
    request: &ResourceRequest,
    options: &ListOptions,
    revision: Revision,
) -> Result<Source, Status> {
    let revision = if revision == 0 {
        cacher.applied().max(kind.changed())
    } else {
        revision
    };
    let start = kind
        .watch_after(&request.namespace, &options.fields, revision)
        .map_err(|oldest| too_old(revision, oldest))?;
    Ok(Source {
        subscription: start.subscription,
        initial: VecDeque::new(),
        backlog: start.backlog.into(),
        revision,
        mark: false,
    })
}

fn too_old(asked: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {asked} ({oldest})"))
}

/// The keys that the request is about begin with this.
fn within(request: &ResourceRequest) -> String {
    if request.namespace.is_empty() {
        prefix(&request.resource)
    } else {
        request.resource.key(&request.namespace, "")
    }
}

fn content_type(view: View) -> HeaderValue {
    match view.format {
        Format::Protobuf => PROTOBUF,
        Format::Json | Format::Yaml => response::JSON,
    }
}

/// An event around an object that is written in the format: `{"type":…,"object":…}` and a line break, or as protobuf.
fn frame(format: Format, type_: EventType, object: &[u8]) -> Bytes {
    let type_ = type_.as_str();
    if format == Format::Protobuf {
        return protobuf::watch_event(type_, object).into();
    }
    let mut line = Vec::with_capacity(object.len() + type_.len() + 24);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(type_.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

/// The event that ends a watch.
fn failure(view: View, status: &Status) -> Bytes {
    let status = status.to_value();
    let object = match view.format {
        Format::Protobuf => protobuf::encode(&status).unwrap_or_default(),
        Format::Json | Format::Yaml => status.to_string().into_bytes(),
    };
    frame(view.format, EventType::Error, &object)
}

/// Makes the lines of a watch. Holds nothing but its place in the shared events; dropping it ends its registration.
struct Lines {
    source: Source,
    resource: Arc<Resource>,
    within: String,
    labels: LabelSelector,
    fields: FieldSelector,
    view: View,
    clock: Clock,
    caller: Caller,
    progress: Waiter<Revision>,
    /// Whether a table's columns are still to be sent.
    columns: bool,
    bookmarks: bool,
    end: Instant,
    /// Once the end has come: the last revision to be told of.
    last: Option<Revision>,
    next_bookmark: Option<Instant>,
    /// Runs until the next bookmark or the end. It is kept between waits: to set up a timer costs more than to send an event.
    timer: Pin<Box<Sleep>>,
    done: bool,
}

impl Lines {
    fn new(
        source: Source,
        shared: &Shared,
        view: View,
        options: &ListOptions,
        request: &ResourceRequest,
        timeout: Duration,
    ) -> Self {
        let mut lines = Self {
            source,
            resource: request.resource.clone(),
            within: within(request),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
            view,
            clock: shared.clock.clone(),
            caller: Caller::of(shared),
            progress: shared.cacher.progress(),
            columns: matches!(view.form, Form::Table(..)),
            bookmarks: options.allow_watch_bookmarks,
            end: Instant::now() + timeout,
            last: None,
            next_bookmark: None,
            timer: Box::pin(tokio::time::sleep(timeout)),
            done: false,
        };
        lines.schedule_bookmark();
        lines
    }

    fn schedule_bookmark(&mut self) {
        let now = Instant::now();
        let last = self.end.checked_sub(BEFORE_END).unwrap_or(now);
        let next = (now + BOOKMARK_EVERY).min(last);
        self.next_bookmark = Some(next).filter(|next| self.bookmarks && *next > now);
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.done {
                return None;
            }
            // Who comes late to the end still gets what happened before it was noticed, but nothing after.
            if self.last.is_none() && Instant::now() >= self.end {
                self.last = Some(self.progress.look());
            }
            while let Some(object) = self.source.initial.pop_front() {
                match self.selects(&object).await {
                    Ok(true) => return Some(self.line(EventType::Added, object).await),
                    Ok(false) => {}
                    Err(failed) => return Some(failed),
                }
            }
            if std::mem::take(&mut self.source.mark) {
                return Some(self.bookmark(true));
            }
            while let Some(event) = self.source.backlog.pop_front() {
                if self.last.is_some_and(|last| event.revision > last) {
                    return None;
                }
                if let Some(line) = self.event_line(&event).await {
                    return Some(line);
                }
            }
            // Read before the events: all up to this revision are there to be taken.
            let applied = self.progress.look();
            match self
                .source
                .subscription
                .reader
                .take(BATCH, &mut self.source.backlog)
            {
                Ok(()) if !self.source.backlog.is_empty() => {}
                Ok(()) if self.last.is_some() => return None,
                Ok(()) => {
                    self.source.revision = self.source.revision.max(applied);
                    if self
                        .next_bookmark
                        .is_some_and(|next| next <= Instant::now())
                    {
                        self.schedule_bookmark();
                        return Some(self.bookmark(false));
                    }
                    self.wait().await;
                }
                Err(Stop::Gap) => {
                    self.done = true;
                    let status = too_old(self.source.revision, applied);
                    return Some(failure(self.view, &status));
                }
                // Who is too slow is cut off, and resumes from what it has seen.
                Err(Stop::Slow | Stop::Ended) => return None,
            }
        }
    }

    /// Waits for events, the end, or the time of a bookmark.
    async fn wait(&mut self) {
        let until = self
            .next_bookmark
            .map_or(self.end, |next| next.min(self.end));
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        tokio::select! {
            biased;
            () = self.source.subscription.reader.changed() => {}
            () = self.timer.as_mut() => {}
        }
    }

    async fn event_line(&mut self, event: &Event) -> Option<Bytes> {
        if event.revision <= self.source.revision {
            return None;
        }
        self.source.revision = event.revision;
        if !event.object.key.starts_with(&self.within) {
            return None;
        }
        let was = match &event.previous {
            Some(previous) => self.selects(previous).await,
            None => Ok(false),
        };
        let (was, is) = match (was, self.selects(&event.object).await) {
            (Ok(was), Ok(is)) => (was, is),
            (Err(failed), _) | (_, Err(failed)) => return Some(failed),
        };
        let (type_, object) = event.seen(&self.resource, was, is)?;
        if self.columns {
            return Some(self.line(type_, object).await);
        }
        let object = match self.converted(object).await {
            Ok(object) => object,
            Err(failed) => return Some(failed),
        };
        let (view, assembler) = (self.view, self.assembler());
        let frame = || frame(view.format, type_, &assembler.object(&object, false));
        Some(event.frames.get((view, type_), assembler.second(), frame))
    }

    /// Whether the watch is about the object.
    async fn selects(&mut self, object: &Arc<Cached>) -> Result<bool, Bytes> {
        let shown;
        let object = if select_as_shown(&self.resource, &self.labels, &self.fields) {
            shown = self.converted(object.clone()).await?;
            &shown
        } else {
            object
        };
        Ok(object.matches(&self.resource, &self.labels, &self.fields))
    }

    /// The object in the version that is watched; a webhook may have to bring it there. That it fails ends the watch.
    async fn converted(&mut self, object: Arc<Cached>) -> Result<Arc<Cached>, Bytes> {
        let converted = self.caller.one(&self.resource, object).await;
        converted.map_err(|status| {
            self.done = true;
            failure(self.view, &status)
        })
    }

    /// The line of an object that others may not see in the same way.
    async fn line(&mut self, type_: EventType, object: Arc<Cached>) -> Bytes {
        match self.converted(object).await {
            Ok(object) => self.object_line(type_, &object),
            Err(failed) => failed,
        }
    }

    fn object_line(&mut self, type_: EventType, object: &Cached) -> Bytes {
        let columns = std::mem::take(&mut self.columns);
        frame(
            self.view.format,
            type_,
            &self.assembler().object(object, columns),
        )
    }

    fn assembler(&self) -> Assembler<'_> {
        Assembler::new(self.view, &self.resource, self.clock.now())
    }

    /// A bookmark at what the client has seen.
    fn bookmark(&mut self, initial: bool) -> Bytes {
        let gvk = &self.resource.gvk;
        let revision = self.source.revision;
        let mut object = json!({
            "kind": gvk.kind, "apiVersion": gvk.api_version(), "metadata": { "resourceVersion": revision.to_string() },
        });
        if initial {
            object["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let bytes = object.to_string().into();
        let object = Cached::from_document(&self.resource, "".into(), revision, &object, bytes);
        self.object_line(EventType::Bookmark, &object)
    }
}

#[cfg(test)]
mod tests;
