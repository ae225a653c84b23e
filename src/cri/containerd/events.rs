//! What happens: the runtime's own events where it has them, and in any case the difference between two lists.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use k8s_cri::v1;
use tokio::time::{Instant, sleep_until};
use tonic::codec::Streaming;
use tonic::{Code, Status};

use super::{Containerd, from_proto};
use crate::cri::{
    ContainerEntry, ContainerFilter, ContainerPhase, ContainerRuntime, EventKind, Result,
    RuntimeEvent, SandboxEntry, SandboxFilter, SandboxMetadata, labels,
};

/// How much rarer lists are when the runtime tells what happens by itself.
const RARER: u32 = 10;

/// The runtime's own events.
enum Own {
    /// It has none.
    None,
    /// Asked for; a runtime may answer only when the first thing happens.
    Asked(BoxFuture<'static, Result<Streaming<v1::ContainerEventResponse>, Status>>),
    /// They come.
    Open(Box<Streaming<v1::ContainerEventResponse>>),
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
}

pub(super) fn listen(runtime: Containerd) -> BoxStream<'static, RuntimeEvent> {
    let listener = Listener {
        own: Own::Asked(ask(runtime.clone()).boxed()),
        runtime,
        known: None,
        pending: VecDeque::new(),
        relist: Instant::now(),
    };
    stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await;
        Some((event, listener))
    })
    .boxed()
}

async fn ask(runtime: Containerd) -> Result<Streaming<v1::ContainerEventResponse>, Status> {
    let mut client = runtime.runtime();
    let answer = client.get_container_events(v1::GetEventsRequest {}).await?;
    Ok(answer.into_inner())
}

impl Listener {
    async fn next(&mut self) -> RuntimeEvent {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            tokio::select! {
                biased;
                event = self.own.next() => self.told(event),
                () = sleep_until(self.relist) => self.look().await,
            }
        }
    }

    /// Takes an event of the runtime's own.
    fn told(&mut self, event: Result<v1::ContainerEventResponse, Status>) {
        match event {
            Ok(event) => {
                // Whether a list or this tells first: the change is the same, and looking twice does no harm.
                let scheme = &self.runtime.inner.scheme;
                self.pending.extend(translate(scheme, event));
            }
            Err(status) if status.code() == Code::Unimplemented => self.own = Own::None,
            Err(status) => {
                tracing::debug!(%status, "the runtime's events broke off");
                // The next list that succeeds shows that the runtime is back.
                self.own = Own::None;
                self.relist = Instant::now();
            }
        }
    }

    /// Compares what there is with what there was.
    async fn look(&mut self) {
        let pause = &self.runtime.inner.config.relist;
        let pause = match self.own {
            Own::Open(_) => pause.saturating_mul(RARER),
            _ => *pause,
        };
        match snapshot(&self.runtime).await {
            Ok(now) => {
                match &self.known {
                    None => self.pending.extend(now.all()),
                    Some(before) => self.pending.extend(now.since(before)),
                }
                self.known = Some(now);
            }
            Err(error) => tracing::debug!(%error, "the runtime's containers could not be listed"),
        }
        self.relist = Instant::now() + pause.max(Duration::from_millis(10));
    }
}

impl Own {
    /// The next event; never, when there are none.
    async fn next(&mut self) -> Result<v1::ContainerEventResponse, Status> {
        loop {
            match self {
                Self::None => std::future::pending().await,
                Self::Asked(asked) => *self = Self::Open(Box::new(asked.await?)),
                Self::Open(events) => {
                    let event = events.message().await?;
                    return event.ok_or_else(|| Status::unavailable("the stream has ended"));
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
