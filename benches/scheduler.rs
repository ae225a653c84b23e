//! The scheduler through its whole path: a pod is created in an API server in this process, scheduled, and bound there.
//!
//! Workloads are YAML (`benches/scheduler/*.yaml`): operations as those of upstream's `scheduler_perf`, of which the ones with
//! `measure: true` count. `cargo bench --bench scheduler [-- NAME...] [--nodes N] [--pods N]`; a name selects the workloads
//! that contain it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use homeostat::apiserver::ApiServer;
use homeostat::cluster::Cluster;
use homeostat::reconcile::{Cache, Key, Manager};
use homeostat::scheduler::framework::{Decision, Framework, PodInfo, Scheduler, Snapshot};
use homeostat::scheduler::{SchedulerConfig, SchedulingCycle};
use homeostat::store::MemoryStore;
use http::Request;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The library chooses no allocator; a control plane that is to be fast does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many requests of the driver are in flight at once.
const CREATORS: usize = 8;
/// A phase that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
struct Workload {
    name: String,
    /// Pods a second that are to be reached.
    #[serde(default)]
    aim: f64,
    /// What kube-scheduler reaches on such a machine.
    #[serde(default)]
    upstream: Option<f64>,
    #[serde(default)]
    params: BTreeMap<String, usize>,
    ops: Vec<Op>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Op {
    /// Creates objects of any kind; `$i` in a text is the number of the object.
    Create { count: Count, template: Value },
    /// Creates nodes whose label `zone.key` goes round `zone.values`.
    CreateNodes {
        count: Count,
        template: Value,
        #[serde(default)]
        label: Option<Label>,
    },
    /// Creates pods in a namespace (or in turn in `namespaces` of them) and waits until they are bound.
    #[serde(rename_all = "camelCase")]
    CreatePods {
        count: Count,
        template: Value,
        #[serde(default = "default_namespace")]
        namespace: String,
        #[serde(default = "one")]
        namespaces: usize,
        #[serde(default)]
        measure: bool,
        #[serde(default)]
        skip_wait: bool,
    },
    /// From now on creates one object of each template, again and again; `recreate`: after deleting the last one.
    #[serde(rename_all = "camelCase")]
    Churn {
        templates: Vec<Value>,
        every_milliseconds: u64,
        #[serde(default)]
        recreate: bool,
    },
    /// From now on deletes the pods of a namespace.
    #[serde(rename_all = "camelCase")]
    DeletePods { namespace: String, per_second: u64 },
    /// Waits until the scheduler has seen all pods that were created, and until volumes are available.
    Barrier {},
    /// From now on binds claims as the controller of volumes does, and makes volumes as a driver does.
    BindClaims {},
}

#[derive(Deserialize)]
struct Label {
    key: String,
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(usize),
    Param(String),
}

fn default_namespace() -> String {
    "default".into()
}

fn one() -> usize {
    1
}

impl Count {
    fn of(&self, params: &BTreeMap<String, usize>) -> usize {
        match self {
            Self::Number(number) => *number,
            Self::Param(name) => params[name.trim_start_matches('$')],
        }
    }
}

/// The default decision, timed.
#[derive(Debug)]
struct Timed {
    cycle: SchedulingCycle,
    times: Arc<Mutex<Vec<Duration>>>,
}

#[async_trait]
impl Scheduler for Timed {
    async fn schedule(
        &mut self,
        framework: &Framework,
        pod: &Arc<PodInfo>,
        snapshot: &Snapshot,
    ) -> Decision {
        let begun = Instant::now();
        let decision = self.cycle.schedule(framework, pod, snapshot).await;
        self.times.lock().unwrap().push(begun.elapsed());
        decision
    }
}

/// The path of a kind's objects.
fn path(object: &Value, namespace: &str) -> String {
    let (version, kind) = (
        object["apiVersion"].as_str().unwrap(),
        object["kind"].as_str().unwrap(),
    );
    let (plural, namespaced) = match kind {
        "Node" => ("nodes", false),
        "Pod" => ("pods", true),
        "Service" => ("services", true),
        "Namespace" => ("namespaces", false),
        "PersistentVolume" => ("persistentvolumes", false),
        "PersistentVolumeClaim" => ("persistentvolumeclaims", true),
        "StorageClass" => ("storageclasses", false),
        "CSINode" => ("csinodes", false),
        "PriorityClass" => ("priorityclasses", false),
        other => panic!("{other} is not known to the driver"),
    };
    let root = if version.contains('/') { "apis" } else { "api" };
    if namespaced {
        format!("/{root}/{version}/namespaces/{namespace}/{plural}")
    } else {
        format!("/{root}/{version}/{plural}")
    }
}

async fn send(client: &kube::Client, method: &str, path: &str, body: Vec<u8>) -> bool {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json");
    let response = client
        .send(request.body(Body::from(body)).unwrap())
        .await
        .unwrap();
    response.status().is_success()
}

/// Makes a namespace, unless it is there.
async fn namespace_of(client: &kube::Client, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let body = namespace.to_string().into_bytes();
    send(client, "POST", "/api/v1/namespaces", body).await;
}

/// A template as text, cut where the number goes.
fn parts(template: &Value) -> Arc<Vec<String>> {
    let text = template.to_string();
    Arc::new(text.split("$i").map(str::to_owned).collect())
}

/// Creates objects, several at a time. A template without a name gets `prefix` and the number.
async fn create(
    client: &kube::Client,
    template: &Value,
    count: usize,
    prefix: &str,
    namespaces: &[String],
) {
    let mut template = template.clone();
    if template["metadata"]["name"].is_null() {
        template["metadata"]["name"] = format!("{prefix}-$i").into();
    }
    let paths: Arc<Vec<String>> = Arc::new(
        namespaces
            .iter()
            .map(|namespace| path(&template, namespace))
            .collect(),
    );
    let (parts, next) = (parts(&template), Arc::new(AtomicUsize::new(0)));
    let mut creators = JoinSet::new();
    for _ in 0..CREATORS {
        let (client, paths, parts, next) =
            (client.clone(), paths.clone(), parts.clone(), next.clone());
        creators.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let body = parts.join(&number.to_string()).into_bytes();
                let made = send(&client, "POST", &paths[number % paths.len()], body).await;
                assert!(made, "an object of {} was not created", paths[0]);
            }
        });
    }
    while let Some(done) = creators.join_next().await {
        done.unwrap();
    }
}

/// Follows pods: how many are there, and how many bound ones each namespace has.
fn follow(manager: &Manager) -> watch::Receiver<BTreeMap<String, usize>> {
    let mut pods = manager.cache::<Pod>().subscribe();
    let (sender, receiver) = watch::channel(BTreeMap::new());
    let bound = |pod: &Option<Arc<Pod>>| {
        let spec = pod.as_ref().and_then(|pod| pod.spec.as_ref());
        spec.is_some_and(|spec| spec.node_name.is_some())
    };
    tokio::spawn(async move {
        while let Some(deltas) = pods.next().await {
            let newly: Vec<String> = deltas
                .iter()
                .filter(|delta| !bound(&delta.old) && bound(&delta.new))
                .map(|delta| delta.key.namespace.to_string())
                .collect();
            sender.send_modify(|counts| {
                for namespace in newly {
                    *counts.entry(namespace).or_default() += 1;
                }
            });
            // The driver need not see every pod on its own.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    receiver
}

struct Run {
    client: kube::Client,
    manager: Manager,
    bound: watch::Receiver<BTreeMap<String, usize>>,
    decided: Arc<Mutex<Vec<Duration>>>,
    background: JoinSet<()>,
    created: usize,
    measured: (usize, Duration),
    times: Vec<Duration>,
}

impl Run {
    async fn op(&mut self, number: usize, op: &Op, params: &BTreeMap<String, usize>) {
        let prefix = format!("op{number}");
        match op {
            Op::Create { count, template } => {
                let namespaces = ["default".to_owned()];
                create(
                    &self.client,
                    template,
                    count.of(params),
                    &prefix,
                    &namespaces,
                )
                .await;
            }
            Op::CreateNodes {
                count,
                template,
                label,
            } => {
                self.nodes(template, label.as_ref(), count.of(params), &prefix)
                    .await;
            }
            Op::CreatePods {
                count,
                template,
                namespace,
                namespaces,
                measure,
                skip_wait,
            } => {
                let names: Vec<String> = match namespaces {
                    1 => vec![namespace.clone()],
                    many => (0..*many)
                        .map(|index| format!("{namespace}-{index}"))
                        .collect(),
                };
                for name in &names {
                    namespace_of(&self.client, name).await;
                }
                let count = count.of(params);
                self.created += count;
                let before = self.bound_in(&names);
                self.decided.lock().unwrap().clear();
                let begun = Instant::now();
                create(&self.client, template, count, &prefix, &names).await;
                if std::env::var_os("TIMELINE").is_some() {
                    println!("created {count} in {:.2?}", begun.elapsed());
                }
                if !skip_wait {
                    self.wait(&names, before + count).await;
                }
                if *measure {
                    self.measured = (count, begun.elapsed());
                    self.times = std::mem::take(&mut self.decided.lock().unwrap());
                }
            }
            Op::Churn {
                templates,
                every_milliseconds,
                recreate,
            } => {
                let every = Duration::from_millis(*every_milliseconds);
                for (index, template) in templates.iter().enumerate() {
                    let churned = churn(
                        self.client.clone(),
                        template.clone(),
                        format!("{prefix}-{index}"),
                        every,
                        *recreate,
                    );
                    self.background.spawn(churned);
                }
            }
            Op::DeletePods {
                namespace,
                per_second,
            } => {
                let pods = self.manager.cache::<Pod>();
                let keys: Vec<Key> = pods.list().iter().map(|pod| Key::of(&**pod)).collect();
                let keys = keys.into_iter().filter(|key| *key.namespace == **namespace);
                let every = Duration::from_secs(1) / u32::try_from(*per_second).unwrap();
                let deleted = delete(self.client.clone(), keys.collect(), every);
                self.background.spawn(deleted);
            }
            Op::Barrier {} => {
                let pods = self.manager.cache::<Pod>();
                let volumes = self.manager.cache::<PersistentVolume>();
                let is_pending = |volume: &Arc<PersistentVolume>| {
                    let status = volume.status.as_ref();
                    status.and_then(|status| status.phase.as_deref()) == Some("Pending")
                };
                while pods.len() < self.created || volumes.list().iter().any(is_pending) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Op::BindClaims {} => {
                let client = self.client.clone();
                let (volumes, claims) = (self.manager.cache(), self.manager.cache());
                self.background
                    .spawn(Volumes { client }.follow(volumes, claims));
            }
        }
    }

    async fn nodes(&mut self, template: &Value, label: Option<&Label>, count: usize, prefix: &str) {
        let Some(label) = label else {
            let namespaces = [String::new()];
            create(&self.client, template, count, prefix, &namespaces).await;
            return;
        };
        let each = label.values.len();
        for (index, value) in label.values.iter().enumerate() {
            let mut template = template.clone();
            template["metadata"]["labels"][&label.key] = value.as_str().into();
            let count = count / each + usize::from(index < count % each);
            let prefix = format!("{prefix}-{index}");
            create(&self.client, &template, count, &prefix, &[String::new()]).await;
        }
    }

    fn bound_in(&self, namespaces: &[String]) -> usize {
        let counts = self.bound.borrow();
        let counts = namespaces
            .iter()
            .filter_map(|namespace| counts.get(namespace));
        counts.sum()
    }

    async fn wait(&mut self, namespaces: &[String], count: usize) {
        let begun = Instant::now();
        while self.bound_in(namespaces) < count {
            if tokio::time::timeout(PATIENCE, self.bound.changed())
                .await
                .is_err()
                || begun.elapsed() > PATIENCE
            {
                panic!("{} of {count} pods are bound", self.bound_in(namespaces));
            }
        }
    }
}

async fn churn(
    client: kube::Client,
    template: Value,
    prefix: String,
    every: Duration,
    recreate: bool,
) {
    namespace_of(&client, "churn").await;
    let path = path(&template, "churn");
    for number in 0_usize.. {
        let mut object = template.clone();
        let name = format!("{prefix}-{number}");
        object["metadata"]["name"] = name.as_str().into();
        let made = send(&client, "POST", &path, object.to_string().into_bytes()).await;
        assert!(made, "churn");
        tokio::time::sleep(every).await;
        if recreate {
            send(&client, "DELETE", &format!("{path}/{name}"), Vec::new()).await;
        }
    }
}

async fn delete(client: kube::Client, pods: Vec<Key>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    for Key { namespace, name } in pods {
        ticks.tick().await;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let now = json!({"gracePeriodSeconds": 0}).to_string().into_bytes();
        send(&client, "DELETE", &path, now).await;
    }
}

/// What the controller of volumes does with free volumes and with those that the scheduler gave a claim, and what a driver does
/// for claims whose volume is to be made.
struct Volumes {
    client: kube::Client,
}

impl Volumes {
    async fn follow(self, volumes: Cache<PersistentVolume>, claims: Cache<PersistentVolumeClaim>) {
        let (mut volumes, mut claims) = (volumes.subscribe(), claims.subscribe());
        loop {
            tokio::select! {
                Some(deltas) = volumes.next() => for delta in deltas {
                    let Some(volume) = delta.new else { continue };
                    let claim_of = |volume: &PersistentVolume| volume.spec.as_ref()?.claim_ref.clone();
                    let had = delta.old.as_deref().and_then(claim_of);
                    match claim_of(&volume) {
                        None => if delta.old.is_none() {
                            let path = format!("/api/v1/persistentvolumes/{}/status", delta.key.name);
                            self.patch(path, json!({"status": {"phase": "Available"}})).await;
                        },
                        Some(claim) => if had.is_none() {
                            let (namespace, name) = (claim.namespace.unwrap(), claim.name.unwrap());
                            self.bind(&Key::new(namespace, name), &delta.key.name).await;
                        },
                    }
                },
                Some(deltas) = claims.next() => for delta in deltas {
                    let Some(claim) = delta.new else { continue };
                    let node_of = |claim: &PersistentVolumeClaim| {
                        let annotations = claim.metadata.annotations.as_ref()?;
                        annotations.get("volume.kubernetes.io/selected-node").cloned()
                    };
                    let had = delta.old.as_deref().and_then(node_of);
                    if had.is_none() && node_of(&claim).is_some() {
                        self.make(&delta.key, &claim).await;
                    }
                },
                else => return,
            }
        }
    }

    /// Makes a volume for a claim.
    async fn make(&self, claim: &Key, of: &PersistentVolumeClaim) {
        let spec = of.spec.as_ref().unwrap();
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("made-{}", claim.name)},
            "spec": {
                "storageClassName": spec.storage_class_name, "accessModes": spec.access_modes,
                "capacity": {"storage": "1Gi"},
                "csi": {"driver": "csi.example.com", "volumeHandle": format!("made-{}", claim.name)},
                "claimRef": {"namespace": &*claim.namespace, "name": &*claim.name, "uid": of.metadata.uid},
            },
        });
        let body = volume.to_string().into_bytes();
        let made = send(&self.client, "POST", "/api/v1/persistentvolumes", body).await;
        assert!(made, "a volume was not made");
    }

    async fn bind(&self, claim: &Key, volume: &str) {
        let Key { namespace, name } = claim;
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}");
        let annotations = json!({"pv.kubernetes.io/bind-completed": "yes"});
        let bound =
            json!({"metadata": {"annotations": annotations}, "spec": {"volumeName": volume}});
        self.patch(path.clone(), bound).await;
        let status = json!({"status": {"phase": "Bound"}});
        self.patch(format!("{path}/status"), status).await;
    }

    async fn patch(&self, path: String, patch: Value) {
        let request = Request::builder().method("PATCH").uri(&path);
        let request = request.header("content-type", "application/merge-patch+json");
        let body = Body::from(patch.to_string().into_bytes());
        let done = self.client.send(request.body(body).unwrap()).await.unwrap();
        assert!(done.status().is_success(), "{path} was not patched");
    }
}

/// What the process has in memory, in MB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or_default()
}

async fn run(workload: &Workload) {
    // As under scheduler_perf: nodes are ready at once, and priorities are stated in the pods.
    let server = ApiServer::builder(Arc::new(MemoryStore::default()))
        .without_admission("TaintNodesByCondition")
        .without_admission("Priority");
    let cluster = Cluster::builder().server(server).only_api();
    let cluster = cluster.start().await.unwrap();
    let client = cluster.client();
    let manager = Manager::new(client.clone(), homeostat::clock::Clock::system());
    let decided = Arc::new(Mutex::new(Vec::new()));
    let times = decided.clone();
    let config = SchedulerConfig::default().scheduler(move |handle| Timed {
        cycle: SchedulingCycle::new(handle.clock().fork("decisions"), None),
        times: times.clone(),
    });
    homeostat::scheduler::install(&manager, config).unwrap();
    let bound = follow(&manager);
    manager.start().await.unwrap();
    let mut run = Run {
        client,
        manager,
        bound,
        decided,
        background: JoinSet::new(),
        created: 0,
        measured: (0, Duration::ZERO),
        times: Vec::new(),
    };
    for (number, op) in workload.ops.iter().enumerate() {
        run.op(number, op, &workload.params).await;
        if std::env::var_os("MEMORY").is_some() {
            println!("after operation {number}: {:.0} MB", memory());
        }
    }
    let (count, took) = run.measured;
    let rate = count as f64 / took.as_secs_f64();
    let mut times = std::mem::take(&mut run.times);
    let (half, most, worst) = (
        percentile(&mut times, 50),
        percentile(&mut times, 99),
        percentile(&mut times, 100),
    );
    let upstream = workload
        .upstream
        .map_or_else(|| "-".to_owned(), |rate| rate.to_string());
    println!(
        "{:<36} {count:>6} pods {rate:>9.0}/s (aim {:>5}, upstream {upstream:>4})  decisions {:>6}: p50 {half:>9.2?} p99 {most:>9.2?} max {worst:>9.2?}",
        workload.name,
        workload.aim,
        times.len(),
    );
    run.background.shutdown().await;
    run.manager.stop().await;
}

fn main() {
    let mut names = Vec::new();
    let mut overrides = BTreeMap::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.strip_prefix("--") {
            // Cargo says so.
            Some("bench") => {}
            Some(param) => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                overrides.insert(param.to_owned(), number.unwrap());
            }
            None => names.push(argument),
        }
    }
    let files = [
        include_str!("scheduler/basic.yaml"),
        include_str!("scheduler/affinity.yaml"),
        include_str!("scheduler/spread.yaml"),
        include_str!("scheduler/preemption.yaml"),
        include_str!("scheduler/volumes.yaml"),
    ];
    for file in files {
        let workloads: Vec<Workload> = serde_saphyr::from_str(file).unwrap();
        for mut workload in workloads {
            let wanted = names
                .iter()
                .any(|name| workload.name.contains(name.as_str()));
            if !(names.is_empty() || wanted) {
                continue;
            }
            for (name, number) in &overrides {
                if let Some(param) = workload.params.get_mut(name) {
                    *param = *number;
                }
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(run(&workload));
        }
    }
}
