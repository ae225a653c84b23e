//! The audit events of one request.
use super::Auditor;
use super::policy::{Level, Omitted, Stage};
use crate::apiserver::auth::Attributes;
use crate::apiserver::filter::identity::Remote;
use crate::apiserver::filter::panic::Panicked;
use crate::apiserver::request::User;
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::clock::Clock;
use crate::object::Document;
use bytes::Bytes;
use http::HeaderValue;
use http::header::USER_AGENT;
use http::request::Parts;
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is noted of a request; nothing when it is not audited.
#[derive(Debug, Default)]
pub(crate) struct Trail(Option<Noted>);

#[derive(Clone, Debug)]
struct Noted {
    auditor: Arc<Auditor>,
    clock: Clock,
    level: Level,
    omitted: Omitted,
    event: Value,
}

impl Trail {
    /// A request arrived, of somebody who is known.
    pub(crate) fn begin(
        &mut self,
        shared: &Shared,
        parts: &Parts,
        id: &HeaderValue,
        user: &User,
        asked: &(dyn Fn() -> Attributes + Sync),
    ) {
        let Some(auditor) = &shared.auditor else {
            return;
        };
        let asked = asked();
        let (level, omitted) = auditor.policy.level(user, &asked);
        if level == Level::None {
            return;
        }
        let mut event = json!({
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": format!("{level:?}"),
            "auditID": id.to_str().unwrap_or_default(),
            "stage": "",
            "requestURI": parts.uri.path_and_query().map(ToString::to_string),
            "verb": asked.verb,
            "user": shown(user),
            "requestReceivedTimestamp": time(shared.clock.now()),
        });
        if let Some(remote) = parts.extensions.get::<Remote>() {
            event["sourceIPs"] = json!([remote.address.ip().to_string()]);
        }
        let agent = parts.headers.get(USER_AGENT);
        if let Some(agent) = agent.and_then(|agent| agent.to_str().ok()) {
            event["userAgent"] = agent.into();
        }
        if asked.resource_request {
            event["objectRef"] = reference(&asked);
        }
        let noted = Noted {
            auditor: auditor.clone(),
            clock: shared.clock.clone(),
            level,
            omitted,
            event,
        };
        noted.emit(Stage::RequestReceived);
        self.0 = Some(noted);
    }

    /// Somebody who could not be told who he is.
    pub(crate) fn unknown(
        &mut self,
        shared: &Shared,
        parts: &Parts,
        id: &HeaderValue,
        asked: &(dyn Fn() -> Attributes + Sync),
    ) {
        self.begin(shared, parts, id, &User::default(), asked);
    }

    /// He acts as another one.
    pub(crate) fn impersonates(&mut self, user: &User) {
        self.set(Level::Metadata, "impersonatedUser", || shown(user));
    }

    /// Whether he may, and why.
    pub(crate) fn decided(&mut self, allowed: bool, reason: &str) {
        let decision = if allowed { "allow" } else { "forbid" };
        self.annotate("authorization.k8s.io/decision", decision);
        self.annotate("authorization.k8s.io/reason", reason);
    }

    /// Something that is noted besides.
    pub(crate) fn annotate(&mut self, key: &str, value: &str) {
        if let Some(noted) = &mut self.0 {
            noted.event["annotations"][key] = value.into();
        }
    }

    /// All that plugins noted.
    pub(crate) fn annotate_all(&mut self, annotations: &BTreeMap<String, String>) {
        for (key, value) in annotations {
            self.annotate(key, value);
        }
    }

    /// What was sent.
    pub(crate) fn sent(&mut self, body: &Bytes) {
        let Some(noted) = &mut self.0 else { return };
        let Ok(document) = serde_json::from_slice::<Value>(body) else {
            return;
        };
        if let Some(Value::Object(reference)) = noted.event.get_mut("objectRef")
            && document.is_object()
        {
            for (field, text) in [
                ("name", document.name()),
                ("uid", document.uid()),
                ("resourceVersion", document.resource_version()),
            ] {
                if !text.is_empty() && !reference.contains_key(field) {
                    reference.insert(field.to_owned(), text.into());
                }
            }
        }
        let bare = noted.omitted.managed_fields;
        self.set(Level::Request, "requestObject", || {
            without_managers(document, bare)
        });
    }

    /// The request is answered; `streams`: the answer goes on for as long as the client wants.
    pub(crate) async fn answered(self, answer: Response, streams: bool) -> Response {
        let Some(mut noted) = self.0 else {
            return answer;
        };
        let code = answer.status().as_u16();
        let panicked = answer.extensions().get::<Panicked>().is_some();
        noted.event["responseStatus"] = json!({ "metadata": {}, "code": code });
        if streams && code < 400 {
            noted.emit(Stage::ResponseStarted);
            let end = End(noted);
            return answer.map(|body| {
                let noted = body.map_frame(move |frame| {
                    let _ = &end;
                    frame
                });
                noted.boxed_unsync()
            });
        }
        // Failures are small; whole objects are kept only where the policy wants them.
        let mut answer = answer;
        if code >= 400 || noted.level >= Level::RequestResponse {
            let (parts, body) = answer.into_parts();
            let Ok(body) = body.collect().await;
            let bytes = body.to_bytes();
            noted.answer(code, &bytes);
            answer = Response::from_parts(parts, response::full(bytes));
        }
        noted.emit(if panicked {
            Stage::Panic
        } else {
            Stage::ResponseComplete
        });
        answer
    }

    /// Whether the answer will be in the log.
    pub(crate) fn keeps_answer(&self) -> bool {
        let noted = self.0.as_ref();
        noted.is_some_and(|noted| noted.level >= Level::RequestResponse)
    }

    fn set(&mut self, level: Level, field: &str, value: impl FnOnce() -> Value) {
        if let Some(noted) = &mut self.0
            && noted.level >= level
        {
            noted.event[field] = value();
        }
    }
}

impl Noted {
    fn answer(&mut self, code: u16, bytes: &Bytes) {
        let Ok(document) = serde_json::from_slice::<Value>(bytes) else {
            return;
        };
        if document.kind() == "Status" {
            for field in ["status", "message", "reason", "details"] {
                if let Some(value) = document.get(field) {
                    self.event["responseStatus"][field] = value.clone();
                }
            }
            self.event["responseStatus"]["code"] = code.into();
        }
        if self.level >= Level::RequestResponse {
            self.event["responseObject"] = without_managers(document, self.omitted.managed_fields);
        }
    }

    fn emit(&self, stage: Stage) {
        if self.omitted.has(stage) {
            return;
        }
        let mut event = self.event.clone();
        event["stage"] = stage.name().into();
        event["stageTimestamp"] = time(self.clock.now()).into();
        self.auditor.sink.record(&event);
    }
}

/// Tells of the end of an answer that goes on.
#[derive(Debug)]
struct End(Noted);

impl Drop for End {
    fn drop(&mut self) {
        self.0.emit(Stage::ResponseComplete);
    }
}

fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn shown(user: &User) -> Value {
    let mut shown = Map::new();
    for (field, text) in [("username", &user.name), ("uid", &user.uid)] {
        if !text.is_empty() {
            shown.insert(field.to_owned(), text.as_str().into());
        }
    }
    if !user.groups.is_empty() {
        shown.insert("groups".to_owned(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        shown.insert("extra".to_owned(), json!(user.extra));
    }
    shown.into()
}

fn reference(asked: &Attributes) -> Value {
    let mut reference = Map::new();
    for (field, text) in [
        ("resource", &asked.resource),
        ("namespace", &asked.namespace),
        ("name", &asked.name),
        ("apiGroup", &asked.group),
        ("apiVersion", &asked.version),
        ("subresource", &asked.subresource),
    ] {
        if !text.is_empty() {
            reference.insert(field.to_owned(), text.as_str().into());
        }
    }
    reference.into()
}

/// The object, or the objects of a list, without their managed fields, if so wanted.
fn without_managers(mut document: Value, wanted: bool) -> Value {
    let strip = |object: &mut Value| {
        object.remove_at(&["metadata", "managedFields"]);
    };
    if wanted {
        strip(&mut document);
        if let Some(Value::Array(items)) = document.get_mut("items") {
            items.iter_mut().for_each(strip);
        }
    }
    document
}
