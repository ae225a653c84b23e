//! Machines that run short of something: conditions, evictions, admission, garbage, shutdown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use homeostat::apiserver::ApiServer;
use homeostat::cri::FakeRuntime;
use homeostat::cri::ImageService;
use homeostat::cri::fake::Script;
use homeostat::node::{DiskUse, Eviction, Facts, KubeletConfig, Monitor, Room, Shutdown, Vitals};
use homeostat::store::MemoryStore;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;

/// A machine that is as the test says.
#[derive(Debug, Default)]
struct Scripted {
    vitals: Mutex<Vitals>,
    disk: Mutex<BTreeMap<String, u64>>,
}

#[async_trait]
impl Monitor for Scripted {
    async fn facts(&self, _: &Path) -> Facts {
        Facts {
            capacity: [("memory", "8Gi"), ("cpu", "4")]
                .map(|(name, amount)| (name.to_owned(), amount.to_owned()))
                .into(),
            kernel: "6.6.6".to_owned(),
            os_image: "An OS".to_owned(),
            ..Facts::default()
        }
    }

    async fn vitals(&self, _: &Path, _: Option<&Path>) -> Vitals {
        self.vitals.lock().unwrap().clone()
    }

    async fn disk_use(&self, directory: &Path) -> Option<DiskUse> {
        let name = directory.file_name()?.to_str()?;
        let bytes = *self.disk.lock().unwrap().get(name)?;
        Some(DiskUse { bytes, inodes: 1 })
    }
}

impl Scripted {
    fn set(&self, set: impl FnOnce(&mut Vitals)) {
        set(&mut self.vitals.lock().unwrap());
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what is not known is nothing")]
fn room(available: u64, capacity: u64) -> Option<Room> {
    Some(Room {
        available,
        capacity,
    })
}

async fn start(eviction: Eviction) -> (Cluster, Api<Pod>, FakeRuntime, Arc<Scripted>) {
    let mut config = KubeletConfig::default();
    let monitor = Arc::new(Scripted::default());
    config.monitor = Some(monitor.clone());
    config.eviction = eviction;
    config.shutdown = Shutdown::new(Duration::from_secs(60), Duration::from_secs(20));
    let builder = Cluster::builder().nodes(1).seed(5);
    // What kubelets say of resizes that can never be is seen with servers that do not know better.
    let server = ApiServer::builder(Arc::new(MemoryStore::default()));
    let server = server.without_admission("PodResizeValidator");
    let builder = builder.with(|cluster| cluster.kubelets(config).server(server));
    let cluster = builder.start().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let runtime = cluster.node("node-1").runtime().clone();
    (cluster, pods, runtime, monitor)
}

async fn create(pods: &Api<Pod>, name: &str, fields: Value) {
    let mut spec =
        json!({"containers": [{"name": "c", "image": format!("registry.example/{name}:v1")}]});
    let fields = fields.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(fields);
    let pod = json!({"metadata": {"name": name}, "spec": spec});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

fn asks(name: &str, resources: &Value) -> Value {
    let image = format!("registry.example/{name}:v1");
    json!({"containers": [{"name": "c", "image": image, "resources": resources}]})
}

async fn outcome(pods: &Api<Pod>, name: &str) -> (String, String, String) {
    let status = pods.get(name).await.unwrap().status.unwrap();
    (
        status.phase.unwrap_or_default(),
        status.reason.unwrap_or_default(),
        status.message.unwrap_or_default(),
    )
}

async fn condition(cluster: &Cluster, type_: &str) -> (String, String, String) {
    let nodes: Api<Node> = Api::all(cluster.client());
    let node = nodes.get("node-1").await.unwrap();
    let conditions = node.status.unwrap().conditions.unwrap();
    let found = conditions
        .into_iter()
        .find(|one| one.type_ == type_)
        .unwrap();
    (
        found.status,
        found.reason.unwrap_or_default(),
        found.message.unwrap_or_default(),
    )
}

async fn taints(cluster: &Cluster) -> Vec<String> {
    let nodes: Api<Node> = Api::all(cluster.client());
    let node = nodes.get("node-1").await.unwrap();
    let taints = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
    taints.into_iter().map(|taint| taint.key).collect()
}

async fn events(cluster: &Cluster, reason: &str) -> Vec<String> {
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let events = events.list(&ListParams::default()).await.unwrap().items;
    let of = events
        .into_iter()
        .filter(|event| event.reason.as_deref() == Some(reason));
    of.filter_map(|event| event.message).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_node_is_and_has() {
    let (cluster, pods, _, _) = start(Eviction::default()).await;
    create(&pods, "web", json!({})).await;
    cluster.settle().await.unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    let status = nodes.get("node-1").await.unwrap().status.unwrap();
    let allocatable = status.allocatable.unwrap();
    // 100 MiB of memory and a tenth of the disk are kept free.
    for (resource, amount) in [
        ("memory", "8092Mi"),
        ("ephemeral-storage", "90Gi"),
        ("cpu", "4"),
        ("pods", "110"),
    ] {
        assert_eq!(allocatable[resource].0, amount, "{resource}");
    }
    let info = status.node_info.unwrap();
    assert_eq!((&*info.kernel_version, &*info.os_image), ("6.6.6", "An OS"));
    assert!(
        info.container_runtime_version.starts_with("fake://"),
        "{info:?}"
    );
    let images = json!(status.images);
    assert!(
        images.to_string().contains("registry.example/web:v1"),
        "{images}"
    );
}

#[tokio::test(start_paused = true)]
async fn memory_pressure() {
    let (cluster, pods, runtime, monitor) = start(Eviction::default()).await;
    for (name, memory, resources, fields) in [
        ("hog", 500, json!({}), json!({})),
        (
            "modest",
            50,
            json!({"requests": {"memory": "100Mi"}}),
            json!({}),
        ),
        (
            "critical",
            900,
            json!({}),
            json!({"priorityClassName": "system-node-critical"}),
        ),
    ] {
        let script = Script::default().uses(0, memory * MIB, 0);
        runtime.script(format!("registry.example/{name}:v1"), script);
        let mut spec = asks(name, &resources);
        spec.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        create(&pods, name, spec).await;
    }
    monitor.set(|vitals| vitals.memory = room(4096 * MIB, 8192 * MIB));
    cluster.settle().await.unwrap();
    monitor.set(|vitals| vitals.memory = room(50 * MIB, 8192 * MIB));
    while outcome(&pods, "hog").await.0 == "Running" {
        cluster.advance(Duration::from_millis(100)).await;
    }
    monitor.set(|vitals| vitals.memory = room(4096 * MIB, 8192 * MIB));
    cluster.advance(Duration::from_secs(2)).await;
    let found = condition(&cluster, "MemoryPressure").await;
    let expected = (
        "True",
        "KubeletHasInsufficientMemory",
        "kubelet has insufficient memory available",
    );
    assert_eq!((&*found.0, &*found.1, &*found.2), expected);
    let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 500Mi, request is 0, has larger consumption of memory. ";
    let evicted = (
        "Failed".to_owned(),
        "Evicted".to_owned(),
        message.to_owned(),
    );
    assert_eq!(outcome(&pods, "hog").await, evicted);
    assert!(
        events(&cluster, "Evicted")
            .await
            .contains(&message.to_owned())
    );
    assert!(!events(&cluster, "EvictionThresholdMet").await.is_empty());
    let hog = pods.get("hog").await.unwrap().status.unwrap();
    let disrupted = hog.conditions.unwrap();
    let disrupted = disrupted
        .iter()
        .find(|one| one.type_ == "DisruptionTarget")
        .unwrap();
    assert_eq!(disrupted.reason.as_deref(), Some("TerminationByKubelet"));
    assert_eq!(outcome(&pods, "modest").await.0, "Running");
    assert_eq!(outcome(&pods, "critical").await.0, "Running");
    assert_eq!(
        taints(&cluster).await,
        ["node.kubernetes.io/memory-pressure"]
    );
    // Bound past the scheduler: the node itself refuses those that ask for nothing.
    create(&pods, "bold", json!({"nodeName": "node-1"})).await;
    let mut sound = asks("sound", &json!({"requests": {"memory": "1Mi"}}));
    sound["nodeName"] = "node-1".into();
    create(&pods, "sound", sound).await;
    let tolerant = json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]);
    create(
        &pods,
        "tolerant",
        json!({"nodeName": "node-1", "tolerations": tolerant}),
    )
    .await;
    cluster.advance(Duration::from_secs(5)).await;
    let refused = "Pod was rejected: The node had condition: [MemoryPressure]. ".to_owned();
    let refused = ("Failed".to_owned(), "Evicted".to_owned(), refused);
    assert_eq!(outcome(&pods, "bold").await, refused);
    assert_eq!(outcome(&pods, "sound").await.0, "Running");
    assert_eq!(outcome(&pods, "tolerant").await.0, "Running");
    // The condition outlasts the scarcity by five minutes.
    cluster.advance(Duration::from_secs(240)).await;
    assert_eq!(condition(&cluster, "MemoryPressure").await.0, "True");
    cluster.advance(Duration::from_secs(80)).await;
    assert_eq!(condition(&cluster, "MemoryPressure").await.0, "False");
    assert!(taints(&cluster).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn disk_pressure_in_order() {
    let (cluster, pods, runtime, monitor) = start(Eviction::default()).await;
    for (name, disk, resources) in [
        ("little", 10, json!({})),
        ("much", 100, json!({})),
        (
            "within",
            500,
            json!({"requests": {"ephemeral-storage": "1Gi"}}),
        ),
    ] {
        let script = Script::default().uses(0, 0, disk * MIB);
        runtime.script(format!("registry.example/{name}:v1"), script);
        create(&pods, name, asks(name, &resources)).await;
    }
    monitor.set(|vitals| vitals.node_fs = room(500 * MIB, 1000 * MIB));
    cluster.settle().await.unwrap();
    monitor.set(|vitals| vitals.node_fs = room(50 * MIB, 1000 * MIB));
    let mut order = Vec::new();
    for _ in 0..60 {
        cluster.advance(Duration::from_secs(1)).await;
        for name in ["little", "much", "within"] {
            if outcome(&pods, name).await.1 == "Evicted" && !order.contains(&name) {
                order.push(name);
            }
        }
        if order.len() == 2 {
            monitor.set(|vitals| vitals.node_fs = room(500 * MIB, 1000 * MIB));
        }
    }
    assert_eq!(order, ["much", "little"]);
    let expected = (
        "True",
        "KubeletHasDiskPressure",
        "kubelet has disk pressure",
    );
    let found = condition(&cluster, "DiskPressure").await;
    assert_eq!((&*found.0, &*found.1, &*found.2), expected);
    // Whatever a pod asks for, a full disk takes it not.
    let mut sound = asks("sound", &json!({"requests": {"memory": "1Mi"}}));
    sound["nodeName"] = "node-1".into();
    create(&pods, "sound", sound).await;
    cluster.advance(Duration::from_secs(5)).await;
    assert_eq!(outcome(&pods, "sound").await.1, "Evicted");
}

#[tokio::test(start_paused = true)]
async fn soft_thresholds_wait_and_let_pods_finish() {
    let minute = Duration::from_secs(60);
    let eviction = Eviction::none()
        .soft("pid.available", "1k", minute)
        .unwrap()
        .max_pod_grace(Duration::from_secs(10));
    let (cluster, pods, runtime, monitor) = start(eviction).await;
    let script = Script::default().stop_takes(Duration::from_secs(600));
    runtime.script("registry.example/web:v1", script);
    create(&pods, "web", json!({})).await;
    monitor.set(|vitals| vitals.processes = room(2000, 4000));
    cluster.settle().await.unwrap();
    monitor.set(|vitals| vitals.processes = room(500, 4000));
    cluster.advance(Duration::from_secs(55)).await;
    assert_eq!(
        condition(&cluster, "PIDPressure").await.1,
        "KubeletHasInsufficientPID"
    );
    assert_eq!(outcome(&pods, "web").await.0, "Running");
    cluster.advance(Duration::from_secs(17)).await;
    assert_eq!(outcome(&pods, "web").await.0, "Running");
    cluster.advance(Duration::from_secs(11)).await;
    let (phase, reason, message) = outcome(&pods, "web").await;
    assert_eq!((&*phase, &*reason), ("Failed", "Evicted"));
    assert_eq!(
        message,
        "The node was low on resource: pids. Threshold quantity: 1k, available: 500. "
    );
}

#[tokio::test(start_paused = true)]
async fn limits_of_local_disks() {
    let (cluster, pods, runtime, monitor) = start(Eviction::none()).await;
    let volume = json!([{"name": "scratch", "emptyDir": {"sizeLimit": "10Mi"}}]);
    create(&pods, "volume", json!({"volumes": volume})).await;
    let limits = json!({"limits": {"ephemeral-storage": "20Mi"}});
    create(&pods, "layer", asks("layer", &limits)).await;
    cluster.settle().await.unwrap();
    assert_eq!(outcome(&pods, "volume").await.0, "Running");
    monitor
        .disk
        .lock()
        .unwrap()
        .insert("scratch".to_owned(), 11 * MIB);
    let script = Script::default().uses(0, 0, 30 * MIB);
    runtime.script("registry.example/layer:v1", script);
    cluster.advance(Duration::from_secs(15)).await;
    for (name, expected) in [
        (
            "volume",
            "Usage of EmptyDir volume \"scratch\" exceeds the limit \"10Mi\". ",
        ),
        (
            "layer",
            "Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. ",
        ),
    ] {
        let (phase, reason, message) = outcome(&pods, name).await;
        assert_eq!(
            (&*phase, &*reason, &*message),
            ("Failed", "Evicted", expected)
        );
    }
    assert_eq!(condition(&cluster, "DiskPressure").await.0, "False");
}

#[tokio::test(start_paused = true)]
async fn images_go_before_pods() {
    let (cluster, pods, runtime, monitor) = start(Eviction::none()).await;
    create(&pods, "old", json!({"restartPolicy": "Never"})).await;
    create(&pods, "web", json!({})).await;
    monitor.set(|vitals| vitals.image_fs = room(500, 1000));
    cluster.settle().await.unwrap();
    pods.delete("old", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(400)).await;
    assert_eq!(runtime.list_images().await.unwrap().len(), 2);
    monitor.set(|vitals| vitals.image_fs = room(100, 1000));
    cluster.advance(Duration::from_secs(310)).await;
    let left = runtime.list_images().await.unwrap();
    let names: Vec<&str> = left
        .iter()
        .flat_map(|image| &image.repo_tags)
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["registry.example/web:v1"]);
    // What is in use stays, and that it was not enough is told.
    monitor.set(|vitals| vitals.image_fs = room(0, 10 * MIB));
    cluster.advance(Duration::from_secs(310)).await;
    assert_eq!(runtime.list_images().await.unwrap().len(), 1);
    let told = events(&cluster, "FreeDiskSpaceFailed").await;
    assert_eq!(
        told,
        [
            "Failed to garbage collect required amount of images. Attempted to free 2097152 bytes, but only found 0 bytes eligible to free."
        ]
    );
    assert_eq!(outcome(&pods, "web").await.0, "Running");
}

#[tokio::test(start_paused = true)]
async fn shutdown_by_priority() {
    let (cluster, pods, runtime, _) = start(Eviction::default()).await;
    let slow = Script::default().stop_takes(Duration::from_secs(600));
    for name in ["plain", "critical"] {
        runtime.script(format!("registry.example/{name}:v1"), slow.clone());
    }
    create(
        &pods,
        "plain",
        json!({"terminationGracePeriodSeconds": 600}),
    )
    .await;
    create(
        &pods,
        "critical",
        json!({"priorityClassName": "system-node-critical", "terminationGracePeriodSeconds": 5}),
    )
    .await;
    cluster.settle().await.unwrap();
    let begun = tokio::time::Instant::now();
    let node = cluster.node("node-1");
    let watch = async {
        cluster.advance(Duration::from_secs(30)).await;
        let ready = condition(&cluster, "Ready").await;
        assert_eq!((&*ready.0, &*ready.2), ("False", "node is shutting down"));
        assert_eq!(outcome(&pods, "plain").await.0, "Running");
        create(&pods, "late", json!({"nodeName": "node-1"})).await;
        cluster.advance(Duration::from_secs(12)).await;
        assert_eq!(outcome(&pods, "plain").await.0, "Failed");
        assert_eq!(outcome(&pods, "critical").await.0, "Running");
    };
    tokio::join!(node.shutdown(), watch);
    let took = begun.elapsed().as_secs();
    assert!((45..=47).contains(&took), "{took}");
    for name in ["plain", "critical"] {
        let (phase, reason, message) = outcome(&pods, name).await;
        assert_eq!((&*phase, &*reason), ("Failed", "Terminated"));
        assert_eq!(
            message,
            "Pod was terminated in response to imminent node shutdown."
        );
    }
    let late = outcome(&pods, "late").await;
    assert_eq!(
        (&*late.1, &*late.2),
        (
            "NodeShutdown",
            "Pod was rejected: Pod was rejected as the node is shutting down."
        )
    );
}

fn resource(container: &Value, of: &str, name: &str) -> String {
    container[of]["requests"][name]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

async fn resize(pods: &Api<Pod>, name: &str, resources: Value) {
    let patch = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
    let patch = kube::api::Patch::Strategic(patch);
    let params = kube::api::PatchParams::default();
    pods.patch_subresource("resize", name, &params, &patch)
        .await
        .unwrap();
}

async fn pending(pods: &Api<Pod>, name: &str) -> (String, String) {
    let status = pods.get(name).await.unwrap().status.unwrap();
    let conditions = status.conditions.unwrap();
    let found = conditions
        .into_iter()
        .find(|one| one.type_ == "PodResizePending");
    found.map_or_else(Default::default, |found| {
        (
            found.reason.unwrap_or_default(),
            found.message.unwrap_or_default(),
        )
    })
}

#[tokio::test(start_paused = true)]
async fn resizing_in_place() {
    let (cluster, pods, runtime, _) = start(Eviction::default()).await;
    let cpu = |amount: &str| json!({"requests": {"cpu": amount}, "limits": {"cpu": amount}});
    let mut spec = asks(
        "web",
        &json!({"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}),
    );
    spec["containers"][0]["resizePolicy"] =
        json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    create(&pods, "web", spec).await;
    create(&pods, "other", asks("other", &cpu("2"))).await;
    cluster.settle().await.unwrap();
    resize(&pods, "web", cpu("2")).await;
    cluster.settle().await.unwrap();
    let shown = json!(
        pods.get("web")
            .await
            .unwrap()
            .status
            .unwrap()
            .container_statuses
            .unwrap()[0]
    );
    assert_eq!(resource(&shown, "resources", "cpu"), "2");
    assert_eq!(
        (&shown["allocatedResources"]["cpu"], &shown["restartCount"]),
        (&json!("2"), &json!(0))
    );
    let config = runtime.started("default", "web", "c").unwrap();
    assert_eq!(
        (config.resources.cpu_quota, config.resources.cpu_shares),
        (200_000, 2048)
    );
    assert_eq!(pending(&pods, "web").await, Default::default());
    // Memory needs a new container.
    resize(
        &pods,
        "web",
        json!({"requests": {"memory": "128Mi"}, "limits": {"memory": "128Mi"}}),
    )
    .await;
    cluster.settle().await.unwrap();
    let shown = json!(
        pods.get("web")
            .await
            .unwrap()
            .status
            .unwrap()
            .container_statuses
            .unwrap()[0]
    );
    assert_eq!(
        (
            resource(&shown, "resources", "memory"),
            &shown["restartCount"]
        ),
        ("128Mi".to_owned(), &json!(1))
    );
    // More than there is, ever and now.
    resize(&pods, "web", cpu("9")).await;
    cluster.settle().await.unwrap();
    let expected = (
        "Infeasible",
        "Node didn't have enough capacity: cpu, requested: 9000, capacity: 4000",
    );
    let found = pending(&pods, "web").await;
    assert_eq!((&*found.0, &*found.1), expected);
    resize(&pods, "web", cpu("3")).await;
    cluster.advance(Duration::from_secs(5)).await;
    let expected = (
        "Deferred",
        "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000",
    );
    let found = pending(&pods, "web").await;
    assert_eq!((&*found.0, &*found.1), expected);
    // The agent comes back: what was given stays given.
    let node = cluster.node("node-1");
    node.stop().await;
    node.start().await.unwrap();
    cluster.advance(Duration::from_secs(15)).await;
    assert_eq!(pending(&pods, "web").await.0, "Deferred");
    let config = runtime.started("default", "web", "c").unwrap();
    assert_eq!(config.resources.cpu_quota, 200_000);
    pods.delete("other", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(90)).await;
    assert_eq!(pending(&pods, "web").await, Default::default());
    let config = runtime.started("default", "web", "c").unwrap();
    assert_eq!(config.resources.cpu_quota, 300_000);
    let web = pods.get("web").await.unwrap().status.unwrap();
    assert_eq!(web.container_statuses.unwrap()[0].restart_count, 1);
}
