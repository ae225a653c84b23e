//! Cluster roles that gather the rules of others.

use homeostat::apiserver::{ApiServer, AuthorizationMode};
use homeostat::store::MemoryStore;
use homeostat::testing::Cluster;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn default_roles_are_gathered_and_follow_their_parts() {
    let server = ApiServer::builder(Arc::new(MemoryStore::default()))
        .authorization([AuthorizationMode::Rbac]);
    let cluster = Cluster::builder()
        .seed(3)
        .with(|builder| builder.server(server))
        .start()
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    let roles: Api<ClusterRole> = Api::all(cluster.client());
    let count = async |name: &str| {
        let role = roles.get(name).await.unwrap();
        role.rules.map_or(0, |rules| rules.len())
    };
    let (view, edit, admin) = (
        count("view").await,
        count("edit").await,
        count("admin").await,
    );
    assert!(
        0 < view && view < edit && edit < admin,
        "{view} {edit} {admin}"
    );
    let part = json!({
        "metadata": { "name": "own", "labels": { "rbac.authorization.k8s.io/aggregate-to-view": "true" } },
        "rules": [{ "verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"] }],
    });
    let part = serde_json::from_value(part).unwrap();
    roles.create(&PostParams::default(), &part).await.unwrap();
    cluster.settle().await.unwrap();
    assert_eq!(count("view").await, view + 1);
    assert_eq!(count("admin").await, admin + 1);
    roles
        .delete("own", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    cluster.settle().await.unwrap();
    assert_eq!((count("view").await, count("admin").await), (view, admin));
    cluster.stop().await;
}
