//! One look at a pod: what it has and what it should have, the steps between, and the status.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join, join_all};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::admit::{Rejection, Verdict, judge};
use super::eviction::is_critical;
use super::plan::{self, Memory, Plan, Step};
use super::probe::{Ask, Probes};
use super::report::debuggers;
use super::resize::Resize;
use super::start::RESYNC;
use super::stop::{grace, grace_after};
use super::{Inner, PodState, is_terminal, limits, reset, rights, sysctls};
use crate::cri::{ContainerRuntimeExt, Sandbox, SandboxFilter, labels};
use crate::reconcile::events::EventType;
use crate::reconcile::{Action, Error, Key};

/// Steps that take longer than this are reported about before they are done.
const PROMPT: Duration = Duration::from_millis(200);
/// What is left of a pod of which this agent knows nothing may take this long to end.
const ORPHAN_GRACE: Duration = Duration::from_secs(30);
/// How often it is looked whether the pods of the API are known.
const UNSYNCED: Duration = Duration::from_secs(1);
/// Whether the kernel has AppArmor: `Y`.
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
/// Mounted config is brought up to date this often.
const CONFIG_RESYNC: Duration = Duration::from_secs(60);

/// Whether a volume of the pod shows what may change.
fn has_config(pod: &Pod) -> bool {
    let mut volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
    })
}

/// When a pod is to be looked at again.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    /// For a reason that is work under way.
    soon: Option<Duration>,
    /// As housekeeping.
    later: Option<Duration>,
}

impl Next {
    fn soon(&mut self, after: Duration) {
        self.soon = Some(self.soon.map_or(after, |have| have.min(after)));
    }

    fn later(&mut self, after: Duration) {
        self.later = Some(self.later.map_or(after, |have| have.min(after)));
    }

    fn action(self) -> Action {
        match (self.soon, self.later) {
            (Some(soon), later) => Action::After(later.map_or(soon, |later| later.min(soon))),
            (None, Some(later)) => Action::Background(later),
            (None, None) => Action::Done,
        }
    }
}

impl Inner {
    pub(super) async fn sync(&self, key: &Key) -> Result<Action, Error> {
        let ending = self.state.lock().get(key).map(|state| state.ending.clone());
        if let Some(ending) = &ending {
            // What was told before this look is seen by it.
            let _ = ending.notified().now_or_never();
        }
        if !self.pods.api().is_synced() && !self.pods.is_static(key) {
            // What the API has of it, if anything, is not known yet.
            return Ok(Action::Background(UNSYNCED));
        }
        let pod = self.pods.get(key);
        let uid = pod.as_ref().and_then(|pod| pod.metadata.uid.clone());
        let is_known = {
            let states = self.state.lock();
            uid.is_some() && states.get(key).map(|state| &state.uid) == uid.as_ref()
        };
        // Others of its name were looked for when it became known.
        if !is_known {
            self.clean_others(key, uid.as_deref().unwrap_or_default())
                .await?;
        }
        let Some(pod) = pod else {
            self.state.lock().remove(key);
            if let Some(mirror) = self.pods.mirror(key) {
                self.remove_mirror(&mirror).await?;
            }
            return Ok(Action::Done);
        };
        let ending = self.adopt(key, &pod);
        let pod = self.allot(key, &pod);
        tokio::select! {
            biased;
            // Whatever is under way, a pull or a long farewell, is dropped: the pod is to end, or sooner.
            () = ending.notified() => Ok(Action::After(Duration::ZERO)),
            result = self.look(key, &pod) => result,
        }
    }

    async fn look(&self, key: &Key, pod: &Pod) -> Result<Action, Error> {
        if pod.metadata.deletion_timestamp.is_some() {
            return self.terminate(key, pod).await;
        }
        if is_terminal(pod) || self.is_finished(key) {
            return self.tidy(key, pod).await;
        }
        if self.ousting(key).is_some() {
            return self.finish(key, pod, None).await;
        }
        if let Some(Rejection { reason, message }) = self.rejection(key, pod).await? {
            self.event(pod, EventType::Warning, &reason, message.clone());
            self.report_rejection(pod, &reason, &message).await?;
            return self.tidy(key, pod).await;
        }
        let left = self.deadline(pod);
        if left == Some(Duration::ZERO) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.event(
                pod,
                EventType::Normal,
                "DeadlineExceeded",
                message.to_owned(),
            );
            return self
                .finish(key, pod, Some(("DeadlineExceeded", message)))
                .await;
        }
        let is_static = self.pods.is_static(key);
        let unshown = is_static && self.show_mirror(key, pod).await;
        let before = self.sandbox(pod).await?;
        let mut next = self.step(key, pod, before.as_ref()).await?;
        if self.config.host.keeps_files() && has_config(pod) {
            // What is mounted follows what it shows; what cannot be renewed stays as it is.
            if let Some(sandbox) = &before {
                Box::pin(self.mount(pod, &sandbox.ip)).await;
            }
            next.later(CONFIG_RESYNC);
        }
        self.apply_resize(key, pod).await?;
        if self.resize_of(key).waits() {
            next.later(RESYNC);
        }
        let sandbox = self.sandbox(pod).await?;
        let phase = &self.observe(key, pod, sandbox.as_ref(), false, None)["phase"];
        let over = pod
            .spec
            .as_ref()
            .is_some_and(|spec| plan::outcome(spec, sandbox.as_ref()).is_some());
        if over || phase == "Succeeded" || phase == "Failed" {
            return self.finish(key, pod, None).await;
        }
        self.report(key, pod, sandbox.as_ref()).await?;
        if unshown {
            next.later(RESYNC);
        }
        if let Some(left) = left.or_else(|| self.deadline(pod)) {
            next.later(left);
        }
        Ok(next.action())
    }

    /// Takes steps, and shows what they wait for when they take long or fail.
    async fn step(&self, key: &Key, pod: &Pod, before: Option<&Sandbox>) -> Result<Next, Error> {
        let next = {
            let mut steps = pin!(self.steps(key, pod));
            tokio::select! {
                biased;
                next = &mut steps => next,
                () = sleep(PROMPT) => {
                    // A container whose hook still runs does not count as started. Nothing waits for the API server.
                    let (told, next) = join(self.report(key, pod, before), steps).await;
                    told?;
                    next
                }
            }
        };
        if next.is_err()
            && let Ok(now) = self.sandbox(pod).await
            && let Err(error) = self.report(key, pod, now.as_ref()).await
        {
            tracing::debug!(%error, pod = %key, "its status could not be written");
        }
        next
    }

    /// What is left of the time that a pod may be active, from when this node took it.
    fn deadline(&self, pod: &Pod) -> Option<Duration> {
        let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
        let known = self.pods.get(&Key::of(pod));
        let status = known.as_deref().unwrap_or(pod).status.as_ref();
        let started = status.and_then(|status| status.start_time.as_ref());
        let active = started.map_or(Duration::ZERO, |time| self.clock.since(time.0));
        let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Some(allowed.saturating_sub(active))
    }

    /// Takes what is known of a pod from the last agent, if this one knows nothing yet.
    fn adopt(&self, key: &Key, pod: &Pod) -> Arc<Notify> {
        let mut states = self.state.lock();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if let Some(state) = states.get(key).filter(|state| state.uid == uid) {
            return state.ending.clone();
        }
        let status = pod.status.as_ref();
        let statuses = status.into_iter().flat_map(|status| {
            let lists = [&status.container_statuses, &status.init_container_statuses];
            lists.into_iter().flatten().flatten()
        });
        let probes = statuses.map(|status| (status.name.clone(), Probes::adopted(status)));
        let state = PodState {
            uid,
            admitted: status.is_some_and(|status| status.start_time.is_some()),
            finished: false,
            resize: Resize::of(pod),
            restarting: reset::is_under_way(pod),
            ousting: None,
            ending: Arc::default(),
            containers: BTreeMap::new(),
            probes: probes.collect(),
        };
        let ending = state.ending.clone();
        states.insert(key.clone(), state);
        ending
    }

    pub(super) fn memory(&self, key: &Key) -> BTreeMap<String, Memory> {
        let states = self.state.lock();
        states
            .get(key)
            .map(|state| state.containers.clone())
            .unwrap_or_default()
    }

    /// Why a new pod may not run here. A pod that was let in stays.
    async fn rejection(&self, key: &Key, pod: &Pod) -> Result<Option<Rejection>, Error> {
        let admitted = |state: &PodState| state.admitted && !state.finished;
        if self.state.lock().get(key).is_some_and(admitted) {
            return Ok(None);
        }
        let allowed = &self.config.allowed_unsafe_sysctls;
        let rejection = self.closing().or_else(|| self.pressed(pod));
        if let Some(rejection) = rejection.or_else(|| sysctls::forbidden(pod, allowed)) {
            return Ok(Some(rejection));
        }
        let others: Vec<Key> = {
            let states = self.state.lock();
            let others = states.iter().filter(|(_, state)| admitted(state));
            others.map(|(key, _)| key.clone()).collect()
        };
        let others: Vec<Arc<Pod>> = others
            .iter()
            .filter_map(|key| self.pods.get(key))
            .filter(|other| !is_terminal(other))
            .map(|other| self.given(&other))
            .collect();
        let node = self.node();
        let mut verdict = node.map(|node| judge(pod, &node, &others));
        if verdict.as_ref() != Some(&Verdict::default()) {
            // The cache of nodes may be behind that of pods.
            let nodes: Api<Node> = Api::all(self.client.clone());
            match nodes.get_opt(&self.spec.name).await {
                Ok(node) => verdict = node.map(|node| judge(pod, &node, &others)),
                // A pod of the node's own is judged by what the node knows of itself.
                Err(error) if self.pods.is_static(key) => {
                    tracing::debug!(%error, pod = %key, "the API does not say what the node has");
                }
                Err(error) => return Err(error.into()),
            }
        }
        let unknown = || Rejection {
            reason: "InvalidNodeInfo".to_owned(),
            message: "Kubelet cannot get node info.".to_owned(),
        };
        let rejection = match verdict {
            None => Some(unknown()),
            Some(verdict) if is_critical(pod) => self.make_room(key, pod, verdict, &others).await,
            Some(verdict) => verdict.first(),
        };
        let rejection = match rejection {
            None => self.unconfined(pod).await?,
            rejection => rejection,
        };
        if rejection.is_none()
            && let Some(state) = self.state.lock().get_mut(key)
        {
            state.admitted = true;
        }
        Ok(rejection)
    }

    /// Why a pod may not run here that is to be confined by AppArmor.
    async fn unconfined(&self, pod: &Pod) -> Result<Option<Rejection>, Error> {
        let host = &self.config.host;
        if !rights::needs_apparmor(pod) || !host.keeps_files() {
            return Ok(None);
        }
        let enabled = host.tail(Path::new(APPARMOR), 4096).await?;
        let is_enabled = enabled.is_some_and(|enabled| enabled.starts_with(b"Y"));
        Ok((!is_enabled).then(|| Rejection {
            reason: "AppArmor".to_owned(),
            message: "Cannot enforce AppArmor: AppArmor is not enabled on the host".to_owned(),
        }))
    }

    /// Takes steps for as long as there are some.
    async fn steps(&self, key: &Key, pod: &Pod) -> Result<Next, Error> {
        let Some(spec) = &pod.spec else {
            return Ok(Next::default());
        };
        // Each round may make the next one possible: a sandbox its containers, an init container the next, the end of all
        // containers their beginning.
        let rounds = 2 * plan::all(spec).count() + 3;
        let mut next = Next::default();
        for _ in 0..rounds {
            let sandbox = self.sandbox(pod).await?;
            let now = Instant::now();
            if let Some(state) = self.state.lock().get_mut(key) {
                plan::account(spec, sandbox.as_ref(), &mut state.containers, now);
            }
            if let Some(lost) = sandbox.as_ref().filter(|sandbox| !sandbox.ready)
                && plan::outcome(spec, sandbox.as_ref()).is_none()
            {
                self.give_up(key, pod, lost).await?;
                continue;
            }
            if self.restart_all(key, pod, sandbox.as_ref()).await? {
                continue;
            }
            next = Next::default();
            self.probe(key, pod, sandbox.as_ref(), &mut next).await;
            let Plan {
                steps,
                again,
                waiting,
            } = plan::plan(pod, sandbox.as_ref(), &self.memory(key), Instant::now());
            self.tell_waiting(key, pod, &waiting);
            if let Some(again) = again {
                next.soon(again);
            }
            let (mut failed, mut pause) = (false, Duration::ZERO);
            let idle = steps.is_empty();
            for step in steps {
                if step == Step::Sandbox {
                    // Nothing else says how long to wait for what it lacks.
                    pause = RESYNC;
                }
                failed |= self.take(key, pod, sandbox.as_ref(), step).await?;
            }
            if failed {
                let memory = self.memory(key);
                let waits = memory
                    .values()
                    .filter_map(|memory| plan::backoff(Some(memory), Instant::now()));
                next.soon(waits.min().unwrap_or(pause).min(RESYNC));
            }
            if idle || failed {
                break;
            }
        }
        Ok(next)
    }

    /// Removes a sandbox whose namespaces are gone: the pod needs another one. What became of its containers is reported
    /// first, for nobody knows it afterwards.
    async fn give_up(&self, key: &Key, pod: &Pod, lost: &Sandbox) -> Result<(), Error> {
        self.report(key, pod, Some(lost)).await?;
        if let Some(state) = self.state.lock().get_mut(key) {
            let memories = state.containers.values_mut();
            memories.for_each(|memory| memory.reset = None);
        }
        let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
        self.event(pod, EventType::Normal, "SandboxChanged", message);
        self.runtime.stop_sandbox(&lost.id).await?;
        self.remove(lost).await
    }

    /// The pod's sandbox.
    pub(super) async fn sandbox(&self, pod: &Pod) -> Result<Option<Sandbox>, Error> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let mut found = self.runtime.pod(uid).await?.pop();
        if let Some(found) = &mut found {
            self.add_last_words(pod, found).await?;
        }
        Ok(found)
    }

    /// Removes what runs for other pods of this name, which are gone.
    async fn clean_others(&self, key: &Key, uid: &str) -> Result<(), Error> {
        let of_key = SandboxFilter {
            labels: BTreeMap::from([
                (labels::POD_NAMESPACE.to_owned(), key.namespace.to_string()),
                (labels::POD_NAME.to_owned(), key.name.to_string()),
            ]),
            ..SandboxFilter::default()
        };
        let found = self.runtime.list_sandboxes(&of_key).await?;
        let others: BTreeSet<String> = found
            .into_iter()
            .map(|sandbox| sandbox.metadata.uid)
            .filter(|of| of != uid)
            .collect();
        for other in others {
            self.end_orphan(&other).await?;
        }
        Ok(())
    }

    /// Ends and removes what runs for a pod of which nothing else is known.
    pub(super) async fn end_orphan(&self, uid: &str) -> Result<(), Error> {
        for sandbox in self.runtime.pod(uid).await? {
            let running = sandbox
                .containers
                .iter()
                .filter(|container| plan::is_running(container));
            let stops =
                running.map(|container| self.runtime.stop_container(&container.id, ORPHAN_GRACE));
            for stopped in join_all(stops).await {
                stopped?;
            }
            self.remove(&sandbox).await?;
        }
        Ok(())
    }

    /// Removes a sandbox and what is remembered of its containers.
    async fn remove(&self, sandbox: &Sandbox) -> Result<(), Error> {
        self.runtime.remove_sandbox(&sandbox.id).await?;
        let mut hooked = self.hooked.lock();
        for container in &sandbox.containers {
            hooked.remove(&container.id);
        }
        Ok(())
    }

    /// Whom to ask about a pod of this address; without one it is on the node's network.
    pub(super) fn ask<'a>(&'a self, own: &'a str) -> Ask<'a> {
        Ask {
            runtime: &*self.runtime,
            host: &*self.config.host,
            address: if own.is_empty() {
                &self.spec.address
            } else {
                own
            },
        }
    }

    /// Runs the probes that are due.
    async fn probe(&self, key: &Key, pod: &Pod, sandbox: Option<&Sandbox>, next: &mut Next) {
        let Some(spec) = &pod.spec else { return };
        for container in plan::all(spec) {
            let latest = plan::newest(sandbox, &container.name);
            let Some(latest) = latest.filter(|latest| plan::is_running(latest)) else {
                continue;
            };
            let known = {
                let mut states = self.state.lock();
                let state = states.get_mut(key);
                state.and_then(|state| state.probes.remove(&container.name))
            };
            let mut probes = known.unwrap_or_default();
            let ask = self.ask(sandbox.map_or("", |sandbox| sandbox.ip.as_str()));
            let round = probes.round(&ask, container, &latest.id).await;
            for (reason, message) in round.told {
                self.event(pod, EventType::Warning, reason, message);
            }
            if let Some(again) = round.again {
                // A pod that is not ready yet is waited for; a steady one is merely looked after.
                if round.health.ready {
                    next.later(again);
                } else {
                    next.soon(again);
                }
            }
            if let Some(state) = self.state.lock().get_mut(key) {
                state.probes.insert(container.name.clone(), probes);
                let memory = state.containers.entry(container.name.clone()).or_default();
                memory.health = round.health;
            }
        }
    }

    /// Takes one step; whether it failed and has to wait.
    async fn take(
        &self,
        key: &Key,
        pod: &Pod,
        sandbox: Option<&Sandbox>,
        step: Step,
    ) -> Result<bool, Error> {
        match step {
            Step::Sandbox => {
                if Box::pin(self.mount(pod, "")).await.is_none() {
                    return Ok(true);
                }
                Ok(!self.make_sandbox(pod, 0).await?)
            }
            Step::Start { name } => {
                let debuggers = debuggers(pod);
                let mut containers = pod.spec.iter().flat_map(plan::all).chain(&debuggers);
                match (sandbox, containers.find(|container| container.name == name)) {
                    (Some(sandbox), Some(container)) => {
                        self.start_container(key, pod, sandbox, container).await
                    }
                    _ => Ok(false),
                }
            }
            Step::Stop {
                id,
                name,
                why,
                failed,
            } => {
                let mut containers = pod.spec.iter().flat_map(plan::all);
                let container = containers.find(|container| container.name == name);
                let grace = grace_after(pod, container, failed);
                self.stop_one(pod, container, &id, why, grace, None).await?;
                if let Some(state) = self.state.lock().get_mut(key) {
                    state.containers.entry(name).or_default().health = plan::Health::default();
                }
                Ok(false)
            }
        }
    }

    /// Ends a pod that has run to its end, or failed for a reason of its own: what still runs is stopped, the last status
    /// written, and then all is cleaned away.
    async fn finish(
        &self,
        key: &Key,
        pod: &Pod,
        failure: Option<(&str, &str)>,
    ) -> Result<Action, Error> {
        let mut sandbox = self.sandbox(pod).await?;
        let ousting = self.ousting(key);
        let longest = ousting
            .as_ref()
            .map_or(Duration::MAX, |ousting| ousting.grace);
        let ousted = ousting.as_ref();
        let failure = failure.or_else(|| ousted.map(|ousting| (ousting.reason, &*ousting.message)));
        if let Some(found) = &sandbox {
            self.stop_all(pod, found, grace(pod).min(longest)).await?;
            sandbox = self.sandbox(pod).await?;
        }
        self.report_end(key, pod, sandbox.as_ref(), failure).await?;
        self.tidy(key, pod).await
    }

    fn is_finished(&self, key: &Key) -> bool {
        self.state
            .lock()
            .get(key)
            .is_some_and(|state| state.finished)
    }

    /// Cleans away what a pod used whose last status is written. Its containers stay until it is deleted, for their logs can be
    /// read until then.
    async fn tidy(&self, key: &Key, pod: &Pod) -> Result<Action, Error> {
        if let Some(state) = self.state.lock().get_mut(key) {
            state.finished = true;
        }
        if let Some(sandbox) = self.sandbox(pod).await? {
            self.stop_all(pod, &sandbox, grace(pod)).await?;
            if sandbox.ready {
                self.runtime.stop_sandbox(&sandbox.id).await?;
            }
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.tokens.lock().retain(|(of, ..), _| of != uid);
        if self.config.host.keeps_files() {
            self.config.host.remove(&self.pod_directory(pod)).await?;
        }
        if let Some(root) = &self.config.cgroup_root {
            let group = limits::cgroup(root, pod);
            if let Err(error) = self.config.host.remove_group(&group).await {
                // A process may still be on its way out; housekeeping comes again.
                tracing::debug!(%error, group, "a control group stays");
            }
        }
        Ok(Action::Done)
    }

    /// Ends a pod that is being deleted: stops its containers, writes its last status, cleans up, and lets it go.
    async fn terminate(&self, key: &Key, pod: &Pod) -> Result<Action, Error> {
        if is_terminal(pod) || self.is_finished(key) {
            self.tidy(key, pod).await?;
        } else {
            self.finish(key, pod, None).await?;
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        for sandbox in self.runtime.pod(uid).await? {
            self.remove(&sandbox).await?;
        }
        self.let_go(pod).await?;
        Ok(Action::Done)
    }
}
