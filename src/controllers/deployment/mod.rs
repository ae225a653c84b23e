//! Rolls a pod template out through replica sets (`kube-controller-manager`'s `deployment` controller): rolling update with
//! surge and unavailability, recreate, pause, revision history, rollback to an earlier template, progress deadline.

mod plan;
mod revision;
mod rolling;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::json;

use self::plan::{Observed, Plan};
use self::view::View;
use super::podutil;
use crate::client;
use crate::clock::Clock;
use crate::compat::Opt;
use crate::object::LabelSelector;
use crate::reconcile::events::{EventType, reference};
use crate::reconcile::{
    Action, Cache, Controller, Error, Key, Manager, Reconciler, Recorder, Source, ownership,
};

/// The name under which the controller runs, writes and records.
const NAME: &str = "deployment-controller";

/// Adds the controller to `manager`; `workers` deployments are reconciled at once (upstream's default is 5).
pub fn install(manager: &Manager, workers: usize) {
    let (deployments, sets, pods) = (
        manager.cache::<Deployment>(),
        manager.cache::<ReplicaSet>(),
        manager.cache::<Pod>(),
    );
    let reconciler = Deployments {
        client: manager.client_for(NAME),
        recorder: manager.recorder(NAME),
        clock: manager.clock().clone(),
        deployments: deployments.clone(),
        sets: sets.clone(),
        pods: pods.clone(),
    };
    // A Recreate rollout waits until the last old pod is gone.
    let recreating = {
        let (deployments, sets) = (deployments.clone(), sets.clone());
        move |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| match (old, new) {
            (Some(old), None) => recreating_owner(&deployments, &sets, old)
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    };
    let adoptable = {
        let deployments = deployments.clone();
        move |_: Option<&Arc<ReplicaSet>>, new: Option<&Arc<ReplicaSet>>| {
            new.map_or_else(Vec::new, |set| adopters(&deployments, set))
        }
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&deployments))
            .source(Source::owned::<ReplicaSet, Deployment>(&sets))
            .source(Source::mapped(&sets, adoptable))
            .source(Source::mapped(&pods, recreating))
            .workers(workers),
    );
}

/// The deployment of a pod's set, if it is one that recreates.
fn recreating_owner(
    deployments: &Cache<Deployment>,
    sets: &Cache<ReplicaSet>,
    pod: &Pod,
) -> Option<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let owned_by =
        |kind: &str, meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            let owners = meta.owner_references.as_deref().unwrap_or_default();
            owners
                .iter()
                .find(|owner| owner.controller == Some(true) && owner.kind == kind)
                .map(|owner| owner.name.clone())
        };
    let set = sets.get(&Key::new(namespace, owned_by("ReplicaSet", &pod.metadata)?))?;
    let key = Key::new(namespace, owned_by("Deployment", &set.metadata)?);
    let deployment = deployments.get(&key)?;
    View::of(&deployment)
        .is_some_and(|view| !view.is_rolling())
        .then_some(key)
}

/// The deployments that may adopt a set which no controller has.
fn adopters(deployments: &Cache<Deployment>, set: &ReplicaSet) -> Vec<Key> {
    if ownership::controller_of(set).is_some() {
        return Vec::new();
    }
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let in_namespace = deployments.select(namespace, &LabelSelector::default());
    let selects = |deployment: &&Arc<Deployment>| {
        selector(deployment)
            .is_some_and(|selector| selector.matches_optional(set.metadata.labels.as_ref()))
    };
    in_namespace
        .iter()
        .filter(selects)
        .map(|deployment| Key::of(&**deployment))
        .collect()
}

/// The selector of a deployment; `None` when it selects nothing.
fn selector(deployment: &Deployment) -> Option<LabelSelector> {
    let selector = LabelSelector::from_typed(&deployment.spec.opt()?.selector).ok()?;
    (!selector.is_empty()).then_some(selector)
}

struct Deployments {
    client: kube::Client,
    recorder: Recorder,
    clock: Clock,
    deployments: Cache<Deployment>,
    sets: Cache<ReplicaSet>,
    pods: Cache<Pod>,
}

impl Reconciler for Deployments {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(deployment) = self.deployments.get(&key) else {
            return Ok(Action::Done);
        };
        let (Some(view), Some(selector)) = (View::of(&deployment), selector(&deployment)) else {
            return Ok(Action::Done);
        };
        let sets = revision::sort(view, self.claim(&deployment, &selector).await?);
        let old_pods_run =
            !view.is_rolling() && sets.old.iter().any(|set| self.has_running_pods(set));
        let plan = plan::plan(&Observed {
            view,
            sets,
            old_pods_run,
            now: self.clock.now(),
        });
        self.carry_out(&deployment, plan).await
    }
}

impl Deployments {
    /// The sets of the deployment: its own that match, and orphans that match, which it adopts. Its own that do not match
    /// are released.
    async fn claim(
        &self,
        deployment: &Deployment,
        selector: &LabelSelector,
    ) -> Result<Vec<Arc<ReplicaSet>>, Error> {
        let matches =
            |set: &Arc<ReplicaSet>| selector.matches_optional(set.metadata.labels.as_ref());
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let (mut claimed, released): (Vec<_>, Vec<_>) =
            self.sets.controlled_by(uid).into_iter().partition(matches);
        if deployment.metadata.deletion_timestamp.is_some() {
            return Ok(claimed);
        }
        for set in released {
            let owner = json!({"$patch": "delete", "uid": uid});
            self.patch(
                &set,
                json!({"metadata": {"ownerReferences": [owner], "uid": set.metadata.uid}}),
            )
            .await?;
        }
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let orphans = self.sets.select(namespace, selector).into_iter();
        let orphans: Vec<_> = orphans
            .filter(|set| {
                ownership::controller_of(&**set).is_none()
                    && set.metadata.deletion_timestamp.is_none()
            })
            .collect();
        if orphans.is_empty() || !self.is_alive(deployment).await? {
            return Ok(claimed);
        }
        for set in orphans {
            let owner = ownership::controller_reference(deployment);
            self.patch(
                &set,
                json!({"metadata": {"ownerReferences": [owner], "uid": set.metadata.uid}}),
            )
            .await?;
            claimed.push(set);
        }
        Ok(claimed)
    }

    /// Whether the deployment still exists, asked of the API itself; see the replica set controller's claim.
    async fn is_alive(&self, deployment: &Deployment) -> Result<bool, Error> {
        let live = self
            .api::<Deployment>(deployment)
            .get_opt(name(deployment))
            .await?;
        let same = |live: &Deployment| {
            live.metadata.uid == deployment.metadata.uid
                && live.metadata.deletion_timestamp.is_none()
        };
        Ok(live.as_ref().is_some_and(same))
    }

    fn has_running_pods(&self, set: &ReplicaSet) -> bool {
        let pods = self
            .pods
            .controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
        pods.iter().any(|pod| !podutil::is_finished(pod))
    }

    async fn carry_out(
        &self,
        deployment: &Arc<Deployment>,
        mut plan: Plan,
    ) -> Result<Action, Error> {
        for action in std::mem::take(&mut plan.actions) {
            match action {
                plan::Action::Create(set) => {
                    if !self.create(deployment, *set, &mut plan).await? {
                        break;
                    }
                }
                plan::Action::Update {
                    set,
                    replicas,
                    annotations,
                    min_ready_seconds,
                } => {
                    let mut patch = json!({"metadata": {"resourceVersion": set.metadata.resource_version, "annotations": annotations}});
                    if let Some(replicas) = replicas {
                        patch["spec"]["replicas"] = replicas.into();
                    }
                    if let Some(seconds) = min_ready_seconds {
                        patch["spec"]["minReadySeconds"] = seconds.into();
                    }
                    self.patch(&set, patch).await?;
                    if let Some(replicas) = replicas {
                        self.scaled(deployment, view::name(&set), view::wanted(&set), replicas);
                    }
                }
                plan::Action::Delete(set) => {
                    let params = DeleteParams {
                        propagation_policy: Some(PropagationPolicy::Background),
                        ..client::only(&set.metadata)
                    };
                    match self
                        .api::<ReplicaSet>(deployment)
                        .delete(view::name(&set), &params)
                        .await
                    {
                        Err(error) if !client::is_not_found(&error) => return Err(error.into()),
                        _ => {}
                    }
                }
            }
        }
        if plan.status.is_some() || plan.revision.is_some() {
            self.report(deployment, plan.status, plan.revision).await?;
        }
        Ok(plan.again.map_or(Action::Done, Action::After))
    }

    /// Creates the set of the present template. `false`: its name is taken by a set of another template, and the plan now
    /// reports one more collision, which gives another name.
    async fn create(
        &self,
        deployment: &Deployment,
        set: ReplicaSet,
        plan: &mut Plan,
    ) -> Result<bool, Error> {
        let api = self.api::<ReplicaSet>(deployment);
        match api.create(&PostParams::default(), &set).await {
            Ok(created) => {
                if view::wanted(&set) > 0 {
                    self.scaled(deployment, view::name(&set), 0, view::wanted(&set));
                }
                self.sets.caught_up(&created).await;
                Ok(true)
            }
            Err(error) if client::is_namespace_terminating(&error) => Ok(true),
            Err(error) if client::is_already_exists(&error) => {
                let taken = api.get_opt(view::name(&set)).await?;
                let own = taken
                    .as_ref()
                    .and_then(ownership::controller_of)
                    .map(|owner| &owner.uid)
                    == deployment.metadata.uid.as_ref();
                let template =
                    |set: &ReplicaSet| set.spec.opt().and_then(|spec| spec.template.clone());
                if own && taken.as_ref().and_then(template) == template(&set) {
                    // An earlier attempt made it, and the cache is behind.
                    return Ok(true);
                }
                let mut status = deployment.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                (plan.status, plan.revision) = (Some(status), None);
                Ok(false)
            }
            Err(error) => {
                let message = format!(
                    "Failed to create new replica set {:?}: {}",
                    view::name(&set),
                    client::message(&error)
                );
                let mut status = deployment.status.clone().unwrap_or_default();
                let reason = status::reason::CREATE_FAILED;
                let condition = status::condition(
                    status::PROGRESSING,
                    "False",
                    reason,
                    message.clone(),
                    self.clock.now(),
                );
                status::set(status.conditions.get_or_insert_default(), condition);
                self.event(deployment, EventType::Warning, reason, message);
                self.report(deployment, Some(status), None).await?;
                Err(error.into())
            }
        }
    }

    /// Writes the status and the revision annotation in one request, as upstream does.
    async fn report(
        &self,
        deployment: &Deployment,
        status: Option<DeploymentStatus>,
        revision: Option<String>,
    ) -> Result<(), Error> {
        let mut updated = deployment.clone();
        if let Some(status) = status {
            updated.status = Some(status);
        }
        if let Some(revision) = revision {
            updated
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(revision::REVISION.to_owned(), revision);
        }
        let api = self.api::<Deployment>(deployment);
        match api
            .replace_status(name(deployment), &PostParams::default(), &updated)
            .await
        {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn patch(&self, set: &ReplicaSet, patch: serde_json::Value) -> Result<(), Error> {
        let api: Api<ReplicaSet> = Api::namespaced(
            self.client.clone(),
            set.metadata.namespace.as_deref().unwrap_or_default(),
        );
        match api
            .patch(
                view::name(set),
                &PatchParams::default(),
                &Patch::Strategic(patch),
            )
            .await
        {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn api<K>(&self, deployment: &Deployment) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(
            self.client.clone(),
            deployment.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    fn scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        self.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
    }

    fn event(&self, deployment: &Deployment, type_: EventType, reason: &str, message: String) {
        self.recorder
            .event(reference(deployment), type_, reason, message);
    }
}

fn name(deployment: &Deployment) -> &str {
    deployment.metadata.name.as_deref().unwrap_or_default()
}
