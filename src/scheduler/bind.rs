//! The tail of a decision: permit, pre-bind, bind, post-bind. Async, one task for each pod.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::framework::{CycleState, Framework, PodInfo, Status, WaitingPod};
use crate::reconcile::Error;

/// A pod on its way to a node.
#[derive(Debug)]
pub(super) struct Binding {
    pub pod: Arc<PodInfo>,
    pub framework: Arc<Framework>,
    pub node: Arc<str>,
    /// What the plugins noted when they decided and reserved.
    pub state: CycleState,
    /// When it has to wait for plugins' permission.
    pub waits: Option<WaitingPod>,
}

/// How many bindings are written at once, and how long what comes before may take.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub writes: Arc<Semaphore>,
    pub patience: Duration,
}

/// Why a pod was not bound.
#[derive(Debug)]
pub(super) enum Failure {
    /// A plugin does not want it there.
    Rejected(Status),
    /// Something failed, or took too long.
    Failed(String),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into().to_string())
    }
}

/// Takes the pod to its node. A plugin that panics or hangs fails its pod, nothing else.
pub(super) async fn bind(limits: Limits, binding: Binding) -> (Binding, Result<(), Failure>) {
    let attempt = AssertUnwindSafe(attempt(&limits, &binding)).catch_unwind();
    let result = attempt.await.unwrap_or_else(|panic| {
        let text = super::cycle::panic_text(&*panic);
        Err(Failure::Failed(format!("a plugin panicked: {text}")))
    });
    (binding, result)
}

async fn attempt(limits: &Limits, binding: &Binding) -> Result<(), Failure> {
    let Binding {
        pod,
        framework,
        node,
        state,
        waits,
    } = binding;
    if let Some(waits) = waits {
        waits.decided().await.map_err(Failure::Rejected)?;
    }
    for plugin in &framework.pre_bind {
        let prepared = timeout(limits.patience, plugin.pre_bind(state, pod, node)).await;
        prepared.map_err(|_| late(plugin.name(), limits))??;
    }
    let permit = limits.writes.acquire().await?;
    let bound = timeout(limits.patience, write(binding)).await;
    bound.map_err(|_| late("bind", limits))??;
    drop(permit);
    let told = framework.post_bind.iter();
    told.for_each(|plugin| plugin.post_bind(state, pod, node));
    Ok(())
}

fn late(who: &str, limits: &Limits) -> Failure {
    Failure::Failed(format!("{who}: not done after {:?}", limits.patience))
}

async fn write(binding: &Binding) -> Result<(), Error> {
    let Binding {
        pod,
        framework,
        node,
        ..
    } = binding;
    for extender in &framework.extenders {
        if extender.is_interested(pod) && extender.bind(pod, node).await? {
            return Ok(());
        }
    }
    let client = framework.handle().client();
    for plugin in &framework.bind {
        if plugin.bind(client, pod, node).await? {
            return Ok(());
        }
    }
    Err("no plugin binds pods".into())
}
