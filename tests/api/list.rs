//! Lists through a client: selection, pages, revisions.
use std::sync::Arc;

use homeostat::apiserver::ApiServer;
use homeostat::store::{MemoryConfig, MemoryStore, Store};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

async fn server() -> (Client, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
    let server = ApiServer::builder(store.clone()).start().await.unwrap();
    (server.client(), store)
}

async fn create(maps: &Api<ConfigMap>, name: &str, odd: bool) {
    let map = json!({ "metadata": { "name": name, "labels": { "odd": odd.to_string() } } });
    let map = serde_json::from_value(map).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
}

fn names(list: &kube::core::ObjectList<ConfigMap>) -> Vec<String> {
    list.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_revision() {
    let (client, store) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for number in 0..5 {
        create(&maps, &format!("m{number}"), number % 2 == 1).await;
    }
    let page = ListParams::default().limit(2);
    let first = maps.list(&page).await.unwrap();
    assert_eq!(names(&first), ["m0", "m1"]);
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    let token = first.metadata.continue_.clone().unwrap();
    create(&maps, "m1a", false).await;
    let second = maps
        .list(&page.clone().continue_token(&token))
        .await
        .unwrap();
    assert_eq!(names(&second), ["m2", "m3"]);
    assert_eq!(
        second.metadata.resource_version,
        first.metadata.resource_version
    );
    // Once its revision is forgotten, the token leads on only inconsistently.
    store
        .compact(store.revision().await.unwrap())
        .await
        .unwrap();
    let expired = maps.list(&page.continue_token(&token)).await.unwrap_err();
    let kube::Error::Api(status) = expired else {
        panic!("{expired}");
    };
    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
}

#[tokio::test(start_paused = true)]
async fn selectors_and_revisions() {
    let (client, _) = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for number in 0..4 {
        create(&maps, &format!("m{number}"), number % 2 == 1).await;
    }
    let before = maps.list(&ListParams::default()).await.unwrap();
    create(&maps, "m4", false).await;
    let at = before.metadata.resource_version.as_deref().unwrap();
    let exact = kube::api::VersionMatch::Exact;
    for (params, expected) in [
        (ListParams::default(), vec!["m0", "m1", "m2", "m3", "m4"]),
        (ListParams::default().labels("odd=true"), vec!["m1", "m3"]),
        (
            ListParams::default().labels("odd notin (true)"),
            vec!["m0", "m2", "m4"],
        ),
        (ListParams::default().fields("metadata.name=m2"), vec!["m2"]),
        (
            ListParams::default()
                .fields("metadata.name!=m2")
                .labels("odd=false")
                .limit(1),
            vec!["m0"],
        ),
        (
            ListParams::default().at(at).matching(exact),
            vec!["m0", "m1", "m2", "m3"],
        ),
    ] {
        assert_eq!(
            names(&maps.list(&params).await.unwrap()),
            expected,
            "{params:?}"
        );
    }
    for (params, code) in [
        (ListParams::default().labels("a=b=c"), 400),
        (ListParams::default().fields("data.x=y"), 400),
        (ListParams::default().continue_token("nonsense"), 400),
    ] {
        let Err(kube::Error::Api(status)) = maps.list(&params).await else {
            panic!("{params:?}");
        };
        assert_eq!(status.code, code, "{params:?}");
    }
}
