//! Conversion between versions by a webhook (`apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`).
//!
//! Objects are kept as they are stored, and pass the webhook on the way to the client, all of one answer in one call.
use super::Custom;
use crate::apiserver::admission::webhook::{Target, Transports, post};
use crate::apiserver::registry::cacher::Cached;
use crate::apiserver::registry::{Resource, encoding};
use crate::apiserver::server::Shared;
use crate::clock::Clock;
use crate::object::{Document, Reason, Status};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long the webhook may take.
const TIMEOUT: Duration = Duration::from_secs(30);
const GROUP: &str = "apiextensions.k8s.io";

/// The conversion webhook of a definition.
#[derive(Debug)]
pub(crate) struct Webhook {
    target: Target,
    /// The version of `ConversionReview` that is sent.
    review: &'static str,
}

/// Who calls conversion webhooks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    transports: Transports,
    clock: Clock,
}

impl Webhook {
    /// From `spec.conversion`; `None`: versions differ by name only.
    pub(super) fn of(conversion: &Value) -> Option<Self> {
        let webhook = conversion.get("webhook")?;
        if conversion.str_at(&["strategy"]) != "Webhook" {
            return None;
        }
        let mut versions = webhook.list_at(&["conversionReviewVersions"]).iter();
        let review = versions
            .find_map(|version| ["v1", "v1beta1"].into_iter().find(|known| version == known));
        let config = webhook.get("clientConfig").unwrap_or(&Value::Null);
        Some(Self {
            target: Target::of(config, TIMEOUT),
            review: review.unwrap_or("v1"),
        })
    }
}

impl Caller {
    pub(crate) fn of(shared: &Shared) -> Self {
        Self {
            transports: shared.admission.transports().clone(),
            clock: shared.clock.clone(),
        }
    }

    /// Brings a document that the webhook alone can bring into the version of `resource` there.
    ///
    /// # Errors
    /// 500 with what went wrong.
    pub(crate) async fn read(&self, resource: &Resource, object: &mut Value) -> Result<(), Status> {
        if let Some(custom) = &resource.custom
            && let Some(webhook) = &custom.webhook
            && custom.is_foreign(object)
        {
            let converted = self.convert(webhook, vec![object.take()], &custom.shown);
            *object = converted.await?.pop().unwrap_or_default();
            custom.read(object);
        }
        Ok(())
    }

    /// Brings a document of the version that `custom` shows into the one that is stored.
    ///
    /// # Errors
    /// As [`Caller::read`].
    pub(crate) async fn store(&self, custom: &Custom, object: &Value) -> Result<Value, Status> {
        let mut object = object.clone();
        if let Some(webhook) = &custom.webhook {
            let converted = self.convert(webhook, vec![object], &custom.stored);
            return Ok(converted.await?.pop().unwrap_or_default());
        }
        custom.store(&mut object);
        Ok(object)
    }

    /// Objects of the cache in the version of `resource`. Each passes the webhook once, whoever asks for it.
    ///
    /// # Errors
    /// As [`Caller::read`].
    pub(crate) async fn cached(
        &self,
        resource: &Resource,
        mut items: Vec<Arc<Cached>>,
    ) -> Result<Vec<Arc<Cached>>, Status> {
        let Some((custom, webhook)) = of(resource) else {
            return Ok(items);
        };
        let (mut places, mut documents) = (Vec::new(), Vec::new());
        for (place, item) in items.iter_mut().enumerate() {
            if is_shown(custom, item) {
                continue;
            }
            if let Some(converted) = item.converted().get() {
                *item = converted.clone();
            } else if let Some(document) = foreign(custom, item) {
                places.push(place);
                documents.push(document);
            }
        }
        let converted = self.convert(webhook, documents, &custom.shown).await?;
        for (place, document) in places.into_iter().zip(converted) {
            if let Some(item) = items.get_mut(place) {
                let converted = shown(resource, custom, item, document);
                // Somebody else may have been faster, or be at it; then this one is for this reader alone.
                let _ = item.converted().set(converted.clone());
                *item = converted;
            }
        }
        Ok(items)
    }

    /// One object of the cache, as [`Caller::cached`]. Those who ask at the same time wait for one answer of the webhook.
    ///
    /// # Errors
    /// As [`Caller::read`].
    pub(crate) async fn one(
        &self,
        resource: &Resource,
        item: Arc<Cached>,
    ) -> Result<Arc<Cached>, Status> {
        let Some((custom, webhook)) = of(resource) else {
            return Ok(item);
        };
        if is_shown(custom, &item) {
            return Ok(item);
        }
        let convert = || async {
            let Some(document) = foreign(custom, &item) else {
                return Ok(item.clone());
            };
            let converted = self.convert(webhook, vec![document], &custom.shown).await?;
            let document = converted.into_iter().next().unwrap_or_default();
            Ok(shown(resource, custom, &item, document))
        };
        item.converted().get_or_try_init(convert).await.cloned()
    }

    async fn convert(
        &self,
        webhook: &Webhook,
        objects: Vec<Value>,
        to: &str,
    ) -> Result<Vec<Value>, Status> {
        let Some(first) = objects.first() else {
            return Ok(objects);
        };
        let kind = kind_of(first);
        let failed = |why: &str| {
            let message = format!("conversion webhook for {kind} {why}");
            Status::new(500, Reason::Unknown, message)
        };
        let uid = self.clock.uid();
        let review = review(webhook.review, &uid, to, &objects);
        let body = Bytes::from(review.to_string());
        let answer = post(&self.transports, &webhook.target, body).await;
        let answer = answer.and_then(|body| {
            let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
            response(answer, webhook.review, &uid)
        });
        let converted = answer.map_err(|why| failed(&format!("failed: {why}")))?;
        accept(&objects, converted, to).map_err(|why| failed(&why))
    }
}

/// Whether an object of the cache is in the version that is shown, as far as its first bytes tell.
fn is_shown(custom: &Custom, item: &Cached) -> bool {
    let rest = item.bytes.strip_prefix(b"{\"apiVersion\":\"");
    let rest = rest.and_then(|rest| rest.strip_prefix(custom.shown.as_bytes()));
    rest.is_some_and(|rest| rest.first() == Some(&b'"'))
}

/// The document of an object of the cache that the webhook has to convert.
fn foreign(custom: &Custom, item: &Cached) -> Option<Value> {
    let document = item.document().unwrap_or_default();
    custom.is_foreign(&document).then_some(document)
}

/// An object of the cache with what the webhook made of it.
fn shown(resource: &Resource, custom: &Custom, item: &Cached, mut document: Value) -> Arc<Cached> {
    custom.read(&mut document);
    let (key, revision) = (item.key.clone(), item.revision);
    let answer = encoding::with_revision(&encoding::encode(&document), revision);
    Arc::new(Cached::from_document(
        resource, key, revision, &document, answer,
    ))
}

/// The webhook of a resource, if it has one.
fn of(resource: &Resource) -> Option<(&Custom, &Webhook)> {
    let custom = resource.custom.as_deref()?;
    Some((custom, custom.webhook.as_deref()?))
}

/// As Go writes it.
fn kind_of(object: &Value) -> String {
    format!("{}, Kind={}", object.api_version(), object.kind())
}

/// The request to a webhook.
fn review(version: &str, uid: &str, to: &str, objects: &[Value]) -> Value {
    let objects = objects.iter().cloned().map(|mut object| {
        // As they are stored.
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        object
    });
    json!({
        "kind": "ConversionReview", "apiVersion": format!("{GROUP}/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": to, "objects": objects.collect::<Vec<_>>()},
    })
}

/// The objects of an answer.
///
/// # Errors
/// Why they cannot be had.
fn response(mut answer: Value, version: &str, uid: &str) -> Result<Vec<Value>, String> {
    let strict = version == "v1";
    if strict
        && (answer.kind(), answer.api_version()) != ("ConversionReview", "apiextensions.k8s.io/v1")
    {
        return Err(format!(
            "expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {}",
            kind_of(&answer)
        ));
    }
    let mut response = match answer.get_mut("response") {
        Some(response) if response.is_object() => response.take(),
        _ => return Err("no response provided".to_owned()),
    };
    let answered = response.str_at(&["uid"]);
    if strict && answered != uid {
        return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
    }
    match response.str_at(&["result", "status"]) {
        "Success" => {}
        status => {
            return Err(match response.str_at(&["result", "message"]) {
                "" => format!("response.result.status was '{status}', not 'Success'"),
                message => message.to_owned(),
            });
        }
    }
    match response.get_mut("convertedObjects").map(Value::take) {
        Some(Value::Array(objects)) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// The converted objects, in which nothing but labels and annotations of the metadata may have changed.
///
/// # Errors
/// What is wrong with them.
fn accept(before: &[Value], after: Vec<Value>, to: &str) -> Result<Vec<Value>, String> {
    let (returned, expected) = (after.len(), before.len());
    if returned != expected {
        return Err(format!("returned {returned} objects, expected {expected}"));
    }
    let pairs = before.iter().zip(after).enumerate();
    pairs
        .map(|(index, (before, mut after))| {
            let invalid = |why: String| format!("returned invalid object at index {index}: {why}");
            let (version, kind) = (after.api_version(), after.kind());
            if version != to {
                return Err(invalid(format!(
                    "invalid groupVersion (expected {to}, received {version})"
                )));
            }
            if kind != before.kind() {
                return Err(invalid(format!(
                    "invalid kind (expected {}, received {kind})",
                    before.kind()
                )));
            }
            for (what, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
                let of = |object: &Value| object.str_at(&["metadata", field]).to_owned();
                let (was, is) = (of(before), of(&after));
                if was != is {
                    let why = format!("must have the same {what}: {was} != {is}");
                    return Err(format!("returned invalid object: {why}"));
                }
            }
            restore(before, &mut after)
                .map_err(|why| format!("returned invalid metadata: {why}"))?;
            Ok(after)
        })
        .collect()
}

/// Puts the metadata back, but for labels and annotations.
fn restore(before: &Value, after: &mut Value) -> Result<(), String> {
    let metadata = match after.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err("invalid metadata in converted object".to_owned()),
        None => return Err("missing metadata in converted object".to_owned()),
    };
    let mut restored = before
        .get("metadata")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for field in ["labels", "annotations"] {
        restored.remove(field);
        match metadata.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                let texts: Map<String, Value> = map.clone();
                if let Some((key, _)) = texts.iter().find(|(_, value)| !value.is_string()) {
                    return Err(format!(
                        "metadata.{field}[{key}]: Invalid value: must be a string"
                    ));
                }
                restored.insert(field.to_owned(), texts.into());
            }
            Some(_) => {
                return Err(format!("metadata.{field}: Invalid value: must be a map"));
            }
        }
    }
    after["metadata"] = restored.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(version: &str) -> Value {
        json!({"apiVersion": format!("g.com/{version}"), "kind": "Foo", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}})
    }

    #[test]
    fn reviews_ask_for_stored_objects() {
        let asked = review("v1", "1", "g.com/v2", &[object("v1")]);
        let stored =
            json!({"apiVersion": "g.com/v1", "kind": "Foo", "metadata": {"name": "a", "uid": "u"}});
        assert_eq!(
            asked["request"],
            json!({"uid": "1", "desiredAPIVersion": "g.com/v2", "objects": [stored]})
        );
    }

    #[test]
    fn answers_must_be_as_they_were_asked_for() {
        let good = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": {
            "uid": "1", "result": {"status": "Success"}, "convertedObjects": [object("v2")],
        }});
        assert_eq!(response(good.clone(), "v1", "1").unwrap(), [object("v2")]);
        let cases = [
            (
                "/kind",
                json!("Other"),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind=Other",
            ),
            ("/response", json!(null), "no response provided"),
            (
                "/response/uid",
                json!("2"),
                "expected response.uid=\"1\", got \"2\"",
            ),
            (
                "/response/result",
                json!({"status": "Failure"}),
                "response.result.status was 'Failure', not 'Success'",
            ),
            (
                "/response/result",
                json!({"status": "Failure", "message": "no"}),
                "no",
            ),
        ];
        for (place, value, wanted) in cases {
            let mut answer = good.clone();
            *answer.pointer_mut(place).unwrap() = value;
            assert_eq!(response(answer, "v1", "1").unwrap_err(), wanted);
        }
    }

    #[test]
    fn only_labels_and_annotations_of_metadata_change() {
        let mut converted = object("v2");
        converted["metadata"] = json!({"name": "a", "uid": "u", "labels": {"l": "1"}, "annotations": null, "finalizers": ["f"]});
        let accepted = accept(&[object("v1")], vec![converted], "g.com/v2").unwrap();
        assert_eq!(
            accepted[0]["metadata"],
            json!({"name": "a", "uid": "u", "resourceVersion": "7", "labels": {"l": "1"}})
        );
        let cases = [
            (
                "/apiVersion",
                json!("g.com/v1"),
                "returned invalid object at index 0: invalid groupVersion (expected g.com/v2, received g.com/v1)",
            ),
            (
                "/kind",
                json!("Bar"),
                "returned invalid object at index 0: invalid kind (expected Foo, received Bar)",
            ),
            (
                "/metadata/name",
                json!("b"),
                "returned invalid object: must have the same name: a != b",
            ),
            (
                "/metadata/uid",
                json!("v"),
                "returned invalid object: must have the same UID: u != v",
            ),
            (
                "/metadata/labels",
                json!({"a": 1}),
                "returned invalid metadata: metadata.labels[a]: Invalid value: must be a string",
            ),
        ];
        for (place, value, wanted) in cases {
            let mut converted = object("v2");
            converted["metadata"]["labels"] = json!({});
            *converted.pointer_mut(place).unwrap() = value;
            let refused = accept(&[object("v1")], vec![converted], "g.com/v2");
            assert_eq!(refused.unwrap_err(), wanted);
        }
        let none = accept(&[object("v1")], Vec::new(), "g.com/v2");
        assert_eq!(none.unwrap_err(), "returned 0 objects, expected 1");
    }
}
