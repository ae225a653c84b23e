//! A decision, guarded: whoever decides may be the user's, and may ask other programs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::timeout;

use crate::scheduler::framework::{Decision, Framework, PodInfo, Scheduler, Snapshot, panic_text};

/// How long a decision may wait for others.
const PATIENCE: Duration = Duration::from_secs(60);

/// Decides about a pod. One who panics, or waits for too long, fails the pod, nothing else.
pub(super) async fn decide(
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
