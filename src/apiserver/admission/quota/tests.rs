//! What counts how, and what is refused.
use super::*;
use crate::apiserver::admission::testing::{Ask, World};
use serde_json::json;

fn quota(hard: Value, used: Value, more: Value) -> Value {
    let mut quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "live"},
        "spec": {"hard": hard}, "status": {"hard": hard, "used": used}});
    if let Some(fields) = more.as_object() {
        for (key, value) in fields {
            quota["spec"][key] = value.clone();
        }
    }
    quota
}

fn pod(requests: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "live"}, "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
}

#[tokio::test(start_paused = true)]
async fn usage_stays_within_quotas() {
    for (quota, resource, object, expected) in [
        (
            quota(json!({"pods": "1"}), json!({"pods": "0"}), json!({})),
            "pods",
            pod(json!({})),
            "",
        ),
        (
            quota(json!({"pods": "1"}), json!({"pods": "1"}), json!({})),
            "pods",
            pod(json!({})),
            "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
        ),
        (
            quota(
                json!({"requests.cpu": "1", "requests.memory": "1Gi"}),
                json!({"requests.cpu": "500m", "requests.memory": "0"}),
                json!({}),
            ),
            "pods",
            pod(json!({"cpu": "600m", "memory": "2Gi"})),
            "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=600m,requests.memory=2Gi, used: requests.cpu=500m,requests.memory=0, limited: requests.cpu=1,requests.memory=1Gi",
        ),
        (
            quota(
                json!({"cpu": "1", "limits.memory": "1Gi"}),
                json!({"cpu": "0", "limits.memory": "0"}),
                json!({}),
            ),
            "pods",
            pod(json!({})),
            "pods \"p\" is forbidden: failed quota: q: must specify cpu for: c; limits.memory for: c",
        ),
        (
            quota(json!({"pods": "1"}), json!({}), json!({})),
            "pods",
            pod(json!({})),
            "pods \"p\" is forbidden: status unknown for quota: q, resources: pods",
        ),
        (
            quota(
                json!({"pods": "0"}),
                json!({"pods": "0"}),
                json!({"scopes": ["NotBestEffort"]}),
            ),
            "pods",
            pod(json!({})),
            "",
        ),
        (
            quota(
                json!({"pods": "0"}),
                json!({"pods": "0"}),
                json!({"scopes": ["BestEffort", "NotTerminating"]}),
            ),
            "pods",
            pod(json!({})),
            "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
        ),
        (
            quota(
                json!({"pods": "0"}),
                json!({"pods": "0"}),
                json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
            ),
            "pods",
            pod(json!({})),
            "",
        ),
        (
            quota(
                json!({"count/configmaps": "1", "configmaps": "5"}),
                json!({"count/configmaps": "1", "configmaps": "1"}),
                json!({}),
            ),
            "configmaps",
            json!({"metadata": {"name": "m", "namespace": "live"}}),
            "configmaps \"m\" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1",
        ),
        (
            quota(
                json!({"services.nodeports": "1"}),
                json!({"services.nodeports": "0"}),
                json!({}),
            ),
            "services",
            json!({"metadata": {"name": "s", "namespace": "live"}, "spec": {"type": "NodePort", "ports": [{}, {}]}}),
            "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1",
        ),
        (
            quota(
                json!({"requests.storage": "1Gi", "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"}),
                json!({"requests.storage": "0", "gold.storageclass.storage.k8s.io/requests.storage": "0"}),
                json!({}),
            ),
            "persistentvolumeclaims",
            json!({"metadata": {"name": "v", "namespace": "live"}, "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "2Gi"}}}}),
            "persistentvolumeclaims \"v\" is forbidden: exceeded quota: q, requested: gold.storageclass.storage.k8s.io/requests.storage=2Gi,requests.storage=2Gi, used: gold.storageclass.storage.k8s.io/requests.storage=0,requests.storage=0, limited: gold.storageclass.storage.k8s.io/requests.storage=1Gi,requests.storage=1Gi",
        ),
    ] {
        let world = World::new(&[("resourcequotas", quota.clone())]);
        let ask = Ask::create("", resource, "live", object);
        let outcome = world.validate(&ResourceQuota, &ask).await;
        let found = outcome
            .err()
            .map_or_else(String::new, |status| status.message);
        assert_eq!(found, expected, "{quota}");
    }
}

#[test]
fn ended_pods_use_nothing_but_their_number() {
    let mut ended = pod(json!({"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}));
    let names = |pod: &Value| pods::usage(pod, None).into_keys().collect::<Vec<_>>();
    assert_eq!(
        names(&ended),
        [
            "count/pods",
            "cpu",
            "hugepages-2Mi",
            "pods",
            "requests.cpu",
            "requests.example.com/gpu",
            "requests.hugepages-2Mi"
        ]
    );
    ended["status"] = json!({"phase": "Succeeded"});
    assert_eq!(names(&ended), ["count/pods"]);
}
