//! A store that fails now and then, and forgets its history in the worst moments: everything that stands on it gets there
//! all the same.

use std::time::Duration;

use homeostat::store::Faults;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

const GUESTBOOK: &str = include_str!("../../examples/manifests/guestbook.yaml");

/// Two minutes of `faults` while a Deployment is rolled out, from several seeds; then all of it must be there.
async fn converges(seeds: std::ops::Range<u64>, faults: Faults) {
    for seed in seeds {
        let cluster = Cluster::builder()
            .nodes(3)
            .seed(seed)
            .start()
            .await
            .unwrap();
        cluster.apply(GUESTBOOK).await.unwrap();
        cluster.set_faults(faults);
        cluster.advance(Duration::from_secs(120)).await;
        cluster.set_faults(Faults::default());
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

#[tokio::test(start_paused = true)]
async fn a_failing_store_delays_and_loses_nothing() {
    let faults = Faults::default()
        .before_commit(50)
        .after_commit(50)
        .reads(50)
        .watches(20)
        .latency(Duration::from_millis(20));
    converges(0..8, faults).await;
}

/// Watches begin anew again and again, lists are made again, and what happened meanwhile is found all the same.
#[tokio::test(start_paused = true)]
async fn a_forgetful_store_delays_and_loses_nothing() {
    let forgets = Faults::default().compactions(200);
    converges(0..8, forgets).await;
    let also_fails = forgets.after_commit(50).reads(50).watches(20);
    converges(8..16, also_fails.latency(Duration::from_millis(20))).await;
}
