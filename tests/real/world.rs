//! A cluster in this process that is served, and a shell whose kubectl talks to it.

use std::net::SocketAddr;
use std::ops::Deref;

use homeostat::apiserver::serve::{Certificates, ServeConfig, Serving};
use homeostat::clock::Clock;
use homeostat::cluster::{Cluster, ClusterBuilder};
use homeostat::cri::fake::Script;

use crate::shell::Shell;

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
    shell: Shell,
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
        let shell = Shell::new(name);
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
            shell.file("kubeconfig", &kubeconfig);
            (cluster, serving)
        });
        let world = Self {
            runtime,
            cluster,
            serving,
            shell,
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
}

impl Deref for World {
    type Target = Shell;

    fn deref(&self) -> &Shell {
        &self.shell
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            self.cluster.stop_parts().await;
            self.serving.stop().await;
        });
    }
}
