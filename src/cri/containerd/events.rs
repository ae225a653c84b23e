//! What happens: the runtime's own events where it has them, and in any case the difference between two lists.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use k8s_cri::v1;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};

use super::{Containerd, exits, from_proto};
use crate::cri::{
    ContainerEntry, ContainerFilter, ContainerPhase, ContainerRuntime, EventKind, Result,
    RuntimeEvent, SandboxEntry, SandboxFilter, SandboxMetadata, labels,
};

/// How much rarer lists are when the runtime tells what happens by itself.
const RARER: u32 = 10;
/// How soon a list may show what containerd has told, doubling until it does.
const SOON: Duration = Duration::from_millis(10);

/// Something the runtime tells.
enum Told {
    /// What has happened.
    Event(RuntimeEvent),
    /// A container has ended, as a list will show.
    Ended,
    /// Nothing of interest.
    Nothing,
}

type Tell = BoxStream<'static, Result<Told, Status>>;

/// The runtime's own events.
enum Own {
    /// It has none.
    None,
    /// They broke off.
    Lost,
    /// Asked for; a runtime may answer only when the first thing happens.
    Asked(BoxFuture<'static, Result<Tell, Status>>),
    /// They come.
    Open(Tell),
}

/// What a list showed.
#[derive(Default)]
struct Snapshot {
    sandboxes: BTreeMap<String, (SandboxMetadata, bool)>,
    containers: BTreeMap<String, (SandboxMetadata, ContainerPhase)>,
}

struct Listener {
    runtime: Containerd,
    own: Own,
    /// What the last list showed; `None`: there was none yet.
    known: Option<Snapshot>,
    pending: VecDeque<RuntimeEvent>,
    relist: Instant,
    /// How long the last list waited for what was told to show.
    hurry: Option<Duration>,
}

pub(super) fn listen(runtime: Containerd) -> BoxStream<'static, RuntimeEvent> {
    let listener = Listener {
        own: Own::Asked(ask(runtime.clone()).boxed()),
        runtime,
        known: None,
        pending: VecDeque::new(),
        relist: Instant::now(),
        hurry: None,
    };
    stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await;
        Some((event, listener))
    })
    .boxed()
}

/// Asks for CRI's events, else for containerd's own.
async fn ask(runtime: Containerd) -> Result<Tell, Status> {
    let mut client = runtime.runtime();
    match client.get_container_events(v1::GetEventsRequest {}).await {
        Ok(events) => {
            let scheme = runtime.inner.scheme.clone();
            let events = events.into_inner();
            Ok(events
                .map_ok(move |event| translate(&scheme, event).map_or(Told::Nothing, Told::Event))
                .boxed())
        }
        Err(status) if status.code() == Code::Unimplemented => {
            let events = exits::subscribe(runtime.inner.channel.clone()).await?;
            let told = |event: exits::Envelope| {
                if event.is_end() {
                    Told::Ended
                } else {
                    Told::Nothing
                }
            };
            Ok(events.map_ok(told).boxed())
        }
        Err(status) => Err(status),
    }
}

impl Listener {
    async fn next(&mut self) -> RuntimeEvent {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            tokio::select! {
                biased;
                told = self.own.next() => self.told(told),
                () = sleep_until(self.relist) => self.look().await,
            }
        }
    }

    /// Takes what the runtime tells.
    fn told(&mut self, told: Result<Told, Status>) {
        match told {
            // Whether a list or this tells first: the change is the same, and looking twice does no harm.
            Ok(Told::Event(event)) => self.pending.push_back(event),
            Ok(Told::Ended) => {
                self.hurry = Some(SOON);
                self.relist = Instant::now() + SOON;
            }
            Ok(Told::Nothing) => {}
            Err(status) if status.code() == Code::Unimplemented => self.own = Own::None,
            Err(status) => {
                tracing::debug!(%status, "the runtime's events broke off");
                self.own = Own::Lost;
                self.relist = self.relist.min(Instant::now() + self.pause());
            }
        }
    }

    /// How long to wait until the next list.
    fn pause(&self) -> Duration {
        let pause = self.runtime.inner.config.relist;
        match self.own {
            Own::Open(_) => pause.saturating_mul(RARER),
            _ => pause.max(SOON),
        }
    }

    /// Compares what there is with what there was.
    async fn look(&mut self) {
        match snapshot(&self.runtime).await {
            Ok(now) => {
                let events = match &self.known {
                    None => now.all(),
                    Some(before) => now.since(before),
                };
                // Others may have ended with what shows now.
                self.hurry = match self.hurry {
                    Some(_) if !events.is_empty() => Some(SOON),
                    Some(hurry) => Some(hurry * 2),
                    None => None,
                };
                self.pending.extend(events);
                self.known = Some(now);
                if matches!(self.own, Own::Lost) {
                    self.own = Own::Asked(ask(self.runtime.clone()).boxed());
                }
            }
            Err(error) => tracing::debug!(%error, "the runtime's containers could not be listed"),
        }
        let pause = self.pause();
        self.hurry = self
            .hurry
            .filter(|hurry| *hurry < self.runtime.inner.config.relist);
        self.relist = Instant::now() + self.hurry.unwrap_or(pause);
    }
}

impl Own {
    /// The next that is told; never, when nothing is.
    async fn next(&mut self) -> Result<Told, Status> {
        loop {
            match self {
                Self::None | Self::Lost => std::future::pending().await,
                Self::Asked(asked) => *self = Self::Open(asked.await?),
                Self::Open(events) => {
                    let lost = || Err(Status::unavailable("the stream has ended"));
                    return events.next().await.unwrap_or_else(lost);
                }
            }
        }
    }
}

fn translate(scheme: &str, event: v1::ContainerEventResponse) -> Option<RuntimeEvent> {
    let kind = match event.container_event_type() {
        v1::ContainerEventType::ContainerCreatedEvent => EventKind::Created,
        v1::ContainerEventType::ContainerStartedEvent => EventKind::Started,
        v1::ContainerEventType::ContainerStoppedEvent => EventKind::Stopped,
        v1::ContainerEventType::ContainerDeletedEvent => EventKind::Deleted,
    };
    let sandbox = event.pod_sandbox_status?;
    // Sandboxes are told of under their own id.
    let container = if event.container_id == sandbox.id {
        String::new()
    } else {
        from_proto::id(scheme, &event.container_id)
    };
    let metadata = from_proto::metadata(sandbox.metadata);
    Some(of(&metadata, &container, kind))
}

fn of(metadata: &SandboxMetadata, container: &str, kind: EventKind) -> RuntimeEvent {
    RuntimeEvent {
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        container: container.to_owned(),
        kind,
    }
}

async fn snapshot(runtime: &Containerd) -> Result<Snapshot> {
    let (all_sandboxes, all_containers) = (SandboxFilter::default(), ContainerFilter::default());
    let containers = runtime.list_containers(&all_containers).await?;
    let sandboxes = runtime.list_sandboxes(&all_sandboxes).await?;
    Ok(Snapshot::new(sandboxes, containers))
}

impl Snapshot {
    fn new(sandboxes: Vec<SandboxEntry>, containers: Vec<ContainerEntry>) -> Self {
        let sandboxes = sandboxes.into_iter();
        Self {
            sandboxes: sandboxes
                .map(|sandbox| (sandbox.id, (sandbox.metadata, sandbox.ready)))
                .collect(),
            containers: containers
                .into_iter()
                .map(|container| {
                    let label = |name: &str| container.labels.get(name).cloned();
                    let metadata = SandboxMetadata {
                        namespace: label(labels::POD_NAMESPACE).unwrap_or_default(),
                        name: label(labels::POD_NAME).unwrap_or_default(),
                        uid: label(labels::POD_UID).unwrap_or_default(),
                        attempt: 0,
                    };
                    (container.id, (metadata, container.phase))
                })
                .collect(),
        }
    }

    /// Every pod there is, once.
    fn all(&self) -> Vec<RuntimeEvent> {
        let metadata = self.sandboxes.values().map(|(metadata, _)| metadata);
        let mut pods: Vec<RuntimeEvent> = metadata
            .map(|metadata| of(metadata, "", EventKind::Changed))
            .collect();
        pods.sort_by(|a, b| a.uid.cmp(&b.uid));
        pods.dedup();
        pods
    }

    /// What has happened since.
    fn since(&self, before: &Self) -> Vec<RuntimeEvent> {
        let mut events = Vec::new();
        for (id, (metadata, phase)) in &self.containers {
            let was = before.containers.get(id).map(|(_, phase)| *phase);
            if was == Some(*phase) {
                continue;
            }
            let kind = match phase {
                ContainerPhase::Created => EventKind::Created,
                ContainerPhase::Running => EventKind::Started,
                ContainerPhase::Exited => EventKind::Stopped,
                ContainerPhase::Unknown => EventKind::Changed,
            };
            events.push(of(metadata, id, kind));
        }
        for (id, (metadata, _)) in &before.containers {
            if !self.containers.contains_key(id) {
                events.push(of(metadata, id, EventKind::Deleted));
            }
        }
        for (id, (metadata, was_ready)) in &before.sandboxes {
            match self.sandboxes.get(id) {
                None => events.push(of(metadata, "", EventKind::Deleted)),
                Some((_, false)) if *was_ready => {
                    events.push(of(metadata, "", EventKind::Stopped));
                }
                Some(_) => {}
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(sandboxes: &[(&str, bool)], containers: &[(&str, ContainerPhase)]) -> Snapshot {
        let metadata = SandboxMetadata::default();
        Snapshot {
            sandboxes: sandboxes
                .iter()
                .map(|(id, ready)| ((*id).to_owned(), (metadata.clone(), *ready)))
                .collect(),
            containers: containers
                .iter()
                .map(|(id, phase)| ((*id).to_owned(), (metadata.clone(), *phase)))
                .collect(),
        }
    }

    #[test]
    fn differences_are_events() {
        use ContainerPhase::{Created, Exited, Running};
        let before = snapshot(
            &[("s", true), ("t", true), ("u", false)],
            &[
                ("a", Created),
                ("b", Running),
                ("c", Running),
                ("d", Exited),
            ],
        );
        let now = snapshot(
            &[("s", true), ("t", false)],
            &[
                ("a", Running),
                ("b", Exited),
                ("d", Exited),
                ("e", Exited),
                ("f", Created),
            ],
        );
        let told: Vec<(String, EventKind)> = now
            .since(&before)
            .into_iter()
            .map(|event| (event.container, event.kind))
            .collect();
        let expected = [
            ("a", EventKind::Started),
            ("b", EventKind::Stopped),
            ("e", EventKind::Stopped),
            ("f", EventKind::Created),
            ("c", EventKind::Deleted),
            ("", EventKind::Stopped),
            ("", EventKind::Deleted),
        ];
        assert_eq!(told, expected.map(|(id, kind)| (id.to_owned(), kind)));
        assert!(now.since(&now).is_empty());
        assert_eq!(now.all().len(), 1);
    }
}
