//! From the store's watch to the caches.
use super::{Inner, Kind, prefix};
use crate::store::{Change, Error, Range, Result, Revision, WatchEvent};
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;

/// The first and the longest pause between attempts to reach a store that fails.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Follows the store until aborted.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut pause = PAUSE.0;
    loop {
        let before = inner.applied();
        let Err(error) = follow(&inner).await else {
            // A stream may also just end; going on from the last revision costs nothing.
            continue_after(&mut pause, inner.applied() > before).await;
            continue;
        };
        tracing::warn!(%error, "the store's watch broke");
        let lost = matches!(
            error,
            Error::Compacted { .. } | Error::FutureRevision { .. }
        );
        if lost && let Err(error) = list_again(&inner).await {
            tracing::warn!(%error, "the store could not be listed again");
        } else if lost {
            pause = PAUSE.0;
            continue;
        }
        continue_after(&mut pause, inner.applied() > before).await;
    }
}

async fn continue_after(pause: &mut Duration, progressed: bool) {
    if progressed {
        *pause = PAUSE.0;
    }
    tokio::time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSE.1);
}

/// Takes in changes from where the caches are, until the watch ends.
async fn follow(inner: &Inner) -> Result<()> {
    // All keys, so that every revision of the store is seen and the caches know how far they are.
    let after = inner.applied();
    let mut changes = inner.store.watch("", after).await?;
    while let Some(event) = changes.next().await {
        match event? {
            WatchEvent::Changes(changes) => {
                inner.apply(&changes);
                // Lets watchers read before their rings run over.
                tokio::task::yield_now().await;
            }
            WatchEvent::Progress(revision) => inner.advance(revision),
        }
    }
    Ok(())
}

/// Replaces what the caches hold after changes were missed. Running watches end: they cannot go on without a gap.
async fn list_again(inner: &Inner) -> Result<()> {
    let revision = inner.store.revision().await?;
    let mut pages = Vec::new();
    for kind in inner.all() {
        let page = inner
            .store
            .range(Range::prefix(prefix(&kind.resource)).at(revision))
            .await?;
        pages.push((kind, page));
    }
    for (kind, page) in pages {
        kind.reset(Some(&page));
    }
    inner.hints.lock().clear();
    inner.applied.set(revision);
    Ok(())
}

impl Inner {
    pub(super) fn applied(&self) -> Revision {
        self.applied.get()
    }

    fn apply(&self, changes: &[Change]) {
        for change in changes {
            let revision = change.revision();
            let kinds = self.kinds_of(change.key());
            if kinds.is_empty() {
                continue;
            }
            let hint = self
                .hints
                .lock()
                .remove(&revision)
                .filter(|hint| hint.object.key == *change.key());
            for kind in kinds {
                let decoded = hint
                    .as_ref()
                    .filter(|hint| Arc::ptr_eq(&hint.resource, &kind.resource));
                kind.apply(change, decoded.map(|hint| hint.object.clone()));
            }
        }
        if let Some(last) = changes.last() {
            self.advance(last.revision());
        }
    }

    fn advance(&self, revision: Revision) {
        let newer = |applied: &mut Revision| {
            let newer = revision > *applied;
            *applied = revision.max(*applied);
            newer
        };
        if self.applied.modify(newer) {
            // What was written before and never came is of no use any more.
            let mut hints = self.hints.lock();
            while hints
                .first_key_value()
                .is_some_and(|(written, _)| *written <= revision)
            {
                hints.pop_first();
            }
        }
    }

    /// The caches whose prefix, and then a slash, `key` begins with. None is the beginning of another.
    fn kinds_of(&self, key: &str) -> Vec<Arc<Kind>> {
        let kinds = self.kinds.read();
        let slashes = key.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        let mut prefixes = slashes.filter_map(|(at, _)| key.get(..at));
        prefixes
            .find_map(|prefix| kinds.get(prefix))
            .map(|kinds| {
                kinds
                    .iter()
                    .filter(|kind| kind.owns(key))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default()
    }
}
