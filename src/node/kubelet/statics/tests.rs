//! Static pods over the fake runtime, on virtual time.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::api::{DeleteParams, ListParams, ObjectList};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

use super::*;
use crate::apiserver::ApiServer;
use crate::clock::Clock;
use crate::cri::fake::Script;
use crate::cri::{ContainerRuntimeExt, FakeRuntime, Sandbox};
use crate::node::{Kubelet, KubeletConfig, NodeAgent, NodeSpec};
use crate::reconcile::Manager;
use crate::store::MemoryStore;

const IMAGE: &str = "registry.example/c:v1";
const A_WHILE: Duration = Duration::from_secs(15);

struct World {
    server: ApiServer,
    /// Whether the agent reaches the API server.
    up: Arc<AtomicBool>,
    manager: Manager,
    caches: JoinHandle<()>,
    kubelet: Kubelet,
    runtime: FakeRuntime,
    directory: PathBuf,
}

impl World {
    async fn start(name: &str, up: bool) -> Self {
        let directory =
            std::env::temp_dir().join(format!("homeostat-static-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let clock = Clock::seeded(1);
        let server = ApiServer::builder(Arc::new(MemoryStore::default()))
            .clock(clock.clone())
            .start()
            .await
            .unwrap();
        let up = Arc::new(AtomicBool::new(up));
        let (inner, reachable) = (server.client_as("kubelet", "kubelet"), up.clone());
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (inner, up) = (inner.clone(), reachable.load(Ordering::Relaxed));
            async move {
                if !up {
                    return Err(tower::BoxError::from("connection refused"));
                }
                inner.send(request).await.map_err(Into::into)
            }
        });
        let client = kube::Client::new(service, "default");
        let manager = Manager::new(client, clock.clone());
        let runtime = FakeRuntime::new(clock, "10.0.0");
        let config = KubeletConfig {
            static_pods: Some(directory.clone()),
            ..KubeletConfig::default()
        };
        let kubelet = Kubelet::with_config(
            &manager,
            NodeSpec::new("n"),
            Arc::new(runtime.clone()),
            config,
        );
        Self {
            server,
            up,
            caches: tokio::spawn(async {}),
            manager,
            kubelet,
            runtime,
            directory,
        }
    }

    /// Starts the agent; its caches fill when they can.
    async fn run(&mut self) {
        let manager = self.manager.clone();
        self.caches = tokio::spawn(async move {
            let _ = manager.start().await;
        });
        self.kubelet.start().await.unwrap();
        sleep(A_WHILE).await;
    }

    fn write(&self, file: &str, name: &str, spec: &str) {
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {spec}\n");
        std::fs::write(self.directory.join(file), text).unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.server.client())
    }

    async fn all(&self) -> ObjectList<Pod> {
        self.pods().list(&ListParams::default()).await.unwrap()
    }

    async fn sandboxes(&self) -> Vec<Sandbox> {
        self.runtime.pods().await.unwrap()
    }

    async fn end(self) {
        self.kubelet.stop().await;
        self.manager.stop().await;
        self.caches.await.unwrap();
        self.server.stop().await;
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

fn one(fields: &str) -> String {
    format!("{{containers: [{{name: c, image: \"{IMAGE}\"}}]{fields}}}")
}

#[tokio::test(start_paused = true)]
async fn they_run_before_there_is_an_api_server_and_are_shown_when_there_is() {
    let mut world = World::start("before", false).await;
    world.write("a.yaml", "a", &one(""));
    world.write(".hidden.yaml", "hidden", &one(""));
    world.write("b.yaml", "b", "{containers: []}");
    world.run().await;
    let found = world.sandboxes().await;
    let [a] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        (&*a.metadata.name, &*a.metadata.namespace),
        ("a-n", "default")
    );
    // It is looked after, too.
    world.runtime.kill("default", "a-n", "c", 1);
    sleep(A_WHILE).await;
    let containers = &world.sandboxes().await[0].containers;
    assert_eq!(containers.len(), 2, "{containers:?}");
    assert!(world.all().await.items.is_empty());

    world.up.store(true, Ordering::Relaxed);
    sleep(A_WHILE * 4).await;
    let mirror = world.pods().get("a-n").await.unwrap();
    let uid = a.metadata.uid.clone();
    let annotations = mirror.annotations();
    for annotation in ["config.hash", "config.mirror"] {
        assert_eq!(annotations[&format!("kubernetes.io/{annotation}")], uid);
    }
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    assert_ne!(mirror.uid().unwrap(), uid);
    let nodes: Api<Node> = Api::all(world.server.client());
    let node = nodes.get("n").await.unwrap();
    let owner = &mirror.owner_references()[0];
    assert_eq!((&*owner.kind, &*owner.name), ("Node", "n"));
    assert_eq!(
        (Some(&owner.uid), owner.controller),
        (node.metadata.uid.as_ref(), Some(true))
    );
    let status = mirror.status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    let container = &status.container_statuses.unwrap()[0];
    assert_eq!((container.restart_count, container.ready), (1, true));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_mirror_ends_nothing() {
    let mut world = World::start("mirror", true).await;
    world.write("a.yaml", "a", &one(""));
    world.run().await;
    let before = world.pods().get("a-n").await.unwrap();
    let sandbox = world.sandboxes().await.remove(0);
    for params in [
        DeleteParams::default(),
        DeleteParams::default().grace_period(0),
    ] {
        world.pods().delete("a-n", &params).await.unwrap();
        sleep(A_WHILE).await;
        let after = world.pods().get("a-n").await.unwrap();
        assert_ne!(before.uid(), after.uid());
        assert_eq!(after.status.unwrap().phase.as_deref(), Some("Running"));
    }
    let now = world.sandboxes().await;
    assert_eq!((now.len(), &now[0].id), (1, &sandbox.id));
    let kept = (&now[0].containers, &sandbox.containers);
    assert_eq!((kept.0.len(), &kept.0[0].id), (1, &kept.1[0].id));
    // An agent that starts anew finds it as it is.
    world.kubelet.stop().await;
    world.kubelet.start().await.unwrap();
    sleep(A_WHILE).await;
    let now = world.sandboxes().await;
    assert_eq!((now.len(), &now[0].id), (1, &sandbox.id));
    assert_eq!(now[0].containers.len(), 1);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn manifests_change_and_go() {
    let mut world = World::start("changes", true).await;
    world
        .runtime
        .script(IMAGE, Script::default().stop_takes(Duration::from_secs(5)));
    world.run().await;
    assert!(world.sandboxes().await.is_empty());
    world.write("a.yaml", "a", &one(""));
    sleep(A_WHILE).await;
    let first = world.pods().get("a-n").await.unwrap();
    // A pod takes the place of the one before when that has ended.
    world.write("a.yaml", "a", &one(", terminationGracePeriodSeconds: 7"));
    sleep(Duration::from_secs(3)).await;
    let names = |pods: Vec<Sandbox>| -> Vec<String> {
        pods.into_iter().map(|pod| pod.metadata.uid).collect()
    };
    let uid = |pod: &Pod| mirror_of(pod).unwrap().to_owned();
    assert_eq!(names(world.sandboxes().await), [uid(&first)]);
    sleep(A_WHILE).await;
    let second = world.pods().get("a-n").await.unwrap();
    assert_ne!(uid(&first), uid(&second));
    assert_eq!(names(world.sandboxes().await), [uid(&second)]);
    assert_eq!(second.status.unwrap().phase.as_deref(), Some("Running"));
    // One that is being written counts for a while …
    std::fs::write(world.directory.join("a.yaml"), "apiVersion: v1\nkind: P").unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(world.sandboxes().await.len(), 1);
    // … and one that is gone ends with its pod and mirror.
    std::fs::remove_file(world.directory.join("a.yaml")).unwrap();
    sleep(A_WHILE).await;
    assert!(world.sandboxes().await.is_empty());
    assert!(world.all().await.items.is_empty());

    // What was removed while the agent was away.
    world.write("b.yaml", "b", &one(""));
    sleep(A_WHILE).await;
    assert_eq!(world.all().await.items.len(), 1);
    world.kubelet.stop().await;
    std::fs::remove_file(world.directory.join("b.yaml")).unwrap();
    world.kubelet.start().await.unwrap();
    sleep(A_WHILE).await;
    assert!(world.all().await.items.is_empty());
    assert!(world.sandboxes().await.is_empty());
    world.end().await;
}
