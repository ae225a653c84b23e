//! Event recording with aggregation (`k8s.io/client-go/tools/record`).
use k8s_openapi::api::core::v1::ObjectReference;

/// Whether an event is a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// `Normal`
    Normal,
    /// `Warning`
    Warning,
}

/// Records events about objects on behalf of one component. Recording never blocks or fails the caller; like events are counted
/// up instead of repeated, and the queue is bounded (the oldest is dropped and counted).
#[derive(Clone, Debug)]
pub struct Recorder {}

impl Recorder {
    /// Records an event.
    pub fn event(
        &self,
        _about: ObjectReference,
        _type: EventType,
        _reason: &str,
        _message: impl Into<String>,
    ) {
        todo!()
    }
}

/// A reference to a typed object, for [`Recorder::event`].
pub fn reference<K: kube::Resource<DynamicType = ()>>(_object: &K) -> ObjectReference {
    todo!()
}
