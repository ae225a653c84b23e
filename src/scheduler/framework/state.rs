//! What one plugin's calls share within the scheduling of one pod.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};

/// A value of any type that can be cloned.
trait Value: Any + Send + Sync {
    fn copy(&self) -> Box<dyn Value>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Clone + Send + Sync + 'static> Value for T {
    fn copy(&self) -> Box<dyn Value> {
        Box::new(self.clone())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// Data that one plugin's calls share within the scheduling of one pod, by type. A clone is a copy of everything: what is
/// tried out on it does not touch the original.
#[derive(Default)]
pub struct CycleState {
    values: BTreeMap<TypeId, Box<dyn Value>>,
    /// Those that do not outlive the decision.
    of_decision: BTreeMap<TypeId, Box<dyn Value>>,
    class: Option<ClassId>,
}

/// Names a class of pods that are alike in namespace, labels, owner references and spec, but for the name of the volume that
/// admission adds for their token. Ids are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub(crate) u64);

impl CycleState {
    /// Keeps a value, one of each type.
    pub fn write<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// Keeps a value until the decision is made: what binding does not need. A plugin that shares state between decisions
    /// gets it back for itself.
    pub fn write_for_decision<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.of_decision.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The class of the pod; `None` when no other pod of its kind was seen before, or lately. What a plugin derives from the pod
    /// (not from its name) it can keep by this.
    #[must_use]
    pub fn class(&self) -> Option<ClassId> {
        self.class
    }

    pub(crate) fn of_class(class: Option<ClassId>) -> Self {
        Self {
            class,
            ..Self::default()
        }
    }

    /// The decision is made.
    pub(crate) fn decided(mut self) -> Self {
        self.of_decision.clear();
        self
    }

    /// The value of type `T`.
    #[must_use]
    pub fn read<T: Send + Sync + 'static>(&self) -> Option<&T> {
        let type_ = TypeId::of::<T>();
        let value = self.values.get(&type_);
        (**value.or_else(|| self.of_decision.get(&type_))?)
            .as_any()
            .downcast_ref()
    }

    /// The value of type `T`, to change it.
    pub fn read_mut<T: Send + Sync + 'static>(&mut self) -> Option<&mut T> {
        let type_ = TypeId::of::<T>();
        let value = self.values.get_mut(&type_);
        (**value.or_else(|| self.of_decision.get_mut(&type_))?)
            .as_any_mut()
            .downcast_mut()
    }
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        let copy = |values: &BTreeMap<TypeId, Box<dyn Value>>| {
            let values = values.iter();
            values
                .map(|(type_, value)| (*type_, (**value).copy()))
                .collect()
        };
        Self {
            values: copy(&self.values),
            of_decision: copy(&self.of_decision),
            class: self.class,
        }
    }
}

impl Debug for CycleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CycleState")
            .field("values", &self.values.len())
            .field("of_decision", &self.of_decision.len())
            .field("class", &self.class)
            .finish()
    }
}
