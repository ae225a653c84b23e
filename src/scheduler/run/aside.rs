//! Work of plugins on a thread of its own: sync code cannot be interrupted when it does not come back, but it can be left behind.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::reconcile::Key;
use crate::scheduler::framework::guarded;

/// So many threads are left behind at most.
const MOST: usize = 64;

/// Does one piece of work after another. A thread that is left behind ends when its work does.
#[derive(Debug)]
pub(super) struct Aside {
    patience: Duration,
    /// The thread, while it is of use.
    thread: Option<mpsc::Sender<Job>>,
    /// The pods whose work has not ended.
    unfinished: Arc<Mutex<BTreeSet<Key>>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Aside {
    /// Waits so long for each piece of work.
    pub(super) fn new(patience: Duration) -> Self {
        Self {
            patience,
            thread: None,
            unfinished: Arc::default(),
        }
    }

    /// Whether another thread would help: where one thread does everything, time may be virtual, and runs must repeat.
    pub(super) fn is_of_use() -> bool {
        Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread
    }

    /// Does work about a pod; what comes too late goes to `late`. `Err`: it panicked or does not come back.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        pod: &Key,
        work: impl FnOnce() -> T + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, String> {
        {
            let mut unfinished = self.unfinished.lock();
            if unfinished.contains(pod) {
                return Err("a plugin has not come back from this pod".to_owned());
            }
            let lost = unfinished.len();
            if lost >= MOST {
                return Err(format!("plugins have not come back from {lost} pods"));
            }
            unfinished.insert(pod.clone());
        }
        let (sender, receiver) = oneshot::channel();
        let (unfinished, key) = (self.unfinished.clone(), pod.clone());
        let job: Job = Box::new(move || {
            let done = guarded(work);
            unfinished.lock().remove(&key);
            if let Err(Ok(done)) = sender.send(done) {
                // Nobody hears of a panic here either.
                let _ = guarded(|| late(done));
            }
        });
        if let Err(error) = self.send(job) {
            self.unfinished.lock().remove(pod);
            return Err(error);
        }
        match timeout(self.patience, receiver).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err("the thread of the plugins ended".to_owned()),
            Err(_) => {
                self.thread = None;
                let patience = self.patience;
                tracing::error!(%pod, ?patience, "a plugin does not come back; its thread is left behind");
                Err(format!("a plugin did not come back within {patience:?}"))
            }
        }
    }

    fn send(&mut self, job: Job) -> Result<(), String> {
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => start().map_err(|error| format!("no thread for plugins: {error}"))?,
        };
        let sent = thread.send(job);
        self.thread = Some(thread);
        sent.map_err(|_| "the thread of the plugins ended".to_owned())
    }
}

/// A thread that ends with its sender.
fn start() -> std::io::Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let named = thread::Builder::new().name("scheduler plugins".to_owned());
    named.spawn(move || jobs.into_iter().for_each(|job| job()))?;
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_that_does_not_come_back_is_left_behind() {
        let mut aside = Aside::new(Duration::from_millis(100));
        let (first, second) = (Key::new("ns", "first"), Key::new("ns", "second"));
        let (release, released) = mpsc::channel::<()>();
        let (told, late) = mpsc::channel();
        let hangs = move || {
            let _ = released.recv();
            7
        };
        let lost = aside.run(&first, hangs, move |it| told.send(it).unwrap());
        assert_eq!(
            lost.await.unwrap_err(),
            "a plugin did not come back within 100ms"
        );
        // Another pod is not concerned; this one is, until its work ends.
        assert_eq!(aside.run(&second, || 2, drop).await, Ok(2));
        let again = aside.run(&first, || 1, drop).await;
        assert_eq!(
            again,
            Err("a plugin has not come back from this pod".to_owned())
        );
        release.send(()).unwrap();
        assert_eq!(late.recv(), Ok(7));
        assert_eq!(aside.run(&first, || 1, drop).await, Ok(1));
        // A panic is told, and the thread lives on.
        let panics = || -> u8 { panic!("cannot bear it") };
        let told = aside.run(&first, panics, drop).await.unwrap_err();
        assert_eq!(told, "a plugin panicked: cannot bear it");
        assert_eq!(aside.run(&first, || 1, drop).await, Ok(1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn not_too_many_are_left_behind() {
        let mut aside = Aside::new(Duration::from_millis(1));
        let open = Arc::new(AtomicBool::new(false));
        for number in 0..MOST {
            let (open, key) = (open.clone(), Key::new("ns", number.to_string()));
            let hangs = move || {
                while !open.load(Ordering::Acquire) {
                    thread::sleep(Duration::from_millis(5));
                }
            };
            aside.run(&key, hangs, drop).await.unwrap_err();
        }
        let key = Key::new("ns", "one-more");
        let refused = aside.run(&key, || (), drop).await.unwrap_err();
        assert_eq!(refused, "plugins have not come back from 64 pods");
        open.store(true, Ordering::Release);
        while aside.run(&key, || (), drop).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
