//! Which objects a list is about, and how many of them.
use super::Cached;
use crate::apiserver::registry::Resource;
use crate::object::{FieldSelector, LabelSelector};
use crate::store::Revision;
use std::sync::Arc;

/// Which objects a list is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    /// Keys that begin with this.
    pub within: &'a str,
    /// Keys that sort after this one.
    pub after: Option<&'a str>,
    pub labels: Option<&'a LabelSelector>,
    pub fields: Option<&'a FieldSelector>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// What was selected.
#[derive(Debug)]
pub(crate) struct Selected {
    /// In key order.
    pub items: Vec<Arc<Cached>>,
    /// The last revision that changed an object of the kind.
    pub changed: Revision,
    /// How many keys come after the last item, when the limit was reached.
    pub left: usize,
}

impl<'a> Selection<'a> {
    /// All keys that begin with `within`.
    pub(crate) fn all(within: &'a str) -> Self {
        Self {
            within,
            after: None,
            labels: None,
            fields: None,
            limit: None,
        }
    }

    /// Takes what is selected from `objects` until the limit is reached, and leaves the rest.
    pub(super) fn take<T: AsRef<Cached>>(
        &self,
        resource: &Resource,
        objects: &mut impl Iterator<Item = T>,
        own: impl Fn(T) -> Arc<Cached>,
    ) -> Vec<Arc<Cached>> {
        let selects = |object: &Cached| {
            self.labels
                .is_none_or(|labels| labels.matches_with(|key| object.label(key)))
                && self
                    .fields
                    .is_none_or(|fields| fields.matches_with(|field| object.field(resource, field)))
        };
        let mut items = Vec::new();
        while self.limit.is_none_or(|limit| items.len() < limit) {
            let Some(object) = objects.next() else {
                break;
            };
            if selects(object.as_ref()) {
                items.push(own(object));
            }
        }
        items
    }
}
