//! One kind, watched once and shared: objects, indexes, and subscribers' dirty keys.
use super::Key;
use crate::object::LabelSelector;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// What a cache can hold: a typed kind. Implemented for all that fit.
pub trait Object:
    kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static>
    Object for K
{
}

/// A shared, watched copy of all objects of one kind. Clones share it. Reads never block on I/O.
#[derive(Debug)]
pub struct Cache<K: Object> {
    _k: Arc<std::marker::PhantomData<K>>,
}
impl<K: Object> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            _k: self._k.clone(),
        }
    }
}

/// A secondary index of a cache: values of objects to their keys.
#[derive(Clone, Debug)]
pub struct Index<K: Object> {
    _k: Arc<std::marker::PhantomData<K>>,
}

impl<K: Object> Cache<K> {
    /// The object at `key`.
    #[must_use]
    pub fn get(&self, _key: &Key) -> Option<Arc<K>> {
        todo!()
    }
    /// All objects, in key order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        todo!()
    }
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        todo!()
    }
    /// The objects of a namespace (`""`: all) that `selector` selects, in key order.
    #[must_use]
    pub fn select(&self, _namespace: &str, _selector: &LabelSelector) -> Vec<Arc<K>> {
        todo!()
    }
    /// The objects whose controller (owner reference with `controller: true`) has this uid, in key order. An index that every cache has.
    #[must_use]
    pub fn controlled_by(&self, _uid: &str) -> Vec<Arc<K>> {
        todo!()
    }
    /// Adds an index: `values` gives the values under which an object is found. May be added at any time; it covers
    /// what is cached already.
    pub fn index(&self, _values: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) -> Index<K> {
        todo!()
    }
    /// Subscribes: every object present now and every later change marks its key dirty; keys coalesce until taken, so a
    /// slow subscriber holds at most one entry per object.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<K> {
        todo!()
    }
    /// Waits until the first list is in.
    pub async fn synced(&self) {
        todo!()
    }
    /// Whether the first list is in.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        todo!()
    }
}
impl<K: Object> Index<K> {
    /// The objects indexed under `value`, in key order.
    #[must_use]
    pub fn get(&self, _value: &str) -> Vec<Arc<K>> {
        todo!()
    }
}

/// A subscriber's view of a cache's changes.
#[derive(Debug)]
pub struct Subscription<K: Object> {
    _k: Arc<std::marker::PhantomData<K>>,
}

/// A changed key: what the subscriber saw last and what is there now. At least one of the two is present.
#[derive(Clone, Debug)]
pub struct Delta<K: Object> {
    /// The key.
    pub key: Key,
    /// As this subscriber last took it.
    pub old: Option<Arc<K>>,
    /// As it is now; `None`: deleted.
    pub new: Option<Arc<K>>,
}

impl<K: Object> Subscription<K> {
    /// Waits until something is dirty, then takes all dirty keys in the order in which they first became dirty. `None` when the cache stopped.
    pub async fn next(&mut self) -> Option<Vec<Delta<K>>> {
        todo!()
    }
}
