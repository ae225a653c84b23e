//! What happens in the fake, told to everyone who listens.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::{Instant, sleep_until};

use super::{FakeSandbox, Inner, State};
use crate::cri::{EventKind, RuntimeEvent, SandboxConfig};

/// How many events are kept for listeners that are behind.
const KEPT: usize = 1000;

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Log {
    events: VecDeque<RuntimeEvent>,
    /// How many there were before those.
    before: u64,
}

impl Log {
    pub(super) fn push(&mut self, sandbox: &SandboxConfig, container: &str, kind: EventKind) {
        if self.events.len() == KEPT {
            self.events.pop_front();
            self.before += 1;
        }
        self.events.push_back(event(sandbox, container, kind));
    }

    fn end(&self) -> u64 {
        self.before + self.events.len() as u64
    }

    /// The events from `cursor` on; `None`: they are not kept any more.
    fn since(&self, cursor: u64) -> Option<impl Iterator<Item = &RuntimeEvent>> {
        let skip = cursor.checked_sub(self.before)?;
        Some(self.events.iter().skip(usize::try_from(skip).ok()?))
    }
}

fn event(sandbox: &SandboxConfig, container: &str, kind: EventKind) -> RuntimeEvent {
    RuntimeEvent {
        namespace: sandbox.metadata.namespace.clone(),
        name: sandbox.metadata.name.clone(),
        uid: sandbox.metadata.uid.clone(),
        container: container.to_owned(),
        kind,
    }
}

impl State {
    /// Tells the ends that are due; when the next one is.
    fn settle(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next = None::<Instant>;
        let Self { sandboxes, log, .. } = self;
        for FakeSandbox {
            config, containers, ..
        } in sandboxes.values_mut()
        {
            for container in containers.iter_mut().filter(|container| !container.told) {
                let Some(exit) = &container.exit else {
                    continue;
                };
                if exit.at > now {
                    next = Some(next.map_or(exit.at, |next| next.min(exit.at)));
                    continue;
                }
                container.told = true;
                log.push(config, &container.id, EventKind::Stopped);
            }
        }
        next
    }
}

/// One who listens.
struct Listener {
    inner: Arc<Inner>,
    /// Up to where it has heard; `None`: it has just come.
    cursor: Option<u64>,
    pending: VecDeque<RuntimeEvent>,
}

impl Listener {
    /// Takes what is new; when something is due.
    fn look(&mut self) -> Option<Instant> {
        let mut state = self.inner.state.lock();
        let next = state.settle();
        let heard = self.cursor.and_then(|cursor| {
            let events = state.log.since(cursor)?;
            Some(events.cloned().collect())
        });
        self.pending = heard.unwrap_or_else(|| {
            let sandboxes = state.sandboxes.values();
            sandboxes
                .map(|sandbox| event(&sandbox.config, "", EventKind::Changed))
                .collect()
        });
        self.cursor = Some(state.log.end());
        next
    }

    async fn next(&mut self) -> RuntimeEvent {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            let inner = self.inner.clone();
            let changed = inner.changed.notified();
            let next = self.look();
            if !self.pending.is_empty() {
                continue;
            }
            match next {
                None => changed.await,
                Some(at) => {
                    let changed = pin!(changed);
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(at) => {}
                    }
                }
            }
        }
    }
}

pub(super) fn listen(inner: &Arc<Inner>) -> BoxStream<'static, RuntimeEvent> {
    let listener = Listener {
        inner: inner.clone(),
        cursor: None,
        pending: VecDeque::new(),
    };
    stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await;
        Some((event, listener))
    })
    .boxed()
}
