//! A store that fails now and then: everything that stands on it gets there all the same.

use std::sync::Arc;
use std::time::Duration;

use homeostat::clock::Clock;
use homeostat::store::{Faults, FaultyStore, MemoryStore};
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

const GUESTBOOK: &str = include_str!("../../examples/manifests/guestbook.yaml");

#[tokio::test(start_paused = true)]
async fn a_failing_store_delays_and_loses_nothing() {
    for seed in 0..8 {
        let store = FaultyStore::new(Arc::new(MemoryStore::default()), &Clock::seeded(seed));
        let shared = Arc::new(store.clone());
        let cluster = Cluster::builder()
            .nodes(3)
            .seed(seed)
            .with(|cluster| cluster.store(shared))
            .start()
            .await
            .unwrap();
        cluster.apply(GUESTBOOK).await.unwrap();
        let faults = Faults::default()
            .before_commit(50)
            .after_commit(50)
            .reads(50)
            .watches(20)
            .latency(Duration::from_millis(20));
        store.set(faults);
        cluster.advance(Duration::from_secs(120)).await;
        store.set(Faults::default());
        cluster
            .settle()
            .await
            .unwrap_or_else(|busy| panic!("seed {seed}: {busy}"));
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        let running = pods
            .iter()
            .filter(|pod| pod.status.as_ref().unwrap().phase.as_deref() == Some("Running"));
        assert_eq!((running.count(), pods.len()), (3, 3), "seed {seed}");
    }
}
