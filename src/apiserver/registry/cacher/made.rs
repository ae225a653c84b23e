//! What is made of an object or an event for its readers: each thing once, by whoever asks for it first.
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// A thing, and the second it is good for; `None` until it is made. Who makes one may ask for others meanwhile.
type Slot = Arc<Mutex<Option<(i64, Bytes)>>>;

/// Things that were made, by what they are. There are as many as there are forms, however many readers.
#[derive(Debug)]
pub(crate) struct Made<K>(Mutex<Vec<(K, Slot)>>);

impl<K> Default for Made<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq> Made<K> {
    /// The thing that `key` names, made by `make` if nobody has yet. Others who want it wait meanwhile. `second`: what it is
    /// good for, where it tells ages; else 0.
    pub(crate) fn get(&self, key: K, second: i64, make: impl FnOnce() -> Bytes) -> Bytes {
        let slot = self.slot(key);
        let mut slot = slot.lock();
        match &*slot {
            Some((of, thing)) if *of == second => thing.clone(),
            _ => {
                let thing = counted(make);
                *slot = Some((second, thing.clone()));
                thing
            }
        }
    }

    fn slot(&self, key: K) -> Slot {
        let mut slots = self.0.lock();
        if let Some((_, slot)) = slots.iter().find(|(known, _)| *known == key) {
            return slot.clone();
        }
        let slot = Slot::default();
        slots.push((key, slot.clone()));
        slot
    }
}

#[cfg(test)]
thread_local! {
    /// How many things this thread has made.
    pub(crate) static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn counted(make: impl FnOnce() -> Bytes) -> Bytes {
    #[cfg(test)]
    COUNT.with(|count| count.set(count.get() + 1));
    make()
}
