//! The tail of a decision: permit, pre-bind, bind, post-bind. Async, one task for each pod.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::framework::{CycleState, Framework, PodInfo, Status, WaitingPod};
use super::metrics::Metrics;
use super::queue::Queued;
use crate::reconcile::Error;

/// How long a request may take before it counts as lost.
const ATTEMPT: Duration = Duration::from_secs(30);
/// A binding of unknown outcome is looked at after this long …
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// … and again and again, doubling up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
    pub attempt: Attempt,
}

/// An attempt to schedule a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub began: Instant,
    /// How many went before.
    pub earlier: u32,
    /// When the pod came into the queue.
    pub queued: Instant,
    /// Nothing had woken the pod for long, and so it was tried.
    pub flushed: bool,
    /// Whether its plugins are timed one by one.
    pub sampled: bool,
}

impl Attempt {
    /// One that begins now.
    pub(super) fn of(queued: &Queued) -> Self {
        Self {
            began: Instant::now(),
            earlier: queued.attempts,
            queued: queued.since,
            flushed: queued.flushed,
            sampled: queued.is_sampled(),
        }
    }
}

/// How many bindings are written at once, and how long what comes before may take.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub writes: Arc<Semaphore>,
    pub patience: Duration,
    pub metrics: Metrics,
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
        let text = super::framework::panic_text(&*panic);
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
        ..
    } = binding;
    let profile = framework.shared_name();
    let took = |point, is_ok: bool, since: Instant| {
        let status = if is_ok { "Success" } else { "Error" };
        let metrics = &limits.metrics;
        metrics.extension_point(point, status, &profile, since.elapsed());
    };
    if let Some(waits) = waits {
        let since = Instant::now();
        let decided = waits.decided().await;
        let result = if decided.is_ok() {
            "Success"
        } else {
            "Unschedulable"
        };
        limits.metrics.permitted(result, since.elapsed());
        decided.map_err(Failure::Rejected)?;
    }
    if !framework.pre_bind.is_empty() {
        let since = Instant::now();
        let prepared = prepare(limits, binding).await;
        took("PreBind", prepared.is_ok(), since);
        prepared?;
    }
    let since = Instant::now();
    let bound = timeout(limits.patience, settle(limits, binding)).await;
    took("Bind", matches!(bound, Ok(Ok(()))), since);
    bound.map_err(|_| late("bind", limits))??;
    if !framework.post_bind.is_empty() {
        let since = Instant::now();
        for plugin in &framework.post_bind {
            let since = Instant::now();
            plugin.post_bind(state, pod, node);
            binding.took(limits, plugin.name(), "PostBind", true, since);
        }
        took("PostBind", true, since);
    }
    Ok(())
}

async fn prepare(limits: &Limits, binding: &Binding) -> Result<(), Failure> {
    for plugin in &binding.framework.pre_bind {
        let since = Instant::now();
        let preparing = plugin.pre_bind(&binding.state, &binding.pod, &binding.node);
        let prepared = timeout(limits.patience, preparing).await;
        let is_ok = matches!(prepared, Ok(Ok(())));
        binding.took(limits, plugin.name(), "PreBind", is_ok, since);
        prepared.map_err(|_| late(plugin.name(), limits))??;
    }
    Ok(())
}

impl Binding {
    /// Counts how long a plugin took, if plugins are timed.
    fn took(
        &self,
        limits: &Limits,
        plugin: &str,
        point: &'static str,
        is_ok: bool,
        since: Instant,
    ) {
        if self.attempt.sampled {
            let status = if is_ok { "Success" } else { "Error" };
            limits
                .metrics
                .plugin(plugin, point, status, since.elapsed());
        }
    }
}

fn late(who: &str, limits: &Limits) -> Failure {
    Failure::Failed(format!("{who}: not done after {:?}", limits.patience))
}

/// Binds, until it is known whether the pod is bound. A binding that fails may have taken effect, or may still do so, and room
/// that is given to another pod meanwhile would be given twice: so the pod keeps its place, it is looked at, and as long as it
/// has no node, the same binding is written again. One that arrives late then finds the pod bound.
async fn settle(limits: &Limits, binding: &Binding) -> Result<(), Error> {
    let mut pause = FIRST_PAUSE;
    loop {
        let failure = {
            let _permit = limits.writes.acquire().await?;
            // Another one may lead by now, and count without this pod. Whoever lost the lease is stopped soon.
            while !binding.framework.handle().may_act() {
                sleep(LONGEST_PAUSE).await;
            }
            match timeout(ATTEMPT, write(limits, binding)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failure,
                Err(_) => format!("bind: not done after {ATTEMPT:?}").into(),
            }
        };
        if is_refusal(&failure) {
            return Err(failure);
        }
        tracing::debug!(pod = %binding.pod.key, error = %failure, "whether the pod is bound is not known");
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match timeout(ATTEMPT, current(binding)).await {
                Ok(Ok(Some(pod))) => match node_of(&pod) {
                    node if node == &*binding.node => return Ok(()),
                    "" if is_terminating(&pod) => return Err(failure),
                    "" => break,
                    _ => return Err(failure),
                },
                Ok(Ok(None)) => return Err(failure),
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

/// Whether the server says no: then the binding took no effect. That the pod has a node already says nothing: it may be ours.
fn is_refusal(failure: &Error) -> bool {
    let Some(kube::Error::Api(status)) = failure.downcast_ref::<kube::Error>() else {
        return false;
    };
    (400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 429)
}

/// The pod as the server has it now; `None`: it is gone, or another one has its name.
async fn current(binding: &Binding) -> Result<Option<Pod>, kube::Error> {
    let key = &binding.pod.key;
    let client = binding.framework.handle().client().clone();
    let pods: Api<Pod> = Api::namespaced(client, &key.namespace);
    let pod = pods.get_opt(&key.name).await?;
    Ok(pod.filter(|pod| pod.metadata.uid == binding.pod.pod.metadata.uid))
}

fn node_of(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

async fn write(limits: &Limits, binding: &Binding) -> Result<(), Error> {
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
        let since = Instant::now();
        let bound = plugin.bind(client, pod, node).await;
        binding.took(limits, plugin.name(), "Bind", bound.is_ok(), since);
        if bound? {
            return Ok(());
        }
    }
    Err("no plugin binds pods".into())
}
