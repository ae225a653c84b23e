//! The contract of controller-runtime's envtest: `kube_apiserver` started with exactly its flags.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use homeostat::apiserver::serve::Certificates;
use homeostat::clock::Clock;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, wait, watcher};
use kube::{Client, Config};

use super::program::{free_port, program};

/// What envtest keeps of an API server that it started.
struct ApiServer {
    child: Child,
    directory: PathBuf,
    url: String,
    certificates: Certificates,
}

impl ApiServer {
    /// As `envtest.ControlPlane.APIServer` does: certificates in a directory, a free port, the default arguments.
    async fn start() -> Self {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("k8s_test_framework_{port}"));
        std::fs::create_dir_all(&directory).unwrap();
        let certificates =
            Certificates::generate(&Clock::system(), &["localhost", "127.0.0.1"]).unwrap();
        let write = |name: &str, text: &str| {
            let mut file = std::fs::File::create(directory.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        let (certificate, key) = certificates.server_pem();
        write("apiserver.crt", certificate);
        write("apiserver.key", key);
        write("client-cert-auth-ca.crt", certificates.authority_pem());
        let (signer, signer_key) = certificates.client_pem("sa-signer", &[]).unwrap();
        write("sa-signer.crt", &signer);
        write("sa-signer.key", &signer_key);
        let path = |name: &str| directory.join(name).display().to_string();
        let child = Command::new(program("kube_apiserver"))
            .args([
                "--allow-privileged=true".to_owned(),
                "--authorization-mode=RBAC".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--cert-dir={}", directory.display()),
                format!("--client-ca-file={}", path("client-cert-auth-ca.crt")),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
                format!("--secure-port={port}"),
                format!("--service-account-issuer=https://127.0.0.1:{port}/"),
                format!("--service-account-key-file={}", path("sa-signer.crt")),
                format!(
                    "--service-account-signing-key-file={}",
                    path("sa-signer.key")
                ),
                "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            directory,
            url: format!("https://127.0.0.1:{port}"),
            certificates,
        };
        server.is_healthy().await;
        server
    }

    async fn is_healthy(&self) {
        let client = self.client().await;
        let started = Instant::now();
        loop {
            let request = http::Request::get("/healthz").body(Vec::new()).unwrap();
            if client
                .request_text(request)
                .await
                .is_ok_and(|text| text == "ok")
            {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "it does not start"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn client(&self) -> Client {
        let text = self.certificates.kubeconfig(&self.url);
        let config = Kubeconfig::from_yaml(&text).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    /// SIGTERM, and the end within envtest's time.
    async fn stop(mut self) {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "it does not stop"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(status.success(), "{status}");
        let mut left: Vec<_> = std::fs::read_dir(&self.directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let made = [
            "apiserver.crt",
            "apiserver.key",
            "client-cert-auth-ca.crt",
            "sa-signer.crt",
            "sa-signer.key",
        ];
        assert_eq!(left, made, "it left files");
        std::fs::remove_dir_all(&self.directory).unwrap();
        let address = self.url.trim_start_matches("https://");
        assert!(
            std::net::TcpStream::connect(address).is_err(),
            "the port is taken"
        );
    }
}

impl Drop for ApiServer {
    /// Also when a test fails.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn widgets() -> CustomResourceDefinition {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
            "scope": "Namespaced",
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                    "type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1}},
                }}}},
            }],
        },
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn suites_can_use_it() {
    let help = Command::new(program("kube_apiserver"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    // By this envtest tells old servers, which it starts with other flags.
    assert!(!help.contains("insecure-port") && help.contains("--secure-port"));

    let server = ApiServer::start().await;
    let client = server.client().await;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    definitions
        .create(&PostParams::default(), &widgets())
        .await
        .unwrap();
    let established = wait::await_condition(
        definitions,
        "widgets.example.com",
        wait::conditions::is_crd_established(),
    );
    tokio::time::timeout(Duration::from_secs(10), established)
        .await
        .unwrap()
        .unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    let widgets = Api::<DynamicObject>::namespaced_with(client, "default", &kind);
    let mut seen = watcher(widgets.clone(), watcher::Config::default())
        .applied_objects()
        .boxed();
    let good = DynamicObject::new("good", &kind).data(serde_json::json!({"spec": {"size": 3}}));
    widgets.create(&PostParams::default(), &good).await.unwrap();
    let first = tokio::time::timeout(Duration::from_secs(10), seen.try_next());
    let first = first.await.unwrap().unwrap().unwrap();
    assert_eq!(first.metadata.name.as_deref(), Some("good"));
    let bad = DynamicObject::new("bad", &kind).data(serde_json::json!({"spec": {"size": 0}}));
    let refused = widgets
        .create(&PostParams::default(), &bad)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("spec.size"), "{refused}");
    drop(seen);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_leave_nothing() {
    let cycles = (0..20).map(|_| async {
        let server = ApiServer::start().await;
        server.stop().await;
    });
    futures::future::join_all(cycles).await;
}
