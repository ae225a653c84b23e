//! The built-in plugins over a small cluster.
use super::testing::{Ask, World};
use super::*;
use serde_json::json;

fn class(name: &str, value: i64, default: bool) -> Value {
    json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name }, "value": value,
        "preemptionPolicy": "Never", "globalDefault": default })
}

fn world(classes: &[Value]) -> World {
    let objects: Vec<(&str, Value)> = classes
        .iter()
        .map(|class| ("priorityclasses", class.clone()))
        .collect();
    World::new(&objects)
}

impl World {
    /// Runs all plugins; the object as admitted.
    async fn run(
        &self,
        operation: Operation,
        resource: (&str, &str),
        namespace: &str,
        object: Value,
    ) -> Result<Value, Status> {
        let ask = Ask {
            operation,
            ..Ask::create(resource.0, resource.1, namespace, object)
        };
        self.admit(&ask).await
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
            .run(operation, resource, namespace, object)
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
        .run(Operation::Create, maps, "dying", map())
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
            .run(Operation::Create, ("", "pods"), "live", pod)
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
        .run(
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
        .run(
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
            .run(Operation::Create, ("", "pods"), "live", pod)
            .await
            .unwrap();
        assert_eq!(
            keys(&pod["spec"]["tolerations"], "tolerationSeconds"),
            expected
        );
    }
    let node = world
        .run(
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
            .run(Operation::Create, ("", "nodes"), "", node.clone())
            .await
            .unwrap(),
        node
    );
}

/// What the plugin says against it, or the object as it changes it.
async fn mutated(
    plugin: &dyn Admission,
    objects: &[(&str, Value)],
    ask: &Ask,
) -> Result<Value, String> {
    let outcome = World::new(objects).mutate(plugin, ask).await;
    outcome.map_err(|status| status.message)
}

async fn refused(plugin: &dyn Admission, objects: &[(&str, Value)], ask: &Ask) -> String {
    let outcome = World::new(objects).validate(plugin, ask).await;
    outcome
        .err()
        .map_or_else(String::new, |status| status.message)
}

#[tokio::test(start_paused = true)]
async fn storage_and_ingress_classes_have_defaults() {
    let class = |name: &str, created: &str, default: bool| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name, "creationTimestamp": created,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}}})
    };
    let classes = [
        ("storageclasses", class("b", "2026-01-02T00:00:00Z", true)),
        ("storageclasses", class("a", "2026-01-02T00:00:00Z", true)),
        ("storageclasses", class("old", "2026-01-01T00:00:00Z", true)),
        (
            "storageclasses",
            class("newest", "2026-01-03T00:00:00Z", false),
        ),
    ];
    let claim = |spec: Value| {
        Ask::create(
            "",
            "persistentvolumeclaims",
            "live",
            json!({"metadata": {"name": "c"}, "spec": spec}),
        )
    };
    let plugin = default_storage_class::DefaultStorageClass;
    for (spec, expected) in [
        (json!({}), json!("a")),
        (json!({"storageClassName": ""}), json!("")),
        (json!({"storageClassName": "x"}), json!("x")),
    ] {
        let found = mutated(&plugin, &classes, &claim(spec)).await.unwrap();
        assert_eq!(found["spec"]["storageClassName"], expected);
    }
    assert_eq!(
        mutated(&plugin, &[], &claim(json!({}))).await.unwrap()["spec"],
        json!({})
    );
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "i",
        "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}});
    let ask = Ask::create(
        "networking.k8s.io",
        "ingresses",
        "live",
        json!({"metadata": {"name": "x"}, "spec": {}}),
    );
    let found = mutated(
        &ingress_class::DefaultIngressClass,
        &[("ingressclasses", ingress)],
        &ask,
    )
    .await
    .unwrap();
    assert_eq!(found["spec"]["ingressClassName"], "i");
}

#[tokio::test(start_paused = true)]
async fn storage_is_protected_while_in_use() {
    let ask = |resource: &str| {
        Ask::create(
            "",
            resource,
            "",
            json!({"metadata": {"name": "x", "finalizers": ["a/b"]}}),
        )
    };
    for (resource, expected) in [
        (
            "persistentvolumes",
            json!(["a/b", "kubernetes.io/pv-protection"]),
        ),
        (
            "persistentvolumeclaims",
            json!(["a/b", "kubernetes.io/pvc-protection"]),
        ),
        ("configmaps", json!(["a/b"])),
    ] {
        let found = mutated(&in_use::StorageObjectInUseProtection, &[], &ask(resource))
            .await
            .unwrap();
        assert_eq!(found["metadata"]["finalizers"], expected);
    }
}

#[tokio::test(start_paused = true)]
async fn claims_grow_only_where_they_may() {
    let class = json!({"metadata": {"name": "fast"}, "allowVolumeExpansion": true});
    let claim = |size: &str, class: &str, phase: &str| {
        json!({"metadata": {"name": "c"}, "status": {"phase": phase},
        "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}})
    };
    for (size, name, phase, expected) in [
        ("2Gi", "fast", "Bound", ""),
        ("1Gi", "fast", "Pending", ""),
        (
            "2Gi",
            "fast",
            "Pending",
            "persistentvolumeclaims \"c\" is forbidden: Only bound persistent volume claims can be expanded",
        ),
        (
            "2Gi",
            "slow",
            "Bound",
            "persistentvolumeclaims \"c\" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        ),
    ] {
        let ask = Ask::update(
            "",
            "persistentvolumeclaims",
            "live",
            claim(size, name, phase),
            claim("1Gi", name, phase),
        );
        let found = refused(
            &resize::PersistentVolumeClaimResize,
            &[("storageclasses", class.clone())],
            &ask,
        )
        .await;
        assert_eq!(found, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn runtime_classes_give_overhead_and_scheduling() {
    let class = json!({"metadata": {"name": "kata"}, "handler": "kata", "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"k": "v"}, "tolerations": [{"key": "t"}]}});
    let objects = [("runtimeclasses", class)];
    let ask = |spec: Value| {
        Ask::create(
            "",
            "pods",
            "live",
            json!({"metadata": {"name": "p"}, "spec": spec}),
        )
    };
    let plugin = runtime_class::RuntimeClass;
    let found = mutated(&plugin, &objects, &ask(json!({"runtimeClassName": "kata"})))
        .await
        .unwrap();
    assert_eq!(
        found["spec"],
        json!({"runtimeClassName": "kata", "overhead": {"cpu": "100m"}, "nodeSelector": {"k": "v"}, "tolerations": [{"key": "t"}]})
    );
    for (spec, expected) in [
        (
            json!({"runtimeClassName": "no"}),
            "pod rejected: RuntimeClass \"no\" not found",
        ),
        (
            json!({"runtimeClassName": "kata", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"runtimeClassName": "kata", "nodeSelector": {"k": "w"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[k] = v; pod.spec.nodeSelector[k] = w",
        ),
    ] {
        let why = mutated(&plugin, &objects, &ask(spec)).await.unwrap_err();
        assert_eq!(why, format!("pods \"p\" is forbidden: {expected}"));
    }
    assert_eq!(
        refused(&plugin, &objects, &ask(json!({"overhead": {"cpu": "1"}}))).await,
        "pods \"p\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    );
}

#[tokio::test(start_paused = true)]
async fn limit_ranges_fill_in_and_bound() {
    let range = |limits: Value| json!({"metadata": {"name": "r", "namespace": "live"}, "spec": {"limits": limits}});
    let pod = |resources: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}], "initContainers": [{"name": "i", "resources": resources}]}});
    let defaults = range(
        json!([{"type": "Container", "default": {"cpu": "2", "memory": "1Gi"}, "defaultRequest": {"cpu": "1"}}]),
    );
    let ask = Ask::create("", "pods", "live", pod(json!({"limits": {"cpu": "3"}})));
    let found = mutated(
        &limit_ranger::LimitRanger,
        &[("limitranges", defaults)],
        &ask,
    )
    .await
    .unwrap();
    assert_eq!(
        found["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "3", "memory": "1Gi"}, "requests": {"cpu": "1"}})
    );
    assert_eq!(
        found["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; memory limit for container c; cpu request for init container i; memory limit for init container i"
    );
    let resources = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    for (limit, expected) in [
        (
            json!({"type": "Container", "min": {"cpu": "500m"}, "max": {"cpu": "2"}}),
            "",
        ),
        (
            json!({"type": "Container", "min": {"cpu": "3"}}),
            "minimum cpu usage per Container is 3, but request is 1",
        ),
        (
            json!({"type": "Container", "min": {"memory": "1Gi"}}),
            "minimum memory usage per Container is 1Gi.  No request is specified",
        ),
        (
            json!({"type": "Container", "max": {"cpu": "1", "memory": "1Gi"}}),
            "[maximum cpu usage per Container is 1, but limit is 2, maximum memory usage per Container is 1Gi.  No limit is specified]",
        ),
        (
            json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "1500m"}}),
            "cpu max limit to request ratio per Container is 1500m, but provided ratio is 2.000000",
        ),
        (
            json!({"type": "Container", "maxLimitRequestRatio": {"memory": "2"}}),
            "memory max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
        (
            json!({"type": "Pod", "max": {"cpu": "1500m"}}),
            "maximum cpu usage per Pod is 1500m, but limit is 2",
        ),
    ] {
        let ask = Ask::create("", "pods", "live", pod(resources.clone()));
        let found = refused(
            &limit_ranger::LimitRanger,
            &[("limitranges", range(json!([limit])))],
            &ask,
        )
        .await;
        let expected = if expected.is_empty() {
            String::new()
        } else {
            format!("pods \"p\" is forbidden: {expected}")
        };
        assert_eq!(found, expected);
    }
    let claim =
        json!({"metadata": {"name": "v"}, "spec": {"resources": {"requests": {"storage": "3Gi"}}}});
    let bounds = range(
        json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]),
    );
    let ask = Ask::create("", "persistentvolumeclaims", "live", claim);
    assert_eq!(
        refused(&limit_ranger::LimitRanger, &[("limitranges", bounds)], &ask).await,
        "persistentvolumeclaims \"v\" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
    );
}

#[tokio::test(start_paused = true)]
async fn pods_run_as_service_accounts() {
    let account = json!({"metadata": {"name": "default", "namespace": "live"}, "imagePullSecrets": [{"name": "s"}]});
    let objects = [("serviceaccounts", account)];
    let ask = |pod: Value| Ask::create("", "pods", "live", pod);
    let plugin = service_account::ServiceAccount;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    let found = mutated(&plugin, &objects, &ask(pod.clone())).await.unwrap();
    assert_eq!(found["spec"]["serviceAccountName"], "default");
    assert_eq!(found["spec"]["imagePullSecrets"], json!([{"name": "s"}]));
    assert_eq!(
        found["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    assert_eq!(
        found["spec"]["volumes"][0]["projected"]["sources"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    let mut unmounted = pod.clone();
    unmounted["spec"]["automountServiceAccountToken"] = json!(false);
    assert_eq!(
        mutated(&plugin, &objects, &ask(unmounted)).await.unwrap()["spec"].get("volumes"),
        None
    );
    let mut missing = pod.clone();
    missing["spec"]["serviceAccountName"] = json!("no");
    assert_eq!(
        mutated(&plugin, &objects, &ask(missing)).await.unwrap_err(),
        "pods \"p\" is forbidden: error looking up service account live/no: serviceaccount \"no\" not found"
    );
    let mut mirror = pod;
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(refused(&plugin, &objects, &ask(mirror.clone())).await, "");
    mirror["spec"]["serviceAccountName"] = json!("a");
    assert_eq!(
        refused(&plugin, &objects, &ask(mirror)).await,
        "pods \"p\" is forbidden: a mirror pod may not reference service accounts"
    );
    let limited = json!({"metadata": {"name": "default", "namespace": "live", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
    let pod = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "default", "containers": [], "volumes": [{"name": "v", "secret": {"secretName": "x"}}]}});
    assert_eq!(
        refused(&plugin, &[("serviceaccounts", limited)], &ask(pod)).await,
        "pods \"p\" is forbidden: volume with secret.secretName=\"x\" is not allowed because service account default does not reference that secret"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_becomes_a_master_by_certificate() {
    let pem = include_str!("../../pki/test-names.pem");
    let csr = |signer: &str| {
        let request = crate::object::base64::encode(pem.as_bytes());
        let object =
            json!({"metadata": {"name": "r"}, "spec": {"signerName": signer, "request": request}});
        Ask::create(
            "certificates.k8s.io",
            "certificatesigningrequests",
            "",
            object,
        )
    };
    let plugin = certificates::SubjectRestriction;
    assert_eq!(refused(&plugin, &[], &csr("example.com/x")).await, "");
    assert_eq!(
        refused(&plugin, &[], &csr("kubernetes.io/kube-apiserver-client")).await,
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
}
