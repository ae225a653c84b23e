//! The built-in plugins over a small cluster.
use super::*;
use crate::apiserver::Strategy;
use crate::apiserver::registry::Registry;
use crate::apiserver::registry::cacher::fake::{self, FakeStore};
use crate::apiserver::registry::cacher::{Cacher, CacherConfig};
use crate::object::Document;
use serde_json::json;
use std::sync::Arc;

#[derive(Debug)]
struct Plain;
impl Strategy for Plain {}

struct World {
    registry: Registry,
    cacher: Cacher,
}

fn world(classes: &[Value]) -> World {
    let store = FakeStore::default();
    let namespace = |name: &str, phase: &str| {
        let document = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name }, "status": { "phase": phase } });
        store.write(&format!("/registry/namespaces/{name}"), &document);
    };
    namespace("live", "Active");
    namespace("dying", "Terminating");
    for class in classes {
        store.write(
            &format!("/registry/priorityclasses/{}", class.name()),
            class,
        );
    }
    let registry = Registry::default();
    registry.insert(fake::resource(
        "Namespace",
        "namespaces",
        false,
        Arc::new(Plain),
    ));
    let mut priorities = fake::resource("PriorityClass", "priorityclasses", false, Arc::new(Plain));
    priorities.gvk.group = "scheduling.k8s.io".into();
    priorities.storage_group = "scheduling.k8s.io".into();
    registry.insert(priorities);
    World {
        registry,
        cacher: Cacher::new(Arc::new(store), CacherConfig::default()),
    }
}

fn class(name: &str, value: i64, default: bool) -> Value {
    json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name }, "value": value,
        "preemptionPolicy": "Never", "globalDefault": default })
}

impl World {
    /// Runs the chain; the object as admitted.
    async fn admit(
        &self,
        operation: Operation,
        resource: (&str, &str),
        namespace: &str,
        object: Value,
    ) -> Result<Value, Status> {
        let (user, options, mut admitted) = (UserInfo::default(), json!({}), object.clone());
        let name = object.name().to_owned();
        let request = AdmissionRequest {
            operation,
            kind: GroupVersionKind::default(),
            resource: GroupResource::new(resource.0, resource.1),
            subresource: "",
            namespace,
            name: &name,
            old: None,
            options: &options,
            dry_run: false,
            user: &user,
            view: View::new(&self.registry, &self.cacher),
        };
        let chain = Chain::default();
        if operation == Operation::Delete {
            chain.validate(&request, None).await?;
        } else {
            chain.mutate(&request, &mut admitted).await?;
            chain.validate(&request, Some(&admitted)).await?;
        }
        Ok(admitted)
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_must_exist_and_stay() {
    let world = world(&[]);
    let map = || json!({ "metadata": { "generateName": "m-" } });
    let maps = ("", "configmaps");
    for (operation, resource, namespace, object, expected) in [
        (Operation::Create, maps, "live", map(), None),
        (
            Operation::Create,
            maps,
            "gone",
            map(),
            Some((404, "namespaces \"gone\" not found")),
        ),
        (Operation::Update, maps, "dying", map(), None),
        (Operation::Delete, maps, "gone", map(), None),
        (
            Operation::Create,
            maps,
            "dying",
            map(),
            Some((
                403,
                "configmaps \"m-\" is forbidden: unable to create new content in namespace dying because it is being terminated",
            )),
        ),
        (
            Operation::Delete,
            ("", "namespaces"),
            "",
            json!({ "metadata": { "name": "kube-system" } }),
            Some((
                403,
                "namespaces \"kube-system\" is forbidden: this namespace may not be deleted",
            )),
        ),
        (
            Operation::Delete,
            ("", "namespaces"),
            "",
            json!({ "metadata": { "name": "kube-node-lease" } }),
            None,
        ),
        (
            Operation::Create,
            ("authorization.k8s.io", "localsubjectaccessreviews"),
            "gone",
            json!({}),
            None,
        ),
    ] {
        let refused = world
            .admit(operation, resource, namespace, object)
            .await
            .err();
        assert_eq!(
            refused
                .as_ref()
                .map(|status| (status.code, status.message.as_str())),
            expected
        );
    }
    let status = world
        .admit(Operation::Create, maps, "dying", map())
        .await
        .unwrap_err();
    let cause = &status.details.unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str()),
        ("NamespaceTerminating", "metadata.namespace")
    );
}

#[tokio::test(start_paused = true)]
async fn priorities_follow_from_classes() {
    let plain = world(&[class("high", 1000, false)]);
    let defaulted = world(&[class("base", 5, true), class("other", 9, true)]);
    let forbidden = "pods \"p\" is forbidden: ";
    for (world, spec, expected) in [
        (
            &plain,
            json!({}),
            Ok(json!([0, null, "PreemptLowerPriority"])),
        ),
        (&defaulted, json!({}), Ok(json!([5, "base", "Never"]))),
        (
            &plain,
            json!({ "priorityClassName": "high", "priority": 1000 }),
            Ok(json!([1000, "high", "Never"])),
        ),
        (
            &plain,
            json!({ "priorityClassName": "system-node-critical" }),
            Ok(json!([
                2_000_001_000,
                "system-node-critical",
                "PreemptLowerPriority"
            ])),
        ),
        (
            &plain,
            json!({ "priorityClassName": "nope" }),
            Err("no PriorityClass with name nope was found"),
        ),
        (
            &plain,
            json!({ "priority": 7 }),
            Err(
                "the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 0 from the given PriorityClass name",
            ),
        ),
        (
            &plain,
            json!({ "priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority" }),
            Err(
                "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name",
            ),
        ),
    ] {
        let pod = json!({ "metadata": { "name": "p" }, "spec": spec });
        let admitted = world
            .admit(Operation::Create, ("", "pods"), "live", pod)
            .await;
        let found = admitted.map(|pod| {
            json!([
                pod["spec"]["priority"],
                pod["spec"]["priorityClassName"],
                pod["spec"]["preemptionPolicy"]
            ])
        });
        assert_eq!(
            found.map_err(|status| status.message),
            expected.map_err(|why| format!("{forbidden}{why}")),
            "{spec}"
        );
    }
    let second = defaulted
        .admit(
            Operation::Create,
            ("scheduling.k8s.io", "priorityclasses"),
            "",
            class("new", 1, true),
        )
        .await
        .unwrap_err();
    assert!(
        second
            .message
            .contains("PriorityClass base is already marked as default"),
        "{}",
        second.message
    );
    defaulted
        .admit(
            Operation::Update,
            ("scheduling.k8s.io", "priorityclasses"),
            "",
            class("base", 5, true),
        )
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn tolerations_and_taints_are_filled_in() {
    let world = world(&[]);
    let keys = |list: &Value, field: &str| {
        let items = list.as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| {
                format!(
                    "{}:{}",
                    item["key"]
                        .as_str()
                        .unwrap_or("*")
                        .rsplit('/')
                        .next()
                        .unwrap(),
                    item[field]
                )
            })
            .collect::<Vec<_>>()
    };
    for (given, expected) in [
        (json!([]), vec!["not-ready:300", "unreachable:300"]),
        (json!([{ "operator": "Exists" }]), vec!["*:null"]),
        (
            json!([{ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule" }]),
            vec!["not-ready:null", "not-ready:300", "unreachable:300"],
        ),
        (
            json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists" }]),
            vec!["unreachable:null", "not-ready:300"],
        ),
    ] {
        let pod = json!({ "metadata": { "name": "p" }, "spec": { "tolerations": given } });
        let pod = world
            .admit(Operation::Create, ("", "pods"), "live", pod)
            .await
            .unwrap();
        assert_eq!(
            keys(&pod["spec"]["tolerations"], "tolerationSeconds"),
            expected
        );
    }
    let node = world
        .admit(
            Operation::Create,
            ("", "nodes"),
            "",
            json!({ "metadata": { "name": "n" } }),
        )
        .await
        .unwrap();
    assert_eq!(
        keys(&node["spec"]["taints"], "effect"),
        ["not-ready:\"NoSchedule\""]
    );
    assert_eq!(
        world
            .admit(Operation::Create, ("", "nodes"), "", node.clone())
            .await
            .unwrap(),
        node
    );
}
