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
}

impl CycleState {
    /// Keeps a value, one of each type.
    pub fn write<T: Clone + Send + Sync + 'static>(&mut self, value: T) {
        self.values.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The value of type `T`.
    #[must_use]
    pub fn read<T: Send + Sync + 'static>(&self) -> Option<&T> {
        (**self.values.get(&TypeId::of::<T>())?)
            .as_any()
            .downcast_ref()
    }

    /// The value of type `T`, to change it.
    pub fn read_mut<T: Send + Sync + 'static>(&mut self) -> Option<&mut T> {
        (**self.values.get_mut(&TypeId::of::<T>())?)
            .as_any_mut()
            .downcast_mut()
    }
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        let values = self.values.iter();
        Self {
            values: values
                .map(|(type_, value)| (*type_, (**value).copy()))
                .collect(),
        }
    }
}

impl Debug for CycleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CycleState")
            .field("values", &self.values.len())
            .finish()
    }
}
