//! Plugins of users that do not come back.

use std::sync::atomic::{AtomicBool, AtomicU32};

use super::*;
use crate::scheduler::framework::{Filter, Hooks, NodeInfo, Permission, Permit, Plugin, Reserve};

/// Does not come back from pods that are named as the extension point, until it is let go.
#[derive(Clone, Debug, Default)]
struct Stuck {
    let_go: Arc<AtomicBool>,
    unreserved: Arc<AtomicU32>,
}

impl Stuck {
    fn pause(&self, pod: &PodInfo, point: &str) {
        while &*pod.key.name == point && !self.let_go.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Plugin for Stuck {
    fn name(&self) -> &'static str {
        "Stuck"
    }
}

impl Filter for Stuck {
    fn filter(&self, _: &CycleState, pod: &PodInfo, _: &NodeInfo) -> Status {
        self.pause(pod, "filter");
        Status::success()
    }
}

impl Reserve for Stuck {
    fn reserve(&self, _: &mut CycleState, pod: &PodInfo, _: &str) -> Status {
        self.pause(pod, "reserve");
        Status::success()
    }

    fn unreserve(&self, _: &mut CycleState, _: &PodInfo, _: &str) {
        self.unreserved.fetch_add(1, Ordering::AcqRel);
    }
}

impl Permit for Stuck {
    fn permit(&self, _: &mut CycleState, pod: &PodInfo, _: &str) -> Permission {
        self.pause(pod, "permit");
        Permission::Allow
    }
}

const PODS: [&str; 4] = ["filter", "reserve", "permit", "other"];

impl World {
    /// The pods that have a node.
    fn placed(&self) -> Vec<&str> {
        let placed = PODS.into_iter().filter(|name| {
            let pod = self.pods.get(&Key::new("ns0", *name));
            pod.is_some_and(|pod| !pod["spec"]["nodeName"].is_null())
        });
        placed.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_plugin_that_does_not_come_back_fails_its_pod_only() {
    let stuck = Stuck::default();
    let plugin = Arc::new(stuck.clone());
    let hooks = Hooks::new(&plugin);
    let hooks = hooks.filter(&plugin).reserve(&plugin).permit(&plugin);
    let mut world = World::of(&Profile::default().plugin(hooks, 0));
    world.scheduler.aside = Aside::new(Duration::from_millis(200));
    world.node("n1", 1, 4, 0);
    for name in PODS {
        let containers = json!([{"name": "c", "resources": {"requests": {"cpu": "1"}}}]);
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns0", "uid": name}, "spec": {"containers": containers},
        });
        world.put(Key::new("ns0", name), pod);
    }
    world.run().await;
    assert_eq!(world.placed(), ["other"]);
    assert_eq!(world.scheduler.places.len(), 1);
    assert_eq!(world.scheduler.snapshot.nodes()[0].pods.len(), 1);
    assert_eq!(stuck.unreserved.load(Ordering::Acquire), 0);
    // Once they come back, what they reserved is undone, and their pods are tried again.
    stuck.let_go.store(true, Ordering::Release);
    while stuck.unreserved.load(Ordering::Acquire) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    while world.placed() != PODS {
        for name in PODS {
            world.scheduler.queue.activate_now(&Key::new("ns0", name));
        }
        world.run().await;
    }
    assert_eq!(stuck.unreserved.load(Ordering::Acquire), 2);
}
