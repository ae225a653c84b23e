//! Pods on containerd: `standalone --containerd` as a program of its own, driven by kubectl and a client.
//!
//! The tests of a run share one cluster while there is one; each case has a namespace of its own. The program is built with the
//! tests: `cargo build --all-features --examples`, as `scripts/test` does.

mod answers;
mod bad_input;
mod endings;
mod full;
mod images;
mod limits;
mod logs;
mod looking;
mod pressure;
mod probes;
mod surroundings;
mod token;
mod volumes;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::machine::{BUSYBOX, Machine};
use crate::shell::Shell;

/// A cluster whose one node is this machine.
pub(crate) struct Place {
    program: Child,
    kubeconfig: PathBuf,
    pub(crate) machine: Machine,
}

fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let target = tests.parent().and_then(Path::parent).unwrap();
    let program = target.join("examples").join(name);
    assert!(
        program.exists(),
        "{} is built by `cargo build --all-features --examples`",
        program.display()
    );
    program
}

impl Place {
    /// Starts one, with these further flags.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::on(Machine::start(), flags)
    }

    /// Starts one on this machine.
    pub(crate) fn on(machine: Machine, flags: &[&str]) -> Self {
        let directory = machine.scratch("standalone");
        let kubeconfig = directory.join("kubeconfig");
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let shown = |path: PathBuf| path.display().to_string();
        let program = Command::new(program("standalone"))
            .args(["--listen", "127.0.0.1:0", "--kubeconfig"])
            .arg(&kubeconfig)
            .args(["--containerd", &shown(machine.socket())])
            .args(["--root-dir", &shown(machine.scratch("kubelet"))])
            .args(["--pod-logs-dir", &shown(machine.scratch("pods"))])
            .args(["--cgroup-root", &machine.cgroup()])
            // The machine of the tests may be short of room of its own accord.
            .args(["--eviction-hard", "memory.available<1Mi"])
            .args(["--image-gc-high-threshold", "100"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut place = Self {
            program,
            kubeconfig,
            machine,
        };
        let begun = Instant::now();
        while !place.kubeconfig.exists() {
            let ended = place.program.try_wait().unwrap().is_some();
            let late = begun.elapsed() > Duration::from_secs(60);
            let said = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
            assert!(!ended && !late, "the cluster does not start: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
        place
    }

    /// The cluster of this run, started if there is none.
    fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Place>> = Mutex::new(Weak::new());
        // A test that failed while it started one does not fail the others.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shared.upgrade() {
            return place;
        }
        let place = Arc::new(Self::start(&[]));
        *shared = Arc::downgrade(&place);
        place
    }

    /// The directory of the volumes of pods.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.machine.scratch("kubelet")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let pid = self.program.id().to_string();
        // In good order, so that nothing is made any more while the machine is taken down.
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if matches!(self.program.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A case and its name, which is that of its namespace.
type Case<'a> = (&'a str, fn(&Guest));

/// Runs cases beside one another in the cluster of this run, each in a namespace of its own.
fn cases(cases: &[Case<'_>]) {
    let place = Place::shared();
    std::thread::scope(|scope| {
        let started = cases.iter().map(|(name, case)| {
            let place = place.clone();
            let named = std::thread::Builder::new().name((*name).to_owned());
            let started = named.spawn_scoped(scope, move || case(&Guest::new(place, name)));
            (name, started.unwrap())
        });
        let started: Vec<_> = started.collect();
        let failed: Vec<&str> = started
            .into_iter()
            .filter_map(|(name, case)| case.join().is_err().then_some(*name))
            .collect();
        assert!(failed.is_empty(), "failed, see above: {failed:?}");
    });
}

/// A case's own namespace, and a shell whose kubectl is in it.
pub(crate) struct Guest {
    shell: Shell,
    namespace: String,
    runtime: tokio::runtime::Runtime,
    client: Client,
    pub(crate) place: Arc<Place>,
}

impl Deref for Guest {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

impl Guest {
    pub(crate) fn new(place: Arc<Place>, name: &str) -> Self {
        let shell = Shell::new(name);
        let text = std::fs::read_to_string(&place.kubeconfig).unwrap();
        let path = shell.file("kubeconfig", &text);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(&path).unwrap();
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            Client::try_from(config.unwrap()).unwrap()
        });
        let guest = Self {
            shell,
            namespace: name.to_owned(),
            runtime,
            client,
            place,
        };
        guest.ok(&format!("kubectl create namespace {name}"));
        guest.ok(&format!(
            "kubectl config set-context --current --namespace={name}"
        ));
        // Its pods need the account's token and the authority of the cluster.
        guest.until("the account", || {
            let known = |path: &str| guest.find(path).map(drop);
            known("serviceaccounts/default").and_then(|()| known("configmaps/kube-root-ca.crt"))
        });
        guest
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let request = self.request(method, path, body);
        self.runtime.block_on(self.client.request(request))
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> http::Request<Vec<u8>> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body).unwrap()
        };
        let uri = format!("/api/v1/namespaces/{}/{path}", self.namespace);
        let request = http::Request::builder().method(method).uri(uri);
        let type_ = match method {
            "PATCH" => "application/strategic-merge-patch+json",
            _ => "application/json",
        };
        let request = request.header("content-type", type_);
        request.body(body).unwrap()
    }

    /// What the API has at a path in the namespace: `pods/a`.
    fn find(&self, path: &str) -> Option<Value> {
        self.send("GET", path, &Value::Null).ok()
    }

    /// Makes an object: `pods`.
    #[track_caller]
    fn create(&self, resource: &str, object: &Value) {
        if let Err(error) = self.send("POST", resource, object) {
            panic!("{error}: {object}");
        }
    }

    /// Changes an object: `pods/a/resize`.
    #[track_caller]
    fn patch(&self, path: &str, patch: &Value) {
        if let Err(error) = self.send("PATCH", path, patch) {
            panic!("{error}: {patch}");
        }
    }

    /// Makes a pod of this spec.
    #[track_caller]
    pub(crate) fn pod(&self, name: &str, spec: Value) {
        let mut spec = spec;
        if spec["terminationGracePeriodSeconds"].is_null() {
            spec["terminationGracePeriodSeconds"] = json!(1);
        }
        let meta = json!({"name": name, "labels": {"app": name}});
        self.create("pods", &json!({"metadata": meta, "spec": spec}));
    }

    /// Waits, for 90 s at most.
    #[track_caller]
    fn until<T>(&self, what: &str, found: impl FnMut() -> Option<T>) -> T {
        self.within(90, what, found)
    }

    /// Waits, for so many seconds at most.
    #[track_caller]
    pub(crate) fn within<T>(
        &self,
        seconds: u64,
        what: &str,
        mut found: impl FnMut() -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            let late = begun.elapsed() > Duration::from_secs(seconds);
            if late {
                let pods = self.ok("kubectl get pods -o yaml; kubectl get events");
                panic!("not within {seconds} s: {what}\n{pods}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the pod's status has these values at these paths below `/status`.
    #[track_caller]
    pub(crate) fn becomes(&self, pod: &str, wanted: &[(&str, Value)]) -> Value {
        self.until(&format!("{pod} becomes {wanted:?}"), || {
            let status = self.find(&format!("pods/{pod}"))?["status"].clone();
            let holds = |(path, value): &(&str, Value)| status.pointer(path) == Some(value);
            wanted.iter().all(holds).then_some(status)
        })
    }

    /// Waits until the pod is ready.
    #[track_caller]
    pub(crate) fn ready(&self, pod: &str) -> Value {
        self.until(&format!("{pod} is ready"), || {
            let status = self.find(&format!("pods/{pod}"))?["status"].clone();
            is_ready(&status).then_some(status)
        })
    }

    /// Waits until an event of the pod says so; `text` begins with the reason.
    #[track_caller]
    fn told(&self, pod: &str, text: &str) {
        self.until(&format!("{pod} is told: {text}"), || {
            self.events(pod)
                .iter()
                .any(|event| event.contains(text))
                .then_some(())
        });
    }

    /// What was told of a pod: `reason: message`.
    fn events(&self, pod: &str) -> Vec<String> {
        let list = self.find(&format!("events?fieldSelector=involvedObject.name={pod}"));
        let list = list.unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = list["items"].as_array().into_iter().flatten();
        events
            .map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"])))
            .collect()
    }

    /// What a shell in the pod's first container prints.
    #[track_caller]
    fn inside(&self, pod: &str, script: &str) -> String {
        let said = self.ok(&format!("kubectl exec {pod} -- sh -c '{script}'"));
        said.trim_end().to_owned()
    }

    /// Waits until it prints this.
    #[track_caller]
    fn inside_becomes(&self, pod: &str, script: &str, expected: &str) {
        self.within(150, &format!("{script} in {pod}: {expected}"), || {
            std::thread::sleep(Duration::from_millis(400));
            (self.inside(pod, script) == expected).then_some(())
        });
    }
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// A container that runs a script.
fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["sh", "-c", script]})
}

/// The same with further fields.
fn with(mut container: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        container[key] = value.clone();
    }
    container
}

/// A script that stays until it is asked to end.
const STAYS: &str = "trap \"exit 0\" TERM; while :; do sleep 0.2; done";
