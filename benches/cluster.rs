//! 1,000 hollow nodes, and 10,000 pods of ten Deployments until all are Running: wall time and peak memory.
//! Not a criterion benchmark: one run takes seconds. `cargo bench --bench cluster --features testing [-- NODES PODS]`
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

use std::time::Instant;

use homeostat::testing::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let (nodes, pods) = (
        numbers.first().copied().unwrap_or(1000),
        numbers.get(1).copied().unwrap_or(10_000),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let start = Instant::now();
        let cluster = Cluster::builder().with(|cluster| cluster.hollow_nodes(nodes)).seed(1).start().await.unwrap();
        println!("{nodes} nodes registered: {:.2?}", start.elapsed());
        let begun = Instant::now();
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        for number in 0..10 {
            let deployment: Deployment = serde_json::from_value(json!({
                "metadata": {"name": format!("d{number}")},
                "spec": {
                    "replicas": pods / 10, "selector": {"matchLabels": {"app": format!("d{number}")}},
                    "template": {
                        "metadata": {"labels": {"app": format!("d{number}")}},
                        "spec": {"containers": [{
                            "name": "c", "image": "registry.example/c:v1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                        }]},
                    },
                },
            }))
            .unwrap();
            deployments.create(&PostParams::default(), &deployment).await.unwrap();
        }
        loop {
            let cached = cluster.manager().cache::<Pod>();
            let ready = cached.list().iter().filter(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")).count();
            if ready >= pods {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        println!("{pods} pods Running: {:.2?} of real time; {} writes", begun.elapsed(), cluster.log().count());
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
    });
}
