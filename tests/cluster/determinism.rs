//! Same seed, same run.

use homeostat::testing::Cluster;

const GUESTBOOK: &str = include_str!("../../examples/manifests/guestbook.yaml");

/// A scenario with a failure; the hash of its writes, and the writes themselves.
fn run(seed: u64) -> (u64, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let cluster = Cluster::builder()
            .nodes(3)
            .seed(seed)
            .start()
            .await
            .unwrap();
        cluster.apply(GUESTBOOK).await.unwrap();
        cluster.settle().await.unwrap();
        cluster.node("node-2").crash().await;
        cluster.settle().await.unwrap();
        cluster.node("node-2").start().await.unwrap();
        cluster.settle().await.unwrap();
        let log = cluster
            .log()
            .entries()
            .iter()
            .map(ToString::to_string)
            .collect();
        (cluster.log().hash(), log)
    })
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let (one, two, other) = (run(11), run(11), run(12));
    let differs = one.1.iter().zip(&two.1).find(|(a, b)| a != b);
    assert_eq!(differs, None);
    assert_eq!(one.0, two.0);
    assert_ne!(one.0, other.0);
}
