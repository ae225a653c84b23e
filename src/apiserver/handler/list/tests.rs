//! Lists as clients see them.
use super::*;
use crate::apiserver::Strategy;
use crate::apiserver::protobuf;
use crate::apiserver::registry::cacher::CacherConfig;
use crate::apiserver::registry::cacher::fake::{self, FakeStore};
use crate::apiserver::registry::cacher::made::COUNT;
use crate::apiserver::render;
use crate::apiserver::request::{Query, User, Verb};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::json;

#[derive(Debug)]
struct Custom;
impl Strategy for Custom {
    fn custom(&self) -> bool {
        true
    }
}

async fn get(
    store: &FakeStore,
    resource: Arc<Resource>,
    query: &[(&str, &str)],
    accept: &str,
) -> (u16, u64, usize, Value) {
    let shared = fake::server(store, CacherConfig::default());
    let answer = asked(&shared, resource, query, accept).await;
    let (code, mut body) = (answer.status().as_u16(), answer.into_body());
    let size = http_body::Body::size_hint(&body).exact().unwrap();
    let (mut bytes, mut frames) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
        frames += 1;
    }
    assert_eq!(bytes.len() as u64, size);
    (code, size, frames, serde_json::from_slice(&bytes).unwrap())
}

async fn asked(
    shared: &Shared,
    resource: Arc<Resource>,
    query: &[(&str, &str)],
    accept: &str,
) -> Response {
    let request = ResourceRequest {
        warnings: crate::apiserver::response::Warnings::default(),
        logged: false,
        verb: Verb::List,
        resource,
        namespace: "ns".into(),
        name: String::new(),
        subresource: None,
        query: Query(
            query
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        user: Arc::new(User::default()),
        user_agent: String::new(),
        accept: accept.into(),
        content_type: String::new(),
        body: Bytes::new(),
    };
    let answer = handle(shared, &request).await;
    answer.unwrap_or_else(|status| response::failure(&status))
}

#[tokio::test(start_paused = true)]
async fn items_of_built_in_kinds_have_no_kind() {
    let store = FakeStore::default();
    store.pod("a", "x", "");
    store.pod("b", "y", "");
    let (code, _, _, list) = get(&store, fake::pods(), &[("limit", "1")], "").await;
    assert_eq!(
        (code, &list["kind"], &list["apiVersion"]),
        (200, &json!("PodList"), &json!("v1"))
    );
    assert_eq!(
        (
            &list["metadata"]["resourceVersion"],
            &list["metadata"]["remainingItemCount"]
        ),
        (&json!("2"), &json!(1))
    );
    let item = list["items"][0].as_object().unwrap();
    assert_eq!(item.keys().collect::<Vec<_>>(), ["metadata", "spec"]);
    assert_eq!(item["metadata"]["resourceVersion"], "1");
    let empty = get(&store, fake::pods(), &[("labelSelector", "app=z")], "")
        .await
        .3;
    assert_eq!(
        (&empty["items"], &empty["metadata"]),
        (&json!([]), &json!({ "resourceVersion": "2" }))
    );
}

#[tokio::test(start_paused = true)]
async fn items_of_custom_resources_keep_theirs() {
    let store = FakeStore::default();
    store.pod("a", "x", "");
    let custom = Arc::new(fake::resource("Pod", "pods", true, Arc::new(Custom)));
    let (_, _, _, list) = get(&store, custom, &[], "").await;
    assert_eq!(
        (&list["items"][0]["kind"], &list["metadata"]["continue"]),
        (&json!("Pod"), &json!(""))
    );
}

#[tokio::test(start_paused = true)]
async fn long_lists_come_in_pieces() {
    let store = FakeStore::default();
    for number in 0..40 {
        store.pod(&format!("p{number:02}"), "x", &"n".repeat(10_000));
    }
    let (_, _, frames, list) = get(&store, fake::pods(), &[], "").await;
    assert_eq!((frames, list["items"].as_array().unwrap().len()), (4, 40));
}

#[tokio::test(start_paused = true)]
async fn other_forms() {
    let store = FakeStore::default();
    store.pod("a", "x", "");
    let table = get(
        &store,
        fake::pods(),
        &[],
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    .await
    .3;
    assert_eq!(
        (&table["kind"], &table["rows"][0]["cells"][0]),
        (&json!("Table"), &json!("a"))
    );
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = get(
        &store,
        fake::pods(),
        &[],
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )
    .await
    .3;
    assert_eq!(
        (&partial["kind"], &partial["items"][0]["metadata"]["name"]),
        (&json!("PartialObjectMetadataList"), &json!("a"))
    );
    assert_eq!(
        get(
            &store,
            fake::pods(),
            &[],
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        )
        .await
        .0,
        406
    );
}

#[tokio::test(start_paused = true)]
async fn every_format_is_that_of_the_whole_document_and_made_once() {
    let meta = "v=v1;g=meta.k8s.io";
    let forms = [
        String::new(),
        format!(";as=PartialObjectMetadataList;{meta}"),
        format!(";as=Table;{meta}"),
    ];
    for (index, form) in forms.iter().enumerate() {
        for objects in [0, 1, 3] {
            let store = FakeStore::default();
            for number in 0..objects {
                store.pod(&format!("p{number}"), "web: \"x\"", "");
            }
            let (shared, pods) = (fake::server(&store, CacherConfig::default()), fake::pods());
            let bytes = async |media: &str| {
                let accept = format!("{media}{form}");
                let answer = asked(&shared, pods.clone(), &[], &accept).await;
                assert_eq!(answer.status(), 200, "{accept}");
                answer.into_body().collect().await.unwrap().to_bytes()
            };
            let json = bytes("application/json").await;
            let document: Value = serde_json::from_slice(&json).unwrap();
            let items = document.get("items").or_else(|| document.get("rows"));
            assert_eq!(items.and_then(Value::as_array).map(Vec::len), Some(objects));
            let made = COUNT.get();
            let whole = response::json(StatusCode::OK, &json);
            let whole = render::render("application/yaml", whole).await;
            let yaml = bytes("application/yaml").await;
            assert_eq!(yaml, whole.into_body().collect().await.unwrap().to_bytes());
            let mut formats = vec!["application/json", "application/yaml"];
            if index < 2 {
                formats.push(protobuf::MEDIA);
                let whole = protobuf::encode(&document).unwrap();
                assert_eq!(bytes(protobuf::MEDIA).await, whole);
            }
            assert!(COUNT.get() - made >= objects);
            let made = COUNT.get();
            for _ in 0..5 {
                for format in &formats {
                    bytes(format).await;
                }
            }
            assert_eq!(COUNT.get(), made, "{form}");
        }
    }
}
