//! A user's scheduler as a program of its own, against a server over TLS that runs no scheduler.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use homeostat::apiserver::serve::Certificates;
use homeostat::clock::Clock;
use homeostat::scheduler::config::KubeSchedulerConfiguration;
use homeostat::scheduler::extender::HttpExtender;
use homeostat::scheduler::framework::{Extender as _, NodeInfo, PodInfo};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::program::{Running, client, free_port, until};
use super::webhooks::https;

/// The answer of an endpoint; empty when there is none yet.
fn get(port: u16, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return String::new();
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_scheduler_binds_pods() {
    let (api_port, port) = (free_port(), free_port());
    let kubeconfig = std::env::temp_dir().join(format!("homeostat-scheduler-{port}"));
    let path = kubeconfig.to_str().unwrap();
    let address = format!("127.0.0.1:{api_port}");
    let _api = Running::start(
        "standalone",
        &["--only-api", "--listen", &address, "--kubeconfig", path],
    );
    let client = until("the server does not start", || client(&kubeconfig)).await;
    let nodes: Api<Node> = Api::all(client.clone());
    for (name, labels) in [
        (
            "reserved",
            json!({"example.com/reserved": "true", "example.com/price": "1"}),
        ),
        ("dear", json!({"example.com/price": "90"})),
        ("cheap", json!({"example.com/price": "10"})),
    ] {
        let node = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}));
        nodes
            .create(&PostParams::default(), &node.unwrap())
            .await
            .unwrap();
        let resources = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let status = json!({"status": {"capacity": resources, "allocatable": resources}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(status));
        nodes.patch_status(name, &params, &patch).await.unwrap();
        let patch = Patch::Merge(json!({"spec": {"taints": []}}));
        nodes.patch(name, &params, &patch).await.unwrap();
    }
    let listen = format!("127.0.0.1:{port}");
    let scheduler = Running::start(
        "custom_scheduler",
        &["--kubeconfig", path, "--listen", &listen],
    );

    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for (name, of) in [
        ("mine", "custom-scheduler"),
        ("others", "default-scheduler"),
    ] {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {"schedulerName": of, "containers": [{"name": "c", "image": "i"}]},
        });
        let pod = serde_json::from_value(pod).unwrap();
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    let node = until("the pod is not bound", || async {
        pods.get("mine").await.unwrap().spec.unwrap().node_name
    });
    assert_eq!(node.await, "cheap");
    let others = pods.get("others").await.unwrap();
    assert_eq!(others.spec.unwrap().node_name, None);

    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = get(port, path);
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"),
            "{path}: {answer}"
        );
    }
    let leads = "leader_election_master_status{name=\"custom-scheduler\"} 1";
    let metrics = get(port, "/metrics");
    assert!(metrics.contains(leads), "{metrics}");
    let scheduled =
        "scheduler_schedule_attempts_total{profile=\"custom-scheduler\",result=\"scheduled\"} 1";
    assert!(metrics.contains(scheduled), "{metrics}");

    // It ends in good order: another one need not wait for its lease to run out.
    assert!(scheduler.ends_well().await);
    let leases: Api<Lease> = Api::namespaced(client, "kube-system");
    let lease = leases.get("custom-scheduler").await.unwrap().spec.unwrap();
    assert_eq!(lease.holder_identity.as_deref(), Some(""));
    let _ = std::fs::remove_file(kubeconfig);
}

/// An extender that knows best.
async fn extend(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let said: Value = serde_json::from_slice(&body).unwrap();
    let (code, answer) = match path.as_str() {
        "/best/filter" => (200, json!({"NodeNames": [said["NodeNames"][0]]})),
        _ => (404, json!({})),
    };
    let response = Response::builder()
        .status(code)
        .body(Full::from(answer.to_string()));
    Ok(response.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extender_over_tls() {
    let (address, authority) = https(extend).await;
    let document = |tls: &str| {
        let text = format!(
            "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
extenders:
- urlPrefix: https://{address}/best/
  filterVerb: filter
  prioritizeVerb: prioritize
  weight: 1
  enableHTTPS: true
  nodeCacheCapable: true
  httpTimeout: 20s
  tlsConfig: {tls}
"
        );
        KubeSchedulerConfiguration::parse(&text).unwrap()
    };
    let pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": []}});
    let pod = PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
    let nodes = ["a", "b"].map(|name| {
        let node = json!({"metadata": {"name": name}});
        NodeInfo::of(Arc::new(serde_json::from_value(node).unwrap()))
    });
    let nodes: Vec<&NodeInfo> = nodes.iter().collect();
    let trusted = homeostat::object::base64::encode(authority.as_bytes());
    let other = Certificates::generate(&Clock::system(), &["localhost"]).unwrap();
    let other = homeostat::object::base64::encode(other.authority_pem().as_bytes());
    for (tls, trusts) in [
        (format!("{{caData: {trusted}}}"), true),
        (format!("{{caData: {other}}}"), false),
        ("{insecure: true}".to_owned(), true),
        // As upstream: without an authority nothing is verified.
        ("{}".to_owned(), true),
    ] {
        let config = document(&tls).extenders.remove(0);
        let extender = HttpExtender::connect(config).unwrap();
        let filtered = extender.filter(&pod, &nodes).await;
        assert_eq!(filtered.is_ok(), trusts, "{tls}: {filtered:?}");
        if let Ok(filtered) = filtered {
            let fitting: Vec<&str> = filtered.fitting.iter().map(|name| &**name).collect();
            assert_eq!(fitting, ["a"]);
            let refused = extender
                .prioritize(&pod, &nodes)
                .await
                .unwrap_err()
                .to_string();
            let expected = format!(
                "failed prioritize with extender at URL https://{address}/best/prioritize, code 404"
            );
            assert_eq!(refused, expected);
        }
    }
}
