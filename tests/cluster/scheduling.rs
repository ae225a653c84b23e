//! Users' scheduler plugins.

use homeostat::scheduler::SchedulerConfig;
use homeostat::scheduler::framework::{
    CycleState, Filter, NodeInfo, Plugin, PodInfo, Profile, Status,
};
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

/// Keeps pods off `node-1`, and cannot bear one of them.
#[derive(Debug)]
struct Picky;

impl Plugin for Picky {
    fn name(&self) -> &'static str {
        "Picky"
    }
}

impl Filter for Picky {
    fn filter(&self, _state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> Status {
        assert!(&*pod.key.name != "cursed", "cannot bear it");
        if &*node.name == "node-1" {
            Status::unschedulable("node(s) were not liked")
        } else {
            Status::success()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_users_filter_counts_and_its_panic_fails_its_pod_only() {
    let config = SchedulerConfig::default().profile(Profile::default().filter(Picky));
    let cluster = Cluster::builder()
        .nodes(2)
        .seed(4)
        .with(|cluster| cluster.scheduler(config))
        .start()
        .await
        .unwrap();
    for name in ["cursed", "a", "b", "c"] {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: 'registry.example/c:v1'}}]}}\n"
        );
        cluster.apply(&pod).await.unwrap();
    }
    cluster.advance(std::time::Duration::from_secs(30)).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for name in ["a", "b", "c"] {
        assert_eq!(
            pods.get(name)
                .await
                .unwrap()
                .spec
                .unwrap()
                .node_name
                .as_deref(),
            Some("node-2"),
            "{name}"
        );
    }
    let cursed = pods.get("cursed").await.unwrap();
    assert_eq!(cursed.spec.unwrap().node_name, None);
    let conditions = cursed.status.unwrap().conditions.unwrap();
    assert_eq!(conditions[0].reason.as_deref(), Some("SchedulerError"));
    assert!(
        conditions[0]
            .message
            .as_deref()
            .unwrap()
            .contains("cannot bear it")
    );
    // What keeps it busy is named.
    let busy = cluster.settle().await.unwrap_err();
    assert!(busy.to_string().contains("default/cursed"), "{busy}");
}
