//! Ends pods when the machine runs short of something, and those that use more of its disks than they may.

mod judge;
mod rank;
pub(super) mod threshold;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::judge::Judge;
use self::rank::PodUse;
use self::threshold::{Pressure, Threshold};
use super::admit::Rejection;
use super::garbage::Images;
use super::vitals::{Monitor, Vitals};
use super::{Inner, is_terminal, limits};
use crate::cri::SandboxMetadata;
use crate::node::driver::rfc3339;
use crate::node::mirror::{MIRROR, SOURCE};
use crate::node::usage;
use crate::object::taint::tolerates;
use crate::reconcile::events::EventType;
use crate::reconcile::{Error, Key};

/// What a pod that is ended at once may take.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long is waited for a pod that was ended before the next one is.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it is gone.
const LOOK: Duration = Duration::from_secs(1);
/// Why pods are ended here.
const REASON: &str = "Evicted";

/// Why the node ends a pod that would go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ousting {
    pub reason: &'static str,
    pub message: String,
    /// How long it may take, if its own grace period is not shorter.
    pub grace: Duration,
    /// What is said of its disruption; `None`: that is its own fault.
    pub disrupted: Option<String>,
}

impl Ousting {
    /// What the pod's status says of it.
    pub(super) fn condition(&self, known: Option<&Pod>, now: Timestamp) -> Option<Value> {
        let message = self.disrupted.as_ref()?;
        let status = known.and_then(|pod| pod.status.as_ref());
        let mut conditions = status
            .into_iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let old = conditions.find(|one| one.type_ == "DisruptionTarget" && one.status == "True");
        let since = old.and_then(|old| old.last_transition_time.as_ref());
        Some(json!({
            "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": message,
            "lastProbeTime": null, "lastTransitionTime": rfc3339(since.map_or(now, |time| time.0)),
            "observedGeneration": known.and_then(|pod| pod.metadata.generation),
        }))
    }
}

/// Whether the node cannot do without a pod.
pub(super) fn is_critical(pod: &Pod) -> bool {
    let has = |name: &str, except: &str| {
        let all = pod.metadata.annotations.as_ref();
        all.and_then(|all| all.get(name))
            .is_some_and(|value| value != except)
    };
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    has(SOURCE, "api")
        || has(MIRROR, "")
        || priority.is_some_and(|priority| priority >= limits::CRITICAL)
}

/// Looks after the machine for as long as it is not dropped.
pub(super) async fn run(
    inner: Arc<Inner>,
    monitor: Arc<dyn Monitor>,
    images: Arc<Images>,
) -> Result<(), Error> {
    let mut judge = Judge::default();
    loop {
        match inner.relieve(&*monitor, &images, &mut judge).await {
            Ok(ousted) if !ousted.is_empty() => inner.wait_for_end(&ousted).await,
            Ok(_) => sleep(inner.config.eviction.interval).await,
            Err(error) => {
                tracing::warn!(%error, node = %inner.spec.name, "the machine could not be looked at");
                sleep(inner.config.eviction.interval).await;
            }
        }
    }
}

impl Inner {
    /// How it stands with the machine.
    pub(super) async fn vitals(&self, monitor: &dyn Monitor) -> Vitals {
        let info = self.runtime.image_fs_info().await.unwrap_or_default();
        let images = info.images.first().map(|images| images.mountpoint.clone());
        let volumes = Path::new(&self.config.root);
        monitor
            .vitals(volumes, images.as_deref().map(Path::new))
            .await
    }

    /// The pods that are meant to run here and were let in.
    pub(super) fn active_pods(&self) -> Vec<Arc<Pod>> {
        let keys: Vec<Key> = {
            let states = self.state.lock();
            let active = states
                .iter()
                .filter(|(_, state)| state.admitted && !state.finished);
            active.map(|(key, _)| key.clone()).collect()
        };
        let pods = keys.iter().filter_map(|key| self.pods.get(key));
        pods.filter(|pod| !is_terminal(pod)).collect()
    }

    /// One look at the machine; gives the pods that are ended.
    async fn relieve(
        &self,
        monitor: &dyn Monitor,
        images: &Images,
        judge: &mut Judge,
    ) -> Result<Vec<Key>, Error> {
        let vitals = self.vitals(monitor).await;
        let config = &self.config.eviction;
        let (conditions, due) = judge.look(config, &vitals, Instant::now());
        self.set_pressure(conditions);
        let mut pods = self.active_pods();
        // Statistics of all pods are dear: who needs them is known before.
        if due.is_empty() && !pods.iter().any(|pod| is_limited(pod)) {
            return Ok(Vec::new());
        }
        let all = due
            .iter()
            .any(|one| one.signal.pressure() == Pressure::Disk);
        let uses = self.uses(monitor, &pods, all).await?;
        let ousted = self.against_limits(&pods, &uses, &vitals);
        if !ousted.is_empty() {
            return Ok(ousted);
        }
        let Some(threshold) = due.first() else {
            return Ok(Vec::new());
        };
        let resource = threshold.signal.resource();
        self.node_event(
            EventType::Warning,
            "EvictionThresholdMet",
            format!("Attempting to reclaim {resource}"),
        );
        if self.reclaim(monitor, images, threshold, &vitals).await {
            return Ok(Vec::new());
        }
        rank::rank(&mut pods, threshold.signal, vitals.own_image_fs, &uses);
        let grace = if threshold.is_hard() {
            AT_ONCE
        } else {
            config.max_pod_grace
        };
        // One at a time: what it frees may be enough.
        for pod in &pods {
            let used = pod.metadata.uid.as_ref().and_then(|uid| uses.get(uid));
            let message = rank::message(pod, used, threshold, &vitals);
            if let Some(key) = self.evict(pod, grace, message, true) {
                return Ok(vec![key]);
            }
        }
        Ok(Vec::new())
    }

    fn set_pressure(&self, conditions: BTreeSet<Pressure>) {
        let mut pressure = self.pressure.lock();
        if *pressure != conditions {
            *pressure = conditions;
            self.node_changed.notify_one();
        }
    }

    /// Ends the pods that use more of local disks than they may.
    fn against_limits(
        &self,
        pods: &[Arc<Pod>],
        uses: &BTreeMap<String, PodUse>,
        vitals: &Vitals,
    ) -> Vec<Key> {
        let each = pods.iter().filter_map(|pod| {
            let used = uses.get(pod.metadata.uid.as_deref()?)?;
            let message = rank::exceeds(pod, used, vitals.own_image_fs)?;
            self.evict(pod, AT_ONCE, message, false)
        });
        each.collect()
    }

    fn evict(
        &self,
        pod: &Arc<Pod>,
        grace: Duration,
        message: String,
        disrupts: bool,
    ) -> Option<Key> {
        if is_critical(pod) {
            return None;
        }
        let key = Key::of(&**pod);
        let ousting = Ousting {
            reason: REASON,
            message: message.clone(),
            grace,
            disrupted: disrupts.then(|| message.clone()),
        };
        if !self.oust(&key, ousting) {
            return None;
        }
        self.event(pod, EventType::Warning, REASON, message);
        Some(key)
    }

    /// Makes a pod end; whether it was not ending anyway.
    pub(super) fn oust(&self, key: &Key, ousting: Ousting) -> bool {
        {
            let mut states = self.state.lock();
            let Some(state) = states.get_mut(key) else {
                return false;
            };
            if state.ousting.is_some() || state.finished {
                return false;
            }
            state.ousting = Some(ousting);
            state.ending.notify_one();
        }
        self.nudge(key.clone());
        true
    }

    /// Has a pod looked at.
    pub(super) fn nudge(&self, key: Key) {
        self.nudged.lock().insert(key);
        self.nudge.notify_one();
    }

    pub(super) fn ousting(&self, key: &Key) -> Option<Ousting> {
        let states = self.state.lock();
        states.get(key).and_then(|state| state.ousting.clone())
    }

    async fn wait_for_end(&self, keys: &[Key]) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            sleep(LOOK).await;
            let states = self.state.lock();
            let ends = |key: &Key| states.get(key).is_none_or(|state| state.finished);
            if keys.iter().all(ends) {
                return;
            }
        }
    }

    /// Frees what nobody needs; whether that was enough.
    async fn reclaim(
        &self,
        monitor: &dyn Monitor,
        images: &Images,
        threshold: &Threshold,
        vitals: &Vitals,
    ) -> bool {
        use threshold::Signal::{ImageFs, ImageInodes, NodeFs, NodeInodes};
        let helps = match threshold.signal {
            ImageFs | ImageInodes => true,
            NodeFs | NodeInodes => !vitals.own_image_fs,
            _ => false,
        };
        if !helps {
            return false;
        }
        self.remove_dead(true).await;
        self.remove_unused_images(images).await;
        let vitals = self.vitals(monitor).await;
        let mut all = self.config.eviction.thresholds.iter();
        all.all(|threshold| threshold.is_met(&vitals, true) != Some(true))
    }

    /// What pods use. Volumes and logs cost a look at every file: only those of pods with limits are measured, or all.
    async fn uses(
        &self,
        monitor: &dyn Monitor,
        pods: &[Arc<Pod>],
        all: bool,
    ) -> Result<BTreeMap<String, PodUse>, Error> {
        let mut uses = BTreeMap::new();
        for stats in usage::sandboxes(&*self.runtime).await? {
            let SandboxMetadata { uid, .. } = &stats.metadata;
            uses.insert(uid.clone(), PodUse::of(&stats));
        }
        for pod in pods.iter().filter(|pod| all || is_limited(pod)) {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            if let Some(used) = uses.get_mut(uid) {
                self.measure(monitor, pod, used).await;
            }
        }
        Ok(uses)
    }

    async fn measure(&self, monitor: &dyn Monitor, pod: &Pod, used: &mut PodUse) {
        let volumes = pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        let directory = self
            .pod_directory(pod)
            .join("volumes/kubernetes.io~empty-dir");
        for volume in volumes.filter(|volume| volume.empty_dir.is_some()) {
            if let Some(found) = monitor.disk_use(&directory.join(&volume.name)).await {
                used.volumes.insert(volume.name.clone(), found);
            }
        }
        let logs = super::sandbox::log_directory(pod, &self.config);
        for (name, container) in &mut used.containers {
            // A runtime that writes no files has no logs on the disk.
            let found = monitor.disk_use(&Path::new(&logs).join(name)).await;
            container.logs = Some(found.unwrap_or_default());
        }
    }

    /// Why a pod is not let in while the machine is short of something.
    pub(super) fn pressed(&self, pod: &Pod) -> Option<Rejection> {
        let pressure = self.pressure.lock().clone();
        if pressure.is_empty() || is_critical(pod) {
            return None;
        }
        let memory_alone = pressure.iter().eq([&Pressure::Memory]);
        if memory_alone && (limits::qos(pod) != "BestEffort" || tolerates_pressure(pod)) {
            return None;
        }
        let names: Vec<String> = pressure.iter().map(ToString::to_string).collect();
        Some(Rejection {
            reason: REASON.to_owned(),
            message: format!("The node had condition: [{}]. ", names.join(" ")),
        })
    }
}

fn tolerates_pressure(pod: &Pod) -> bool {
    let covers =
        |one: &Toleration| tolerates(one, "node.kubernetes.io/memory-pressure", "", "NoSchedule");
    let mut all = pod
        .spec
        .iter()
        .flat_map(|spec| spec.tolerations.iter().flatten());
    all.any(covers)
}

/// Whether a pod may use only so much of local disks.
fn is_limited(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let mut volumes = spec.volumes.iter().flatten();
    let sized = volumes.any(|volume| {
        let own = volume.empty_dir.as_ref();
        own.is_some_and(|own| own.size_limit.is_some())
    });
    sized
        || spec.containers.iter().any(|container| {
            let limits = container
                .resources
                .as_ref()
                .and_then(|own| own.limits.as_ref());
            limits.is_some_and(|limits| limits.contains_key("ephemeral-storage"))
        })
}
