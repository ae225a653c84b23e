//! Why a pod is where it is, or nowhere: every plugin's word and score on every node.
//!
//! `cargo run --features testing --example explain_scheduling` boots a small cluster in this process and explains pods of which
//! some cannot fit. `-- --kubeconfig FILE NAMESPACE/POD` explains a pod of any cluster, whoever schedules it; add `--json` for the
//! explanation as a value.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that shows what it found"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use homeostat::node::NodeSpec;
use homeostat::scheduler::explain::{Explanation, explain_pod};
use homeostat::scheduler::{Profile, SchedulerConfig, Standalone};
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: 'registry.example/web:v1', resources: {requests: {cpu: '1'}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: too-big}
spec: {containers: [{name: c, image: 'registry.example/db:v1', resources: {requests: {cpu: '64', memory: 100Gi}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: elsewhere}
spec:
  nodeSelector: {disk: ssd}
  containers: [{name: c, image: 'registry.example/web:v1', resources: {requests: {cpu: '3'}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: away-from-web}
spec:
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - {labelSelector: {matchLabels: {app: web}}, topologyKey: zone}
  containers: [{name: c, image: 'registry.example/web:v1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: gated}
spec:
  schedulingGates: [{name: example.com/approval}]
  containers: [{name: c, image: 'registry.example/web:v1'}]
";

struct Options {
    kubeconfig: Option<PathBuf>,
    pod: Option<String>,
    json: bool,
}

fn main() -> ExitCode {
    match options().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        kubeconfig: None,
        pod: None,
        json: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--kubeconfig" => {
                let path = arguments.next().context("--kubeconfig needs a file")?;
                options.kubeconfig = Some(path.into());
            }
            "--json" => options.json = true,
            flag if flag.starts_with('-') => bail!("unknown flag {flag}"),
            pod => options.pod = Some(pod.to_owned()),
        }
    }
    Ok(options)
}

fn run(options: Options) -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all();
    match &options.pod {
        Some(pod) => runtime.build()?.block_on(explain(&options, pod)),
        // The cluster in this process runs on virtual time.
        None => runtime.start_paused(true).build()?.block_on(show(&options)),
    }
}

/// Explains a pod of a cluster that runs somewhere.
async fn explain(options: &Options, pod: &str) -> Result<()> {
    let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
    let client = Standalone::client(options.kubeconfig.as_deref()).await?;
    // By the default plugins, whatever its scheduler's name is.
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let spec = pods.get(name).await?.spec.unwrap_or_default();
    let scheduler = spec.scheduler_name.unwrap_or_default();
    let config = SchedulerConfig::default().profile(Profile::named(&scheduler));
    print(
        options,
        &explain_pod(client, config, namespace, name).await?,
    )
}

/// Explains the pods of a cluster in this process.
async fn show(options: &Options) -> Result<()> {
    let node = |name: &str, zone: &str| NodeSpec::new(name).label("zone", zone);
    let cluster = Cluster::builder()
        .seed(1)
        .with(|cluster| {
            cluster
                .node(node("a1", "a").label("disk", "ssd"))
                .node(node("a2", "a"))
                .node(node("b1", "b").taint("dedicated", "db", "NoSchedule"))
        })
        .start()
        .await?;
    cluster.apply(PODS).await?;
    cluster.settle().await?;
    for name in ["web", "too-big", "elsewhere", "away-from-web", "gated"] {
        let config = SchedulerConfig::default();
        let explanation = explain_pod(cluster.client(), config, "default", name).await?;
        print(options, &explanation)?;
    }
    cluster.stop().await;
    Ok(())
}

fn print(options: &Options, explanation: &Explanation) -> Result<()> {
    if options.json {
        println!("{}", serde_json::to_string_pretty(explanation)?);
    } else {
        println!("{explanation}\n  as an event: {}\n", explanation.event());
    }
    Ok(())
}
