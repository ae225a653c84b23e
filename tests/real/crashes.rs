//! Crashes of the agent, of containerd and of shims, at random, while pods come and go. Set `HOMEOSTAT_CRASH_SECONDS` for a
//! longer run than the usual one, and `HOMEOSTAT_CRASH_SEED` for another one.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use homeostat::clock::Clock;
use homeostat::cri::containerd::{Containerd, ContainerdConfig};
use homeostat::cri::{
    ContainerFilter, ContainerPhase, ContainerRuntime, ContainerRuntimeExt, labels,
};
use homeostat::node::{Kubelet, NodeAgent, NodeSpec};
use homeostat::reconcile::Manager;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::machine::Machine;
use crate::world::World;

const NODE: &str = "real";

const PODS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 3
      containers:
      - name: one
        image: homeostat.local/busybox:1
        command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 0.2; done\"]
      - name: two
        image: homeostat.local/busybox:1
        command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 0.2; done\"]
";

/// An agent in a runtime of its own, so that all of it can end at once, as when its process is killed.
struct Agent {
    runtime: tokio::runtime::Runtime,
    _held: (Manager, Kubelet),
}

async fn client(world: &World) -> Client {
    let kubeconfig = Kubeconfig::read_from(world.dir().join("kubeconfig")).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

async fn connect(machine: &Machine) -> Containerd {
    loop {
        match Containerd::connect(ContainerdConfig::new(machine.socket())).await {
            Ok(runtime) => return runtime,
            Err(error) => assert!(error.is_temporary(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Agent {
    fn start(world: &World, machine: &Machine) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let held = runtime.block_on(async {
            let containers = Arc::new(connect(machine).await);
            let manager = Manager::new(client(world).await, Clock::system());
            let kubelet = Kubelet::new(&manager, NodeSpec::new(NODE), containers);
            manager.start().await.unwrap();
            kubelet.start().await.unwrap();
            (manager, kubelet)
        });
        Self {
            runtime,
            _held: held,
        }
    }

    /// Ends all of it at once. What it started runs on.
    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

/// Looks at the containers again and again.
struct Observer {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<String>>,
}

impl Observer {
    /// Notes containers that run twice at the same time.
    fn start(machine: &Machine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, socket) = (stop.clone(), machine.socket());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let runtime = Containerd::connect(ContainerdConfig::new(socket))
                    .await
                    .unwrap();
                let mut doubled = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let running = ContainerFilter {
                        phase: Some(ContainerPhase::Running),
                        ..ContainerFilter::default()
                    };
                    let mut seen = BTreeSet::new();
                    for found in runtime.list_containers(&running).await.unwrap_or_default() {
                        let uid = found.labels.get(labels::POD_UID).cloned();
                        if !seen.insert((uid.clone(), found.name.clone())) {
                            doubled.push(format!("{uid:?}/{}", found.name));
                        }
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                doubled
            })
        });
        Self { stop, thread }
    }

    fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What runs on the machine: of each pod, by uid, its running containers. Everything else is an error.
async fn running(runtime: &Containerd) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut pods = BTreeMap::new();
    for sandbox in runtime.pods().await.map_err(|error| error.to_string())? {
        let name = format!("{}, sandbox {}", sandbox.metadata.name, sandbox.id);
        if !sandbox.ready {
            return Err(format!("{name} is not ready"));
        }
        let mut names = BTreeSet::new();
        for container in &sandbox.containers {
            if container.state.phase() == ContainerPhase::Running
                && !names.insert(container.name.clone())
            {
                return Err(format!("{name}: {} runs twice", container.name));
            }
        }
        if pods.insert(sandbox.metadata.uid.clone(), names).is_some() {
            return Err(format!("{name} is the pod's second"));
        }
    }
    Ok(pods)
}

/// What is to run, by the API.
async fn wanted(client: Client) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let pods: Api<Pod> = Api::all(client);
    let mut wanted = BTreeMap::new();
    for pod in pods.list(&ListParams::default()).await.unwrap().items {
        let name = pod.metadata.name.unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            return Err(format!("{name} is not gone yet"));
        }
        let ready = pod
            .status
            .and_then(|status| status.conditions)
            .into_iter()
            .flatten();
        let mut ready = ready.filter(|condition| condition.type_ == "Ready");
        if ready
            .next()
            .is_none_or(|condition| condition.status != "True")
        {
            return Err(format!("{name} is not ready"));
        }
        let containers = pod.spec.unwrap().containers;
        let names = containers.into_iter().map(|container| container.name);
        wanted.insert(pod.metadata.uid.unwrap_or_default(), names.collect());
    }
    Ok(wanted)
}

/// Waits until the machine runs what the API says, and nothing else.
fn settle(world: &World, machine: &Machine, replicas: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let (containers, client) = (connect(machine).await, client(world).await);
        let begun = Instant::now();
        loop {
            let pair = (running(&containers).await, wanted(client.clone()).await);
            if let (Ok(running), Ok(wanted)) = &pair
                && running == wanted
                && running.len() == replicas
            {
                return;
            }
            let late = begun.elapsed() > Duration::from_secs(120);
            if late {
                let shown =
                    world.ok("kubectl get deploy,rs,pods -o wide; kubectl get events | tail -n 20");
                panic!("still not settled; the machine runs, the API wants: {pair:#?}\n{shown}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}

fn setting(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

#[test]
fn whatever_crashes_nothing_is_lost_and_nothing_runs_twice() {
    let seconds = setting("HOMEOSTAT_CRASH_SECONDS", 60);
    let chance = Clock::seeded(setting("HOMEOSTAT_CRASH_SEED", 1));
    let machine = Machine::start();
    let world = World::with_nodes("crashes", 0);
    let mut agent = Agent::start(&world, &machine);
    world.file("pods.yaml", PODS);
    world.ok("kubectl apply -f pods.yaml");
    settle(&world, &machine, 4);
    let observer = Observer::start(&machine);
    let begun = Instant::now();
    let mut done = BTreeMap::<&str, u32>::new();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let pause = Duration::from_millis(chance.below(1500));
        let what = match chance.below(5) {
            0 => {
                agent.kill();
                std::thread::sleep(pause);
                agent = Agent::start(&world, &machine);
                "agent killed"
            }
            1 => {
                machine.kill();
                std::thread::sleep(pause);
                machine.revive();
                "containerd killed"
            }
            2 => {
                let shims = machine.shims();
                let count = u64::try_from(shims.len()).unwrap();
                if let Some(pid) = shims.get(usize::try_from(chance.below(count.max(1))).unwrap()) {
                    Command::new("kill")
                        .args(["-9", &pid.to_string()])
                        .status()
                        .unwrap();
                }
                "shim killed"
            }
            3 => {
                let replicas = 2 + chance.below(7);
                world.ok(&format!("kubectl scale deploy/web --replicas={replicas}"));
                "scaled"
            }
            _ => {
                let value = chance.below(1000);
                world.ok(&format!("kubectl set env deploy/web V={value}"));
                "rolled"
            }
        };
        *done.entry(what).or_default() += 1;
        std::thread::sleep(Duration::from_millis(chance.below(2000)));
    }
    world.ok("kubectl scale deploy/web --replicas=5");
    settle(&world, &machine, 5);
    let doubled = observer.finish();
    assert!(doubled.is_empty(), "{done:?}: ran twice: {doubled:?}");
    agent.kill();
}

fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
}

#[test]
fn a_pod_whose_shim_dies_comes_back() {
    let machine = Machine::start();
    let world = World::with_nodes("shim", 0);
    let agent = Agent::start(&world, &machine);
    world.file("pods.yaml", PODS);
    world.ok("kubectl apply -f pods.yaml");
    settle(&world, &machine, 4);
    let before: BTreeSet<u32> = machine.shims().into_iter().collect();
    assert_eq!(before.len(), 4);
    kill(*before.first().unwrap());
    let begun = Instant::now();
    loop {
        let now: BTreeSet<u32> = machine.shims().into_iter().collect();
        if now.len() == 4 && now != before {
            break;
        }
        let late = begun.elapsed() > Duration::from_secs(60);
        assert!(!late, "the shims were {before:?} and are {now:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    settle(&world, &machine, 4);
    agent.kill();
}

#[test]
fn an_agent_that_is_killed_harms_no_container() {
    let machine = Machine::start();
    let world = World::with_nodes("killed", 0);
    let agent = Agent::start(&world, &machine);
    world.file("pods.yaml", PODS);
    world.ok("kubectl apply -f pods.yaml");
    settle(&world, &machine, 4);
    let look = || {
        let fields = ".restartCount}{\"\\t\"}{.containerID}{\"\\n\"}{end}";
        let all = format!(
            "kubectl get pods -o jsonpath='{{range .items[*].status.containerStatuses[*]}}{{{fields}'"
        );
        let mut lines: Vec<String> = world.ok(&all).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = look();
    assert_eq!(before.len(), 8, "{before:?}");
    assert!(
        before
            .iter()
            .all(|line| line.starts_with("0\tcontainerd://")),
        "{before:?}"
    );
    for _ in 0..3 {
        agent_restarts(&world, &machine);
    }
    agent.kill();
    let last = Agent::start(&world, &machine);
    std::thread::sleep(Duration::from_secs(5));
    settle(&world, &machine, 4);
    assert_eq!(look(), before);
    last.kill();
}

/// A second agent for the same node comes and goes, as when one is started before the old one has ended.
fn agent_restarts(world: &World, machine: &Machine) {
    let agent = Agent::start(world, machine);
    std::thread::sleep(Duration::from_millis(300));
    agent.kill();
}
