//! One change of one object, with its frames encoded once for all watchers.
use super::made::Made;
use super::object::Cached;
use crate::apiserver::registry::Resource;
use crate::apiserver::transform::View;
use crate::store::Revision;
use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// What a watch calls a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl EventType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Event {
    pub revision: Revision,
    /// The object after the change; for a deletion its last content, at the revision of the deletion.
    pub object: Arc<Cached>,
    /// The object before the change.
    pub previous: Option<Arc<Cached>>,
    /// What the store held before the change.
    before: Option<Bytes>,
    deleted: bool,
    /// The previous content at this revision, for watchers whose selection the object leaves.
    left: OnceLock<Arc<Cached>>,
    /// Its frames in streams.
    pub frames: Made<(View, EventType)>,
}

impl Event {
    pub(crate) fn put(
        object: Arc<Cached>,
        previous: Option<Arc<Cached>>,
        before: Option<Bytes>,
    ) -> Self {
        Self {
            revision: object.revision,
            object,
            previous,
            before,
            deleted: false,
            left: OnceLock::new(),
            frames: Made::default(),
        }
    }

    pub(crate) fn delete(object: Arc<Cached>, previous: Arc<Cached>) -> Self {
        Self {
            revision: object.revision,
            object,
            previous: Some(previous),
            before: None,
            deleted: true,
            left: OnceLock::new(),
            frames: Made::default(),
        }
    }

    /// Whether the object is gone.
    pub(crate) fn is_deletion(&self) -> bool {
        self.deleted
    }

    /// What a watch sees of the change; `None`: nothing. `was`, `is`: whether it selects the object before and after.
    pub(crate) fn seen(
        &self,
        resource: &Resource,
        was: bool,
        is: bool,
    ) -> Option<(EventType, Arc<Cached>)> {
        match (was, is && !self.deleted) {
            (false, true) => Some((EventType::Added, self.object.clone())),
            (true, true) => Some((EventType::Modified, self.object.clone())),
            (true, false) if self.deleted => Some((EventType::Deleted, self.object.clone())),
            (true, false) => Some((EventType::Deleted, self.left(resource))),
            (false, false) => None,
        }
    }

    fn left(&self, resource: &Resource) -> Arc<Cached> {
        let make = || match (&self.previous, &self.before) {
            (Some(previous), Some(before)) => {
                Arc::new(previous.at_revision(resource, before, self.revision))
            }
            _ => self.object.clone(),
        };
        self.left.get_or_init(make).clone()
    }
}
