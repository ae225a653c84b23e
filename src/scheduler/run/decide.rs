//! A decision, guarded: whoever decides may be the user's, may ask other programs, and may not come back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Loop;
use super::aside::Aside;
use crate::reconcile::Key;
use crate::scheduler::framework::{Decision, Framework, PodInfo, Scheduler, Snapshot, panic_text};

/// How long a decision may wait for others.
const PATIENCE: Duration = Duration::from_secs(60);

impl Loop {
    /// Decides about a pod. One who panics, waits for too long, or does not come back, fails the pod, nothing else.
    pub(super) async fn decide(
        &mut self,
        framework: &Arc<Framework>,
        info: &Arc<PodInfo>,
    ) -> Decision {
        let make = || (self.settings.make)(&self.settings.handle);
        let mut scheduler = self.scheduler.take().unwrap_or_else(make);
        if !self.is_apart(framework) {
            let decision = decide(&mut *scheduler, framework, info, &self.snapshot).await;
            self.scheduler = Some(scheduler);
            return decision;
        }
        let (framework, info) = (framework.clone(), info.clone());
        let (snapshot, runtime) = (self.snapshot.clone(), Handle::current());
        let key = info.key.clone();
        let work = move || {
            let deciding = decide(&mut *scheduler, &framework, &info, &snapshot);
            let decision = runtime.block_on(deciding);
            (scheduler, decision)
        };
        match self.aside.run(&key, work, drop).await {
            Ok((scheduler, decision)) => {
                self.scheduler = Some(scheduler);
                decision
            }
            Err(why) => Decision::Failed(why),
        }
    }

    /// Has plugins of a profile do something about a pod; what comes too late goes to `late`. `Err`: they do not come back.
    pub(super) async fn ask<T: Send + 'static>(
        &mut self,
        framework: &Framework,
        pod: &Key,
        work: impl FnOnce() -> T + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, String> {
        if self.is_apart(framework) {
            self.aside.run(pod, work, late).await
        } else {
            Ok(work())
        }
    }

    /// Whether this is done on a thread of its own. That costs a decision some 20 µs, and our own plugins come back.
    fn is_apart(&self, framework: &Framework) -> bool {
        (self.settings.is_users || !framework.is_in_tree()) && Aside::is_of_use()
    }
}

async fn decide(
    scheduler: &mut dyn Scheduler,
    framework: &Framework,
    info: &Arc<PodInfo>,
    snapshot: &Snapshot,
) -> Decision {
    let deciding = scheduler.schedule(framework, info, snapshot);
    match timeout(PATIENCE, AssertUnwindSafe(deciding).catch_unwind()).await {
        Ok(Ok(decision)) => decision,
        Ok(Err(panic)) => {
            let text = panic_text(&*panic);
            Decision::Failed(format!("the scheduler panicked: {text}"))
        }
        Err(_) => Decision::Failed(format!("not decided after {PATIENCE:?}")),
    }
}
