//! Schedulers from outside: configured by a document, extended over a transport, explained, and run by themselves.

use std::sync::Arc;
use std::time::Duration;

use homeostat::scheduler::config::{Extender, KubeSchedulerConfiguration};
use homeostat::scheduler::explain::{ExplainError, Explainer, explain_pod};
use homeostat::scheduler::extender::{HttpExtender, Reply, transport_fn};
use homeostat::scheduler::framework::Registry;
use homeostat::scheduler::{Profile, SchedulerConfig, Standalone};
use homeostat::testing::Cluster;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

fn pod(name: &str, scheduler: &str, cpu: i32) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{schedulerName: {scheduler}, \
         containers: [{{name: c, image: 'registry.example/c:v1', resources: {{requests: {{cpu: '{cpu}'}}}}}}]}}\n"
    )
}

async fn node_of(cluster: &Cluster, name: &str) -> Option<String> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods.get(name).await.unwrap().spec.unwrap().node_name
}

#[tokio::test(start_paused = true)]
async fn extenders_filter_score_and_bind() {
    let mut broken = Extender::new("http://broken.example");
    broken.filter_verb = "filter".to_owned();
    broken.ignorable = true;
    let broken = HttpExtender::new(
        broken,
        Arc::new(transport_fn(|_, _| Err("it is off".into()))),
    );

    let mut picky = Extender::new("http://picky.example");
    picky.filter_verb = "filter".to_owned();
    picky.prioritize_verb = "prioritize".to_owned();
    picky.bind_verb = "bind".to_owned();
    picky.weight = 10;
    picky.node_cache_capable = true;
    let bound = Arc::new(Mutex::new(Vec::new()));
    let asked = bound.clone();
    let transport = transport_fn(move |url, said: &Value| {
        Ok(match url.rsplit('/').next().unwrap() {
            "filter" => {
                let names = said["NodeNames"].as_array().unwrap().iter();
                let big = said["Pod"]["metadata"]["name"] == "unwanted";
                let through: Vec<_> = names.filter(|name| !big && **name != "node-1").collect();
                Reply::ok(&json!({"NodeNames": through, "FailedNodes": {"node-1": "not this one"}}))
            }
            "prioritize" => Reply::ok(&json!([{"Host": "node-3", "Score": 10}])),
            _ => {
                asked.lock().push(said.clone());
                Reply::ok(&json!({"Error": ""}))
            }
        })
    });
    let picky = HttpExtender::new(picky, Arc::new(transport));
    let config = SchedulerConfig::default().extender(broken).extender(picky);
    let cluster = Cluster::builder()
        .nodes(3)
        .seed(4)
        .with(|cluster| cluster.scheduler(config));
    let cluster = cluster.start().await.unwrap();
    let unwanted = pod("unwanted", "default-scheduler", 1);
    cluster
        .apply(&(pod("a", "default-scheduler", 1) + &unwanted))
        .await
        .unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    let (name, node) = {
        let bound = bound.lock();
        let text = |field: &str| bound[0][field].as_str().unwrap().to_owned();
        (text("PodName"), text("Node"))
    };
    assert_eq!((name.as_str(), node.as_str()), ("a", "node-3"));
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let unwanted = pods.get("unwanted").await.unwrap();
    let conditions = unwanted.status.unwrap().conditions.unwrap();
    let message = conditions[0].message.as_deref().unwrap();
    assert!(message.contains("1 not this one"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn extenders_have_a_say_in_preemption() {
    let mut careful = Extender::new("http://careful.example");
    careful.preempt_verb = "preempt".to_owned();
    careful.node_cache_capable = true;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    let transport = transport_fn(move |_, said: &Value| {
        let candidates = said["NodeNameToMetaVictims"].as_object().unwrap();
        heard.lock().push(candidates.len());
        // Nobody is to leave but those on this node.
        let left = json!({"node-3": candidates["node-3"]});
        Ok(Reply::ok(&json!({"NodeNameToMetaVictims": left})))
    });
    let careful = HttpExtender::new(careful, Arc::new(transport));
    let config = SchedulerConfig::default().extender(careful);
    let cluster = Cluster::builder()
        .nodes(3)
        .seed(4)
        .with(|cluster| cluster.scheduler(config));
    let cluster = cluster.start().await.unwrap();
    let lesser: String = ["a", "b", "c"]
        .map(|name| pod(name, "default-scheduler", 3))
        .concat();
    cluster.apply(&lesser).await.unwrap();
    cluster.settle().await.unwrap();
    let class = "---\napiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 100\n";
    cluster.apply(class).await.unwrap();
    let high = pod("high", "default-scheduler", 3)
        .replace("schedulerName", "priorityClassName: high, schedulerName");
    cluster.apply(&high).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(node_of(&cluster, "high").await.as_deref(), Some("node-3"));
    assert_eq!(asked.lock()[0], 3);
}

#[tokio::test(start_paused = true)]
async fn decisions_are_explained_to_who_asks() {
    let explainer = Explainer::new();
    let mut told = explainer.ask("default", "big");
    let config = SchedulerConfig::default().explain(Arc::new(explainer.clone()));
    let cluster = Cluster::builder()
        .nodes(2)
        .seed(4)
        .with(|cluster| cluster.scheduler(config));
    let cluster = cluster.start().await.unwrap();
    let (small, big) = (
        pod("small", "default-scheduler", 1),
        pod("big", "default-scheduler", 64),
    );
    cluster.apply(&(small + &big)).await.unwrap();
    let explanation = told
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(explanation.pod, "default/big");
    assert!(explanation.fitting().is_empty());
    assert_eq!(explanation.waits_for[0].plugin, "NodeResourcesFit");
    let events = &explanation.waits_for[0].events;
    assert!(
        events
            .iter()
            .any(|event| event.starts_with("AssignedPod/Delete")),
        "{events:?}"
    );
    // Nobody asked about the other one.
    cluster.settle().await.unwrap();
    assert!(explainer.latest("default", "small").is_none());

    // One that has a node is explained as if it had none.
    let client = cluster.client();
    let explanation = explain_pod(
        client.clone(),
        SchedulerConfig::default(),
        "default",
        "small",
    );
    let explanation = explanation.await.unwrap();
    assert_eq!(explanation.fitting().len(), 2);
    let scores = &explanation.nodes[0].scores;
    assert!(
        scores
            .iter()
            .any(|score| score.plugin == "NodeResourcesFit" && score.weighted > 0)
    );
    let total: i64 = scores.iter().map(|score| score.weighted).sum();
    assert_eq!(explanation.nodes[0].total, total);
    let missing = explain_pod(
        client.clone(),
        SchedulerConfig::default(),
        "default",
        "none",
    )
    .await;
    assert!(matches!(missing, Err(ExplainError::NotFound(_))));
    let other = SchedulerConfig::default().profile(Profile::named("other"));
    let other = explain_pod(client, other, "default", "small").await;
    assert!(matches!(other, Err(ExplainError::NoProfile(_))));
}

#[tokio::test(start_paused = true)]
async fn two_that_run_by_themselves_hand_over() {
    for delay in [false, true] {
        let cluster = Cluster::builder().nodes(1).seed(4).start().await.unwrap();
        let document = format!(
            "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
delayCacheUntilActive: {delay}
leaderElection: {{resourceName: mine}}
profiles: [{{schedulerName: mine}}]
"
        );
        let document = KubeSchedulerConfiguration::parse(&document).unwrap();
        let start = |identity: &str| {
            let scheduler =
                Standalone::from_document(&document, &Registry::in_tree(), identity).unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let client = cluster.client();
            let running = tokio::spawn(async move {
                let stopped = async {
                    let _ = stopped.await;
                };
                scheduler.run(client, stopped).await
            });
            (stop, running)
        };
        let leases: Api<Lease> = Api::namespaced(cluster.client(), "kube-system");
        let holder = async || {
            let lease = leases.get("mine").await.unwrap().spec.unwrap();
            lease.holder_identity.unwrap_or_default()
        };
        let (stop, first) = start("first");
        sleep(Duration::from_secs(5)).await;
        let (stop_second, second) = start("second");
        cluster.apply(&pod("a", "mine", 1)).await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(holder().await, "first");
        assert!(node_of(&cluster, "a").await.is_some());
        stop.send(()).unwrap();
        first.await.unwrap().unwrap();
        cluster.apply(&pod("b", "mine", 1)).await.unwrap();
        // Sooner than the lease would have run out.
        sleep(Duration::from_secs(8)).await;
        assert_eq!(holder().await, "second");
        assert!(node_of(&cluster, "b").await.is_some());
        stop_second.send(()).unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(holder().await, "");
    }
}
