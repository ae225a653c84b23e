//! The main job: boots a control plane and three nodes in this process, applies manifests, and shows what each part does.
//!
//! `cargo run --features testing --example quickstart [-- MANIFEST...]`

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program that shows what happens, and how long it takes"
)]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use homeostat::manifest;
use homeostat::testing::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

const GUESTBOOK: &str = include_str!("manifests/guestbook.yaml");

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut manifests = Vec::new();
    for path in std::env::args().skip(1) {
        manifests
            .push(std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?);
    }
    if manifests.is_empty() {
        manifests.push(GUESTBOOK.to_owned());
    }
    let wall = Instant::now();
    let cluster = Cluster::builder().nodes(3).seed(7).start().await?;
    println!(
        "booted a control plane and 3 nodes in {:.1?} of real time",
        wall.elapsed()
    );
    let mut shown = Shown {
        cluster: &cluster,
        start: tokio::time::Instant::now(),
        events: Vec::new(),
    };

    shown.heading("applying the manifests");
    for manifest in &manifests {
        match cluster.apply(manifest).await {
            Ok(()) => {}
            Err(error @ manifest::Error::Refused { .. }) => bail!("the server refused: {error}"),
            Err(error) => bail!("the manifest is wrong: {error}"),
        }
    }
    shown.settle().await?;

    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    let names = deployments
        .list(&ListParams::default())
        .await?
        .items
        .into_iter()
        .filter_map(|deployment| deployment.metadata.name);
    if let Some(name) = names.into_iter().next() {
        shown.heading(&format!("scaling {name} to 5"));
        patch(&deployments, &name, json!({"spec": {"replicas": 5}})).await?;
        shown.settle().await?;

        shown.heading(&format!("rolling out a new image of {name}"));
        let deployment = serde_json::to_value(deployments.get(&name).await?)?;
        let container = deployment["spec"]["template"]["spec"]["containers"][0]["name"].clone();
        let containers = json!([{"name": container, "image": "registry.example/new:v2"}]);
        patch(
            &deployments,
            &name,
            json!({"spec": {"template": {"spec": {"containers": containers}}}}),
        )
        .await?;
        shown.settle().await?;
    }

    shown.heading("turning node-2 off");
    cluster.node("node-2").crash().await;
    shown.settle().await?;

    table(&cluster).await?;
    println!(
        "\n{:.0?} of virtual time and {} writes took {:.0?} of real time",
        shown.start.elapsed(),
        cluster.log().count(),
        wall.elapsed()
    );
    cluster.stop().await;
    Ok(())
}

async fn patch(deployments: &Api<Deployment>, name: &str, patch: serde_json::Value) -> Result<()> {
    deployments
        .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
        .await?;
    Ok(())
}

/// Tells of events as they come.
struct Shown<'a> {
    cluster: &'a Cluster,
    start: tokio::time::Instant,
    events: Vec<String>,
}

impl Shown<'_> {
    fn heading(&self, what: &str) {
        println!(
            "\n== {what} (at {:.0?} of virtual time)",
            self.start.elapsed()
        );
    }

    async fn settle(&mut self) -> Result<()> {
        let settled = self.cluster.settle().await;
        let events: Api<Event> = Api::default_namespaced(self.cluster.client());
        let mut events = events.list(&ListParams::default()).await?.items;
        events.sort_by_key(|event| {
            event
                .metadata
                .resource_version
                .as_ref()
                .and_then(|version| version.parse::<u64>().ok())
        });
        for event in events {
            let uid = event.metadata.uid.clone().unwrap_or_default();
            if self.events.contains(&uid) {
                continue;
            }
            self.events.push(uid);
            let about = &event.involved_object;
            println!(
                "  {:<22} {:<18} {}/{}: {}",
                event.reporting_component.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                about.kind.as_deref().unwrap_or_default(),
                about.name.as_deref().unwrap_or_default(),
                event.message.unwrap_or_default()
            );
        }
        settled?;
        Ok(())
    }
}

async fn table(cluster: &Cluster) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    println!(
        "\n{:<34} {:<10} {:<8} {:<14} IMAGE",
        "POD", "STATUS", "NODE", "IP"
    );
    for pod in pods.list(&ListParams::default()).await? {
        let status = pod.status.unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        let phase = if pod.metadata.deletion_timestamp.is_some() {
            "Terminating".to_owned()
        } else {
            status.phase.unwrap_or_default()
        };
        let image = spec
            .containers
            .first()
            .and_then(|container| container.image.clone());
        println!(
            "{:<34} {phase:<11} {:<7} {:<14} {}",
            pod.metadata.name.unwrap_or_default(),
            spec.node_name.unwrap_or_default(),
            status.pod_ip.unwrap_or_default(),
            image.unwrap_or_default()
        );
    }
    Ok(())
}
