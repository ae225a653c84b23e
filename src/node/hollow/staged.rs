//! Pods and nodes that live as stages say.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use kube::Resource;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Inner;
use crate::client;
use crate::node::stage::{self, Kind, Outcome, Place, Stage};
use crate::object::Document as _;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{Action, Cache, Error, Key, Object, Reconciler};

/// Brings objects from stage to stage.
pub(super) struct Staged<K: Object> {
    inner: Arc<Inner>,
    cache: Cache<K>,
    stages: Vec<Stage>,
    /// What objects wait for, by key.
    waiting: Mutex<BTreeMap<Key, Waiting>>,
}

/// The stage of an object as it was in one version.
struct Waiting {
    version: String,
    stage: usize,
    /// When it is played; `None`: it was.
    due: Option<Instant>,
}

impl<K: Object> Staged<K> {
    pub(super) fn new(inner: Arc<Inner>, cache: Cache<K>, stages: Vec<Stage>) -> Self {
        Self {
            inner,
            cache,
            stages,
            waiting: Mutex::default(),
        }
    }

    /// The stage of an object, and when it is played; chosen anew for each version of the object.
    fn due(&self, key: &Key, object: &Value) -> Option<(&Stage, Instant)> {
        let clock = &self.inner.clock;
        let version = object.resource_version();
        let mut waiting = self.waiting.lock();
        if let Some(known) = waiting.get(key).filter(|known| known.version == version) {
            return Some((self.stages.get(known.stage)?, known.due?));
        }
        let Some(at) = stage::next(&self.stages, object, clock) else {
            waiting.remove(key);
            return None;
        };
        let stage = self.stages.get(at)?;
        let due = Instant::now() + stage.wait(object, clock);
        let own = Waiting {
            version: version.to_owned(),
            stage: at,
            due: Some(due),
        };
        waiting.insert(key.clone(), own);
        Some((stage, due))
    }

    fn is_played(&self, key: &Key) {
        if let Some(own) = self.waiting.lock().get_mut(key) {
            own.due = None;
        }
    }
}

impl<K> Reconciler for Staged<K>
where
    K: Object + Serialize + Resource<DynamicType = ()>,
{
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(found) = self.cache.get(&key) else {
            self.waiting.lock().remove(&key);
            return Ok(Action::Done);
        };
        let object = serde_json::to_value(&*found)?;
        let Some((stage, due)) = self.due(&key, &object) else {
            return Ok(Action::Done);
        };
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            // A pod that is on its way is waited for; nodes beat for ever.
            return Ok(match stage.kind {
                Kind::Pod => Action::After(left),
                Kind::Node => Action::Background(left),
            });
        }
        let outcomes = self.inner.play(&key, stage, &object)?;
        for outcome in outcomes {
            if let Outcome::Event {
                type_,
                reason,
                message,
            } = &outcome
            {
                let type_ = match type_.as_str() {
                    "Warning" => EventType::Warning,
                    _ => EventType::Normal,
                };
                let about = reference(&*found);
                self.inner
                    .recorder
                    .event(about, type_, reason, message.as_str());
                continue;
            }
            match self
                .inner
                .carry_out(&key, stage.kind, &object, outcome)
                .await
            {
                Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => break,
                result => result?,
            }
        }
        self.is_played(&key);
        Ok(Action::Done)
    }
}

impl Inner {
    fn play(&self, key: &Key, stage: &Stage, object: &Value) -> Result<Vec<Outcome>, Error> {
        let node = match stage.kind {
            Kind::Pod => object.str_at(&["spec", "nodeName"]),
            Kind::Node => &*key.name,
        };
        let known = object.str_at(&["status", "podIP"]);
        let place = Place {
            clock: &self.clock,
            node: node.to_owned(),
            port: self.spec(node, |spec| spec.agent_port),
            node_ip: &|name| self.spec(name, |spec| spec.address.clone()),
            pod_ip: &|| {
                if known.is_empty() {
                    self.address(key)
                } else {
                    known.to_owned()
                }
            },
        };
        Ok(stage.play(object, &place)?)
    }

    async fn carry_out(
        &self,
        key: &Key,
        kind: Kind,
        object: &Value,
        outcome: Outcome,
    ) -> Result<(), kube::Error> {
        let path = match kind {
            Kind::Pod => format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name),
            Kind::Node => format!("/api/v1/nodes/{}", key.name),
        };
        let uid = object.uid();
        let (request, body) = match outcome {
            Outcome::Delete => (
                http::Request::delete(path).header(CONTENT_TYPE, "application/json"),
                json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}),
            ),
            Outcome::Finalizers(mut patch) => {
                patch["metadata"]["uid"] = uid.into();
                let request = http::Request::patch(path);
                (
                    request.header(CONTENT_TYPE, "application/merge-patch+json"),
                    patch,
                )
            }
            Outcome::Status {
                mut patch,
                strategic,
            } => {
                patch["metadata"] = json!({"uid": uid});
                let type_ = if strategic {
                    "application/strategic-merge-patch+json"
                } else {
                    "application/merge-patch+json"
                };
                let request = http::Request::patch(format!("{path}/status"));
                (request.header(CONTENT_TYPE, type_), patch)
            }
            Outcome::Event { .. } => return Ok(()),
        };
        let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        // The answer is not needed: the watch brings it.
        self.client.request_text(request).await.map(drop)
    }
}
