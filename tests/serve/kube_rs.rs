//! kube-rs from end to end, over TLS and in process: what its users do with a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use homeostat::apiserver::ApiServer;
use homeostat::apiserver::serve::{Certificates, ServeConfig};
use homeostat::clock::Clock;
use homeostat::store::MemoryStore;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, PartialObjectMeta, Patch,
    PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::{Controller, WatchStreamExt, reflector, wait, watcher};
use kube::{Api, Client, Config, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// What is done over TLS is done in process, too.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls() {
    let server = server().await;
    let certificates = Certificates::generate(&Clock::system(), &["127.0.0.1"]).unwrap();
    let serving = ServeConfig::new(([127, 0, 0, 1], 0).into())
        .tls(certificates.server_tls())
        .start(server)
        .await
        .unwrap();
    let config = Kubeconfig::from_yaml(&certificates.kubeconfig(&serving.url())).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(config, &options)
        .await
        .unwrap();
    suite(Client::try_from(config).unwrap()).await;
    serving.stop().await;
}

#[tokio::test]
async fn in_process() {
    let server = server().await;
    suite(server.client()).await;
    server.stop().await;
}

async fn server() -> ApiServer {
    let store = Arc::new(MemoryStore::default());
    ApiServer::builder(store).start().await.unwrap()
}

async fn suite(client: Client) {
    typed_objects(&client).await;
    dynamic_objects(&client).await;
    discovery(&client).await;
    entries(&client).await;
    server_side_apply(&client).await;
    watches(&client).await;
    reflectors(&client).await;
    finalizers(&client).await;
    controllers(&client).await;
    custom_resources(&client).await;
}

/// A namespace of a case's own.
async fn namespace(client: &Client, name: &str) -> String {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    name.to_owned()
}

fn map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(
            data.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        ..ConfigMap::default()
    }
}

async fn typed_objects(client: &Client) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace(client, "typed").await);
    let made = maps
        .create(&PostParams::default(), &map("a", &[("k", "1")]))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.resource_version().is_some());
    let again = maps.create(&PostParams::default(), &made.clone()).await;
    assert!(
        matches!(again, Err(kube::Error::Api(status)) if status.code == 409 || status.code == 500)
    );
    let mut changed = made.clone();
    changed.data = Some(BTreeMap::from([("k".to_owned(), "2".to_owned())]));
    let changed = maps
        .replace("a", &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_ne!(changed.resource_version(), made.resource_version());
    let stale = maps.replace("a", &PostParams::default(), &made).await;
    assert!(matches!(stale, Err(kube::Error::Api(status)) if status.is_conflict()));
    for (patch, value) in [
        (Patch::Merge(json!({"data": {"k": "3"}})), "3"),
        (Patch::Strategic(json!({"data": {"k": "4"}})), "4"),
    ] {
        let patched = maps
            .patch("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
        assert_eq!(patched.data.unwrap()["k"], value);
    }
    let operations =
        serde_json::from_value(json!([{"op": "replace", "path": "/data/k", "value": "5"}]));
    let patch = Patch::Json::<ConfigMap>(operations.unwrap());
    let patched = maps
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(patched.data.unwrap()["k"], "5");
    let meta = maps.get_metadata("a").await.unwrap();
    assert_eq!(meta.name_any(), "a");
    for number in 0..7 {
        let name = format!("page-{number}");
        maps.create(&PostParams::default(), &map(&name, &[]))
            .await
            .unwrap();
    }
    let mut pages = 0;
    let mut names = Vec::new();
    let mut params = ListParams::default().limit(3);
    loop {
        let page = maps.list(&params).await.unwrap();
        names.extend(page.items.iter().map(ResourceExt::name_any));
        pages += 1;
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!((pages, names.len()), (3, 8));
    let one = maps
        .list(&ListParams::default().fields("metadata.name=page-3"))
        .await
        .unwrap();
    assert_eq!(one.items.len(), 1);
    let gone = maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(gone.is_right(), "config maps go at once");
    maps.delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    assert!(
        maps.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

async fn dynamic_objects(client: &Client) {
    let kind = ApiResource::erase::<Secret>(&());
    let secrets = Api::<DynamicObject>::namespaced_with(
        client.clone(),
        &namespace(client, "dynamic").await,
        &kind,
    );
    let secret = DynamicObject::new("s", &kind).data(json!({"stringData": {"a": "text"}}));
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    let found = secrets.get("s").await.unwrap();
    assert_eq!(found.data["data"]["a"], "dGV4dA==");
    assert_eq!(found.data["type"], "Opaque");
}

async fn discovery(client: &Client) {
    for discovery in [
        Discovery::new(client.clone()).run().await.unwrap(),
        Discovery::new(client.clone())
            .run_aggregated()
            .await
            .unwrap(),
    ] {
        let group = discovery.get("apps").unwrap();
        let (kind, capabilities) = group.recommended_kind("Deployment").unwrap();
        assert_eq!(
            (kind.plural.as_str(), capabilities.scope.clone()),
            ("deployments", Scope::Namespaced)
        );
        assert!(capabilities.supports_operation(verbs::WATCH));
        assert!(discovery.groups().count() > 15);
    }
    assert!(
        client
            .apiserver_version()
            .await
            .unwrap()
            .minor
            .starts_with("36")
    );
}

async fn entries(client: &Client) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace(client, "entries").await);
    for count in 1..=2 {
        let mut entry = maps
            .entry("counter")
            .await
            .unwrap()
            .or_insert(|| map("counter", &[]))
            .and_modify(|map| {
                map.data
                    .get_or_insert_default()
                    .insert("count".into(), count.to_string());
            });
        entry.commit(&PostParams::default()).await.unwrap();
    }
    let found = maps.get("counter").await.unwrap();
    assert_eq!(found.data.unwrap()["count"], "2");
}

async fn server_side_apply(client: &Client) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace(client, "applied").await);
    let apply = async |manager: &str, force: bool, data: &[(&str, &str)]| {
        let mut params = PatchParams::apply(manager);
        if force {
            params = params.force();
        }
        maps.patch("m", &params, &Patch::Apply(&map("m", data)))
            .await
    };
    apply("one", false, &[("a", "1"), ("b", "1")])
        .await
        .unwrap();
    apply("two", false, &[("c", "2")]).await.unwrap();
    let conflict = apply("two", false, &[("a", "2"), ("c", "2")])
        .await
        .unwrap_err();
    assert!(
        conflict.to_string().contains("conflict with \"one\"")
            && conflict.to_string().contains(".data.a"),
        "{conflict}"
    );
    apply("two", true, &[("a", "2"), ("c", "2")]).await.unwrap();
    // What a manager gives up goes when it was its alone.
    let now = apply("one", false, &[]).await.unwrap();
    assert_eq!(
        now.data.clone().unwrap(),
        [("a", "2"), ("c", "2")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    );
    let managers: Vec<_> = now
        .metadata
        .managed_fields
        .unwrap()
        .into_iter()
        .filter_map(|entry| entry.manager)
        .collect();
    assert!(managers.contains(&"two".to_owned()), "{managers:?}");

    let deployments = Api::<Deployment>::namespaced(client.clone(), "applied");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    });
    let params = PatchParams::apply("owner");
    deployments
        .patch("d", &params, &Patch::Apply(&deployment))
        .await
        .unwrap();
    let scale = Patch::Merge(json!({"spec": {"replicas": 4}}));
    deployments
        .patch_scale("d", &PatchParams::default(), &scale)
        .await
        .unwrap();
    let status = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "status": {"observedGeneration": 2, "replicas": 4},
    });
    let params = PatchParams::apply("controller").force();
    deployments
        .patch_status("d", &params, &Patch::Apply(&status))
        .await
        .unwrap();
    let found = deployments.get("d").await.unwrap();
    assert_eq!(found.spec.replicas, Some(4));
    assert_eq!(found.status.unwrap().replicas, Some(4));
    assert_eq!(
        deployments
            .get_scale("d")
            .await
            .unwrap()
            .spec
            .unwrap()
            .replicas,
        Some(4)
    );
}

async fn watches(client: &Client) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace(client, "watched").await);
    maps.create(&PostParams::default(), &map("first", &[]))
        .await
        .unwrap();
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut events = watcher(maps.clone(), config).boxed();
        let mut next = async || {
            timeout(PATIENCE, events.try_next())
                .await
                .unwrap()
                .unwrap()
                .unwrap()
        };
        assert!(matches!(next().await, watcher::Event::Init));
        assert!(
            matches!(next().await, watcher::Event::InitApply(map) if map.name_any() == "first")
        );
        assert!(matches!(next().await, watcher::Event::InitDone));
        maps.create(&PostParams::default(), &map("second", &[]))
            .await
            .unwrap();
        assert!(matches!(next().await, watcher::Event::Apply(map) if map.name_any() == "second"));
        maps.delete("second", &DeleteParams::default())
            .await
            .unwrap();
        assert!(matches!(next().await, watcher::Event::Delete(map) if map.name_any() == "second"));
    }
    let metas = Api::<PartialObjectMeta<ConfigMap>>::namespaced(client.clone(), "watched");
    let mut events = watcher(metas, watcher::Config::default())
        .applied_objects()
        .boxed();
    let first = timeout(PATIENCE, events.try_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            first.name_any().as_str(),
            first.types.unwrap().kind.as_str()
        ),
        ("first", "PartialObjectMetadata")
    );
    // A raw watch from a revision, by label, that ends by itself.
    let listed = maps.list(&ListParams::default()).await.unwrap();
    let from = listed.metadata.resource_version.unwrap();
    let params = WatchParams::default().labels("app=x").timeout(2);
    let mut raw = maps.watch(&params, &from).await.unwrap().boxed();
    let mut labelled = map("labelled", &[]);
    labelled.labels_mut().insert("app".into(), "x".into());
    maps.create(&PostParams::default(), &labelled)
        .await
        .unwrap();
    let unlabel = Patch::Merge(json!({"metadata": {"labels": {"app": "y"}}}));
    maps.patch("labelled", &PatchParams::default(), &unlabel)
        .await
        .unwrap();
    let mut kinds = Vec::new();
    while let Some(event) = timeout(PATIENCE, raw.try_next()).await.unwrap().unwrap() {
        match event {
            WatchEvent::Added(_) => kinds.push("added"),
            WatchEvent::Deleted(_) => kinds.push("deleted"),
            WatchEvent::Bookmark(_) => {}
            other => panic!("{other:?}"),
        }
    }
    // What leaves the selector is deleted for the watcher.
    assert_eq!(kinds, ["added", "deleted"]);
}

async fn reflectors(client: &Client) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace(client, "reflected").await);
    let (reader, writer) = reflector::store();
    let stream = reflector(writer, watcher(maps.clone(), watcher::Config::default()));
    let driver = tokio::spawn(stream.for_each(|_| futures::future::ready(())));
    timeout(PATIENCE, reader.wait_until_ready())
        .await
        .unwrap()
        .unwrap();
    maps.create(&PostParams::default(), &map("a", &[]))
        .await
        .unwrap();
    let wanted = reflector::ObjectRef::<ConfigMap>::new("a").within("reflected");
    let arrives = async {
        while reader.get(&wanted).is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, arrives).await.unwrap();
    driver.abort();
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

async fn finalizers(client: &Client) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace(client, "finalized").await);
    let step = async |map: ConfigMap| {
        finalizer(
            &maps,
            "example.com/cleanup",
            Arc::new(map),
            |event| async move {
                match event {
                    Event::Apply(_) | Event::Cleanup(_) => Ok::<_, Failure>(Action::await_change()),
                }
            },
        )
        .await
        .unwrap()
    };
    let made = maps
        .create(&PostParams::default(), &map("a", &[]))
        .await
        .unwrap();
    step(made).await;
    let held = maps.get("a").await.unwrap();
    assert_eq!(held.finalizers(), ["example.com/cleanup"]);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let going = maps.get("a").await.unwrap();
    assert!(going.meta().deletion_timestamp.is_some());
    step(going).await;
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

async fn controllers(client: &Client) {
    let namespace = namespace(client, "controlled").await;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    let reconcile = |map: Arc<ConfigMap>, secrets: Arc<Api<Secret>>| async move {
        let owner = map.controller_owner_ref(&()).unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": map.name_any(), "ownerReferences": [owner]},
        });
        let params = PatchParams::apply("controller").force();
        let applied = secrets
            .patch(&map.name_any(), &params, &Patch::Apply(secret))
            .await;
        applied.map_err(|error| Failure(error.to_string()))?;
        Ok::<_, Failure>(Action::await_change())
    };
    let controller = Controller::new(maps.clone(), watcher::Config::default())
        .owns(secrets.clone(), watcher::Config::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_secs(1)),
            Arc::new(secrets.clone()),
        )
        .for_each(|_| futures::future::ready(()));
    let controller = tokio::spawn(controller);
    maps.create(&PostParams::default(), &map("a", &[]))
        .await
        .unwrap();
    let exists = |secret: Option<&Secret>| secret.is_some();
    timeout(
        PATIENCE,
        wait::await_condition(secrets.clone(), "a", exists),
    )
    .await
    .unwrap()
    .unwrap();
    // What it owns comes back.
    let uid = secrets.get("a").await.unwrap().uid().unwrap();
    secrets.delete("a", &DeleteParams::default()).await.unwrap();
    let back = move |secret: Option<&Secret>| {
        secret.is_some_and(|secret| secret.uid().as_ref() != Some(&uid))
    };
    timeout(PATIENCE, wait::await_condition(secrets, "a", back))
        .await
        .unwrap()
        .unwrap();
    controller.abort();
}

/// A custom resource as users derive it.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "Crontab",
    namespaced,
    status = "CrontabStatus",
    shortname = "ct"
)]
#[kube(validation = kube::core::Rule::new("self.metadata.name != 'forbidden'").message("that name is taken"))]
#[kube(printcolumn = r#"{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}"#)]
#[kube(scale(
    spec_replicas_path = ".spec.replicas",
    status_replicas_path = ".status.replicas"
))]
struct CrontabSpec {
    #[schemars(length(min = 9))]
    schedule: String,
    #[schemars(range(min = 1, max = 10))]
    #[serde(default = "one")]
    replicas: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct CrontabStatus {
    #[serde(default)]
    replicas: i32,
}

fn one() -> i32 {
    1
}

async fn custom_resources(client: &Client) {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let params = PatchParams::apply("installer").force();
    definitions
        .patch(
            "crontabs.example.com",
            &params,
            &Patch::Apply(Crontab::crd()),
        )
        .await
        .unwrap();
    let established = wait::await_condition(
        definitions.clone(),
        "crontabs.example.com",
        wait::conditions::is_crd_established(),
    );
    timeout(PATIENCE, established).await.unwrap().unwrap();
    let crontabs = Api::<Crontab>::namespaced(client.clone(), "default");
    let spec = |schedule: &str, replicas| CrontabSpec {
        schedule: schedule.to_owned(),
        replicas,
        note: None,
    };
    let good = Crontab::new("good", spec("* * * * *", 2));
    crontabs
        .create(&PostParams::default(), &good)
        .await
        .unwrap();
    for (bad, field) in [
        (Crontab::new("short", spec("*", 2)), "spec.schedule"),
        (Crontab::new("many", spec("* * * * *", 11)), "spec.replicas"),
        (
            Crontab::new("forbidden", spec("* * * * *", 1)),
            "that name is taken",
        ),
    ] {
        let refused = crontabs
            .create(&PostParams::default(), &bad)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(field), "{refused}");
        assert!(matches!(refused, kube::Error::Api(status) if status.code == 422));
    }
    // Defaults come from the schema; the status has an endpoint of its own.
    let kind = ApiResource::erase::<Crontab>(&());
    let raw = Api::<DynamicObject>::namespaced_with(client.clone(), "default", &kind);
    let plain = DynamicObject::new("plain", &kind)
        .data(json!({"spec": {"schedule": "1 2 3 4 5", "unknown": 1}}));
    let made = raw.create(&PostParams::default(), &plain).await.unwrap();
    assert_eq!(
        made.data["spec"],
        json!({"schedule": "1 2 3 4 5", "replicas": 1})
    );
    let patch = Patch::Merge(json!({"status": {"replicas": 2}}));
    let patched = crontabs
        .patch("good", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert!(patched.status.is_none());
    let patched = crontabs
        .patch_status("good", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(patched.status.unwrap().replicas, 2);
    let scale = crontabs.get_scale("good").await.unwrap();
    assert_eq!(
        (scale.spec.unwrap().replicas, scale.status.unwrap().replicas),
        (Some(2), 2)
    );
    let listed = crontabs.list(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 2);
    let mut seen = watcher(crontabs.clone(), watcher::Config::default())
        .applied_objects()
        .boxed();
    timeout(PATIENCE, seen.try_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    // The definition takes its objects along.
    definitions
        .delete("crontabs.example.com", &DeleteParams::default())
        .await
        .unwrap();
    let gone = wait::await_condition(
        definitions,
        "crontabs.example.com",
        wait::Condition::not(|d: Option<&CustomResourceDefinition>| d.is_some()),
    );
    timeout(PATIENCE, gone).await.unwrap().unwrap();
    let missing = crontabs.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(missing, kube::Error::Api(status) if status.code == 404));
}
