//! What a node does for its pods: hooks, deadlines, admission, sidecars, environments, restarts of the agent.

use std::time::Duration;

use homeostat::cri::FakeRuntime;
use homeostat::cri::fake::Script;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;

const IMAGE: &str = "registry.example/c:v1";

async fn start() -> (Cluster, Api<Pod>, FakeRuntime) {
    let cluster = Cluster::builder().nodes(1).seed(5).start().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let runtime = cluster.node("node-1").runtime().clone();
    (cluster, pods, runtime)
}

async fn create(pods: &Api<Pod>, name: &str, spec: Value) {
    let pod = json!({"metadata": {"name": name}, "spec": spec});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
}

/// A spec with one container and these fields of it.
fn one(fields: Value) -> Value {
    let mut container = json!({"name": "c", "image": IMAGE});
    let own = fields.as_object().unwrap().clone();
    container.as_object_mut().unwrap().extend(own);
    json!({"containers": [container]})
}

async fn phase(pods: &Api<Pod>, name: &str) -> String {
    let pod = pods.get(name).await.unwrap();
    pod.status.unwrap().phase.unwrap()
}

async fn container(pods: &Api<Pod>, name: &str) -> ContainerStatus {
    let pod = pods.get(name).await.unwrap();
    pod.status.unwrap().container_statuses.unwrap().remove(0)
}

async fn waiting(pods: &Api<Pod>, name: &str) -> String {
    let state = container(pods, name).await.state.unwrap();
    state
        .waiting
        .and_then(|waiting| waiting.reason)
        .unwrap_or_default()
}

async fn has_event(cluster: &Cluster, reason: &str, message: &str) -> bool {
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let events = events.list(&ListParams::default()).await.unwrap().items;
    events.iter().any(|event| {
        event.reason.as_deref() == Some(reason)
            && event
                .message
                .as_deref()
                .is_some_and(|said| said.contains(message))
    })
}

async fn gone_after(pods: &Api<Pod>, name: &str, params: &DeleteParams) -> Duration {
    let begun = Instant::now();
    pods.delete(name, params).await.unwrap();
    while pods.get_opt(name).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn post_start_holds_back_and_its_failure_restarts() {
    let (cluster, pods, runtime) = start().await;
    let script = Script::default()
        .command("warm-up", Duration::from_secs(20), 0, "")
        .command("broken", Duration::ZERO, 7, "no such thing");
    runtime.script(IMAGE, script);
    let hook =
        |command: &str| one(json!({"lifecycle": {"postStart": {"exec": {"command": [command]}}}}));
    create(&pods, "slow", hook("warm-up")).await;
    create(&pods, "bad", hook("broken")).await;
    cluster.advance(Duration::from_secs(10)).await;
    assert_eq!(phase(&pods, "slow").await, "Pending");
    cluster.advance(Duration::from_secs(15)).await;
    assert_eq!(phase(&pods, "slow").await, "Running");
    assert!(has_event(&cluster, "FailedPostStartHook", "PostStartHook failed").await);
    assert!(has_event(&cluster, "Killing", "FailedPostStartHook").await);
    let bad = container(&pods, "bad").await;
    assert!(bad.restart_count >= 1, "{bad:?}");
    let reason = waiting(&pods, "bad").await;
    assert!(
        matches!(reason.as_str(), "PostStartHookError" | "CrashLoopBackOff"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn pre_stop_runs_within_the_grace_period() {
    let (cluster, pods, runtime) = start().await;
    runtime.script(
        IMAGE,
        Script::default()
            .stop_takes(Duration::from_secs(1))
            .command("broken", Duration::from_secs(2), 1, "")
            .command("endless", Duration::from_secs(3600), 0, ""),
    );
    let stop = |hook: Value| {
        let mut spec = one(json!({"lifecycle": {"preStop": hook}}));
        spec["terminationGracePeriodSeconds"] = 20.into();
        spec
    };
    for (name, hook, seconds) in [
        ("sleeps", json!({"sleep": {"seconds": 5}}), 6),
        ("fails", json!({"exec": {"command": ["broken"]}}), 3),
        ("hangs", json!({"exec": {"command": ["endless"]}}), 21),
        ("asks", json!({"httpGet": {"port": 80}}), 1),
    ] {
        create(&pods, name, stop(hook)).await;
        cluster.settle().await.unwrap();
        let took = gone_after(&pods, name, &DeleteParams::default())
            .await
            .as_secs();
        assert_eq!(took, seconds, "{name}");
    }
    cluster.settle().await.unwrap();
    assert!(has_event(&cluster, "FailedPreStopHook", "PreStopHook failed").await);
}

#[tokio::test(start_paused = true)]
async fn a_shorter_grace_period_counts_at_once() {
    let (cluster, pods, runtime) = start().await;
    runtime.script(
        IMAGE,
        Script::default().stop_takes(Duration::from_secs(600)),
    );
    let mut spec = one(json!({}));
    spec["terminationGracePeriodSeconds"] = 500.into();
    create(&pods, "stubborn", spec).await;
    cluster.settle().await.unwrap();
    pods.delete("stubborn", &DeleteParams::default())
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(30)).await;
    assert!(pods.get_opt("stubborn").await.unwrap().is_some());
    let sooner = DeleteParams {
        grace_period_seconds: Some(5),
        ..DeleteParams::default()
    };
    let took = gone_after(&pods, "stubborn", &sooner).await.as_secs();
    assert!((5..=6).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_deleted_while_its_image_is_pulled() {
    let (cluster, pods, runtime) = start().await;
    runtime.script(
        IMAGE,
        Script::default().pull_takes(Duration::from_secs(3600)),
    );
    create(&pods, "pulls", one(json!({}))).await;
    cluster.advance(Duration::from_secs(10)).await;
    let status = pods.get("pulls").await.unwrap().status.unwrap();
    assert!(status.start_time.is_some());
    assert_eq!(waiting(&pods, "pulls").await, "ContainerCreating");
    let took = gone_after(&pods, "pulls", &DeleteParams::default()).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    cluster.settle().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deadline_fails_the_pod() {
    let (cluster, pods, _) = start().await;
    let mut spec = one(json!({}));
    spec["activeDeadlineSeconds"] = 30.into();
    create(&pods, "short", spec).await;
    cluster.advance(Duration::from_secs(25)).await;
    assert_eq!(phase(&pods, "short").await, "Running");
    cluster.advance(Duration::from_secs(10)).await;
    let status = pods.get("short").await.unwrap().status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(
        status.message.as_deref(),
        Some("Pod was active on the node longer than the specified deadline")
    );
    let ended = status.container_statuses.unwrap().remove(0).state.unwrap();
    assert!(ended.terminated.is_some());
    cluster.settle().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_refuses_what_it_cannot_run() {
    let (cluster, pods, _) = start().await;
    let bound = |fields: Value| {
        let mut spec = one(json!({"resources": {"requests": {"cpu": "3"}}}));
        spec["nodeName"] = "node-1".into();
        spec.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        spec
    };
    create(&pods, "first", bound(json!({}))).await;
    cluster.settle().await.unwrap();
    create(&pods, "second", bound(json!({}))).await;
    create(
        &pods,
        "elsewhere",
        bound(
            json!({"nodeSelector": {"zone": "b"}, "containers": [{"name": "c", "image": IMAGE}]}),
        ),
    )
    .await;
    cluster.settle().await.unwrap();
    assert_eq!(phase(&pods, "first").await, "Running");
    for (name, reason, message) in [
        (
            "second",
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 3000, capacity: 4000",
        ),
        (
            "elsewhere",
            "NodeAffinity",
            "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
    ] {
        let status = pods.get(name).await.unwrap().status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Failed"), "{name}");
        assert_eq!(status.reason.as_deref(), Some(reason), "{name}");
        assert_eq!(status.message.as_deref(), Some(message), "{name}");
        assert!(
            has_event(
                &cluster,
                reason,
                message.trim_start_matches("Pod was rejected: ")
            )
            .await
        );
    }
}

#[tokio::test(start_paused = true)]
async fn sidecars_start_first_and_end_last() {
    let (cluster, pods, runtime) = start().await;
    let slow = "registry.example/slow:v1";
    runtime.script(
        slow,
        Script::default().healthy_after(Duration::from_secs(5)),
    );
    runtime.script(
        "registry.example/job:v1",
        Script::default().exits(Duration::from_secs(30), 0),
    );
    let sidecar = |name: &str, image: &str| {
        json!({"name": name, "image": image, "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 30}})
    };
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [sidecar("one", slow), {"name": "init", "image": "registry.example/job:v1"}, sidecar("two", IMAGE)],
        "containers": [{"name": "job", "image": "registry.example/job:v1"}],
    });
    create(&pods, "p", spec).await;
    cluster.settle().await.unwrap();
    let calls = runtime.calls();
    assert_eq!(
        calls,
        [
            "start default/p/one",
            "start default/p/init",
            "start default/p/two",
            "start default/p/job",
            "stop default/p/two",
            "stop default/p/one",
        ]
    );
    let status = pods.get("p").await.unwrap().status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    let conditions = status.conditions.unwrap();
    let sandbox = conditions
        .iter()
        .find(|condition| condition.type_ == "PodReadyToStartContainers");
    assert_eq!(sandbox.unwrap().status, "False");
}

#[tokio::test(start_paused = true)]
async fn environments_come_from_everywhere() {
    let (cluster, pods, runtime) = start().await;
    cluster
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {MODE: fast}\n")
        .await
        .unwrap();
    let spec = one(json!({
        "resources": {"limits": {"cpu": "1500m"}},
        "command": ["run", "--mode=$(X_MODE)", "$$(X_MODE)", "$(NOPE)"],
        "envFrom": [{"prefix": "X_", "configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "BOTH", "value": "$(NODE)/$(CPUS)"},
            {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "LATER"}}},
        ],
    }));
    create(&pods, "p", spec).await;
    cluster.advance(Duration::from_secs(5)).await;
    let state = container(&pods, "p").await.state.unwrap().waiting.unwrap();
    assert_eq!(state.reason.as_deref(), Some("CreateContainerConfigError"));
    assert_eq!(
        state.message.as_deref(),
        Some("couldn't find key LATER in ConfigMap default/settings")
    );
    cluster
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {MODE: fast, LATER: now}\n")
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    let config = runtime.started("default", "p", "c").unwrap();
    let get = |name: &str| {
        config
            .env
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    };
    for (name, value) in [
        ("X_MODE", "fast"),
        ("CPUS", "2"),
        ("MEMORY", "16384"),
        ("NODE", "node-1"),
        ("BOTH", "node-1/2"),
        ("KEY", "now"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
    ] {
        assert_eq!(get(name), Some(value), "{name}");
    }
    assert_eq!(
        config.command,
        ["run", "--mode=fast", "$(X_MODE)", "$(NOPE)"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_adopts_what_runs() {
    let (cluster, pods, runtime) = start().await;
    create(
        &pods,
        "p",
        one(json!({"readinessProbe": {"tcpSocket": {"port": 80}}})),
    )
    .await;
    cluster.settle().await.unwrap();
    let before = pods.get("p").await.unwrap();
    let node = cluster.node("node-1");
    node.stop().await;
    cluster.advance(Duration::from_secs(20)).await;
    node.start().await.unwrap();
    cluster.settle().await.unwrap();
    let after = pods.get("p").await.unwrap();
    let plain = |pod: &Pod| serde_json::to_value(&pod.status).unwrap();
    assert_eq!(plain(&before), plain(&after));
    assert_eq!(
        runtime
            .calls()
            .iter()
            .filter(|call| call.starts_with("start"))
            .count(),
        1
    );
    // A machine that lost its power starts the pod anew and counts that.
    node.crash().await;
    node.start().await.unwrap();
    cluster.settle().await.unwrap();
    let container = container(&pods, "p").await;
    assert_eq!(container.restart_count, 1);
    assert!(container.ready);
    assert_eq!(phase(&pods, "p").await, "Running");
}

#[tokio::test(start_paused = true)]
async fn ends_are_told_as_they_were() {
    let (cluster, pods, runtime) = start().await;
    runtime.script(
        IMAGE,
        Script::default()
            .runs_out_of_memory(Duration::from_secs(5))
            .says("the cache grew"),
    );
    let mut spec = one(json!({}));
    spec["restartPolicy"] = "Never".into();
    create(&pods, "big", spec).await;
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [137]}}]);
    let mut again = one(json!({"restartPolicy": "Never", "restartPolicyRules": rules}));
    again["restartPolicy"] = "Never".into();
    create(&pods, "again", again).await;
    cluster.advance(Duration::from_secs(8)).await;
    assert_eq!(phase(&pods, "big").await, "Failed");
    let ended = container(&pods, "big")
        .await
        .state
        .unwrap()
        .terminated
        .unwrap();
    assert_eq!(ended.exit_code, 137);
    assert_eq!(ended.reason.as_deref(), Some("OOMKilled"));
    assert_eq!(ended.message.as_deref(), Some("the cache grew"));
    let again = container(&pods, "again").await;
    assert_eq!(phase(&pods, "again").await, "Running");
    assert_eq!(again.restart_count, 1);
    assert_eq!(
        again
            .last_state
            .unwrap()
            .terminated
            .unwrap()
            .reason
            .as_deref(),
        Some("OOMKilled")
    );
}

#[tokio::test(start_paused = true)]
async fn one_container_restarts_all() {
    let (cluster, pods, runtime) = start().await;
    let image = |name: &str| format!("registry.example/{name}:v1");
    let after = Duration::from_secs;
    runtime.script(image("once"), Script::default().exits(after(1), 0));
    runtime.script(image("source"), Script::default().exits(after(5), 42));
    runtime.script(image("plain"), Script::default().stop_takes(after(1)));
    let of = |name: &str, policy: &str| json!({"name": name, "image": image(name), "restartPolicy": policy});
    let mut source = of("source", "Never");
    source["restartPolicyRules"] = json!([
        {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}},
    ]);
    let mut plain = of("plain", "Never");
    // It is quick: nobody says goodbye.
    plain["lifecycle"] = json!({"preStop": {"exec": {"command": ["bye"]}}});
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "once", "image": image("once")}, of("side", "Always"),
        ],
        "containers": [source, plain, of("once", "Never")],
    });
    let mut spec = spec;
    spec["containers"][2]["name"] = "done".into();
    create(&pods, "p", spec).await;
    cluster.advance(after(4)).await;
    let before = pods.get("p").await.unwrap();
    let started = || {
        let calls = runtime.calls();
        let mut names: Vec<_> = calls
            .iter()
            .filter_map(|call| call.strip_prefix("start "))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    };
    let first = started();
    assert_eq!(first.len(), 5, "{first:?}");
    let condition = |pod: &Pod| {
        let conditions = pod.status.as_ref().unwrap().conditions.as_ref().unwrap();
        let mut conditions = conditions.iter();
        let found = conditions.find(|one| one.type_ == "AllContainersRestarting");
        found.map(|found| {
            (
                found.status.clone(),
                found.reason.clone().unwrap_or_default(),
            )
        })
    };
    assert_eq!(condition(&before), Some(("False".into(), String::new())));
    // It ends at 6 s; to end and to begin take a second each.
    cluster.advance(Duration::from_millis(2500)).await;
    let ending = pods.get("p").await.unwrap();
    let started_to = ("True".to_owned(), "RestartAllContainersStarted".to_owned());
    assert_eq!(condition(&ending), Some(started_to));
    assert_eq!(ending.status.unwrap().phase.as_deref(), Some("Running"));
    cluster.advance(after(3)).await;
    let twice = started();
    assert_eq!(twice.len(), 10, "{twice:?}");
    assert!(!runtime.calls().iter().any(|call| call.starts_with("exec")));
    let restarted = pods.get("p").await.unwrap();
    let status = restarted.status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(status.pod_ip, before.status.unwrap().pod_ip);
    let lists = [status.container_statuses, status.init_container_statuses];
    for one in lists.into_iter().flatten().flatten() {
        assert_eq!(one.restart_count, 1, "{one:?}");
        let last = one.last_state.unwrap().terminated.unwrap();
        assert_eq!(last.reason.as_deref(), Some("RestartingAllContainers"));
        assert_eq!(last.exit_code, 137);
    }
    assert_eq!(condition(&restarted), Some(("False".into(), String::new())));
    // What ends again and again has to wait; what does not is there meanwhile.
    cluster.advance(after(7)).await;
    assert_eq!(phase(&pods, "p").await, "Running");
    let status = pods.get("p").await.unwrap().status.unwrap();
    for one in status.container_statuses.unwrap() {
        let state = one.state.unwrap();
        let waits = state.waiting.and_then(|waiting| waiting.reason);
        let expected = (one.name == "source").then_some("CrashLoopBackOff");
        assert_eq!(waits.as_deref(), expected, "{}", one.name);
        assert_eq!(one.restart_count, 2, "{}", one.name);
    }
    cluster.advance(after(8)).await;
    assert_eq!(started().len(), 15);
}

#[tokio::test(start_paused = true)]
async fn others_open_readiness_gates() {
    let (cluster, pods, _) = start().await;
    let mut spec = one(json!({}));
    spec["readinessGates"] = json!([{"conditionType": "example.com/ok"}]);
    create(&pods, "gated", spec).await;
    cluster.settle().await.unwrap();
    let ready = |pod: Pod| {
        let conditions = pod.status.unwrap().conditions.unwrap();
        let ready = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Ready")
            .unwrap();
        (ready.status, ready.reason)
    };
    let (status, reason) = ready(pods.get("gated").await.unwrap());
    assert_eq!(
        (status.as_str(), reason.as_deref()),
        ("False", Some("ReadinessGatesNotReady"))
    );
    let open = json!({"status": {"conditions": [{"type": "example.com/ok", "status": "True"}]}});
    pods.patch_status("gated", &PatchParams::default(), &Patch::Strategic(open))
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(ready(pods.get("gated").await.unwrap()).0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_pod_held_by_a_finalizer_shows_how_it_ended() {
    let (cluster, pods, _) = start().await;
    let pod = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}, "spec": one(json!({}))});
    pods.create(
        &PostParams::default(),
        &serde_json::from_value(pod).unwrap(),
    )
    .await
    .unwrap();
    cluster.settle().await.unwrap();
    pods.delete("held", &DeleteParams::default()).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(phase(&pods, "held").await, "Succeeded");
    cluster
        .stays_settled(Duration::from_secs(300))
        .await
        .unwrap();
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    pods.patch("held", &PatchParams::default(), &release)
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert!(pods.get_opt("held").await.unwrap().is_none());
}
