//! A cluster that is served, and a shell whose kubectl talks to it.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use homeostat::apiserver::serve::{Certificates, ServeConfig, Serving};
use homeostat::clock::Clock;
use homeostat::cluster::{Cluster, ClusterBuilder};
use homeostat::cri::fake::Script;

/// A Deployment with the label `app: web`.
pub(crate) const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{containerPort: 80}]}]}
";

/// A custom resource definition with a schema that can be explained.
pub(crate) const CRON_TABS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        description: CronTab runs at times.
        type: object
        properties:
          spec:
            description: What is wanted.
            type: object
            properties:
              cronSpec: {type: string, description: When it runs.}
              replicas: {type: integer, minimum: 1}
";

pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    serving: Serving,
    dir: PathBuf,
}

impl World {
    /// Three nodes, all controllers, and a scheduler. `name` is the test's.
    pub(crate) fn new(name: &str) -> Self {
        Self::with_nodes(name, 3)
    }

    /// The same with so many nodes.
    pub(crate) fn with_nodes(name: &str, nodes: usize) -> Self {
        Self::of(name, Cluster::builder().nodes(nodes))
    }

    /// An API server alone.
    pub(crate) fn only_api(name: &str) -> Self {
        Self::of(name, Cluster::builder().only_api())
    }

    fn of(name: &str, cluster: ClusterBuilder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir =
            std::env::temp_dir().join(format!("homeostat-real-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (cluster, serving) = runtime.block_on(async {
            let cluster = cluster.start().await.unwrap();
            let names = ["localhost", "127.0.0.1"];
            let certificates = Certificates::generate(&Clock::system(), &names).unwrap();
            let serving = ServeConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)))
                .tls(certificates.server_tls())
                .start(cluster.server().clone())
                .await
                .unwrap();
            let kubeconfig = certificates.kubeconfig(&serving.url());
            std::fs::write(dir.join("kubeconfig"), kubeconfig).unwrap();
            (cluster, serving)
        });
        let world = Self {
            runtime,
            cluster,
            serving,
            dir,
        };
        world.file("web.yaml", WEB);
        world.file("crontabs.yaml", CRON_TABS);
        world
    }

    /// What containers of `image` do, on all nodes.
    pub(crate) fn script(&self, image: &str, script: &Script) {
        for node in self.cluster.nodes() {
            node.runtime().script(image, script.clone());
        }
    }

    /// Starts a command that goes on beside the test, until the returned value is dropped.
    pub(crate) fn start(&self, command: &str) -> Running {
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .current_dir(&self.dir)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("HOME", &self.dir)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Writes a file where commands run.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, command: &str) -> Output {
        // Nobody's own configuration, no colours, no cache of another server's discovery.
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.dir)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("HOME", &self.dir)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert_ne!(
            output.status.code(),
            Some(127),
            "kubectl is needed: scripts/test installs it ({})",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    /// What a command prints; it must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, command: &str) -> String {
        let output = self.run(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "$ {command}\n{text}{errors}");
        text
    }

    /// What a command says when it fails, as it must.
    #[track_caller]
    pub(crate) fn fails(&self, command: &str) -> String {
        let output = self.run(command);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "$ {command}\n{text}");
        errors
    }

    /// A command prints these lines and no others. Words are compared, not the space between them; `*` in a word stands for
    /// anything.
    #[track_caller]
    pub(crate) fn prints(&self, command: &str, expected: &[&str]) {
        let found = self.ok(command);
        same(command, &found, expected);
    }

    /// A command fails with these lines.
    #[track_caller]
    pub(crate) fn refuses(&self, command: &str, expected: &[&str]) {
        let found = self.fails(command);
        same(command, &found, expected);
    }

    /// A command prints these lines among others, in this order.
    #[track_caller]
    pub(crate) fn shows(&self, command: &str, expected: &[&str]) {
        let found = self.ok(command);
        let mut lines = found.lines();
        for line in expected {
            assert!(
                lines.any(|found| matches(found, line)),
                "$ {command}\nno line (after those before it): {line}\n{found}"
            );
        }
    }

    /// The directory in which commands run.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A command that goes on.
pub(crate) struct Running(std::process::Child);

impl Running {
    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let out = self.0.stdout.as_mut().unwrap();
        let mut byte = [0];
        while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            self.cluster.stop_parts().await;
            self.serving.stop().await;
        });
        // What is left is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[track_caller]
fn same(command: &str, found: &str, expected: &[&str]) {
    let lines: Vec<&str> = found
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let all = lines.len() == expected.len()
        && lines
            .iter()
            .zip(expected)
            .all(|(found, line)| matches(found, line));
    assert!(
        all,
        "$ {command}\n{found}\nexpected:\n{}",
        expected.join("\n")
    );
}

fn matches(found: &str, expected: &str) -> bool {
    let found: Vec<&str> = found.split_whitespace().collect();
    let expected: Vec<&str> = expected.split_whitespace().collect();
    found.len() == expected.len()
        && found
            .iter()
            .zip(&expected)
            .all(|(found, word)| match word.split_once('*') {
                Some((start, end)) => {
                    found.len() + 1 >= word.len()
                        && found.starts_with(start)
                        && found.ends_with(end)
                }
                _ => found == word,
            })
}
