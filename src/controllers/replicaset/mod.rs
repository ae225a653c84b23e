//! Keeps the wanted number of pods of a template running (`kube-controller-manager`'s `replicaset` controller).
//!
//! Pods that match the selector and have no controller are adopted; pods that no longer match are released. Creation is in
//! growing batches, deletion takes the most dispensable pods first.

mod claim;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

use self::claim::Claim;
use self::plan::Failure;
use super::podutil;
use crate::client;
use crate::clock::Clock;
use crate::compat::Opt;
use crate::object::LabelSelector;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{
    Action, Cache, Controller, Error, Index, Key, Manager, Reconciler, Recorder, Source, ownership,
};

/// The name under which the controller runs, writes and records.
const NAME: &str = "replicaset-controller";

/// How long changes of a set's pods are collected: a look counts all of them, and they come in hundreds.
const BATCH: Duration = Duration::from_millis(10);

/// Adds the controller to `manager`; `workers` sets are reconciled at once (upstream's default is 5).
pub fn install(manager: &Manager, workers: usize) {
    let (sets, pods) = (manager.cache::<ReplicaSet>(), manager.cache::<Pod>());
    let orphans = pods.index(|pod: &Pod| match ownership::controller_of(pod) {
        Some(_) => Vec::new(),
        None => pod.metadata.namespace.iter().cloned().collect(),
    });
    let reconciler = ReplicaSets {
        client: manager.client_for(NAME),
        recorder: manager.recorder(NAME),
        clock: manager.clock().clone(),
        sets: sets.clone(),
        pods: pods.clone(),
        orphans,
        deleted: Mutex::default(),
    };
    let adoptable = {
        let sets = sets.clone();
        move |_: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| {
            new.map_or_else(Vec::new, |pod| adopters(&sets, pod))
        }
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&sets))
            .source(Source::owned::<Pod, ReplicaSet>(&pods).batched(BATCH))
            .source(Source::mapped(&pods, adoptable))
            .workers(workers),
    );
}

/// The sets that may adopt a pod which no controller has.
fn adopters(sets: &Cache<ReplicaSet>, pod: &Arc<Pod>) -> Vec<Key> {
    if ownership::controller_of(&**pod).is_some() || pod.metadata.labels.is_none() {
        return Vec::new();
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let in_namespace = sets.select(namespace, &LabelSelector::default());
    let selects = |set: &&Arc<ReplicaSet>| {
        selector(set)
            .is_some_and(|selector| selector.matches_optional(pod.metadata.labels.as_ref()))
    };
    in_namespace
        .iter()
        .filter(selects)
        .map(|set| Key::of(&**set))
        .collect()
}

/// The selector of a set; `None` when it selects nothing.
fn selector(set: &ReplicaSet) -> Option<LabelSelector> {
    let selector = LabelSelector::from_typed(&set.spec.opt()?.selector).ok()?;
    (!selector.is_empty()).then_some(selector)
}

struct ReplicaSets {
    client: kube::Client,
    recorder: Recorder,
    clock: Clock,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
    orphans: Index<Pod>,
    /// Pods (uids) that each set has deleted and the cache still shows: they must not be counted, nor deleted again.
    deleted: Mutex<BTreeMap<Key, BTreeSet<String>>>,
}

impl Reconciler for ReplicaSets {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(set) = self.sets.get(&key) else {
            self.deleted.lock().remove(&key);
            return Ok(Action::Done);
        };
        let Some(selector) = selector(&set) else {
            return Ok(Action::Done);
        };
        let owned = Claim {
            client: &self.client,
            set: &set,
            selector: &selector,
        }
        .resolve(self.owned(&set), self.orphans.get(&key.namespace))
        .await?;
        let owned = self.without_deleted(&key, owned);
        let active: Vec<_> = owned
            .iter()
            .filter(|pod| podutil::is_active(pod))
            .cloned()
            .collect();
        let terminating = owned
            .iter()
            .filter(|pod| podutil::is_terminating(pod) && !podutil::is_finished(pod))
            .count();
        let result = match set.metadata.deletion_timestamp {
            Some(_) => Ok(()),
            None => self.manage(&key, &set, &active).await,
        };
        let failure = result.as_ref().err();
        let (status, wait) = plan::status(&set, &active, terminating, failure, self.clock.now());
        self.report(&set, status).await?;
        match result {
            Err(failure) => Err(failure.message.into()),
            Ok(()) => Ok(wait.map_or(Action::Done, Action::After)),
        }
    }
}

impl ReplicaSets {
    fn owned(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        self.pods
            .controlled_by(set.metadata.uid.as_deref().unwrap_or_default())
    }

    /// Leaves out the pods that this set has deleted already, and forgets those that are gone.
    fn without_deleted(&self, key: &Key, pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
        let mut deleted = self.deleted.lock();
        let Some(uids) = deleted.get_mut(key) else {
            return pods;
        };
        let shows = |pod: &Arc<Pod>, uid: &String| pod.metadata.uid.as_ref() == Some(uid);
        uids.retain(|uid| {
            pods.iter()
                .any(|pod| shows(pod, uid) && !podutil::is_terminating(pod))
        });
        let kept = pods
            .into_iter()
            .filter(|pod| !uids.iter().any(|uid| shows(pod, uid)))
            .collect();
        if uids.is_empty() {
            deleted.remove(key);
        }
        kept
    }

    /// Creates or deletes pods.
    async fn manage(
        &self,
        key: &Key,
        set: &ReplicaSet,
        active: &[Arc<Pod>],
    ) -> Result<(), Failure> {
        let related = if active.len() > usize::try_from(plan::replicas(set)).unwrap_or(0) {
            self.related(set)
        } else {
            Vec::new()
        };
        let plan = plan::plan(set, active, &related, self.clock.now());
        self.create(set, plan.create).await?;
        self.delete(key, set, plan.delete).await
    }

    /// The active pods of the sets that have the same owner.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(owner) = ownership::controller_of(set) else {
            return Vec::new();
        };
        let siblings = self.sets.controlled_by(&owner.uid);
        let others = siblings
            .iter()
            .filter(|sibling| sibling.metadata.uid != set.metadata.uid);
        others
            .flat_map(|sibling| self.owned(sibling))
            .filter(|pod| podutil::is_active(pod))
            .collect()
    }

    async fn create(&self, set: &ReplicaSet, count: usize) -> Result<(), Failure> {
        let (pods, template, params) = (self.pods_of(set), pod(set), PostParams::default());
        let mut last = None;
        for batch in plan::slow_start(count) {
            let created = join_all((0..batch).map(|_| pods.create(&params, &template))).await;
            for result in created {
                match result {
                    Ok(pod) => {
                        let name = pod.metadata.name.as_deref().unwrap_or_default();
                        self.event(
                            set,
                            EventType::Normal,
                            "SuccessfulCreate",
                            format!("Created pod: {name}"),
                        );
                        last = Some(pod);
                    }
                    // The namespace is going: there is nothing to be done, and nothing to be retried.
                    Err(error) if client::is_namespace_terminating(&error) => return Ok(()),
                    Err(error) => {
                        let message = client::message(&error);
                        self.event(
                            set,
                            EventType::Warning,
                            "FailedCreate",
                            format!("Error creating: {message}"),
                        );
                        return Err(Failure {
                            reason: "FailedCreate",
                            message,
                        });
                    }
                }
            }
        }
        // The next reconcile must see these pods, or it would create them again.
        if let Some(pod) = last {
            self.pods.caught_up(&pod).await;
        }
        Ok(())
    }

    async fn delete(
        &self,
        key: &Key,
        set: &ReplicaSet,
        pods: Vec<Arc<Pod>>,
    ) -> Result<(), Failure> {
        let api = self.pods_of(set);
        let results = join_all(pods.iter().map(|pod| delete(&api, pod))).await;
        let mut failure = None;
        for (pod, result) in pods.iter().zip(results) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match result {
                Ok(()) => {
                    let uid = pod.metadata.uid.clone().unwrap_or_default();
                    self.deleted
                        .lock()
                        .entry(key.clone())
                        .or_default()
                        .insert(uid);
                    self.event(
                        set,
                        EventType::Normal,
                        "SuccessfulDelete",
                        format!("Deleted pod: {name}"),
                    );
                }
                Err(error) if client::is_not_found(&error) => {}
                Err(error) => {
                    let message = client::message(&error);
                    self.event(
                        set,
                        EventType::Warning,
                        "FailedDelete",
                        format!("Error deleting: {message}"),
                    );
                    failure = Some(Failure {
                        reason: "FailedDelete",
                        message,
                    });
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn report(&self, set: &Arc<ReplicaSet>, status: ReplicaSetStatus) -> Result<(), Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace);
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let updated = ReplicaSet {
            status: Some(status),
            ..(**set).clone()
        };
        match sets
            .replace_status(name, &PostParams::default(), &updated)
            .await
        {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn pods_of(&self, set: &ReplicaSet) -> Api<Pod> {
        Api::namespaced(
            self.client.clone(),
            set.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    fn event(&self, set: &ReplicaSet, type_: EventType, reason: &str, message: String) {
        self.recorder.event(reference(set), type_, reason, message);
    }
}

/// Deletes the pod, and no other of the same name.
async fn delete(pods: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    let params = client::only(&pod.metadata);
    pods.delete(pod.metadata.name.as_deref().unwrap_or_default(), &params)
        .await
        .map(|_| ())
}

/// A pod of the set's template.
fn pod(set: &ReplicaSet) -> Pod {
    let template = set
        .spec
        .opt()
        .and_then(|spec| spec.template.clone())
        .unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!(
                "{}-",
                set.metadata.name.as_deref().unwrap_or_default()
            )),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![ownership::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
