//! What is asked of plugins after a node is chosen and before the pod is on its way there: reserve and permit, and what undoes
//! them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Attempt;
use crate::scheduler::framework::{
    Code, CycleState, Framework, Permission, PodInfo, Status, guarded,
};
use crate::scheduler::metrics::Metrics;

/// The plugins of a profile, to be asked about a pod and the node that was chosen for it.
#[derive(Clone)]
pub(super) struct Steps {
    metrics: Metrics,
    /// Whether each plugin is timed.
    timed: bool,
    framework: Arc<Framework>,
    pod: Arc<PodInfo>,
    node: Arc<str>,
}

impl Steps {
    pub(super) fn new(
        metrics: &Metrics,
        attempt: Attempt,
        framework: &Arc<Framework>,
        pod: &Arc<PodInfo>,
        node: &Arc<str>,
    ) -> Self {
        Self {
            metrics: metrics.clone(),
            timed: attempt.sampled,
            framework: framework.clone(),
            pod: pod.clone(),
            node: node.clone(),
        }
    }

    fn timed(&self) -> Option<&Metrics> {
        self.timed.then_some(&self.metrics)
    }

    /// Reserves what the pod will use. `Err`: a plugin does not want it there; what was reserved is undone.
    pub(super) fn reserve(&self, state: &mut CycleState) -> Result<(), Status> {
        let reserved = self.try_reserve(state);
        if reserved.is_err() {
            self.unreserve(state);
        }
        reserved
    }

    fn try_reserve(&self, state: &mut CycleState) -> Result<(), Status> {
        if self.framework.reserve.is_empty() {
            return Ok(());
        }
        let since = Instant::now();
        let mut plugins = self.framework.reserve.iter();
        let rejection = plugins.find_map(|plugin| {
            let status = Metrics::timed(
                self.timed(),
                (plugin.name(), "Reserve"),
                || guarded(|| plugin.reserve(state, &self.pod, &self.node)),
                |status| status.as_ref().map_or("Error", |status| status.code.name()),
            );
            let status = status.unwrap_or_else(Status::error);
            (!status.is_success()).then(|| status.by(plugin.name()))
        });
        let code = rejection
            .as_ref()
            .map_or(Code::Success, |status| status.code);
        self.took("Reserve", code.name(), since);
        rejection.map_or(Ok(()), Err)
    }

    /// Undoes all reservations, the last one first.
    pub(super) fn unreserve(&self, state: &mut CycleState) {
        if self.framework.reserve.is_empty() {
            return;
        }
        let since = Instant::now();
        for plugin in self.framework.reserve.iter().rev() {
            // The others have something to undo, too.
            if let Err(panic) = guarded(|| plugin.unreserve(state, &self.pod, &self.node)) {
                tracing::error!(plugin = plugin.name(), pod = %self.pod.key, panic, "unreserve");
            }
        }
        self.took("Unreserve", Code::Success.name(), since);
    }

    /// Which plugins the pod has to wait for, and how long. `Err`: one does not let it go; what was reserved is undone.
    pub(super) fn permit(&self, state: &mut CycleState) -> Result<Vec<(String, Duration)>, Status> {
        let waits = self.try_permit(state);
        if waits.is_err() {
            self.unreserve(state);
        }
        waits
    }

    fn try_permit(&self, state: &mut CycleState) -> Result<Vec<(String, Duration)>, Status> {
        let mut waits = Vec::new();
        if self.framework.permit.is_empty() {
            return Ok(waits);
        }
        let since = Instant::now();
        let mut denial = None;
        for plugin in &self.framework.permit {
            let said = Metrics::timed(
                self.timed(),
                (plugin.name(), "Permit"),
                || {
                    let said = guarded(|| plugin.permit(state, &self.pod, &self.node));
                    said.unwrap_or_else(|panic| Permission::Deny(Status::error(panic)))
                },
                code,
            );
            match said {
                Permission::Allow => {}
                Permission::Wait(patience) => waits.push((plugin.name().to_owned(), patience)),
                Permission::Deny(status) => {
                    denial = Some(status.by(plugin.name()));
                    break;
                }
            }
        }
        let code = match &denial {
            Some(status) => status.code.name(),
            None if waits.is_empty() => Code::Success.name(),
            None => "Wait",
        };
        self.took("Permit", code, since);
        denial.map_or(Ok(waits), Err)
    }

    fn took(&self, point: &'static str, status: &'static str, since: Instant) {
        let profile = self.framework.shared_name();
        self.metrics
            .extension_point(point, status, &profile, since.elapsed());
    }
}

/// What a plugin says at permit, as metrics name it.
fn code(said: &Permission) -> &'static str {
    match said {
        Permission::Allow => Code::Success.name(),
        Permission::Wait(_) => "Wait",
        Permission::Deny(status) => status.code.name(),
    }
}
