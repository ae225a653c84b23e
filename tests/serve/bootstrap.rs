//! Machines that join: a bootstrap token, a certificate that is approved and signed, and its renewal, over TLS.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use homeostat::apiserver::serve::{Certificates, ServeConfig, Serving};
use homeostat::apiserver::{ApiServer, AuthorizationMode};
use homeostat::clock::Clock;
use homeostat::cluster::Cluster;
use homeostat::controllers::csrsigning::SigningConfig;
use homeostat::node::{renew_after, request_certificate};
use homeostat::store::MemoryStore;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const TOKEN: &str = "abcdef.0123456789abcdef";

struct World {
    cluster: Cluster,
    serving: Serving,
    certificates: Certificates,
}

impl World {
    async fn start() -> Self {
        let certificates = Certificates::generate(&Clock::system(), &["127.0.0.1"]).unwrap();
        let server = ApiServer::builder(Arc::new(MemoryStore::default()))
            .authorization([AuthorizationMode::Node, AuthorizationMode::Rbac])
            .bootstrap_tokens()
            .client_ca(certificates.authority_pem());
        let cluster = Cluster::builder()
            .server(server)
            .signing(SigningConfig::new(certificates.authority().unwrap()))
            .start()
            .await
            .unwrap();
        let serving = ServeConfig::new(([127, 0, 0, 1], 0).into())
            .tls(certificates.server_tls())
            .start(cluster.server().clone())
            .await
            .unwrap();
        Self {
            cluster,
            serving,
            certificates,
        }
    }

    /// A client from outside.
    async fn client(&self, user: Value) -> Client {
        let config = self.certificates.kubeconfig(&self.serving.url());
        let mut config = serde_json::to_value(Kubeconfig::from_yaml(&config).unwrap()).unwrap();
        config["users"][0]["user"] = user;
        let config = serde_json::from_value(config).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(config, &options).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    async fn node(&self, (certificate, key): &(String, String)) -> Client {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        self.client(json!({
            "client-certificate-data": encode(certificate), "client-key-data": encode(key),
        }))
        .await
    }

    async fn bind(&self, name: &str, role: &str, group: &str) {
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        }))
        .unwrap();
        let bindings: Api<ClusterRoleBinding> = Api::all(self.cluster.client());
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .unwrap();
    }

    async fn end(self) {
        self.serving.stop().await;
        self.cluster.stop().await;
    }
}

async fn who(client: &Client) -> Result<(String, Vec<String>), kube::Error> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = SelfSubjectReview::default();
    let answer = reviews.create(&PostParams::default(), &asked).await?;
    let user = answer.status.unwrap().user_info.unwrap();
    Ok((user.username.unwrap(), user.groups.unwrap()))
}

/// By what the server knows who asks.
async fn credential(client: &Client) -> String {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = SelfSubjectReview::default();
    let answer = reviews.create(&PostParams::default(), &asked).await;
    let user = answer.unwrap().status.unwrap().user_info.unwrap();
    user.extra.unwrap()["authentication.kubernetes.io/credential-id"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_joins_by_token_and_renews_its_certificate() {
    let world = World::start().await;
    let joining = world.client(json!({"token": TOKEN})).await;
    let made = world.certificates.client_pem("u", &["g", "h"]).unwrap();
    let (user, groups) = who(&world.node(&made).await).await.unwrap();
    assert_eq!(user, "u");
    assert_eq!(groups, ["g", "h", "system:authenticated"]);
    let known_by = credential(&world.node(&made).await).await;
    assert!(
        known_by.starts_with("X509SHA256=") && known_by.len() == 11 + 64,
        "{known_by}"
    );
    // Nobody knows the token yet.
    assert!(who(&joining).await.is_err());
    let secrets: Api<Secret> = Api::namespaced(world.cluster.client(), "kube-system");
    let secret = serde_json::from_value(json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:machines",
        },
    }))
    .unwrap();
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let (user, groups) = who(&joining).await.unwrap();
    assert_eq!(user, "system:bootstrap:abcdef");
    let expected = [
        "system:bootstrappers",
        "system:bootstrappers:machines",
        "system:authenticated",
    ];
    assert_eq!(groups, expected);

    // It may ask when somebody says so, and is answered when somebody says that, too.
    let refused = request_certificate(&joining, "n", PATIENCE).await;
    assert!(refused.is_err());
    let group = "system:bootstrappers:machines";
    world.bind("ask", "system:node-bootstrapper", group).await;
    let late = request_certificate(&joining, "n", Duration::from_secs(2)).await;
    assert!(late.unwrap_err().to_string().contains("nobody has signed"));
    let approve = "system:certificates.k8s.io:certificatesigningrequests";
    world
        .bind("first", &format!("{approve}:nodeclient"), group)
        .await;
    let first = request_certificate(&joining, "n", PATIENCE).await.unwrap();
    let node = world.node(&first).await;
    let (user, groups) = who(&node).await.unwrap();
    assert_eq!(user, "system:node:n");
    assert_eq!(groups, ["system:nodes", "system:authenticated"]);
    let own: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    let nodes: Api<Node> = Api::all(node.clone());
    nodes.create(&PostParams::default(), &own).await.unwrap();
    let after = renew_after(&first.0, &Clock::system()).unwrap();
    assert!(after > Duration::from_secs(200 * 24 * 3600), "{after:?}");

    // It renews what it has, by what it has; for another node it may not ask.
    let own = format!("{approve}:selfnodeclient");
    world.bind("renew", &own, "system:nodes").await;
    let second = request_certificate(&node, "n", PATIENCE).await.unwrap();
    assert_ne!(first.0, second.0);
    let (user, _) = who(&world.node(&second).await).await.unwrap();
    assert_eq!(user, "system:node:n");
    let other = request_certificate(&node, "m", Duration::from_secs(2)).await;
    assert!(other.is_err());
    let requests: Api<CertificateSigningRequest> = Api::all(world.cluster.client());
    let all = requests.list(&ListParams::default()).await.unwrap();
    let messages = all.iter().flat_map(|request| {
        let status = request.status.clone().unwrap_or_default();
        status.conditions.unwrap_or_default()
    });
    let mut messages: Vec<String> = messages.filter_map(|one| one.message).collect();
    messages.sort();
    assert_eq!(
        messages,
        [
            "Auto approving kubelet client certificate after SubjectAccessReview.",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ]
    );

    // A token that is gone is nobody's, as soon as the server's cache shows it.
    let name = "bootstrap-token-abcdef";
    secrets
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    let forgotten = async {
        while who(&joining).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_kubelets_request_is_not_signed_as_one() {
    let world = World::start().await;
    let requests: Api<CertificateSigningRequest> = Api::all(world.cluster.client());
    let text = include_str!("../../src/pki/test-names.pem");
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    let request = serde_json::from_value(json!({
        "metadata": {"name": "r"},
        "spec": {
            "request": text, "usages": ["client auth", "digital signature"],
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        },
    }))
    .unwrap();
    requests
        .create(&PostParams::default(), &request)
        .await
        .unwrap();
    let mut approved = requests.get("r").await.unwrap();
    let approval = json!([{"type": "Approved", "status": "True", "reason": "ByHand"}]);
    approved.status.get_or_insert_default().conditions = serde_json::from_value(approval).unwrap();
    let params = PostParams::default();
    requests
        .replace_subresource("approval", "r", &params, &approved)
        .await
        .unwrap();
    let failed = async {
        loop {
            let status = requests.get("r").await.unwrap().status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            if let Some(failed) = conditions.into_iter().find(|one| one.type_ == "Failed") {
                assert!(status.certificate.is_none());
                return (failed.reason.unwrap(), failed.message.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (reason, message) = tokio::time::timeout(PATIENCE, failed).await.unwrap();
    assert_eq!(reason, "SignerValidationFailure");
    assert_eq!(message, "subject organization is not system:nodes");
    world.end().await;
}
