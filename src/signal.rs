//! A value that tasks wait for, waking them in the order in which they came.
//!
//! `tokio::sync::watch` spreads its waiters over several lists by chance, which no seed reaches: with it the same run would not
//! be the same twice.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Sets the value. Clones set the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal<T>(Arc<Shared<T>>);

#[derive(Debug, Default)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State<T> {
    value: T,
    /// How often it was set.
    version: u64,
}

impl<T: Clone> Signal<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State { value, version: 0 }),
            changed: Notify::new(),
        }))
    }

    /// The value.
    pub(crate) fn get(&self) -> T {
        self.0.state.lock().value.clone()
    }

    /// Sets the value and wakes all who wait.
    pub(crate) fn set(&self, value: T) {
        self.modify(|old| {
            *old = value;
            true
        });
    }

    /// Changes the value, and wakes all who wait if `change` says that it did; what that says.
    pub(crate) fn modify(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut state = self.0.state.lock();
        let changed = change(&mut state.value);
        state.version += u64::from(changed);
        drop(state);
        if changed {
            self.0.changed.notify_waiters();
        }
        changed
    }

    /// Somebody who waits for what is set from now on.
    pub(crate) fn waiter(&self) -> Waiter<T> {
        Waiter {
            seen: self.0.state.lock().version,
            shared: self.0.clone(),
        }
    }

    /// Waits until the value is as wanted; gives it.
    pub(crate) async fn reached(&self, wanted: impl Fn(&T) -> bool) -> T {
        self.waiter().reached(wanted).await
    }
}

/// Waits for a [`Signal`]. A wait that is dropped loses nothing.
#[derive(Clone, Debug)]
pub(crate) struct Waiter<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T: Clone> Waiter<T> {
    /// The value; it counts as seen.
    pub(crate) fn look(&mut self) -> T {
        let state = self.shared.state.lock();
        self.seen = state.version;
        state.value.clone()
    }

    /// Waits until the value was set since it was last seen; then it counts as seen.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Made before the look: it is told of everything that is set after.
            let told = self.shared.changed.notified();
            let version = self.shared.state.lock().version;
            if version != self.seen {
                self.seen = version;
                return;
            }
            told.await;
        }
    }

    /// Waits until the value is as wanted; gives it.
    pub(crate) async fn reached(&mut self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let value = self.look();
            if wanted(&value) {
                return value;
            }
            self.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn waiters_wake_in_the_order_in_which_they_came() {
        let signal = Signal::new(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..40)
            .map(|number| {
                let (mut waiter, order) = (signal.waiter(), order.clone());
                tokio::spawn(async move {
                    waiter.reached(|value| *value > 0).await;
                    order.lock().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        signal.set(1);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock(), (0..40).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_set_before_the_wait_is_not_missed() {
        let signal = Signal::new(0);
        let mut waiter = signal.waiter();
        assert!(waiter.changed().now_or_never().is_none());
        signal.set(1);
        assert!(waiter.changed().now_or_never().is_some());
        assert!(waiter.changed().now_or_never().is_none());
        assert!(!signal.modify(|_| false));
        assert!(waiter.changed().now_or_never().is_none());
        signal.set(2);
        assert_eq!(waiter.look(), 2);
        assert!(waiter.changed().now_or_never().is_none());
        assert_eq!(signal.reached(|value| *value == 2).now_or_never(), Some(2));
    }
}
