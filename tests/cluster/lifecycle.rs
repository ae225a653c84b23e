//! Ends and beginnings: namespaces, owners and dependents, probes, init containers, leaders.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use homeostat::cri::fake::Script;
use homeostat::reconcile::leader::{Elector, LeaderConfig};
use homeostat::reconcile::{
    Action, Controller, Error, Key, Leadership, Manager, Reconciler, Source,
};
use homeostat::testing::Cluster;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use serde_json::json;

const GUESTBOOK: &str = include_str!("../../examples/manifests/guestbook.yaml");

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_is_emptied_first() {
    let cluster = Cluster::builder().nodes(1).seed(2).start().await.unwrap();
    cluster
        .apply(
            "
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: held, namespace: team, finalizers: [example.com/hold]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: team}
spec: {containers: [{name: c, image: 'registry.example/c:v1'}]}
",
        )
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    let client = cluster.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete("team", &DeleteParams::default())
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    // A finalizer holds the namespace, and its status says so.
    let status = namespaces.get("team").await.unwrap().status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Terminating"));
    let conditions = status.conditions.unwrap();
    let remaining = conditions
        .iter()
        .find(|condition| condition.type_ == "NamespaceFinalizersRemaining")
        .unwrap();
    assert_eq!(remaining.status, "True");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "team");
    assert!(
        pods.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let maps: Api<ConfigMap> = Api::namespaced(client, "team");
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &release)
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert!(namespaces.get_opt("team").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn dependents_go_with_their_owner_or_are_left() {
    for (policy, left) in [
        (PropagationPolicy::Background, 0),
        (PropagationPolicy::Foreground, 0),
        (PropagationPolicy::Orphan, 1),
    ] {
        let cluster = Cluster::builder().nodes(1).seed(2).start().await.unwrap();
        cluster.apply(GUESTBOOK).await.unwrap();
        cluster.settle().await.unwrap();
        let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
        let params = DeleteParams {
            propagation_policy: Some(policy.clone()),
            ..DeleteParams::default()
        };
        deployments.delete("guestbook", &params).await.unwrap();
        cluster.settle().await.unwrap();
        let sets: Api<ReplicaSet> = Api::default_namespaced(cluster.client());
        let sets = sets.list(&ListParams::default()).await.unwrap().items;
        assert_eq!(sets.len(), left, "{policy:?}");
        assert!(
            sets.iter()
                .all(|set| set.metadata.owner_references.is_none()),
            "{policy:?}"
        );
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        assert_eq!(
            pods.list(&ListParams::default()).await.unwrap().items.len(),
            3 * left,
            "{policy:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn probes_hold_back_and_restart() {
    let cluster = Cluster::builder().nodes(1).seed(2).start().await.unwrap();
    let runtime = cluster.node("node-1").runtime();
    runtime.script(
        "registry.example/late:v1",
        Script::default().healthy_after(Duration::from_secs(25)),
    );
    runtime.script("registry.example/sick:v1", Script::default().unhealthy());
    cluster
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: late}
spec: {containers: [{name: c, image: 'registry.example/late:v1', readinessProbe: {tcpSocket: {port: 80}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: sick}
spec: {containers: [{name: c, image: 'registry.example/sick:v1', livenessProbe: {exec: {command: [check]}, periodSeconds: 5}}]}
",
        )
        .await
        .unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().unwrap().conditions.clone().unwrap();
        conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    cluster.advance(Duration::from_secs(10)).await;
    let late = pods.get("late").await.unwrap();
    assert!(!ready(&late) && late.status.unwrap().phase.as_deref() == Some("Running"));
    cluster.advance(Duration::from_secs(30)).await;
    assert!(ready(&pods.get("late").await.unwrap()));
    // Three failures, five seconds apart, restart the other.
    let sick = pods
        .get("sick")
        .await
        .unwrap()
        .status
        .unwrap()
        .container_statuses
        .unwrap();
    assert!(sick[0].restart_count >= 1, "{sick:?}");
}

#[tokio::test(start_paused = true)]
async fn missing_images_and_config_wait_and_recover() {
    let cluster = Cluster::builder().nodes(1).seed(2).start().await.unwrap();
    let runtime = cluster.node("node-1").runtime();
    runtime.script(
        "registry.example/absent:v1",
        Script::default().pull_fails("not found"),
    );
    cluster
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: absent}
spec: {containers: [{name: c, image: 'registry.example/absent:v1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: wants}
spec: {containers: [{name: c, image: 'registry.example/c:v1', envFrom: [{configMapRef: {name: settings}}]}]}
",
        )
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let waiting = |pod: Pod| {
        let container = pod.status.unwrap().container_statuses.unwrap().remove(0);
        container.state.unwrap().waiting.unwrap().reason.unwrap()
    };
    assert_eq!(waiting(pods.get("absent").await.unwrap()), "ErrImagePull");
    assert_eq!(
        waiting(pods.get("wants").await.unwrap()),
        "CreateContainerConfigError"
    );
    runtime.script("registry.example/absent:v1", Script::default());
    cluster
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n")
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    for name in ["absent", "wants"] {
        assert_eq!(
            pods.get(name)
                .await
                .unwrap()
                .status
                .unwrap()
                .phase
                .as_deref(),
            Some("Running"),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_candidate_leads_until_it_gives_up() {
    let cluster = Cluster::builder().seed(2).start().await.unwrap();
    let elector = |name: &str| {
        let config = LeaderConfig::new("kube-system", "example", name);
        Elector::new(cluster.client(), cluster.clock().fork(name), config)
    };
    let (mut one, mut two) = (elector("one"), elector("two"));
    one.acquire().await;
    let waits = tokio::time::timeout(Duration::from_secs(5), two.acquire());
    assert!(waits.await.is_err());
    one.release().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), two.acquire())
        .await
        .unwrap();
    // A leader that is not heard of is replaced when its lease has run out.
    let start = tokio::time::Instant::now();
    one.acquire().await;
    assert!(
        start.elapsed() >= Duration::from_secs(13),
        "{:?}",
        start.elapsed()
    );
}

/// Notes which manager reconciled what.
struct Notes {
    name: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Reconciler for Notes {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let note = format!("{} {}", self.name, key.name);
        self.seen.lock().unwrap().push(note);
        Ok(Action::Done)
    }
}

#[tokio::test(start_paused = true)]
async fn a_managers_controllers_run_only_while_it_leads() {
    let cluster = Cluster::builder().seed(2).start().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut managers = Vec::new();
    for name in ["one", "two"] {
        let manager = Manager::new(cluster.client(), cluster.clock().fork(name));
        let maps = manager.cache::<ConfigMap>();
        let notes = Notes {
            name,
            seen: seen.clone(),
        };
        let own = |_: Option<&Arc<ConfigMap>>, new: Option<&Arc<ConfigMap>>| {
            let map = new.filter(|map| map.metadata.namespace.as_deref() == Some("default"));
            let key = map.map(|map| Key::of(&**map));
            key.filter(|key| key.name.starts_with("map"))
                .into_iter()
                .collect()
        };
        manager.add(Controller::new("notes", notes).source(Source::mapped(&maps, own)));
        manager.elect(LeaderConfig::new("kube-system", "notes", name));
        manager.start().await.unwrap();
        cluster.advance(Duration::from_secs(5)).await;
        managers.push(manager);
    }
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let notes = || seen.lock().unwrap().clone();
    cluster.apply(&map("map-a")).await.unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    assert_eq!(notes(), ["one map-a"]);
    let status = |manager: &Manager| *manager.leadership().borrow();
    assert_eq!(status(&managers[0]), Leadership::Leader);
    assert_eq!(status(&managers[1]), Leadership::Candidate);
    let text = managers[0].metrics_text();
    for line in [
        "workqueue_adds_total{controller=\"notes\",name=\"notes\"} 1",
        "workqueue_work_duration_seconds_count{controller=\"notes\",name=\"notes\"} 1",
        "controller_runtime_reconcile_total{controller=\"notes\",result=\"success\"} 1",
        "leader_election_master_status{name=\"notes\"} 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line}\n{text}");
    }
    // It gives up as it stops: the other one takes over at once, and looks at all there is.
    managers[0].stop().await;
    cluster.advance(Duration::from_secs(5)).await;
    assert_eq!(status(&managers[1]), Leadership::Leader);
    assert_eq!(notes(), ["one map-a", "two map-a"]);
    // A third one takes the lease by force: the second one's controllers end.
    let leases: Api<Lease> = Api::namespaced(cluster.client(), "kube-system");
    let taken =
        json!({"spec": {"holderIdentity": "three", "renewTime": "2026-01-01T01:00:00.000000Z"}});
    leases
        .patch("notes", &PatchParams::default(), &Patch::Merge(taken))
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    assert_eq!(status(&managers[1]), Leadership::Lost);
    cluster.apply(&map("map-b")).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    assert_eq!(notes(), ["one map-a", "two map-a"]);
    assert!(
        managers[1]
            .metrics_text()
            .contains("leader_election_master_status{name=\"notes\"} 0")
    );
}
