//! What plugins may use of the scheduler they run in.

use std::any::{Any, TypeId};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, future};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::event::{ClusterEvent, Resource};
use super::{Actions, WaitingPods};
use crate::clock::Clock;
use crate::reconcile::{Cache, Key, Manager, Object, Recorder, WeakManager};

/// What plugins may use of the scheduler: caches of any kind, a client, the clock, events, and pods that wait at permit.
/// Clones share it. Plugins get it when they are made; the decision itself reads caches and does no I/O.
#[derive(Clone)]
pub struct Handle {
    /// Not held: the manager runs what holds this.
    manager: WeakManager,
    client: kube::Client,
    recorder: Recorder,
    clock: Clock,
    waiting: WaitingPods,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    followed: Mutex<Vec<Followed>>,
    activate: Mutex<BTreeSet<Key>>,
    activated: Notify,
}

/// A kind whose changes may wake pods.
struct Followed {
    type_: TypeId,
    changes: Box<dyn Fn() -> BoxStream<'static, Vec<Change>> + Send + Sync>,
}

/// A change of an object of a followed kind.
pub(crate) struct Change {
    resource: Resource,
    actions: Actions,
    old: Option<Arc<dyn Any + Send + Sync>>,
    new: Option<Arc<dyn Any + Send + Sync>>,
}

impl Change {
    pub(crate) fn event(&self) -> ClusterEvent<'_> {
        ClusterEvent::new(self.resource.clone(), self.actions)
            .with_objects(self.old.as_deref(), self.new.as_deref())
    }
}

impl Handle {
    /// For a scheduler that runs in `manager` under the name `component`. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(manager: &Manager, component: &str) -> Self {
        Self {
            manager: manager.downgrade(),
            client: manager.client_for(component),
            recorder: manager.recorder(component),
            clock: manager.clock().fork(component),
            waiting: WaitingPods::default(),
            shared: Arc::default(),
        }
    }

    /// The client, which names the scheduler as its user agent.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// Records events of objects as the scheduler.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// The clock and the source of chance. Not for the decision itself.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// As [`Manager::may_act`]; not when the manager is no more.
    #[must_use]
    pub fn may_act(&self) -> bool {
        let manager = self.manager.upgrade();
        manager.is_some_and(|manager| manager.may_act())
    }

    /// The pods that wait at permit.
    #[must_use]
    pub fn waiting(&self) -> &WaitingPods {
        &self.waiting
    }

    /// The shared cache of kind `K`. From then on changes of such objects are events ([`Resource::Kind`]) that may wake pods.
    /// Ask while the plugin is made, so that the cache is filled before the first decision.
    #[must_use]
    pub fn cache<K: Object>(&self) -> Cache<K> {
        let cache = self.manager.cache::<K>();
        let type_ = TypeId::of::<K>();
        let own = [
            TypeId::of::<Pod>(),
            TypeId::of::<Node>(),
            TypeId::of::<Namespace>(),
        ];
        let mut followed = self.shared.followed.lock();
        if !own.contains(&type_) && followed.iter().all(|known| known.type_ != type_) {
            let cache = cache.clone();
            let changes = Box::new(move || changes(&cache));
            followed.push(Followed { type_, changes });
        }
        cache
    }

    /// Has waiting pods tried again at once, without backoff and whatever they wait for; pods that do not wait are left alone.
    pub fn activate(&self, pods: impl IntoIterator<Item = Key>) {
        self.shared.activate.lock().extend(pods);
        self.shared.activated.notify_one();
    }

    /// The pods that are to be tried again.
    pub(crate) async fn activated(&self) -> BTreeSet<Key> {
        loop {
            let activated = self.shared.activated.notified();
            let pods = std::mem::take(&mut *self.shared.activate.lock());
            if !pods.is_empty() {
                return pods;
            }
            activated.await;
        }
    }

    /// The changes of all followed kinds. Ends when a cache stops; pending when nothing is followed.
    pub(crate) fn changes(&self) -> BoxStream<'static, Vec<Change>> {
        let followed = self.shared.followed.lock();
        if followed.is_empty() {
            return stream::pending().boxed();
        }
        stream::select_all(followed.iter().map(|kind| (kind.changes)())).boxed()
    }
}

fn changes<K: Object>(cache: &Cache<K>) -> BoxStream<'static, Vec<Change>> {
    let deltas = stream::unfold(cache.subscribe(), |mut subscription| async move {
        Some((subscription.next().await?, subscription))
    });
    let erase = |object: Arc<K>| object as Arc<dyn Any + Send + Sync>;
    deltas
        .map(move |deltas| {
            let changes = deltas.into_iter().map(|delta| Change {
                resource: Resource::Kind(K::kind(&())),
                actions: match (&delta.old, &delta.new) {
                    (None, _) => Actions::ADD,
                    (_, None) => Actions::DELETE,
                    _ => Actions::UPDATE,
                },
                old: delta.old.map(erase),
                new: delta.new.map(erase),
            });
            changes.collect()
        })
        .chain(stream::once(future::pending()))
        .boxed()
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Handle {
    /// For tests of plugins without a cluster: a client that reaches nothing.
    pub(crate) fn for_tests() -> Self {
        use std::convert::Infallible;
        use std::sync::LazyLock;

        use kube::client::Body;
        use tokio::runtime::{Builder, Runtime};

        // What a client starts needs a runtime, which plain tests have not.
        static RUNTIME: LazyLock<Runtime> =
            LazyLock::new(|| Builder::new_current_thread().build().unwrap());
        let _entered = RUNTIME.enter();
        let nothing = tower::service_fn(|_: http::Request<Body>| async {
            Ok::<_, Infallible>(http::Response::new(Body::empty()))
        });
        let client = kube::Client::new(nothing, "default");
        Self::new(&Manager::new(client, Clock::seeded(1)), "default-scheduler")
    }
}

#[cfg(test)]
impl super::Framework {
    /// The profile with the in-tree plugins, for tests without a cluster.
    pub(crate) fn for_tests(profile: &super::Profile) -> Self {
        let registry = super::Registry::in_tree();
        profile.build(&registry, &Handle::for_tests()).unwrap()
    }
}
