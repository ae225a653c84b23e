//! Liveness: whatever happens to a cluster, and in whatever order the scheduler hears of it, after the last event every pod that
//! fits somewhere has a node, and nothing had to be tried again because it had waited for long.

mod hang;

use std::convert::Infallible;

use http_body_util::BodyExt;
use kube::client::Body;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::time::advance;

use super::*;
use crate::clock::Clock;
use crate::scheduler::SchedulingCycle;
use crate::scheduler::explain::evaluate;
use crate::scheduler::framework::{Profile, Registry};
use crate::scheduler::metrics::QueuePart;

/// Something that happens; and whether the scheduler gets its turn before the next thing does.
#[derive(Clone, Debug)]
enum Step {
    Node {
        node: u8,
        zone: u8,
        cpu: u8,
        more: u8,
    },
    NoNode(u8),
    Pod {
        pod: u8,
        shape: u8,
    },
    NoPod(u8),
    Relabel {
        pod: u8,
        app: u8,
    },
    Shrink(u8),
    Tolerate(u8),
    Ungate(u8),
    Namespace {
        name: u8,
        team: bool,
    },
}

fn step() -> impl Strategy<Value = (Step, bool)> {
    let (node, pod) = (0..5_u8, 0..16_u8);
    let step = prop_oneof![
        5 => (node.clone(), 0..4_u8, 1..6_u8, 0..5_u8)
            .prop_map(|(node, zone, cpu, more)| Step::Node { node, zone, cpu, more }),
        1 => node.prop_map(Step::NoNode),
        9 => (pod.clone(), 0..SHAPES).prop_map(|(pod, shape)| Step::Pod { pod, shape }),
        3 => pod.clone().prop_map(Step::NoPod),
        2 => (pod.clone(), 0..3_u8).prop_map(|(pod, app)| Step::Relabel { pod, app }),
        1 => pod.clone().prop_map(Step::Shrink),
        1 => pod.clone().prop_map(Step::Tolerate),
        1 => pod.prop_map(Step::Ungate),
        1 => (0..2_u8, any::<bool>()).prop_map(|(name, team)| Step::Namespace { name, team }),
    ];
    (step, any::<bool>())
}

const SHAPES: u8 = 15;
const APPS: [&str; 3] = ["web", "db", "cache"];

/// The spec of a pod of one of the kinds that get in each other's way.
fn spec(shape: u8) -> Value {
    let app = APPS[usize::from(shape % 3)];
    let to = |app: &str, key: &str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key});
    let near = |terms: Value| json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}});
    let far = |terms: Value| json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}});
    let spread = |more: Value| {
        let mut constraint = json!({"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": app}}});
        let more = more.as_object().unwrap().clone();
        constraint.as_object_mut().unwrap().extend(more);
        json!({"topologySpreadConstraints": [constraint]})
    };
    let mut of_team = to("cache", "zone");
    of_team["namespaceSelector"] = json!({"matchLabels": {"team": "a"}});
    let mut choosy = spread(json!({}));
    choosy["nodeSelector"] = json!({"disk": "ssd"});
    let mut spec = match shape {
        0 => spread(json!({})),
        1 => spread(json!({"minDomains": 3})),
        2 => spread(json!({"nodeTaintsPolicy": "Honor", "matchLabelKeys": ["app"]})),
        3 => choosy,
        4 => near(json!([to("web", "zone")])),
        5 => near(json!([to("cache", "zone"), to("cache", "host")])),
        6 => far(json!([to("web", "zone")])),
        7 => far(json!([to("db", "host")])),
        8 => far(json!([of_team])),
        9 => near(json!([of_team])),
        10 => json!({"nodeSelector": {"disk": "ssd"}}),
        11 => json!({"schedulingGates": [{"name": "g"}]}),
        12 => json!({"priority": 9}),
        13 => json!({"priority": 5, "preemptionPolicy": "Never"}),
        _ => json!({}),
    };
    let ports = if shape >= 13 {
        json!([{"containerPort": 80, "hostPort": 80}])
    } else {
        json!([])
    };
    let cpu = (1 + shape % 2).to_string();
    spec["containers"] =
        json!([{"name": "c", "ports": ports, "resources": {"requests": {"cpu": cpu}}}]);
    spec
}

/// A server that says yes to everything, and notes what that leads to.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Asked>>>);

/// Of pods by their keys and uids.
enum Asked {
    Bound(Key, Value, String),
    Deleted(Key, Value),
}

impl Server {
    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path: Vec<&str> = head.uri.path().split('/').skip(4).collect();
        let mut said =
            json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"});
        match (head.method.as_str(), &path[..]) {
            ("POST", [namespace, "pods", name, "binding"]) => {
                let binding: Value = serde_json::from_slice(&body).unwrap();
                let node = binding["target"]["name"].as_str().unwrap().to_owned();
                let uid = binding["metadata"]["uid"].clone();
                let asked = Asked::Bound(Key::new(*namespace, *name), uid, node);
                self.0.lock().push(asked);
            }
            ("DELETE", [namespace, "pods", name]) => {
                let options: Value = serde_json::from_slice(&body).unwrap();
                let uid = options["preconditions"]["uid"].clone();
                let asked = Asked::Deleted(Key::new(*namespace, *name), uid);
                self.0.lock().push(asked);
            }
            _ => said = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}}),
        }
        let answer = http::Response::builder().header("content-type", "application/json");
        answer
            .body(Body::from(said.to_string().into_bytes()))
            .unwrap()
    }
}

/// A cluster, and a scheduler that hears of it.
struct World {
    scheduler: Loop,
    framework: Arc<Framework>,
    server: Server,
    nodes: BTreeMap<String, Value>,
    pods: BTreeMap<Key, Value>,
    namespaces: BTreeMap<String, Value>,
    made: usize,
    _manager: Manager,
}

fn parsed<T: serde::de::DeserializeOwned>(object: &Value) -> Arc<T> {
    Arc::new(serde_json::from_value(object.clone()).unwrap())
}

impl World {
    fn new() -> Self {
        Self::of(&Profile::default())
    }

    /// With this profile.
    fn of(profile: &Profile) -> Self {
        let server = Server::default();
        let manager = Manager::new(server.client(), Clock::seeded(1));
        let handle = Handle::new(&manager, NAME);
        let framework = profile.build(&Registry::in_tree(), &handle);
        let framework = Arc::new(framework.unwrap());
        let settings = Settings {
            frameworks: vec![framework.clone()],
            handle: handle.clone(),
            parallelism: 4,
            patience: Duration::from_secs(60),
            backoff: None,
            metrics: Metrics::default(),
            drain: Drain::default(),
            make: Arc::new(|_| Box::new(SchedulingCycle::new(Clock::seeded(2), None))),
            is_users: false,
        };
        Self {
            scheduler: Loop::new(settings, Activity::default()),
            framework,
            server,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            made: 0,
            _manager: manager,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Node {
                node,
                zone,
                cpu,
                more,
            } => self.node(&format!("n{node}"), *zone, *cpu, *more),
            Step::NoNode(node) => self.no_node(&format!("n{node}")),
            Step::Pod { pod, shape } => {
                let key = Key::new(format!("ns{}", pod % 2), format!("p{pod}"));
                if !self.pods.contains_key(&key) {
                    let app = APPS[usize::from(shape % 3)];
                    self.made += 1;
                    let uid = self.made.to_string();
                    let pod = json!({
                        "metadata": {"name": &*key.name, "namespace": &*key.namespace, "uid": uid, "labels": {"app": app}},
                        "spec": spec(*shape),
                    });
                    self.put(key, pod);
                }
            }
            Step::NoPod(pod) => {
                let key = Key::new(format!("ns{}", pod % 2), format!("p{pod}"));
                self.no_pod(&key);
            }
            Step::Relabel { pod, app } => self.change(*pod, |pod| {
                pod["metadata"]["labels"]["app"] = APPS[usize::from(*app)].into();
            }),
            Step::Shrink(pod) => self.change(*pod, |pod| {
                pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "500m".into();
            }),
            Step::Tolerate(pod) => self.change(*pod, |pod| {
                pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
            }),
            Step::Ungate(pod) => self.change(*pod, |pod| {
                pod["spec"]
                    .as_object_mut()
                    .unwrap()
                    .remove("schedulingGates");
            }),
            Step::Namespace { name, team } => {
                let name = format!("ns{name}");
                let labels = json!({"team": if *team { "a" } else { "b" }});
                let namespace = json!({"metadata": {"name": name, "labels": labels}});
                let old = self.namespaces.insert(name.clone(), namespace.clone());
                self.scheduler.namespace(Delta {
                    key: Key::cluster(name),
                    old: old.as_ref().map(parsed),
                    new: Some(parsed(&namespace)),
                });
            }
        }
    }

    fn node(&mut self, name: &str, zone: u8, cpu: u8, more: u8) {
        let mut labels = json!({"host": name});
        if zone > 0 {
            labels["zone"] = format!("z{zone}").into();
        }
        if more == 1 {
            labels["disk"] = "ssd".into();
        }
        let spec = match more {
            2 => json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}),
            3 => json!({"unschedulable": true}),
            _ => json!({}),
        };
        let node = json!({
            "metadata": {"name": name, "labels": labels}, "spec": spec,
            "status": {"allocatable": {"cpu": cpu.to_string(), "memory": "8Gi", "pods": "4"}},
        });
        let old = self.nodes.insert(name.to_owned(), node.clone());
        self.scheduler.node(Delta {
            key: Key::cluster(name),
            old: old.as_ref().map(parsed),
            new: Some(parsed(&node)),
        });
    }

    /// The pods of a node that is gone are garbage.
    fn no_node(&mut self, name: &str) {
        let Some(old) = self.nodes.remove(name) else {
            return;
        };
        self.scheduler.node(Delta {
            key: Key::cluster(name),
            old: Some(parsed(&old)),
            new: None,
        });
        let pods = self.pods.iter();
        let lost = pods.filter(|(_, pod)| pod["spec"]["nodeName"] == name);
        let lost: Vec<Key> = lost.map(|(key, _)| key.clone()).collect();
        for key in &lost {
            self.no_pod(key);
        }
    }

    fn put(&mut self, key: Key, pod: Value) {
        let old = self.pods.insert(key.clone(), pod.clone());
        self.scheduler.pod(Delta {
            key,
            old: old.as_ref().map(parsed),
            new: Some(parsed(&pod)),
        });
    }

    fn change(&mut self, pod: u8, change: impl FnOnce(&mut Value)) {
        let key = Key::new(format!("ns{}", pod % 2), format!("p{pod}"));
        if let Some(mut pod) = self.pods.get(&key).cloned() {
            change(&mut pod);
            self.put(key, pod);
        }
    }

    fn no_pod(&mut self, key: &Key) {
        if let Some(old) = self.pods.remove(key) {
            self.scheduler.pod(Delta {
                key: key.clone(),
                old: Some(parsed(&old)),
                new: None,
            });
        }
    }

    /// The scheduler does all it can do now, and hears what comes of it.
    async fn run(&mut self) {
        for _ in 0..10_000 {
            if let Some(queued) = self.scheduler.queue.take() {
                self.scheduler.schedule(queued).await;
                continue;
            }
            if let Some(tail) = self.scheduler.tails.join_next().await {
                self.scheduler.tail(tail.ok()).await;
                continue;
            }
            let asked = std::mem::take(&mut *self.server.0.lock());
            if asked.is_empty() {
                return;
            }
            for asked in asked {
                match asked {
                    Asked::Bound(key, uid, node) => {
                        let Some(mut pod) = self.known(&key, &uid) else {
                            continue;
                        };
                        pod["spec"]["nodeName"] = node.as_str().into();
                        self.put(key.clone(), pod);
                        // It came too late for the collector of garbage.
                        if !self.nodes.contains_key(&node) {
                            self.no_pod(&key);
                        }
                    }
                    Asked::Deleted(key, uid) => {
                        if self.known(&key, &uid).is_some() {
                            self.no_pod(&key);
                        }
                    }
                }
            }
        }
        panic!("the scheduler does not come to rest");
    }

    /// The pod of this key, if it is still that one.
    fn known(&self, key: &Key, uid: &Value) -> Option<Value> {
        let pod = self.pods.get(key);
        pod.filter(|pod| pod["metadata"]["uid"] == *uid).cloned()
    }

    /// No pod waits for which there is a place.
    fn check(&self) {
        let mut snapshot = Snapshot::default();
        for (name, namespace) in &self.namespaces {
            snapshot.set_namespace(&name.as_str().into(), Some(parsed(namespace)));
        }
        for (name, node) in &self.nodes {
            snapshot.set_node(name, Some(parsed(node)));
        }
        let infos = self
            .pods
            .values()
            .map(|pod| Arc::new(PodInfo::new(parsed(pod))));
        let (waiting, placed): (Vec<_>, Vec<_>) =
            infos.partition(|info| info.node_name().is_empty());
        for info in &placed {
            snapshot.add_pod(info.node_name(), info);
        }
        for info in waiting {
            let explained = evaluate(&self.framework, &info, &snapshot);
            if explained.gate.is_some() {
                continue;
            }
            let fitting = explained.nodes.iter().filter(|node| node.fits());
            let fitting: Vec<_> = fitting.map(|node| node.node.to_string()).collect();
            assert!(fitting.is_empty(), "{} fits {fitting:?}", info.key);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_pod_waits_in_vain(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for (step, runs) in &steps {
                world.step(step);
                if *runs {
                    world.run().await;
                }
            }
            world.run().await;
            // What failed is tried again after a while; nothing else is.
            advance(Duration::from_secs(20)).await;
            world.run().await;
            world.check();
            let metrics = &world.scheduler.settings.metrics;
            world.scheduler.queue.show();
            assert_eq!(metrics.pending_pods(QueuePart::Active), 0);
        });
    }
}
