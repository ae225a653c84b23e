//! Schedulers on a bad network: requests fail, some after they took effect; events come late; watches break; schedulers die and
//! are started again, and there are two of them. No node is given more pods than it can run, and no pod is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use homeostat::clock::Clock;
use homeostat::node::NodeSpec;
use homeostat::reconcile::leader::LeaderConfig;
use homeostat::reconcile::{Leadership, Manager};
use homeostat::scheduler::{self, Drain, PodGroup, Profile, SchedulerConfig};
use homeostat::store::{self, MemoryStore, Range, Store, WatchEvent};
use homeostat::testing::Cluster;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// How bad a network is: chances are in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Requests that do not arrive.
    lost: u64,
    /// Requests that arrive and take effect, and whose answer does not.
    unanswered: u64,
    /// Requests that are refused for now.
    refused: u64,
    /// How long a request and its answer take at most, each.
    latency: Duration,
    /// How late an event comes at most.
    late: Duration,
    /// Events with which a watch breaks.
    broken: u64,
}

pub(crate) const BAD: Faults = Faults {
    lost: 60,
    unanswered: 80,
    refused: 40,
    latency: Duration::from_millis(300),
    late: Duration::from_millis(2500),
    broken: 20,
};

/// The network of one scheduler.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    faults: Arc<Mutex<Faults>>,
    /// Nothing leaves the process.
    stopped: Arc<AtomicBool>,
    chance: Clock,
}

impl Network {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults: Arc::new(Mutex::new(faults)),
            stopped: Arc::default(),
            chance: Clock::seeded(seed),
        }
    }

    /// From now on requests wait.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn go_on(&self) {
        self.stopped.store(false, Ordering::Relaxed);
    }

    pub(crate) fn heal(&self) {
        *self.faults.lock() = Faults::default();
    }

    fn spoil(&self) {
        *self.faults.lock() = BAD;
    }

    fn strikes(&self, chance: impl Fn(&Faults) -> u64) -> bool {
        self.chance.below(1000) < chance(&self.faults.lock())
    }

    fn delay(&self, most: impl Fn(&Faults) -> Duration) -> Duration {
        let most = u64::try_from(most(&self.faults.lock()).as_micros()).unwrap();
        Duration::from_micros(self.chance.below(most.max(1)))
    }

    async fn lag(&self, most: impl Fn(&Faults) -> Duration) {
        sleep(self.delay(most)).await;
    }

    /// A client on this network. Who sent a request may die; the request goes on.
    pub(crate) fn client(&self, inner: &kube::Client) -> kube::Client {
        let (network, inner) = (self.clone(), inner.clone());
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (network, inner) = (network.clone(), inner.clone());
            let sent = async move {
                while network.stopped.load(Ordering::Relaxed) {
                    sleep(Duration::from_millis(1)).await;
                }
                network.lag(|faults| faults.latency).await;
                if network.strikes(|faults| faults.lost) {
                    return Err::<_, tower::BoxError>("the request was lost".into());
                }
                if network.strikes(|faults| faults.refused) {
                    return Ok(unavailable().map(boxed));
                }
                let is_watch = request
                    .uri()
                    .query()
                    .is_some_and(|query| query.contains("watch="));
                let response = inner.send(request).await?;
                network.lag(|faults| faults.latency).await;
                if network.strikes(|faults| faults.unanswered) {
                    return Err("the answer was lost".into());
                }
                Ok(response.map(|body| {
                    if is_watch {
                        network.late(body)
                    } else {
                        boxed(body)
                    }
                }))
            };
            async move { tokio::spawn(sent).await? }
        });
        kube::Client::new(service, "default")
    }

    /// The events of a watch, late and in order, until it breaks.
    fn late(&self, body: Body) -> Answer {
        let (send, receive) = mpsc::channel(10_000);
        let network = self.clone();
        tokio::spawn(async move {
            let mut frames = BodyStream::new(body);
            while let Some(frame) = frames.next().await {
                let due = Instant::now() + network.delay(|faults| faults.late);
                let broken = network.strikes(|faults| faults.broken);
                let frame = if broken {
                    Err("the connection broke".into())
                } else {
                    frame.map_err(tower::BoxError::from)
                };
                if send.send((due, frame)).await.is_err() || broken {
                    return;
                }
            }
        });
        let frames = futures::stream::unfold(receive, |mut receive| async move {
            let (due, frame) = receive.recv().await?;
            sleep_until(due).await;
            Some((frame, receive))
        });
        UnsyncBoxBody::new(StreamBody::new(frames))
    }
}

type Answer = UnsyncBoxBody<Bytes, tower::BoxError>;

fn boxed(body: Body) -> Answer {
    UnsyncBoxBody::new(body.map_err(Into::into))
}

fn unavailable() -> http::Response<Body> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 503,
        "reason": "ServiceUnavailable", "message": "try again",
    });
    let response = http::Response::builder()
        .status(503)
        .header("content-type", "application/json");
    response
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}

/// A scheduler in a process of its own.
pub(crate) struct Process {
    manager: Manager,
    drain: Drain,
}

impl Process {
    /// Starts one for these pods; `None`: it does not come up on this network.
    async fn start(
        client: kube::Client,
        seed: u64,
        name: &str,
        lease: Option<LeaderConfig>,
    ) -> Option<Self> {
        Self::start_with(client, seed, Profile::named(name), lease).await
    }

    /// Starts one with this profile.
    pub(crate) async fn start_with(
        client: kube::Client,
        seed: u64,
        profile: Profile,
        lease: Option<LeaderConfig>,
    ) -> Option<Self> {
        let manager = Manager::new(client, Clock::seeded(seed));
        let drain = Drain::default();
        let config = SchedulerConfig::default().profile(profile);
        let config = config.drained_by(drain.clone());
        scheduler::install(&manager, config).unwrap();
        if let Some(lease) = lease {
            manager.elect(lease);
        }
        manager.start().await.ok()?;
        Some(Self { manager, drain })
    }

    pub(crate) fn leadership(&self) -> watch::Receiver<Leadership> {
        self.manager.leadership()
    }

    /// Has it end in good order.
    pub(crate) async fn end(self) {
        self.drain.drain(Duration::from_secs(60)).await;
        self.manager.stop().await;
    }

    /// Kills it: nothing is given up or finished.
    fn kill(self) {
        drop(self.manager);
    }
}

/// Pods and nodes, and what became of them.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) store: MemoryStore,
    chance: Clock,
    made: usize,
    cpu: i64,
}

const NODES: usize = 4;

impl World {
    /// Nodes that nobody runs, of `cpu` cores each.
    pub(crate) async fn new(seed: u64, cpu: i64) -> Self {
        let store = MemoryStore::default();
        let shared = Arc::new(store.clone());
        let cluster = Cluster::builder()
            .seed(seed)
            .with(|cluster| {
                let cluster = cluster.store(shared).only_api();
                cluster.resource::<PodGroup>()
            })
            .start()
            .await
            .unwrap();
        let nodes: Api<Node> = Api::all(cluster.client());
        for index in 0..NODES {
            let name = format!("n{index}");
            let node = json!({"metadata": {"name": name}});
            let node = serde_json::from_value(node).unwrap();
            nodes.create(&PostParams::default(), &node).await.unwrap();
            let resources = json!({"cpu": cpu.to_string(), "memory": "8Gi", "pods": "110"});
            let status = json!({"status": {
                "capacity": resources, "allocatable": resources, "conditions": [{"type": "Ready", "status": "True"}],
            }});
            let patch = Patch::Merge(status);
            nodes
                .patch_status(&name, &PatchParams::default(), &patch)
                .await
                .unwrap();
            // A new node has a taint until somebody sees that it is ready; nobody looks here.
            let untaint = json!({"spec": {"taints": []}});
            let patch = Patch::Merge(untaint);
            nodes
                .patch(&name, &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
        Self::of(cluster, store, seed, cpu)
    }

    /// Nodes of `cpu` cores each that kubelets run, and controllers.
    async fn with_kubelets(seed: u64, cpu: i64) -> Self {
        let store = MemoryStore::default();
        let shared = Arc::new(store.clone());
        let cluster = Cluster::builder().seed(seed).with(|mut cluster| {
            for index in 0..NODES {
                let spec = NodeSpec::new(format!("n{index}")).capacity("cpu", cpu.to_string());
                cluster = cluster.node(spec);
            }
            cluster.store(shared)
        });
        let cluster = cluster.start().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        Self::of(cluster, store, seed, cpu)
    }

    fn of(cluster: Cluster, store: MemoryStore, seed: u64, cpu: i64) -> Self {
        Self {
            cluster,
            store,
            chance: Clock::seeded(seed).fork("world"),
            made: 0,
            cpu,
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.cluster.client())
    }

    /// Makes pods of one or two cores.
    pub(crate) async fn make(&mut self, count: usize, scheduler: &str) {
        for _ in 0..count {
            self.made += 1;
            let cpu = 1 + self.chance.below(2);
            let pod = json!({
                "metadata": {"name": format!("p{}", self.made)},
                "spec": {
                    "schedulerName": scheduler,
                    "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu.to_string()}}}],
                },
            });
            let pod = serde_json::from_value(pod).unwrap();
            self.pods()
                .create(&PostParams::default(), &pod)
                .await
                .unwrap();
        }
    }

    /// Ends some of the pods that have a node, and now and then one that has none.
    async fn end_some(&mut self, percent: u64) {
        for pod in self
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
        {
            let waits = pod.spec.as_ref().unwrap().node_name.is_none();
            let percent = if waits { percent / 10 } else { percent };
            if self.chance.below(100) < percent {
                let now = DeleteParams::default().grace_period(0);
                let name = pod.metadata.name.unwrap();
                self.pods().delete(&name, &now).await.unwrap();
            }
        }
    }

    /// Some seconds in which pods come and go.
    async fn churn(&mut self, seconds: u64, schedulers: &[&str]) {
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            let scheduler = self.chance.below(schedulers.len() as u64);
            let scheduler = schedulers[usize::try_from(scheduler).unwrap()];
            let count = usize::try_from(self.chance.below(6)).unwrap();
            self.make(count, scheduler).await;
            self.end_some(8).await;
            sleep(Duration::from_millis(200 + self.chance.below(1500))).await;
        }
    }

    /// Everything that was ever true of pods, in order: no node had more than it can run (pods of these schedulers counted), and
    /// no pod changed its node.
    #[track_caller]
    pub(crate) fn check(&self, history: &[Change], seed: u64, schedulers: &[&str]) {
        let mut places: BTreeMap<String, (String, i64)> = BTreeMap::new();
        let mut bindings = 0;
        for change in history {
            let Change {
                uid,
                node,
                cpu,
                gone,
                scheduler,
                ..
            } = change;
            let before = places.get(uid).map(|(node, _)| node.clone());
            if let Some(before) = &before {
                assert!(node == before, "seed {seed}: {change:?} was on {before}");
            }
            if *gone || node.is_empty() || !schedulers.contains(&scheduler.as_str()) {
                places.remove(uid);
                continue;
            }
            bindings += usize::from(before.is_none());
            places.insert(uid.clone(), (node.clone(), *cpu));
            let used: i64 = places
                .values()
                .filter(|(on, _)| on == node)
                .map(|(_, cpu)| cpu)
                .sum();
            assert!(
                used <= self.cpu,
                "seed {seed}: {node} has {used} of {} after {change:?}",
                self.cpu
            );
        }
        assert!(bindings > 5, "seed {seed}: only {bindings} bindings");
    }

    /// A pod that waits fits nowhere.
    async fn check_nothing_waits_in_vain(&self, seed: u64) {
        let mut free = BTreeMap::new();
        for index in 0..NODES {
            free.insert(format!("n{index}"), self.cpu);
        }
        let pods = self
            .pods()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items;
        let pods: Vec<Value> = pods
            .iter()
            .map(|pod| serde_json::to_value(pod).unwrap())
            .collect();
        for pod in pods.iter().filter(|pod| !is_finished(pod)) {
            if let Some(node) = pod["spec"]["nodeName"].as_str() {
                *free.get_mut(node).unwrap() -= cpu_of(pod);
            }
        }
        let most = free.values().max().copied().unwrap();
        for pod in pods.iter().filter(|pod| pod["spec"]["nodeName"].is_null()) {
            let name = &pod["metadata"]["name"];
            assert!(
                cpu_of(pod) > most,
                "seed {seed}: {name} waits, and there is room for {most}"
            );
        }
    }
}

fn is_finished(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Failed" | "Succeeded")
    )
}

fn cpu_of(pod: &Value) -> i64 {
    let cpu = &pod["spec"]["containers"][0]["resources"]["requests"]["cpu"];
    cpu.as_str().unwrap().parse().unwrap()
}

/// The state of a pod after a write.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    #[expect(dead_code, reason = "shown when something is wrong")]
    name: String,
    uid: String,
    scheduler: String,
    node: String,
    cpu: i64,
    /// A kubelet runs it.
    runs: bool,
    gone: bool,
}

impl Change {
    fn of(pod: &Value, gone: bool) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ended = is_finished(pod);
        Self {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            scheduler: text(&pod["spec"]["schedulerName"]),
            node: text(&pod["spec"]["nodeName"]),
            cpu: cpu_of(pod),
            runs: pod["status"]["phase"] == "Running",
            gone: gone || ended,
        }
    }
}

/// Follows the writes of pods in the store itself, from now on.
pub(crate) async fn history(store: &MemoryStore) -> Arc<Mutex<Vec<Change>>> {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let told = changes.clone();
    let prefix = "/registry/pods/";
    let now = store.range(Range::prefix(prefix)).await.unwrap().revision;
    let mut events = store.watch(prefix, now).await.unwrap();
    tokio::spawn(async move {
        while let Some(Ok(event)) = events.next().await {
            let WatchEvent::Changes(changes) = event else {
                continue;
            };
            for change in changes {
                let (entry, gone) = match change {
                    store::Change::Put { entry, .. } => (entry, false),
                    store::Change::Delete { previous, .. } => (previous, true),
                };
                let pod = serde_json::from_slice(&entry.value).unwrap();
                told.lock().push(Change::of(&pod, gone));
            }
        }
    });
    changes
}

const NAME: &str = "default-scheduler";
const SEEDS: u64 = 24;

#[tokio::test(start_paused = true)]
async fn one_scheduler_on_a_bad_network() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 8).await;
        let history = history(&world.store).await;
        let network = Network::new(seed, BAD);
        let client = network.client(&world.cluster.client());
        let process = Process::start(client, seed, NAME, None).await.unwrap();
        world.churn(25, &[NAME]).await;
        network.heal();
        sleep(Duration::from_secs(60)).await;
        world.check_nothing_waits_in_vain(seed).await;
        world.check(&history.lock(), seed, &[NAME]);
        process.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_dies_again_and_again() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, 8).await;
        let history = history(&world.store).await;
        let network = Network::new(seed, BAD);
        let client = network.client(&world.cluster.client());
        let dying = {
            let (client, chance) = (client.clone(), Clock::seeded(seed).fork("deaths"));
            async move {
                for life in 0.. {
                    let process = Process::start(client.clone(), seed + life, NAME, None).await;
                    sleep(Duration::from_millis(chance.below(6000))).await;
                    process.into_iter().for_each(Process::kill);
                    // What it sent may still arrive. It takes a while until there is another process.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        };
        let dying = tokio::spawn(dying);
        world.churn(25, &[NAME]).await;
        dying.abort();
        network.heal();
        sleep(Duration::from_secs(1)).await;
        let process = Process::start(client, seed, NAME, None).await.unwrap();
        sleep(Duration::from_secs(60)).await;
        world.check_nothing_waits_in_vain(seed).await;
        world.check(&history.lock(), seed, &[NAME]);
        process.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_with_one_name_one_leads() {
    for seed in 0..SEEDS / 2 {
        let mut world = World::new(seed, 8).await;
        let history = history(&world.store).await;
        let networks = [seed, seed + 1000].map(|seed| Network::new(seed, BAD));
        let client = world.cluster.client();
        let start = |index: usize, life: u64| {
            let client = networks[index].client(&client);
            let identity = format!("{index}-{life}");
            let lease = LeaderConfig::new("kube-system", "kube-scheduler", identity);
            let seed = seed + 100 * life + 10 * u64::try_from(index).unwrap();
            async move {
                Process::start(client, seed, NAME, Some(lease))
                    .await
                    .unwrap()
            }
        };
        let mut processes = [start(0, 0).await, start(1, 0).await];
        for life in 1..4 {
            let lives = [start(0, life), start(1, life)];
            world.churn(10, &[NAME]).await;
            // The one that leads, or led: it dies, and is started again.
            let leads =
                |process: &Process| *process.manager.leadership().borrow() != Leadership::Candidate;
            for ((process, network), new) in processes.iter_mut().zip(&networks).zip(lives) {
                if leads(process) {
                    network.heal();
                    let old = std::mem::replace(process, new.await);
                    network.spoil();
                    if (seed + life) % 2 == 0 {
                        old.kill();
                    } else {
                        // It gives up the lease, and the other one takes over at once.
                        old.end().await;
                    }
                    break;
                }
            }
        }
        networks.iter().for_each(Network::heal);
        // A leader that could not renew its lease is stopped for good.
        let [a, b] = processes;
        drop((a, b));
        let last = start(0, 9).await;
        sleep(Duration::from_secs(90)).await;
        world.check_nothing_waits_in_vain(seed).await;
        world.check(&history.lock(), seed, &[NAME]);
        last.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_do_not_elect() {
    // They cannot know what the other one is about to do. No pod is bound twice, none is lost, and what is too much for a node is
    // turned away by its kubelet; and as far as its own pods go, neither of them gives a node too much.
    for seed in 0..SEEDS / 2 {
        let names = if seed % 2 == 0 {
            ["one", "two"]
        } else {
            ["one", "one"]
        };
        let mut world = World::with_kubelets(seed, 8).await;
        let history = history(&world.store).await;
        let networks = [seed, seed + 1000].map(|seed| Network::new(seed, BAD));
        let mut processes = Vec::new();
        for (network, name) in networks.iter().zip(names) {
            let client = network.client(&world.cluster.client());
            processes.push(Process::start(client, seed, name, None).await.unwrap());
        }
        world.churn(20, &names).await;
        networks.iter().for_each(Network::heal);
        sleep(Duration::from_secs(60)).await;
        let changes = history.lock().clone();
        let running = changes.iter().map(|change| Change {
            gone: change.gone || !change.runs,
            ..change.clone()
        });
        world.check(&running.collect::<Vec<_>>(), seed, &names);
        if names[0] != names[1] {
            world.check(&changes, seed, &names[..1]);
            world.check(&changes, seed, &names[1..]);
        }
        world.check_nothing_waits_in_vain(seed).await;
        for process in processes {
            process.end().await;
        }
    }
}
