//! Hollow nodes whose pods and nodes live as KWOK's `Stage` documents say, on virtual time.

use std::time::Duration;

use homeostat::node::Stage;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

/// A life in three stages: a pod is created after a second or two, then runs or fails by chance, and takes its time to go.
const LIFE: &str = r#"
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: create}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: DoesNotExist}
  delay: {durationMilliseconds: 1000, jitterDurationMilliseconds: 2000}
  next:
    event: {type: Normal, reason: Created, message: Created container}
    finalizers: {add: [{value: example.com/kept}]}
    statusTemplate: |
      podIP: {{ PodIPWith .spec.nodeName false "" "" "" | Quote }}
      hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
      startTime: {{ Now | Quote }}
      phase: Pending
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: run}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: Exists}
    - {key: .status.phase, operator: In, values: [Pending]}
  weight: 3
  delay:
    durationMilliseconds: 1000
    durationFrom: {expressionFrom: '.metadata.annotations["example.com/delay"]'}
  next:
    statusTemplate: |
      conditions:
      - type: Ready
        status: "True"
        lastTransitionTime: {{ Now | Quote }}
      containerStatuses:
      {{ range .spec.containers }}
      - name: {{ .name | Quote }}
        image: {{ .image | Quote }}
        imageID: ""
        ready: true
        restartCount: 0
        state: {running: {startedAt: {{ Now | Quote }}}}
      {{ end }}
      phase: Running
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: fail}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: Exists}
    - {key: .status.phase, operator: In, values: [Pending]}
  weight: 1
  weightFrom: {expressionFrom: '.metadata.annotations["example.com/fail"]'}
  delay: {durationMilliseconds: 500}
  next: {statusTemplate: "phase: Failed"}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: Exists}
  delay: {durationMilliseconds: 5000}
  next:
    finalizers: {empty: true}
    delete: true
"#;

async fn start(nodes: usize, stages: &str) -> Cluster {
    let stages = Stage::parse(stages).unwrap();
    let with =
        |cluster: homeostat::cluster::ClusterBuilder| cluster.hollow_nodes(nodes).stages(stages);
    Cluster::builder().with(with).seed(3).start().await.unwrap()
}

async fn create(pods: &Api<Pod>, name: &str, annotations: serde_json::Value) {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"containers": [{"name": "c", "image": "registry.example/c:v1"}]},
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref().unwrap();
    status.phase.as_deref().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn pods_live_as_their_stages_say() {
    let cluster = start(3, LIFE).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let never = json!({"example.com/fail": "0"});
    create(&pods, "plain", never.clone()).await;
    let mut slow = never.clone();
    slow["example.com/delay"] = "1m".into();
    create(&pods, "slow", slow).await;
    cluster.advance(Duration::from_millis(800)).await;
    assert!(
        pods.get("plain")
            .await
            .unwrap()
            .status
            .unwrap()
            .pod_ip
            .is_none()
    );
    cluster.advance(Duration::from_millis(4200)).await;
    let plain = pods.get("plain").await.unwrap();
    assert_eq!(phase(&plain), "Running");
    assert_eq!(
        plain.metadata.finalizers.as_deref(),
        Some(&["example.com/kept".to_owned()][..])
    );
    let status = plain.status.unwrap();
    assert_eq!(status.container_statuses.unwrap()[0].name, "c");
    assert!(status.pod_ip.unwrap().starts_with("10."));
    let slow = pods.get("slow").await.unwrap();
    assert_eq!(phase(&slow), "Pending");
    assert!(slow.status.unwrap().pod_ip.is_some());
    cluster.settle().await.unwrap();
    assert_eq!(phase(&pods.get("slow").await.unwrap()), "Running");
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let events = events.list(&ListParams::default()).await.unwrap();
    let created = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("Created"));
    assert_eq!(created.count(), 2);

    pods.delete("plain", &DeleteParams::default())
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(4)).await;
    assert!(pods.get_opt("plain").await.unwrap().is_some());
    cluster.advance(Duration::from_secs(2)).await;
    assert!(pods.get_opt("plain").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn some_fail_by_chance() {
    let cluster = start(3, LIFE).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    for number in 0..100 {
        create(&pods, &format!("p{number}"), json!({})).await;
    }
    cluster.settle().await.unwrap();
    let all = pods.list(&ListParams::default()).await.unwrap();
    let count = |wanted: &str| all.iter().filter(|pod| phase(pod) == wanted).count();
    // One in four.
    let (running, failed) = (count("Running"), count("Failed"));
    assert_eq!(running + failed, 100);
    assert!((10..45).contains(&failed), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn nodes_live_as_their_stages_say() {
    let cluster = start(
        2,
        r#"
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: initialize}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
    - key: '.status.conditions.[] | select( .type == "Ready" ) | .status'
      operator: NotIn
      values: ["True"]
  next:
    statusTemplate: |
      conditions:
      {{ range NodeConditions }}
      - {type: {{ .type | Quote }}, status: {{ .status | Quote }}, reason: {{ .reason | Quote }}, lastHeartbeatTime: {{ Now | Quote }}}
      {{ end }}
      phase: Running
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: heartbeat}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchLabels: {example.com/sick: "true"}
  delay: {durationMilliseconds: 20000, jitterDurationMilliseconds: 25000}
  next:
    statusTemplate: |
      conditions:
      - {type: DiskPressure, status: "True", reason: Sick, lastHeartbeatTime: {{ Now | Quote }}}
"#,
    )
    .await;
    let nodes: Api<Node> = Api::all(cluster.client());
    cluster.advance(Duration::from_secs(5)).await;
    let condition = async |node: &str, type_: &str| {
        let node = nodes.get(node).await.unwrap();
        let mut conditions = node.status.unwrap().conditions.unwrap().into_iter();
        conditions.find(|one| one.type_ == type_).unwrap()
    };
    for name in ["hollow-1", "hollow-2"] {
        assert_eq!(condition(name, "Ready").await.status, "True");
    }
    let sick = Patch::Merge(json!({"metadata": {"labels": {"example.com/sick": "true"}}}));
    let params = PatchParams::default();
    nodes.patch("hollow-1", &params, &sick).await.unwrap();
    cluster.advance(Duration::from_secs(15)).await;
    assert_eq!(condition("hollow-1", "DiskPressure").await.status, "False");
    cluster.advance(Duration::from_secs(15)).await;
    let first = condition("hollow-1", "DiskPressure").await;
    assert_eq!(first.status, "True");
    // It beats on and on.
    cluster.advance(Duration::from_secs(60)).await;
    let later = condition("hollow-1", "DiskPressure").await;
    assert!(later.last_heartbeat_time.unwrap().0 > first.last_heartbeat_time.unwrap().0);
    assert_eq!(condition("hollow-2", "DiskPressure").await.status, "False");
}
