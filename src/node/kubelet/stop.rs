//! Ending containers: hook first, then the signal, all within the grace period; sidecars after the main containers.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use tokio::time::{Instant, timeout};

use super::plan::{Fatal, all, is_running};
use super::restart::is_sidecar;
use super::{Inner, hook};
use crate::cri::{Container, Sandbox};
use crate::reconcile::events::EventType;
use crate::reconcile::{Error, Key};
use crate::signal::Signal;

/// A container is given at least this long to end.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// How long the containers of a pod may take to end.
pub(super) fn grace(pod: &Pod) -> Duration {
    let own = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds);
    let deletion = pod.metadata.deletion_grace_period_seconds;
    seconds(deletion.or(own).unwrap_or(30))
}

/// The same for a container whose check failed: a probe may have a grace period of its own.
pub(super) fn grace_after(pod: &Pod, container: Option<&Spec>, failed: Option<Fatal>) -> Duration {
    let probe = container.and_then(|container| match failed? {
        Fatal::Startup => container.startup_probe.as_ref(),
        Fatal::Liveness => container.liveness_probe.as_ref(),
    });
    let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
    own.map_or_else(|| grace(pod), seconds)
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// When a container's turn has come.
pub(super) struct Turn {
    /// How many have ended.
    ended: Signal<usize>,
    /// How many must have.
    after: usize,
}

impl Inner {
    /// Ends all containers of a pod: the main ones together, then the sidecars, the last one first.
    pub(super) async fn stop_all(
        &self,
        pod: &Pod,
        sandbox: &Sandbox,
        grace: Duration,
    ) -> Result<(), Error> {
        let spec = pod.spec.as_ref();
        let sidecars: Vec<&str> = spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .filter(|container| is_sidecar(container))
            .map(|container| container.name.as_str())
            .collect();
        let running: Vec<&Container> = sandbox
            .containers
            .iter()
            .filter(|container| is_running(container))
            .collect();
        let place =
            |container: &Container| sidecars.iter().position(|name| *name == container.name);
        let ended = Signal::new(0);
        let stops = running.iter().map(|container| {
            // Those that end before it: everything that is no sidecar, and the later sidecars.
            let after = place(container).map_or(0, |own| {
                let before = |other: &&&Container| place(other).is_none_or(|other| other > own);
                running.iter().filter(before).count()
            });
            let turn = Turn {
                ended: ended.clone(),
                after,
            };
            let (container, ended) = (*container, &ended);
            async move {
                let spec = spec.and_then(|spec| all(spec).find(|spec| spec.name == container.name));
                let why = format!("Stopping container {}", container.name);
                let stopped = self.stop_one(pod, spec, &container.id, why, grace, Some(turn));
                let stopped = stopped.await;
                ended.modify(|ended| {
                    *ended += 1;
                    true
                });
                stopped
            }
        });
        join_all(stops).await.into_iter().collect()
    }

    /// Ends one container.
    pub(super) async fn stop_one(
        &self,
        pod: &Pod,
        container: Option<&Spec>,
        id: &str,
        why: String,
        grace: Duration,
        turn: Option<Turn>,
    ) -> Result<(), Error> {
        self.event(pod, EventType::Normal, "Killing", why);
        let mut left = grace;
        if let Some(container) = container.filter(|_| !left.is_zero()) {
            left = left.saturating_sub(self.pre_stop(pod, container, id, left).await);
        }
        if let Some(Turn { ended, after }) = turn
            && !left.is_zero()
        {
            let begun = Instant::now();
            // Whoever does not come to an end is not waited for.
            let _ = timeout(left, ended.reached(|ended| *ended >= after)).await;
            left = left.saturating_sub(Duration::from_secs(begun.elapsed().as_secs()));
        }
        self.runtime
            .stop_container(id, left.max(LEAST_GRACE))
            .await?;
        self.hooked.lock().remove(id);
        Ok(())
    }

    /// Runs a container's hook, once, for `grace` at most; gives the whole seconds it took.
    async fn pre_stop(&self, pod: &Pod, container: &Spec, id: &str, grace: Duration) -> Duration {
        let lifecycle = container.lifecycle.as_ref();
        let Some(hook) = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) else {
            return Duration::ZERO;
        };
        if !self.hooked.lock().insert(id.to_owned()) {
            return Duration::ZERO;
        }
        let begun = Instant::now();
        let known = self.pods.get(&Key::of(pod));
        let status = known.as_deref().unwrap_or(pod).status.as_ref();
        let address = status.and_then(|status| status.pod_ip.as_deref());
        let ask = self.ask(address.unwrap_or_default());
        let ran = timeout(grace, hook::run(&ask, pod, container, id, hook)).await;
        if let Ok(Err(error)) = ran {
            tracing::debug!(%error, "a preStop hook failed");
            // Its output may be secret.
            self.event(
                pod,
                EventType::Warning,
                "FailedPreStopHook",
                "PreStopHook failed".to_owned(),
            );
        }
        Duration::from_secs(begun.elapsed().as_secs())
    }
}
