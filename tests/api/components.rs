//! What Kubernetes' own components ask: every list and watch that kube-controller-manager and kube-scheduler 1.36 make at their
//! start, and what their controllers write, in the form of client-go and under the roles that every cluster has.
use crate::support::{Answer, Api, builder, deployment, remote};
use homeostat::apiserver::{AuthorizationMode, StaticTokens};
use serde_json::{Value, json};
use std::fmt::Write as _;

const MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// The controllers that run as a service account of their own.
const CONTROLLERS: [&str; 38] = [
    "attachdetach-controller",
    "bootstrap-signer",
    "certificate-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "legacy-service-account-token-cleaner",
    "namespace-controller",
    "node-controller",
    "persistent-volume-binder",
    "pod-garbage-collector",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "selinux-warning-controller",
    "service-account-controller",
    "service-cidrs-controller",
    "service-controller",
    "statefulset-controller",
    "token-cleaner",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
];

/// What the manager's informers follow; they are shared and run as the manager itself.
const MANAGED: [&str; 39] = [
    "/api/v1/configmaps",
    "/api/v1/endpoints",
    "/api/v1/limitranges",
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/persistentvolumeclaims",
    "/api/v1/persistentvolumes",
    "/api/v1/pods",
    "/api/v1/podtemplates",
    "/api/v1/replicationcontrollers",
    "/api/v1/resourcequotas",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/services",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/apps/v1/controllerrevisions",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/statefulsets",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/batch/v1/cronjobs",
    "/apis/batch/v1/jobs",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/coordination.k8s.io/v1/leases",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/ingresses",
    "/apis/networking.k8s.io/v1/ipaddresses",
    "/apis/networking.k8s.io/v1/servicecidrs",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/resource.k8s.io/v1/deviceclasses",
    "/apis/resource.k8s.io/v1/resourceclaims",
    "/apis/resource.k8s.io/v1/resourceclaimtemplates",
    "/apis/resource.k8s.io/v1/resourceslices",
    "/apis/storage.k8s.io/v1/csidrivers",
    "/apis/storage.k8s.io/v1/csinodes",
    "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/storage.k8s.io/v1/volumeattachments",
];

/// What the scheduler's informers follow.
const SCHEDULED: [&str; 18] = [
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/persistentvolumeclaims",
    "/api/v1/persistentvolumes",
    "/api/v1/pods?fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed",
    "/api/v1/replicationcontrollers",
    "/api/v1/services",
    "/apis/apps/v1/replicasets",
    "/apis/apps/v1/statefulsets",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/resource.k8s.io/v1/deviceclasses",
    "/apis/resource.k8s.io/v1/resourceclaims",
    "/apis/resource.k8s.io/v1/resourceslices",
    "/apis/storage.k8s.io/v1/csidrivers",
    "/apis/storage.k8s.io/v1/csinodes",
    "/apis/storage.k8s.io/v1/csistoragecapacities",
    "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/storage.k8s.io/v1/volumeattachments",
];

/// A server with roles, and its components, each known by its name as a token.
struct World {
    api: Api,
}

impl World {
    async fn new() -> Self {
        let mut tokens = String::from("root,admin,1,system:masters\n");
        for user in [MANAGER, SCHEDULER] {
            writeln!(tokens, "{user},{user},,").unwrap();
        }
        for controller in CONTROLLERS {
            let user = format!("system:serviceaccount:kube-system:{controller}");
            let groups = "\"system:serviceaccounts,system:serviceaccounts:kube-system\"";
            writeln!(tokens, "{controller},{user},,{groups}").unwrap();
        }
        let builder = builder()
            .tokens(StaticTokens::from_csv(&tokens).unwrap())
            .authorization([AuthorizationMode::Node, AuthorizationMode::Rbac]);
        Self {
            api: Api::start(builder).await,
        }
    }

    async fn ask(&self, user: &str, line: &str, body: &Value) -> Answer {
        let user_agent = "kube-controller-manager/v1.36.0 (linux/amd64) kubernetes/abcdef";
        let mut line = format!("{line}\nUser-Agent: {user_agent}");
        if !line.contains("Accept: ") {
            line.push_str("\nAccept: application/json");
        }
        if !body.is_null() && !line.contains("Content-Type: ") {
            line.push_str("\nContent-Type: application/json");
        }
        remote(&self.api, user, &line, body).await
    }

    #[track_caller]
    fn good(user: &str, line: &str, answer: Answer) -> Value {
        let fine = (200..300).contains(&answer.code);
        assert!(fine, "{user}: {line}: {} {}", answer.code, answer.text);
        answer.body
    }

    async fn get(&self, user: &str, path: &str) -> Value {
        let line = format!("GET {path}");
        Self::good(user, &line, self.ask(user, &line, &Value::Null).await)
    }

    async fn post(&self, user: &str, path: &str, body: Value) -> Value {
        let line = format!("POST {path}");
        Self::good(user, &line, self.ask(user, &line, &body).await)
    }

    async fn patch(&self, user: &str, media_type: &str, path: &str, body: Value) -> Value {
        let line = format!("PATCH {path}\nContent-Type: {media_type}");
        Self::good(user, &line, self.ask(user, &line, &body).await)
    }

    async fn delete(&self, user: &str, path: &str, options: Value) -> Value {
        let line = format!("DELETE {path}");
        Self::good(user, &line, self.ask(user, &line, &options).await)
    }

    /// Reads the object, changes it, and writes it back to `path` or a subresource of it.
    async fn put(
        &self,
        user: &str,
        path: &str,
        sub: &str,
        change: impl FnOnce(&mut Value),
    ) -> Value {
        let mut object = self.get("root", path).await;
        change(&mut object);
        let line = format!("PUT {path}{sub}");
        Self::good(user, &line, self.ask(user, &line, &object).await)
    }

    /// As a reflector begins: one watch that brings what there is, up to a bookmark that says so.
    async fn streams(&self, user: &str, path: &str, accept: &str) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let line = format!(
            "GET {path}{separator}allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&timeout=5s&timeoutSeconds=5&watch=true\nAccept: {accept}"
        );
        let answer = self.ask(user, &line, &Value::Null).await;
        let told = answer.text.contains("k8s.io/initial-events-end");
        assert!(
            answer.code == 200 && told,
            "{user}: {path}: {}",
            answer.text
        );
    }

    /// As a reflector begins whose server does not stream: a list, in pages of 500, then a watch from there.
    async fn lists(&self, user: &str, path: &str) {
        let separator = if path.contains('?') { '&' } else { '?' };
        let list = self
            .get(
                user,
                &format!("{path}{separator}limit=500&resourceVersion=0"),
            )
            .await;
        let version = list["metadata"]["resourceVersion"].as_str().unwrap();
        assert!(list["items"].is_array(), "{list}");
        let line = format!(
            "GET {path}{separator}allowWatchBookmarks=true&resourceVersion={version}&timeout=5s&timeoutSeconds=5&watch=true"
        );
        let answer = self.ask(user, &line, &Value::Null).await;
        assert_eq!(answer.code, 200, "{user}: {path}: {}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn informers_are_filled() {
    let world = World::new().await;
    for (user, paths) in [(MANAGER, &MANAGED[..]), (SCHEDULER, &SCHEDULED[..])] {
        for path in paths {
            world.streams(user, path, "application/json").await;
            world.lists(user, path).await;
        }
    }
    // Those of one object.
    for user in [MANAGER, SCHEDULER] {
        let path = "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dextension-apiserver-authentication";
        world.streams(user, path, "application/json").await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_garbage_collector_follows_everything_there_is() {
    let world = World::new().await;
    let line = "GET /apis\nAccept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let (mut groups, mut seen) = (Vec::new(), 0);
    for line in [line.to_owned(), line.replace("/apis\n", "/api\n")] {
        let answer = world.ask(MANAGER, &line, &Value::Null).await;
        groups.extend(answer.expect(200)["items"].as_array().unwrap().clone());
    }
    for group in &groups {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        for version in group["versions"].as_array().unwrap() {
            let version_name = version["version"].as_str().unwrap();
            let root = match name {
                "" => format!("/api/{version_name}"),
                name => format!("/apis/{name}/{version_name}"),
            };
            for resource in version["resources"].as_array().unwrap() {
                let verbs = resource["verbs"].as_array().unwrap();
                let is_followed = ["list", "watch", "delete"]
                    .iter()
                    .all(|verb| verbs.contains(&json!(verb)));
                if !is_followed {
                    continue;
                }
                seen += 1;
                let path = format!("{root}/{}", resource["resource"].as_str().unwrap());
                let partial = "g=meta.k8s.io;v=v1";
                let watch = format!(
                    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;{partial},application/json;as=PartialObjectMetadata;{partial},application/json"
                );
                world.streams(MANAGER, &path, &watch).await;
                let json =
                    format!("application/json;as=PartialObjectMetadata;{partial},application/json");
                world
                    .streams("resourcequota-controller", &path, &json)
                    .await;
                let list = watch.replace("PartialObjectMetadata;", "PartialObjectMetadataList;");
                let line = format!("GET {path}?limit=500&resourceVersion=0\nAccept: {list}");
                let answer = world.ask(MANAGER, &line, &Value::Null).await;
                assert_eq!(answer.code, 200, "{path}: {}", answer.text);
                assert_eq!(
                    answer.headers["content-type"],
                    "application/vnd.kubernetes.protobuf"
                );
            }
        }
    }
    assert!(seen > 50, "{seen} resources");
}

const SYSTEM: &str = "/api/v1/namespaces/kube-system";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

#[tokio::test(start_paused = true)]
async fn components_start_and_lead() {
    let world = World::new().await;
    for path in [
        "/healthz",
        "/livez",
        "/readyz",
        "/version",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/api/v1",
    ] {
        let answer = world
            .ask(MANAGER, &format!("GET {path}"), &Value::Null)
            .await;
        assert_eq!(answer.code, 200, "{path}: {}", answer.text);
    }
    for (user, name) in [
        (MANAGER, "kube-controller-manager"),
        (SCHEDULER, "kube-scheduler"),
    ] {
        let path = format!("{LEASES}/{name}");
        let line = format!("GET {path}?timeout=5s");
        world
            .ask(user, &line, &Value::Null)
            .await
            .fails(404, "NotFound");
        let spec = json!({
            "holderIdentity": "host_1", "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2030-01-01T00:00:00.000000Z", "renewTime": "2030-01-01T00:00:00.000000Z",
        });
        let lease = json!({
            "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
            "metadata": { "name": name, "namespace": "kube-system", "creationTimestamp": null }, "spec": spec,
        });
        world
            .post(user, &format!("{LEASES}?timeout=5s"), lease)
            .await;
        let held = world.put(user, &path, "", |lease| {
            lease["spec"]["renewTime"] = "2030-01-01T00:00:02.000000Z".into();
        });
        assert_eq!(
            held.await["spec"]["renewTime"],
            "2030-01-01T00:00:02.000000Z"
        );
        let event = json!({
            "kind": "Event", "apiVersion": "v1",
            "metadata": { "name": format!("{name}.18"), "namespace": "kube-system", "creationTimestamp": null },
            "involvedObject": { "kind": "Lease", "namespace": "kube-system", "name": name, "apiVersion": "coordination.k8s.io/v1" },
            "reason": "LeaderElection", "message": "host_1 became leader", "source": { "component": name },
            "firstTimestamp": "2030-01-01T00:00:00Z", "lastTimestamp": "2030-01-01T00:00:00Z", "count": 1,
            "type": "Normal", "eventTime": null, "reportingComponent": name, "reportingInstance": "",
        });
        world.post(user, &format!("{SYSTEM}/events"), event).await;
        let more = json!({ "count": 2, "lastTimestamp": "2030-01-01T00:00:05Z" });
        let path = format!("{SYSTEM}/events/{name}.18");
        assert_eq!(world.patch(user, STRATEGIC, &path, more).await["count"], 2);
        let review = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": { "creationTimestamp": null },
            "spec": { "token": user }, "status": { "user": {} },
        });
        let review = world
            .post(user, "/apis/authentication.k8s.io/v1/tokenreviews", review)
            .await;
        assert_eq!(review["status"]["user"]["username"], user);
        let access = json!({
            "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": { "creationTimestamp": null },
            "spec": { "nonResourceAttributes": { "path": "/metrics", "verb": "get" }, "user": "admin", "groups": ["system:masters"] },
            "status": { "allowed": false },
        });
        let access = world
            .post(
                user,
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                access,
            )
            .await;
        assert_eq!(access["status"]["allowed"], true);
        let authentication = world
            .get(
                user,
                &format!("{SYSTEM}/configmaps/extension-apiserver-authentication"),
            )
            .await;
        assert_eq!(authentication["kind"], "ConfigMap");
    }
}

#[tokio::test(start_paused = true)]
async fn controllers_get_accounts_and_tokens() {
    let world = World::new().await;
    world.get(MANAGER, "/api/v1/namespaces/kube-system").await;
    for controller in CONTROLLERS {
        let path = format!("{SYSTEM}/serviceaccounts");
        let line = format!("GET {path}/{controller}");
        world
            .ask(MANAGER, &line, &Value::Null)
            .await
            .fails(404, "NotFound");
        let account = json!({
            "kind": "ServiceAccount", "apiVersion": "v1",
            "metadata": { "name": controller, "namespace": "kube-system", "creationTimestamp": null },
        });
        world.post(MANAGER, &path, account).await;
        let request = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": { "creationTimestamp": null },
            "spec": { "audiences": null, "expirationSeconds": 31_536_000, "boundObjectRef": null },
            "status": { "token": "", "expirationTimestamp": null },
        });
        let made = world
            .post(MANAGER, &format!("{path}/{controller}/token"), request)
            .await;
        let token = made["status"]["token"].as_str().unwrap().to_owned();
        let review =
            json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
        let answer = world
            .post(
                &token,
                "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                review,
            )
            .await;
        let name = &answer["status"]["userInfo"]["username"];
        assert_eq!(
            name,
            &format!("system:serviceaccount:kube-system:{controller}")
        );
    }
    let since = "/configmaps/kube-apiserver-legacy-service-account-token-tracking";
    let tracking = world
        .get(
            "legacy-service-account-token-cleaner",
            &format!("{SYSTEM}{since}"),
        )
        .await;
    assert!(tracking["data"]["since"].is_string(), "{tracking}");
}

const CORE: &str = "/api/v1/namespaces/default";
const APPS: &str = "/apis/apps/v1/namespaces/default";

fn owner(of: &Value, kind: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "name": of["metadata"]["name"], "uid": of["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

fn node() -> Value {
    json!({ "metadata": { "name": "n1" }, "status": { "capacity": { "cpu": "4", "memory": "8Gi", "pods": "110" } } })
}

/// A pod as controllers create it from a template.
fn pod(name: &str, owner: &Value) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "generateName": format!("{name}-"), "creationTimestamp": null, "labels": { "app": "a", "pod-template-hash": "5d9" },
            "ownerReferences": [owner],
        },
        "spec": {
            "containers": [{
                "name": "c", "image": "img:1", "resources": {}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "securityContext": {}, "schedulerName": "default-scheduler",
        },
        "status": {},
    })
}

#[tokio::test(start_paused = true)]
async fn a_deployment_is_rolled_out() {
    let world = World::new().await;
    world.post("root", "/api/v1/nodes", node()).await;
    let wanted = world
        .post("root", &format!("{APPS}/deployments"), deployment("d"))
        .await;

    let user = "deployment-controller";
    let set = json!({
        "kind": "ReplicaSet", "apiVersion": "apps/v1",
        "metadata": {
            "name": "d-5d9", "namespace": "default", "creationTimestamp": null, "labels": { "app": "a", "pod-template-hash": "5d9" },
            "annotations": { "deployment.kubernetes.io/desired-replicas": "2", "deployment.kubernetes.io/revision": "1" },
            "ownerReferences": [owner(&wanted, "Deployment")],
        },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": "a", "pod-template-hash": "5d9" } },
            "template": {
                "metadata": { "creationTimestamp": null, "labels": { "app": "a", "pod-template-hash": "5d9" } },
                "spec": { "containers": [{ "name": "c", "image": "img:1", "resources": {} }], "restartPolicy": "Always", "securityContext": {} },
            },
        },
        "status": { "replicas": 0 },
    });
    let set = world.post(user, &format!("{APPS}/replicasets"), set).await;
    let path = format!("{APPS}/deployments/d");
    world
        .put(user, &path, "", |d| {
            d["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": "1" });
        })
        .await;
    let status = json!({
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "unavailableReplicas": 2,
        "conditions": [{
            "type": "Progressing", "status": "True", "lastUpdateTime": "2030-01-01T00:00:00Z",
            "lastTransitionTime": "2030-01-01T00:00:00Z", "reason": "ReplicaSetUpdated", "message": "ReplicaSet \"d-5d9\" is progressing.",
        }],
    });
    let after = world
        .put(user, &path, "/status", |d| d["status"] = status)
        .await;
    assert_eq!(after["status"]["replicas"], 2);
    world
        .put(user, &format!("{APPS}/replicasets/d-5d9"), "", |set| {
            set["spec"]["replicas"] = 2.into();
        })
        .await;

    let user = "replicaset-controller";
    let first = world
        .post(
            user,
            &format!("{CORE}/pods"),
            pod("d-5d9", &owner(&set, "ReplicaSet")),
        )
        .await;
    let second = world
        .post(
            user,
            &format!("{CORE}/pods"),
            pod("d-5d9", &owner(&set, "ReplicaSet")),
        )
        .await;
    let path_of =
        |pod: &Value| format!("{CORE}/pods/{}", pod["metadata"]["name"].as_str().unwrap());
    let release = json!({ "metadata": { "uid": second["metadata"]["uid"], "ownerReferences": [
        { "$patch": "delete", "uid": set["metadata"]["uid"] },
    ] } });
    let free = world
        .patch(user, STRATEGIC, &path_of(&second), release)
        .await;
    assert_eq!(free["metadata"].get("ownerReferences"), None);
    let adopt = json!({ "metadata": { "uid": second["metadata"]["uid"], "ownerReferences": [owner(&set, "ReplicaSet")] } });
    world.patch(user, STRATEGIC, &path_of(&second), adopt).await;
    world
        .put(
            user,
            &format!("{APPS}/replicasets/d-5d9"),
            "/status",
            |set| {
                set["status"] =
                    json!({ "replicas": 2, "fullyLabeledReplicas": 2, "observedGeneration": 1 });
            },
        )
        .await;

    let binding = json!({
        "kind": "Binding", "apiVersion": "v1",
        "metadata": { "name": first["metadata"]["name"], "namespace": "default", "uid": first["metadata"]["uid"], "creationTimestamp": null },
        "target": { "kind": "Node", "name": "n1" },
    });
    world
        .post(SCHEDULER, &format!("{}/binding", path_of(&first)), binding)
        .await;
    let unschedulable = json!({ "status": { "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available",
        "lastProbeTime": null, "lastTransitionTime": "2030-01-01T00:00:00Z", "observedGeneration": 1,
    }], "nominatedNodeName": "n1" } });
    let path = format!("{}/status", path_of(&second));
    let shown = world
        .patch(SCHEDULER, STRATEGIC, &path, unschedulable)
        .await;
    assert_eq!(shown["status"]["nominatedNodeName"], "n1");
    let event = json!({
        "kind": "Event", "apiVersion": "events.k8s.io/v1",
        "metadata": { "name": "d.1", "namespace": "default", "creationTimestamp": null },
        "eventTime": "2030-01-01T00:00:00.000000Z", "reportingController": "default-scheduler",
        "reportingInstance": "default-scheduler-host", "action": "Binding", "reason": "Scheduled", "type": "Normal",
        "regarding": { "kind": "Pod", "namespace": "default", "name": first["metadata"]["name"], "apiVersion": "v1" },
        "note": "Successfully assigned", "deprecatedSource": {},
        "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
    });
    world
        .post(
            SCHEDULER,
            "/apis/events.k8s.io/v1/namespaces/default/events",
            event,
        )
        .await;
    let series =
        json!({ "series": { "count": 2, "lastObservedTime": "2030-01-01T00:01:00.000000Z" } });
    world
        .patch(
            SCHEDULER,
            STRATEGIC,
            "/apis/events.k8s.io/v1/namespaces/default/events/d.1",
            series,
        )
        .await;
    let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "preconditions": { "uid": second["metadata"]["uid"] } });
    world.delete(SCHEDULER, &path_of(&second), options).await;
    world
        .delete("replicaset-controller", &path_of(&first), Value::Null)
        .await;
}

#[tokio::test(start_paused = true)]
async fn nodes_and_their_pods_are_kept() {
    let world = World::new().await;
    world.post("root", "/api/v1/nodes", node()).await;
    let set = json!({ "metadata": { "name": "d", "uid": "u" } });
    let made = world
        .post(
            "root",
            &format!("{CORE}/pods"),
            pod("p", &owner(&set, "ReplicaSet")),
        )
        .await;
    let path = format!("{CORE}/pods/{}", made["metadata"]["name"].as_str().unwrap());

    let user = "node-controller";
    let taint = json!({
        "metadata": { "uid": world.get("root", "/api/v1/nodes/n1").await["metadata"]["uid"] },
        "spec": { "taints": [{
            "effect": "NoExecute", "key": "node.kubernetes.io/unreachable", "timeAdded": "2030-01-01T00:00:00Z",
        }] },
    });
    let tainted = world
        .patch(user, STRATEGIC, "/api/v1/nodes/n1", taint)
        .await;
    let taints = tainted["spec"]["taints"].as_array().unwrap();
    assert!(
        taints
            .iter()
            .any(|taint| taint["key"] == "node.kubernetes.io/unreachable")
    );
    let unknown = json!([{
        "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.",
        "lastHeartbeatTime": "2030-01-01T00:00:00Z", "lastTransitionTime": "2030-01-01T00:00:00Z",
    }]);
    world
        .put(user, "/api/v1/nodes/n1", "/status", |node| {
            node["status"]["conditions"] = unknown;
        })
        .await;
    let disrupted = json!({ "metadata": { "uid": made["metadata"]["uid"] }, "status": { "conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": "2030-01-01T00:00:00Z",
    }] } });
    for user in [
        "node-controller",
        "pod-garbage-collector",
        "disruption-controller",
    ] {
        world
            .patch(
                user,
                STRATEGIC,
                &format!("{path}/status"),
                disrupted.clone(),
            )
            .await;
    }
    world
        .put(user, &path, "/status", |pod| {
            pod["status"]["reason"] = "NodeLost".into();
        })
        .await;
    let spec = json!({ "spec": { "podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"] } });
    world.patch(user, STRATEGIC, "/api/v1/nodes/n1", spec).await;
    let ttl = json!({ "metadata": { "annotations": { "node.alpha.kubernetes.io/ttl": "0" } } });
    world
        .patch("ttl-controller", STRATEGIC, "/api/v1/nodes/n1", ttl)
        .await;
    let attached = json!({ "status": { "volumesAttached": null } });
    world
        .patch(
            "attachdetach-controller",
            STRATEGIC,
            "/api/v1/nodes/n1/status",
            attached,
        )
        .await;
    let now = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0 });
    world.delete("pod-garbage-collector", &path, now).await;
}

#[tokio::test(start_paused = true)]
async fn workloads_are_kept() {
    let world = World::new().await;
    let template = json!({
        "metadata": { "labels": { "app": "a" } },
        "spec": { "containers": [{ "name": "c", "image": "img:1" }], "restartPolicy": "Never" },
    });
    let batch = "/apis/batch/v1/namespaces/default";
    let cron = json!({ "metadata": { "name": "cj" }, "spec": { "schedule": "* * * * *", "jobTemplate": { "spec": { "template": template } } } });
    let cron = world.post("root", &format!("{batch}/cronjobs"), cron).await;
    let job = json!({
        "kind": "Job", "apiVersion": "batch/v1",
        "metadata": {
            "name": "cj-1", "namespace": "default", "creationTimestamp": null,
            "annotations": { "batch.kubernetes.io/cronjob-scheduled-timestamp": "2030-01-01T00:00:00Z" },
            "ownerReferences": [owner(&cron, "CronJob")],
        },
        "spec": { "template": template }, "status": {},
    });
    let job = world
        .post("cronjob-controller", &format!("{batch}/jobs"), job)
        .await;
    world.put("cronjob-controller", &format!("{batch}/cronjobs/cj"), "/status", |cron| {
        cron["status"] = json!({ "active": [{ "kind": "Job", "namespace": "default", "name": "cj-1", "apiVersion": "batch/v1" }], "lastScheduleTime": "2030-01-01T00:00:00Z" });
    }).await;

    let user = "job-controller";
    let mut worker = pod("cj-1", &owner(&job, "Job"));
    worker["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    worker["spec"]["restartPolicy"] = "Never".into();
    let worker = world.post(user, &format!("{CORE}/pods"), worker).await;
    world.put(user, &format!("{batch}/jobs/cj-1"), "/status", |job| {
        job["status"] = json!({ "startTime": "2030-01-01T00:00:00Z", "active": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {} });
    }).await;
    let path = format!(
        "{CORE}/pods/{}",
        worker["metadata"]["name"].as_str().unwrap()
    );
    let release = json!({ "metadata": { "uid": worker["metadata"]["uid"], "$deleteFromPrimitiveList/finalizers": ["batch.kubernetes.io/job-tracking"] } });
    let free = world.patch(user, STRATEGIC, &path, release).await;
    assert_eq!(free["metadata"].get("finalizers"), None);
    world.delete(user, &path, Value::Null).await;
    let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground", "preconditions": { "uid": job["metadata"]["uid"] } });
    world
        .delete(
            "ttl-after-finished-controller",
            &format!("{batch}/jobs/cj-1"),
            options,
        )
        .await;

    for (user, plural, kind) in [
        ("daemon-set-controller", "daemonsets", "DaemonSet"),
        ("statefulset-controller", "statefulsets", "StatefulSet"),
    ] {
        let mut template = template.clone();
        template["spec"]["restartPolicy"] = "Always".into();
        let spec = json!({ "selector": { "matchLabels": { "app": "a" } }, "template": template });
        let made = json!({ "metadata": { "name": "w" }, "spec": spec });
        let made = world.post("root", &format!("{APPS}/{plural}"), made).await;
        let name = format!("w-{plural}");
        let revision = json!({
            "kind": "ControllerRevision", "apiVersion": "apps/v1",
            "metadata": { "name": name, "namespace": "default", "creationTimestamp": null, "labels": { "app": "a" }, "ownerReferences": [owner(&made, kind)] },
            "data": { "spec": { "template": { "$patch": "replace", "spec": {} } } }, "revision": 1,
        });
        world
            .post(user, &format!("{APPS}/controllerrevisions"), revision)
            .await;
        let path = format!("{APPS}/controllerrevisions/{name}");
        world
            .put(user, &path, "", |revision| revision["revision"] = 2.into())
            .await;
        world
            .post(user, &format!("{CORE}/pods"), pod("w", &owner(&made, kind)))
            .await;
        world
            .put(user, &format!("{APPS}/{plural}/w"), "/status", |made| {
                made["status"]["observedGeneration"] = 1.into();
            })
            .await;
        world.delete(user, &path, Value::Null).await;
    }
    let claim = json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1",
        "metadata": { "name": "data-w-0", "namespace": "default", "creationTimestamp": null, "labels": { "app": "a" } },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } }, "status": { "phase": "Pending" },
    });
    world
        .post(
            "statefulset-controller",
            &format!("{CORE}/persistentvolumeclaims"),
            claim,
        )
        .await;

    let rc = json!({ "metadata": { "name": "rc" }, "spec": { "replicas": 1, "selector": { "app": "a" }, "template": { "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
    world
        .post("root", &format!("{CORE}/replicationcontrollers"), rc)
        .await;
    let path = format!("{CORE}/replicationcontrollers/rc");
    world
        .put("replication-controller", &path, "/status", |rc| {
            rc["status"] = json!({ "replicas": 1, "observedGeneration": 1 });
        })
        .await;

    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    world.post("root", budgets, json!({ "metadata": { "name": "b" }, "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "a" } } } })).await;
    world
        .get("disruption-controller", &format!("{path}/scale"))
        .await;
    world.put("disruption-controller", &format!("{budgets}/b"), "/status", |budget| {
        budget["status"] = json!({ "observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 1, "expectedPods": 1, "conditions": [{
            "type": "DisruptionAllowed", "status": "False", "observedGeneration": 1, "lastTransitionTime": "2030-01-01T00:00:00Z", "reason": "InsufficientPods", "message": "",
        }] });
    }).await;

    let user = "horizontal-pod-autoscaler";
    let mut wanted = world.get(user, &format!("{path}/scale")).await;
    wanted["spec"]["replicas"] = 3.into();
    let line = format!("PUT {path}/scale");
    let answer = world.ask(user, &line, &wanted).await;
    assert_eq!(World::good(user, &line, answer)["spec"]["replicas"], 3);
    let scalers = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    world.post("root", scalers, json!({ "metadata": { "name": "h" }, "spec": { "maxReplicas": 3, "scaleTargetRef": { "kind": "ReplicationController", "name": "rc", "apiVersion": "v1" } } })).await;
    world.put(user, &format!("{scalers}/h"), "/status", |scaler| {
        scaler["status"] = json!({ "currentReplicas": 1, "desiredReplicas": 1, "currentMetrics": null, "conditions": [{
            "type": "AbleToScale", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z", "reason": "SucceededGetScale", "message": "the HPA controller was able to get the target's current scale",
        }] });
    }).await;
}

#[tokio::test(start_paused = true)]
async fn services_and_volumes_are_kept() {
    let world = World::new().await;
    let service = json!({ "metadata": { "name": "s" }, "spec": { "type": "LoadBalancer", "selector": { "app": "a" }, "ports": [{ "port": 80 }] } });
    let service = world
        .post("root", &format!("{CORE}/services"), service)
        .await;
    let endpoints = json!({
        "kind": "Endpoints", "apiVersion": "v1",
        "metadata": { "name": "s", "namespace": "default", "creationTimestamp": null, "labels": { "endpoints.kubernetes.io/managed-by": "endpoint-controller" } },
        "subsets": [{ "addresses": [{ "ip": "10.244.0.2", "nodeName": "n1", "targetRef": { "kind": "Pod", "namespace": "default", "name": "p", "uid": "u" } }], "ports": [{ "port": 80, "protocol": "TCP" }] }],
    });
    world
        .post(
            "endpoint-controller",
            &format!("{CORE}/endpoints"),
            endpoints,
        )
        .await;
    world
        .put(
            "endpoint-controller",
            &format!("{CORE}/endpoints/s"),
            "",
            |endpoints| endpoints["subsets"] = json!([]),
        )
        .await;
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    for (user, name) in [
        ("endpointslice-controller", "s-abc"),
        ("endpointslicemirroring-controller", "s-def"),
    ] {
        let slice = json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": name, "namespace": "default", "creationTimestamp": null,
                "labels": { "kubernetes.io/service-name": "s", "endpointslice.kubernetes.io/managed-by": format!("{user}.k8s.io") },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Service", "name": "s", "uid": service["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true }],
            },
            "addressType": "IPv4", "endpoints": null, "ports": null,
        });
        world.post(user, slices, slice).await;
        world.put(user, &format!("{slices}/{name}"), "", |slice| {
            slice["endpoints"] = json!([{ "addresses": ["10.244.0.2"], "conditions": { "ready": true, "serving": true, "terminating": false }, "nodeName": "n1" }]);
        }).await;
        world
            .delete(user, &format!("{slices}/{name}"), Value::Null)
            .await;
    }
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
    world
        .patch(
            "service-controller",
            MERGE,
            &format!("{CORE}/services/s/status"),
            status,
        )
        .await;

    let volume = json!({ "metadata": { "name": "v" }, "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/d" } } });
    world
        .post("root", "/api/v1/persistentvolumes", volume)
        .await;
    let claim = json!({ "metadata": { "name": "c" }, "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    let claim = world
        .post("root", &format!("{CORE}/persistentvolumeclaims"), claim)
        .await;
    let (user, path) = (
        "persistent-volume-binder",
        format!("{CORE}/persistentvolumeclaims/c"),
    );
    let reference = json!({ "kind": "PersistentVolumeClaim", "namespace": "default", "name": "c", "uid": claim["metadata"]["uid"], "apiVersion": "v1", "resourceVersion": claim["metadata"]["resourceVersion"] });
    world
        .put(user, "/api/v1/persistentvolumes/v", "", |volume| {
            volume["spec"]["claimRef"] = reference;
            volume["metadata"]["annotations"] =
                json!({ "pv.kubernetes.io/bound-by-controller": "yes" });
        })
        .await;
    world
        .put(user, "/api/v1/persistentvolumes/v", "/status", |volume| {
            volume["status"] = json!({ "phase": "Bound" });
        })
        .await;
    world
        .put(user, &path, "", |claim| {
            claim["spec"]["volumeName"] = "v".into();
        })
        .await;
    let bound = world.put(user, &path, "/status", |claim| {
        claim["status"] = json!({ "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" } });
    });
    assert_eq!(bound.await["status"]["phase"], "Bound");
    world
        .put("pvc-protection-controller", &path, "", |claim| {
            claim["metadata"]["finalizers"] = json!(["kubernetes.io/pvc-protection"]);
        })
        .await;
    world
        .put(
            "pv-protection-controller",
            "/api/v1/persistentvolumes/v",
            "",
            |volume| volume["metadata"]["finalizers"] = json!(["kubernetes.io/pv-protection"]),
        )
        .await;
    let attachments = "/apis/storage.k8s.io/v1/volumeattachments";
    let attachment = json!({
        "kind": "VolumeAttachment", "apiVersion": "storage.k8s.io/v1", "metadata": { "name": "csi-1", "creationTimestamp": null },
        "spec": { "attacher": "d.io", "nodeName": "n1", "source": { "persistentVolumeName": "v" } }, "status": { "attached": false },
    });
    world
        .post("attachdetach-controller", attachments, attachment)
        .await;
    world
        .delete(
            "attachdetach-controller",
            &format!("{attachments}/csi-1"),
            Value::Null,
        )
        .await;
    let ephemeral = json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1",
        "metadata": { "name": "p-scratch", "creationTimestamp": null, "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true, "blockOwnerDeletion": true }] },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } }, "status": {},
    });
    world
        .post(
            "ephemeral-volume-controller",
            &format!("{CORE}/persistentvolumeclaims"),
            ephemeral,
        )
        .await;
    world
        .patch(
            "expand-controller",
            STRATEGIC,
            &format!("{path}/status"),
            json!({ "status": { "conditions": [] } }),
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_cluster_is_kept() {
    let world = World::new().await;
    let account = json!({ "kind": "ServiceAccount", "apiVersion": "v1", "metadata": { "name": "default", "namespace": "default", "creationTimestamp": null } });
    world
        .post(
            "service-account-controller",
            &format!("{CORE}/serviceaccounts"),
            account,
        )
        .await;
    let map = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "name": "kube-root-ca.crt", "creationTimestamp": null }, "data": { "ca.crt": "PEM" } });
    world
        .post("root-ca-cert-publisher", &format!("{CORE}/configmaps"), map)
        .await;
    world
        .put(
            "root-ca-cert-publisher",
            &format!("{CORE}/configmaps/kube-root-ca.crt"),
            "",
            |map| map["data"]["ca.crt"] = "NEW".into(),
        )
        .await;

    // The token controller works as the manager itself.
    let secret = json!({ "metadata": { "name": "t", "annotations": { "kubernetes.io/service-account.name": "default" } }, "type": "kubernetes.io/service-account-token" });
    world.post("root", &format!("{CORE}/secrets"), secret).await;
    world
        .put(MANAGER, &format!("{CORE}/secrets/t"), "", |secret| {
            secret["data"] = json!({ "token": "eA==", "namespace": "ZGVmYXVsdA==" });
        })
        .await;
    let mark = json!({ "metadata": { "labels": { "kubernetes.io/legacy-token-invalid-since": "2030-01-01" } } });
    world
        .patch(
            "legacy-service-account-token-cleaner",
            STRATEGIC,
            &format!("{CORE}/secrets/t"),
            mark,
        )
        .await;
    world
        .delete(MANAGER, &format!("{CORE}/secrets/t"), Value::Null)
        .await;

    let quotas = format!("{CORE}/resourcequotas");
    world
        .post(
            "root",
            &quotas,
            json!({ "metadata": { "name": "q" }, "spec": { "hard": { "pods": "5" } } }),
        )
        .await;
    world
        .put(
            "resourcequota-controller",
            &format!("{quotas}/q"),
            "/status",
            |quota| quota["status"] = json!({ "hard": { "pods": "5" }, "used": { "pods": "0" } }),
        )
        .await;

    let user = "clusterrole-aggregation-controller";
    let role = json!({
        "kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": { "name": "view" },
        "rules": [{ "apiGroups": ["x.io"], "resources": ["lamps"], "verbs": ["get"] }],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/view";
    world
        .patch(
            user,
            APPLY,
            &format!("{path}?fieldManager={user}&force=true"),
            role,
        )
        .await;

    let user = "service-cidrs-controller";
    let (ranges, by) = (
        "/apis/networking.k8s.io/v1/servicecidrs",
        format!("fieldManager={user}&force=true"),
    );
    let held = json!({ "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": { "name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"] } });
    world
        .patch(user, APPLY, &format!("{ranges}/kubernetes?{by}"), held)
        .await;
    let ready = json!({ "kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1", "metadata": { "name": "kubernetes" }, "status": { "conditions": [{
        "type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z", "reason": "", "message": "Kubernetes Service CIDR is ready",
    }] } });
    world
        .patch(
            user,
            APPLY,
            &format!("{ranges}/kubernetes/status?{by}"),
            ready,
        )
        .await;

    let user = "validatingadmissionpolicy-status-controller";
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policy = json!({ "metadata": { "name": "p" }, "spec": {
        "matchConstraints": { "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }] },
        "validations": [{ "expression": "true" }],
    } });
    world.post("root", policies, policy).await;
    let seen = json!({ "kind": "ValidatingAdmissionPolicy", "apiVersion": "admissionregistration.k8s.io/v1", "metadata": { "name": "p" }, "status": { "observedGeneration": 1, "typeChecking": {} } });
    let path = format!("{policies}/p/status?fieldManager={user}&force=true");
    assert_eq!(
        world.patch(user, APPLY, &path, seen).await["status"]["observedGeneration"],
        1
    );

    let user = "namespace-controller";
    let namespace = json!({ "metadata": { "name": "going" } });
    world.post("root", "/api/v1/namespaces", namespace).await;
    world
        .delete("root", "/api/v1/namespaces/going", Value::Null)
        .await;
    let path = "/api/v1/namespaces/going";
    world.get(user, path).await;
    let line = "/namespaces/going/pods";
    world.delete(user, &format!("/api/v1{line}"), json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background" })).await;
    world.put(user, path, "/status", |namespace| {
        namespace["status"]["conditions"] = json!([{ "type": "NamespaceContentRemaining", "status": "False", "lastTransitionTime": "2030-01-01T00:00:00Z", "reason": "ContentRemoved", "message": "" }]);
    }).await;
    world
        .put(user, path, "/finalize", |namespace| {
            namespace["spec"]["finalizers"] = json!([]);
        })
        .await;
    world
        .ask("root", &format!("GET {path}"), &Value::Null)
        .await
        .fails(404, "NotFound");
}

#[tokio::test(start_paused = true)]
async fn garbage_is_collected() {
    let world = World::new().await;
    let user = "generic-garbage-collector";
    let made = world.post("root", &format!("{CORE}/configmaps"), json!({
        "metadata": { "name": "m", "finalizers": ["orphan"], "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u" }] },
    })).await;
    let path = format!("{CORE}/configmaps/m");
    let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
    let answer = world
        .ask(
            user,
            &format!("GET {path}\nAccept: {partial}"),
            &Value::Null,
        )
        .await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    let loose = json!({ "metadata": { "uid": made["metadata"]["uid"], "ownerReferences": [{ "$patch": "delete", "uid": "u" }] } });
    let line = format!("PATCH {path}\nAccept: {partial}\nContent-Type: {STRATEGIC}");
    let answer = world.ask(user, &line, &loose).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    let version = world.get("root", &path).await["metadata"]["resourceVersion"].clone();
    let free = json!({ "metadata": { "resourceVersion": version, "finalizers": [], "ownerReferences": null } });
    let line = format!("PATCH {path}\nAccept: {partial}\nContent-Type: {MERGE}");
    let answer = world.ask(user, &line, &free).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    let version = world.get("root", &path).await["metadata"]["resourceVersion"].clone();
    let options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "preconditions": { "uid": made["metadata"]["uid"], "resourceVersion": version } });
    world.delete(user, &path, options).await;
}

#[tokio::test(start_paused = true)]
async fn certificates_and_claims_are_kept() {
    let world = World::new().await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let user = "resource-claim-controller";
    let claim = json!({
        "kind": "ResourceClaim", "apiVersion": "resource.k8s.io/v1",
        "metadata": { "generateName": "p-gpu-", "creationTimestamp": null, "annotations": { "resource.kubernetes.io/pod-claim-name": "gpu" }, "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true, "blockOwnerDeletion": true }] },
        "spec": { "devices": { "requests": [{ "name": "r", "exactly": { "deviceClassName": "gpu" } }] } }, "status": {},
    });
    let claim = world.post(user, claims, claim).await;
    let name = claim["metadata"]["name"].as_str().unwrap();
    let mut with_claim = pod(
        "p",
        &json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u" }),
    );
    with_claim["spec"]["resourceClaims"] =
        json!([{ "name": "gpu", "resourceClaimTemplateName": "gpus" }]);
    with_claim["spec"]["containers"][0]["resources"] = json!({ "claims": [{ "name": "gpu" }] });
    let made = world
        .post("root", &format!("{CORE}/pods"), with_claim)
        .await;
    let pod_name = made["metadata"]["name"].as_str().unwrap();
    let status = json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": { "name": pod_name, "namespace": "default" },
        "status": { "resourceClaimStatuses": [{ "name": "gpu", "resourceClaimName": name }] },
    });
    let path =
        format!("{CORE}/pods/{pod_name}/status?fieldManager=ResourceClaimController&force=true");
    world.patch(user, APPLY, &path, status).await;
    for user in [user, SCHEDULER] {
        world.put(user, &format!("{claims}/{name}"), "/status", |claim| {
            claim["status"] = json!({ "reservedFor": [{ "resource": "pods", "name": pod_name, "uid": made["metadata"]["uid"] }], "allocation": { "devices": {} } });
        }).await;
    }
    world
        .patch(
            SCHEDULER,
            STRATEGIC,
            &format!("{claims}/{name}"),
            json!({ "metadata": { "finalizers": ["resource.kubernetes.io/delete-protection"] } }),
        )
        .await;
}
