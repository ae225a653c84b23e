//! Looking into pods in one process, with kube's own client: logs, commands, attachments, ports, proxies.

use std::time::Duration;

use futures::{AsyncBufReadExt, TryStreamExt};
use homeostat::cri::ExecOutput;
use homeostat::cri::fake::Script;
use homeostat::testing::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: node-1
  containers:
  - {name: c, image: web, ports: [{containerPort: 8080}]}
";

async fn cluster(script: Script) -> (Cluster, Api<Pod>) {
    let cluster = Cluster::builder().nodes(1).seed(7).start().await.unwrap();
    cluster.node("node-1").runtime().script("web", script);
    cluster.apply(POD).await.unwrap();
    cluster.settle().await.unwrap();
    let pods = Api::default_namespaced(cluster.client());
    (cluster, pods)
}

#[tokio::test(start_paused = true)]
async fn logs_are_read() {
    let second = Duration::from_secs(1);
    let script = Script::default()
        .prints(Duration::ZERO, "one")
        .complains(second, "two")
        .prints(600 * second, "three");
    let (_cluster, pods) = cluster(script).await;
    let all = LogParams::default();
    assert_eq!(pods.logs("web", &all).await.unwrap(), "one\ntwo\n");
    let tail = LogParams {
        tail_lines: Some(1),
        ..all.clone()
    };
    assert_eq!(pods.logs("web", &tail).await.unwrap(), "two\n");
    let stamped = LogParams {
        timestamps: true,
        limit_bytes: Some(11),
        ..all.clone()
    };
    assert!(pods.logs("web", &stamped).await.unwrap().ends_with('T'));
    // What follows is told when it is written.
    let follow = LogParams {
        follow: true,
        ..all.clone()
    };
    let mut lines = pods.log_stream("web", &follow).await.unwrap().lines();
    let mut found = Vec::new();
    while found.len() < 3 {
        found.push(lines.try_next().await.unwrap().unwrap());
    }
    assert_eq!(found, ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn one_who_follows_reads_to_the_end() {
    let second = Duration::from_secs(1);
    let script = Script::default()
        .prints(2000 * second, "late")
        .prints(2001 * second, "last")
        .exits(2001 * second, 3);
    let (_cluster, pods) = cluster(script).await;
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let lines = pods.log_stream("web", &follow).await.unwrap().lines();
    let lines: Vec<String> = lines.try_collect().await.unwrap();
    assert_eq!(lines, ["late", "last"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_looked_into_says_why() {
    let (cluster, pods) = cluster(Script::default()).await;
    let message = |error: kube::Error| match error {
        kube::Error::Api(status) => format!("{} {}", status.code, status.message),
        other => other.to_string(),
    };
    for (params, expected) in [
        (
            LogParams {
                container: Some("x".into()),
                ..LogParams::default()
            },
            "400 container x is not valid for pod web",
        ),
        (
            LogParams {
                previous: true,
                ..LogParams::default()
            },
            "400 previous terminated container \"c\" in pod \"web\" not found",
        ),
        (
            LogParams {
                tail_lines: Some(-1),
                ..LogParams::default()
            },
            "422 PodLogOptions \"web\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
    ] {
        let error = pods.logs("web", &params).await.unwrap_err();
        assert_eq!(message(error), expected);
    }
    let error = pods.logs("none", &LogParams::default()).await.unwrap_err();
    assert_eq!(message(error), "404 pods \"none\" not found");
    cluster.node("node-1").stop().await;
    let error = pods.logs("web", &LogParams::default()).await.unwrap_err();
    let expected = "500 Get \"https://192.168.1.1:10250/containerLogs/default/web/c?stream=All\": dial tcp 192.168.1.1:10250: connect: connection refused";
    assert_eq!(message(error), expected);
}

#[tokio::test(start_paused = true)]
async fn commands_run_with_their_streams() {
    let output = ExecOutput {
        code: 3,
        stdout: b"out".to_vec(),
        stderr: b"err".to_vec(),
    };
    let script = Script::default().answers("tool", Duration::from_secs(5), output);
    let (_cluster, pods) = cluster(script).await;
    let mut process = pods
        .exec("web", ["tool", "--flag", "a b"], &AttachParams::default())
        .await
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (process.stdout().unwrap(), process.stderr().unwrap());
    stdout.read_to_string(&mut out).await.unwrap();
    stderr.read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out", "err"));
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.unwrap().causes.unwrap();
    assert_eq!(causes[0].message.as_deref(), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn input_is_carried_to_its_end() {
    let (_cluster, pods) = cluster(Script::default()).await;
    let params = AttachParams::default().stdin(true).stderr(false);
    for attach in [false, true] {
        let mut process = if attach {
            pods.attach("web", &params).await.unwrap()
        } else {
            pods.exec("web", ["cat"], &params).await.unwrap()
        };
        let mut stdin = process.stdin().unwrap();
        let mut stdout = process.stdout().unwrap();
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let writes = async {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
            drop(stdin);
        };
        let mut found = Vec::new();
        let reads = stdout.read_to_end(&mut found);
        let ((), read) = futures::join!(writes, reads);
        read.unwrap();
        assert!(found == sent, "{} of {} bytes", found.len(), sent.len());
        let status = process.take_status().unwrap().await.unwrap();
        assert_eq!(status.status.as_deref(), Some("Success"));
    }
}

#[tokio::test(start_paused = true)]
async fn ports_are_forwarded() {
    let (_cluster, pods) = cluster(Script::default().listens(8080)).await;
    let mut forwarder = pods.portforward("web", &[8080, 9]).await.unwrap();
    let mut port = forwarder.take_stream(8080).unwrap();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 253) as u8).collect();
    let mut found = vec![0; sent.len()];
    let (mut reader, mut writer) = tokio::io::split(&mut port);
    let (wrote, read) = futures::join!(writer.write_all(&sent), reader.read_exact(&mut found));
    wrote.unwrap();
    read.unwrap();
    assert!(found == sent);
    let error = forwarder.take_error(9).unwrap().await.unwrap();
    assert!(error.contains("error forwarding port 9 to pod"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn nodes_are_looked_into_through_their_proxy() {
    let (cluster, _) = cluster(Script::default().uses(250_000_000, 64 << 20, 4096)).await;
    let client = cluster.client();
    let get = |path: &str| http::Request::get(path).body(Vec::new()).unwrap();
    let text = client
        .request_text(get("/api/v1/nodes/node-1/proxy/healthz"))
        .await;
    assert_eq!(text.unwrap(), "ok");
    let path = "/api/v1/nodes/node-1/proxy/stats/summary";
    let summary: serde_json::Value = client.request(get(path)).await.unwrap();
    assert_eq!(summary["pods"][0]["podRef"]["name"], "web");
    assert_eq!(summary["pods"][0]["cpu"]["usageNanoCores"], 250_000_000);
    assert_eq!(summary["node"]["memory"]["workingSetBytes"], 64 << 20);
    let path = "/api/v1/nodes/node-1/proxy/metrics/resource";
    let text = client.request_text(get(path)).await.unwrap();
    assert!(
        text.contains("pod_memory_working_set_bytes{namespace=\"default\",pod=\"web\"} 67108864")
    );
    let path = "/api/v1/nodes/node-1:10250/proxy/pods";
    let pods: serde_json::Value = client.request(get(path)).await.unwrap();
    assert_eq!(pods["items"][0]["metadata"]["name"], "web");
    let path = "/apis/metrics.k8s.io/v1beta1/nodes/node-1";
    let node: serde_json::Value = client.request(get(path)).await.unwrap();
    assert_eq!(
        node["usage"],
        serde_json::json!({"cpu": "250000000n", "memory": "65536Ki"})
    );
    // A runtime that does not know pods as a whole is asked for their containers.
    let summary_path = "/api/v1/nodes/node-1/proxy/stats/summary";
    let whole: serde_json::Value = client.request(get(summary_path)).await.unwrap();
    cluster.node("node-1").runtime().without_sandbox_stats();
    let summed: serde_json::Value = client.request(get(summary_path)).await.unwrap();
    for field in ["podRef", "containers", "cpu", "memory"] {
        let (whole, summed) = (&whole["pods"][0][field], &summed["pods"][0][field]);
        assert_eq!(summed, whole, "{field}");
    }
    assert_eq!(whole["node"], summed["node"]);
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let pods: serde_json::Value = client.request(get(path)).await.unwrap();
    assert_eq!(
        pods["items"][0]["containers"][0]["usage"]["cpu"],
        "250000000n"
    );
    let path = "/apis/metrics.k8s.io/v1beta1/pods?labelSelector=app%3Dnone";
    let none: serde_json::Value = client.request(get(path)).await.unwrap();
    assert_eq!(none["items"], serde_json::json!([]));
}
