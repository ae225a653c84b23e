//! What is said to extenders, and what is made of their answers.

use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::scheduler::config::ManagedResource;
use crate::scheduler::framework::Code;

fn node(name: &str) -> NodeInfo {
    let mut info = NodeInfo::new(name);
    let node = json!({"metadata": {"name": name}});
    info.set_node(Some(Arc::new(serde_json::from_value(node).unwrap())));
    info
}

fn pod(resource: &str) -> PodInfo {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u-1"},
        "spec": {"containers": [{"name": "c", "resources": {"limits": {resource: "1"}}}]},
    });
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

fn config() -> Config {
    let mut config = Config::new("http://x.example/scheduler/");
    config.filter_verb = "filter".to_owned();
    config.prioritize_verb = "prioritize".to_owned();
    config.bind_verb = "bind".to_owned();
    config.weight = 3;
    config
}

/// What an extender was told: where, and what.
type Told = Arc<Mutex<Vec<(String, Value)>>>;

/// An extender that always says this, and what it was told.
fn saying(config: Config, code: u16, answer: Value) -> (HttpExtender, Told) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    let transport = transport_fn(move |url, body| {
        heard.lock().push((url.to_owned(), body.clone()));
        Ok(Reply::new(code, answer.to_string()))
    });
    (HttpExtender::new(config, Arc::new(transport)), told)
}

/// What is made of an answer to `filter` for nodes a, b and c: those that fit, and what is said of others.
async fn filtered(config: Config, code: u16, answer: Value) -> Result<String, String> {
    let nodes = [node("a"), node("b"), node("c")];
    let (extender, _) = saying(config, code, answer);
    let nodes: Vec<&NodeInfo> = nodes.iter().collect();
    let extended = extender.filter(&pod("cpu"), &nodes).await;
    let extended = extended.map_err(|error| error.to_string())?;
    let rejected = extended.rejected.iter().map(|(node, status)| {
        let mark = if status.code == Code::UnschedulableAndUnresolvable {
            "!"
        } else {
            ""
        };
        format!("{node}{mark}: {}", status.reasons.join(", "))
    });
    let rejected: Vec<String> = rejected.collect();
    Ok(format!(
        "{} / {}",
        extended.fitting.join(" "),
        rejected.join("; ")
    ))
}

#[tokio::test(start_paused = true)]
async fn filter() {
    let mut by_name = config();
    by_name.node_cache_capable = true;
    let mut silent = config();
    silent.filter_verb.clear();
    let item = |name: &str| json!({"metadata": {"name": name}});
    let failed = "failed filter with extender at URL http://x.example/scheduler/filter, code 500";
    for (config, code, answer, expected) in [
        (
            config(),
            200,
            json!({"Nodes": {"items": [item("c"), item("a")]}}),
            Ok("a c / "),
        ),
        // Go reads names of fields in any case.
        (
            config(),
            200,
            json!({"nodes": {"items": [item("b")]}, "failedNodes": {"a": "full"}}),
            Ok("b / a: full"),
        ),
        (
            config(),
            200,
            json!({"Nodes": {"items": []}, "FailedNodes": {"a": "x", "b": "y"}, "FailedAndUnresolvableNodes": {"a": "never"}}),
            Ok(" / a!: never; b: y"),
        ),
        // Names count only from those that know the nodes.
        (
            by_name.clone(),
            200,
            json!({"NodeNames": ["b"]}),
            Ok("b / "),
        ),
        (config(), 200, json!({"NodeNames": ["b"]}), Ok(" / ")),
        (
            config(),
            200,
            json!({"Error": "out of order"}),
            Err("out of order"),
        ),
        (config(), 500, json!({}), Err(failed)),
        (
            by_name,
            200,
            json!({"NodeNames": ["z"]}),
            Err(
                "extender \"http://x.example/scheduler/\" claims a filtered node \"z\" which is not found in the input node list",
            ),
        ),
        (silent, 500, json!({}), Ok("a b c / ")),
    ] {
        let found = filtered(config, code, answer.clone()).await;
        assert_eq!(
            found.as_deref().map_err(String::as_str),
            expected,
            "{answer}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn prioritize_and_bind() {
    let nodes = [node("a"), node("b")];
    let nodes: Vec<&NodeInfo> = nodes.iter().collect();
    let scores = json!([{"Host": "b", "Score": 7}, {"host": "z", "score": 1}]);
    let (extender, told) = saying(config(), 200, scores);
    // Ten points of an extender are a hundred of ours.
    assert_eq!(
        extender.prioritize(&pod("cpu"), &nodes).await.unwrap(),
        [0, 210]
    );
    let (url, said) = told.lock().remove(0);
    assert_eq!(url, "http://x.example/scheduler/prioritize");
    assert_eq!(said["Pod"]["metadata"]["name"], "p");
    assert_eq!(said["Nodes"]["items"][1]["metadata"]["name"], "b");
    assert_eq!(said["NodeNames"], Value::Null);

    let mut by_name = config();
    by_name.node_cache_capable = true;
    let (extender, told) = saying(by_name, 200, json!([]));
    extender.prioritize(&pod("cpu"), &nodes).await.unwrap();
    let (_, said) = told.lock().remove(0);
    assert_eq!(
        (&said["NodeNames"], &said["Nodes"]),
        (&json!(["a", "b"]), &Value::Null)
    );

    let (extender, told) = saying(config(), 200, json!({"Error": ""}));
    assert!(extender.bind(&pod("cpu"), "a").await.unwrap());
    let (url, said) = told.lock().remove(0);
    assert_eq!(url, "http://x.example/scheduler/bind");
    let binding = json!({"PodName": "p", "PodNamespace": "ns", "PodUID": "u-1", "Node": "a"});
    assert_eq!(said, binding);
    let (extender, _) = saying(config(), 200, json!({"Error": "no"}));
    assert_eq!(
        extender
            .bind(&pod("cpu"), "a")
            .await
            .unwrap_err()
            .to_string(),
        "no"
    );
    let (extender, _) = saying(Config::new("http://x.example"), 500, json!({}));
    assert!(!extender.bind(&pod("cpu"), "a").await.unwrap());
    assert!(
        extender
            .prioritize(&pod("cpu"), &nodes)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn interest() {
    let mut config = config();
    let (all, _) = saying(config.clone(), 200, json!({}));
    assert!(all.is_interested(&pod("cpu")) && !all.is_ignorable());
    config.ignorable = true;
    config.managed_resources = vec![ManagedResource {
        name: "example.com/gpu".to_owned(),
        ignored_by_scheduler: false,
    }];
    let (some, _) = saying(config, 200, json!({}));
    assert!(some.is_interested(&pod("example.com/gpu")) && !some.is_interested(&pod("cpu")));
    assert!(some.is_ignorable());
}

#[derive(Debug)]
struct Never;

#[async_trait]
impl Transport for Never {
    async fn post(&self, _: &str, _: Bytes) -> Result<Reply, Error> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn patience() {
    let mut config = config();
    config.http_timeout = Duration::from_millis(700);
    let extender = HttpExtender::new(config, Arc::new(Never));
    let start = tokio::time::Instant::now();
    let error = extender.filter(&pod("cpu"), &[]).await.unwrap_err();
    assert_eq!(start.elapsed().as_millis(), 700);
    let expected = "Post \"http://x.example/scheduler/filter\": context deadline exceeded";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn preempt() {
    let victim = |name: &str| {
        let pod = json!({"metadata": {"name": name, "namespace": "ns", "uid": format!("u-{name}")}, "spec": {"nodeName": "a", "containers": []}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    };
    let (x, y) = (victim("x"), victim("y"));
    let mut snapshot = Snapshot::default();
    for name in ["a", "b"] {
        snapshot.set_node(name, node(name).node);
    }
    snapshot.add_pod("a", &x);
    snapshot.add_pod("a", &y);
    let candidates = Candidates::from([(
        Arc::from("a"),
        Victims {
            pods: vec![x.clone()],
            violations: 1,
        },
    )]);
    let mut config = config();
    config.preempt_verb = "preempt".to_owned();
    let answer = |pods: Value| json!({"NodeNameToMetaVictims": {"a": {"Pods": pods, "NumPDBViolations": 2}}});
    for (ignorable, answer, expected) in [
        (false, answer(json!([{"UID": "u-y"}])), Ok("a: y 2")),
        (false, json!({"NodeNameToMetaVictims": {}}), Ok("")),
        (
            false,
            answer(json!([])),
            Err("expected at least one victim pod on node \"a\""),
        ),
        (true, answer(json!([])), Ok("")),
        (
            false,
            answer(json!([{"UID": "u-z"}])),
            Err(
                "extender: http://x.example/scheduler/ claims to preempt pod (UID: u-z) on node: a, but the pod is not found on that node",
            ),
        ),
    ] {
        config.ignorable = ignorable;
        let (extender, told) = saying(config.clone(), 200, answer);
        assert!(extender.preempts());
        let agreed = extender.preempt(&pod("cpu"), &candidates, &snapshot).await;
        let agreed = agreed.map_err(|error| error.to_string()).map(|agreed| {
            let agreed = agreed.iter().map(|(node, victims)| {
                let pods: Vec<&str> = victims.pods.iter().map(|pod| &*pod.key.name).collect();
                format!("{node}: {} {}", pods.join(" "), victims.violations)
            });
            agreed.collect::<String>()
        });
        assert_eq!(agreed.as_deref().map_err(String::as_str), expected);
        let (url, said) = told.lock().remove(0);
        assert_eq!(url, "http://x.example/scheduler/preempt");
        let shown = &said["NodeNameToVictims"]["a"];
        assert_eq!(
            (
                &shown["Pods"][0]["metadata"]["name"],
                &shown["NumPDBViolations"]
            ),
            (&json!("x"), &json!(1))
        );
    }
    config.node_cache_capable = true;
    let (extender, told) = saying(config, 200, json!({}));
    extender
        .preempt(&pod("cpu"), &candidates, &snapshot)
        .await
        .unwrap();
    let (_, said) = told.lock().remove(0);
    assert_eq!(
        said["NodeNameToMetaVictims"]["a"]["Pods"],
        json!([{"UID": "u-x"}])
    );
}
