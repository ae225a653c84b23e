//! Event recording with aggregation (`k8s.io/client-go/tools/record`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;

use super::activity::{Activity, Guard};
use super::correlate::{Correlator, Similar, Verdict};
use crate::client;
use crate::clock::Clock;

/// How many events may wait to be written; beyond that the newest are dropped (and counted).
const WAITING: usize = 10_000;

/// Whether an event is a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// `Normal`
    Normal,
    /// `Warning`
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records events about objects on behalf of one component. Recording never blocks or fails the caller; like events are
/// counted up instead of repeated, and what waits to be written is bounded.
#[derive(Clone)]
pub struct Recorder {
    sink: Arc<Sink>,
    client: kube::Client,
    component: Arc<str>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    pub(super) fn new(sink: Arc<Sink>, client: kube::Client, component: &str) -> Self {
        Self {
            sink,
            client,
            component: component.into(),
        }
    }

    /// Records an event about an object (see [`reference()`]). `reason` is one word in `CamelCase`.
    pub fn event(
        &self,
        about: ObjectReference,
        type_: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        self.sink.push(Record {
            client: self.client.clone(),
            component: self.component.clone(),
            guard: self
                .sink
                .activity
                .begin("events", &*self.component, reason, None),
            about,
            type_,
            reason: reason.to_owned(),
            message: message.into(),
        });
    }
}

/// A reference to a typed object, for [`Recorder::event`].
pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

struct Record {
    client: kube::Client,
    component: Arc<str>,
    about: ObjectReference,
    type_: EventType,
    reason: String,
    message: String,
    guard: Guard,
}

/// Where all recorders of a manager put their events, and what writes them.
pub(super) struct Sink {
    clock: Clock,
    activity: Activity,
    state: Mutex<Waiting>,
    changed: Notify,
    /// Counts the events that got a name.
    written: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<Record>,
    dropped: u64,
}

impl Sink {
    pub(super) fn new(clock: Clock, activity: Activity) -> Self {
        Self {
            clock,
            activity,
            state: Mutex::default(),
            changed: Notify::new(),
            written: AtomicU64::new(0),
        }
    }

    fn push(&self, record: Record) {
        let mut state = self.state.lock();
        if state.records.len() >= WAITING {
            state.dropped += 1;
            tracing::warn!(
                dropped = state.dropped,
                "too many events wait to be written; one was dropped"
            );
            return;
        }
        state.records.push_back(record);
        drop(state);
        self.changed.notify_one();
    }

    /// Writes events, one after the other, until it is dropped.
    pub(super) async fn run(&self) {
        let mut correlator = Correlator::default();
        loop {
            let changed = self.changed.notified();
            let record = self.state.lock().records.pop_front();
            match record {
                Some(record) => self.write(record, &mut correlator).await,
                None => changed.await,
            }
        }
    }

    async fn write(&self, record: Record, correlator: &mut Correlator) {
        let about = &record.about;
        let object = json!([
            about.kind,
            about.namespace,
            about.name,
            about.uid,
            about.api_version
        ])
        .to_string();
        let key: Similar = (
            record.component.to_string(),
            object,
            record.type_.as_str().to_owned(),
            record.reason.clone(),
        );
        // The API wants cluster-scoped objects' events in namespace default.
        let namespace = about
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let mut verdict = correlator.judge(&key, &record.message, self.clock.now());
        if let Verdict::Count {
            name,
            count,
            message,
        } = &verdict
        {
            let patch = json!({"message": message, "count": count, "lastTimestamp": Time(self.clock.now())});
            let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
            let events = Request::new(Event::url_path(&(), Some(&namespace)));
            let request = events.patch(name, &params, &patch);
            match client::send(&record.client, request).await {
                // It has lived its hour: record it anew.
                Err(error) if client::is_not_found(&error) => {
                    correlator.forget(key.clone(), message);
                    verdict = Verdict::Create(message.clone());
                }
                Err(error) => tracing::warn!(%error, "an event could not be counted up"),
                Ok(()) => {}
            }
        }
        if let Verdict::Create(message) = verdict {
            let event = self.event(&record, &namespace, message.clone());
            let name = event.metadata.name.clone().unwrap_or_default();
            match client::create(&record.client, &event).await {
                Ok(()) => correlator.recorded(key, &message, name),
                // Nothing can be told of a namespace that is going.
                Err(error)
                    if client::is_namespace_terminating(&error) || client::is_not_found(&error) => {
                }
                Err(error) => {
                    tracing::warn!(%error, reason = %record.reason, "an event could not be recorded");
                }
            }
        }
        drop(record.guard);
    }

    /// The end of an event's name: later events come later in a list, also those of one moment.
    fn stamp(&self, now: Timestamp) -> u64 {
        const COUNT: u64 = 0xff;
        let moment = u64::try_from(now.as_nanosecond()).unwrap_or_default();
        let count = self.written.fetch_add(1, Ordering::Relaxed) & COUNT;
        (moment & !0xffff) | (count << 8) | (self.clock.random() & 0xff)
    }

    fn event(&self, record: &Record, namespace: &str, message: String) -> Event {
        let now = Time(self.clock.now());
        let name = record.about.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", self.stamp(now.0))),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: record.about.clone(),
            reason: Some(record.reason.clone()),
            message: Some(message),
            type_: Some(record.type_.as_str().to_owned()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            source: Some(EventSource {
                component: Some(record.component.to_string()),
                host: None,
            }),
            reporting_component: Some(record.component.to_string()),
            ..Event::default()
        }
    }
}
