//! Cells of objects in telling states.
use super::*;
use crate::apiserver::registry::cacher::fake;
use std::sync::Arc;

const NOW: &str = "2026-01-01T02:00:00Z";
const HOUR_AGO: &str = "2026-01-01T01:00:00Z";

/// The cells of `object`, but for the name and those past `most`.
fn cells(kind: &str, mut object: Value, most: usize) -> Value {
    object["metadata"]["name"] = "x".into();
    object["metadata"]["creationTimestamp"] = HOUR_AGO.into();
    let table = Table::named(kind);
    let cells = table.cells(&object, NOW.parse().unwrap());
    let extra = usize::from(kind.starts_with("ipaddresses."));
    assert_eq!(cells.len(), table.columns().len() + extra, "{kind}");
    cells.into_iter().skip(1).take(most).collect()
}

#[test]
fn the_list_of_kinds_is_sorted() {
    assert!(KINDS.is_sorted_by_key(|(name, _)| name));
}

#[test]
fn every_kind_has_as_many_cells_as_columns() {
    for (name, _) in KINDS {
        cells(name, json!({}), 0);
        assert!(!Table::named(name).columns().is_empty());
    }
}

#[test]
fn kinds_without_columns_have_name_and_age() {
    assert_eq!(cells("widgets.example.com", json!({}), 9), json!(["60m"]));
}

#[test]
fn durations() {
    for (seconds, text) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (310, "5m10s"),
        (3600, "60m"),
        (3 * 3600 + 61, "3h1m"),
        (9 * 3600, "9h"),
        (47 * 3600, "47h"),
        (52 * 3600, "2d4h"),
        (20 * 86_400, "20d"),
        (800 * 86_400, "2y70d"),
        (10 * 365 * 86_400, "10y"),
    ] {
        assert_eq!(format::human_duration(seconds), text, "{seconds}");
    }
}

#[test]
fn pod_states() {
    let status = |status: Value| json!({ "spec": { "containers": [{}, {}] }, "status": status });
    let both = |one: Value, two: Value| json!({ "phase": "Running", "containerStatuses": [{ "state": one }, { "state": two, "ready": true }] });
    let ended = |end: Value| json!({ "terminated": end });
    for (pod, expected) in [
        (
            status(json!({ "phase": "Pending" })),
            ["0/2", "Pending", "0"],
        ),
        (
            status(both(
                json!({ "waiting": { "reason": "CrashLoopBackOff" } }),
                json!({ "running": {} }),
            )),
            ["1/2", "CrashLoopBackOff", "0"],
        ),
        (
            status(both(
                ended(json!({ "reason": "Completed", "exitCode": 0 })),
                json!({ "running": {} }),
            )),
            ["1/2", "NotReady", "0"],
        ),
        (
            status(both(
                ended(json!({ "signal": 9 })),
                ended(json!({ "exitCode": 3 })),
            )),
            ["0/2", "Signal:9", "0"],
        ),
        (
            status(json!({ "phase": "Failed", "reason": "Evicted" })),
            ["0/2", "Evicted", "0"],
        ),
        (
            status(json!({ "phase": "Running", "containerStatuses": [
                { "restartCount": 2, "state": { "running": {} }, "ready": true, "lastState": { "terminated": { "finishedAt": HOUR_AGO } } },
            ] })),
            ["1/2", "Running", "2 (60m ago)"],
        ),
        (
            json!({ "spec": { "containers": [{}], "initContainers": [{ "name": "s", "restartPolicy": "Always" }, { "name": "i" }] }, "status": {
                "phase": "Pending", "initContainerStatuses": [
                    { "name": "s", "started": true, "ready": true, "state": { "running": {} } },
                    { "name": "i", "restartCount": 1, "state": { "terminated": { "exitCode": 1 } } },
                ] } }),
            ["1/2", "Init:ExitCode:1", "1"],
        ),
        (
            json!({ "spec": { "containers": [{}] }, "status": { "phase": "Pending", "conditions": [{ "type": "PodScheduled", "reason": "SchedulingGated" }] } }),
            ["0/1", "SchedulingGated", "0"],
        ),
        (
            json!({ "metadata": { "deletionTimestamp": NOW }, "spec": { "containers": [{}] }, "status": { "phase": "Running" } }),
            ["0/1", "Terminating", "0"],
        ),
    ] {
        assert_eq!(cells("pods", pod.clone(), 3), json!(expected), "{pod}");
    }
}

#[test]
fn other_kinds() {
    for (kind, object, expected) in [
        (
            "nodes",
            json!({}),
            json!([
                "Unknown",
                "<none>",
                "60m",
                "",
                "<none>",
                "<none>",
                "<unknown>",
                "<unknown>",
                "<unknown>"
            ]),
        ),
        (
            "nodes",
            json!({
                "metadata": { "labels": { "node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge" } }, "spec": { "unschedulable": true },
                "status": { "conditions": [{ "type": "Ready", "status": "False" }], "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] },
            }),
            json!([
                "NotReady,SchedulingDisabled",
                "edge,worker",
                "60m",
                "",
                "10.0.0.1"
            ]),
        ),
        (
            "deployments.apps",
            json!({ "spec": { "replicas": 3, "selector": { "matchLabels": { "a": "b" } }, "template": { "spec": { "containers": [{ "name": "c", "image": "i" }] } } }, "status": { "readyReplicas": 2, "updatedReplicas": 1 } }),
            json!(["2/3", 1, 0, "60m", "c", "i", "a=b"]),
        ),
        (
            "jobs.batch",
            json!({ "spec": { "parallelism": 3 }, "status": { "succeeded": 1, "startTime": HOUR_AGO } }),
            json!(["Running", "1/1 of 3", "60m", "60m"]),
        ),
        (
            "cronjobs.batch",
            json!({ "spec": { "schedule": "@daily", "suspend": false } }),
            json!(["@daily", "<none>", "False", 0, "<none>", "60m"]),
        ),
        (
            "services",
            json!({ "spec": { "type": "LoadBalancer", "clusterIPs": ["10.0.0.9"], "ports": [{ "port": 80, "nodePort": 30080, "protocol": "TCP" }] } }),
            json!([
                "LoadBalancer",
                "10.0.0.9",
                "<pending>",
                "80:30080/TCP",
                "60m",
                "<none>"
            ]),
        ),
        (
            "endpoints",
            json!({ "subsets": [{ "addresses": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }], "ports": [{ "port": 80 }, { "port": 81 }] }] }),
            json!(["10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...", "60m"]),
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            json!({ "spec": { "maxReplicas": 4, "scaleTargetRef": { "kind": "Deployment", "name": "d" }, "metrics": [
            { "type": "Resource", "resource": { "name": "cpu", "target": { "averageUtilization": 80 } } },
        ] } }),
            json!(["Deployment/d", "cpu: <unknown>/80%", "<unset>", 4, 0, "60m"]),
        ),
        (
            "persistentvolumes",
            json!({ "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteMany", "ReadWriteOnce"] }, "status": { "phase": "Available" } }),
            json!([
                "1Gi",
                "RWO,RWX",
                "",
                "Available",
                "",
                "",
                "<unset>",
                "",
                "60m",
                "<unset>"
            ]),
        ),
        (
            "rolebindings.rbac.authorization.k8s.io",
            json!({ "roleRef": { "kind": "Role", "name": "r" }, "subjects": [{ "kind": "ServiceAccount", "namespace": "n", "name": "s" }, { "kind": "User", "name": "u" }] }),
            json!(["Role/r", "60m", "u", "", "n/s"]),
        ),
        (
            "ingresses.networking.k8s.io",
            json!({ "spec": { "rules": [{ "host": "a" }, {}], "tls": [{}] } }),
            json!(["<none>", "a", "", "80, 443", "60m"]),
        ),
        (
            "ingresses.networking.k8s.io",
            json!({
                "spec": { "rules": [{ "host": "a" }, {}, { "host": "b" }, { "host": "c" }, {}] },
                "status": { "loadBalancer": { "ingress": [{ "hostname": "z" }, { "ip": "10.0.0.2" }, { "ip": "10.0.0.1" }, { "ip": "10.0.0.2" }] } },
            }),
            json!([
                "<none>",
                "a,b,c + 2 more...",
                "10.0.0.1,10.0.0.2,z",
                "80",
                "60m"
            ]),
        ),
        (
            "endpoints",
            json!({ "subsets": [{ "notReadyAddresses": [{ "ip": "10.0.0.1" }], "ports": [{ "port": 80 }] }] }),
            json!(["", "60m"]),
        ),
        (
            "endpointslices.discovery.k8s.io",
            json!({ "addressType": "IPv4", "ports": [{ "port": 80 }, { "name": "a" }, {}], "endpoints": [] }),
            json!(["IPv4", "80,a,*", "<unset>", "60m"]),
        ),
        (
            "ipaddresses.networking.k8s.io",
            json!({ "spec": { "parentRef": { "group": "", "resource": "services", "namespace": "n", "name": "s" } } }),
            json!(["services/n/s", "60m"]),
        ),
        (
            "resourcequotas",
            json!({ "status": { "hard": { "cpu": "2", "limits.cpu": "4" }, "used": { "cpu": "1" } } }),
            json!(["cpu: 1/2", "limits.cpu: 0/4", "60m"]),
        ),
        (
            "poddisruptionbudgets.policy",
            json!({ "spec": { "minAvailable": 1 } }),
            json!(["1", "N/A", 0, "60m"]),
        ),
        (
            "clusterroles.rbac.authorization.k8s.io",
            json!({}),
            json!([HOUR_AGO]),
        ),
    ] {
        let most = expected.as_array().map_or(0, Vec::len);
        assert_eq!(cells(kind, object, most), expected, "{kind}");
    }
}

#[test]
fn events_of_both_groups_show_the_same() {
    let core = json!({
        "type": "Normal", "reason": "R", "message": "m ", "involvedObject": { "kind": "Pod", "name": "p" }, "source": { "component": "c", "host": "h" },
        "firstTimestamp": HOUR_AGO, "lastTimestamp": NOW, "count": 3,
    });
    let new = json!({
        "type": "Normal", "reason": "R", "note": "m", "regarding": { "kind": "Pod", "name": "p" }, "reportingController": "c", "reportingInstance": "h",
        "eventTime": "2026-01-01T01:00:00.000000Z", "series": { "count": 3, "lastObservedTime": "2026-01-01T02:00:00.000000Z" },
    });
    for (kind, event) in [("events", core), ("events.events.k8s.io", new)] {
        assert_eq!(
            cells(kind, event, 8),
            json!(["Normal", "R", "pod/p", "", "c, h", "m", "60m", 3]),
            "{kind}"
        );
    }
}

#[test]
fn rows_of_ended_pods_say_so() {
    #[derive(Debug)]
    struct Plain;
    impl crate::apiserver::Strategy for Plain {}
    let pods = fake::resource("Pod", "pods", true, Arc::new(Plain));
    for (phase, reason) in [("Running", Value::Null), ("Succeeded", json!("Succeeded"))] {
        let pod = json!({ "kind": "Pod", "status": { "phase": phase } });
        let fields = Table::of_answer(&pods, &pod).row(&pod, NOW.parse().unwrap());
        let row: Value = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
        assert_eq!(row["conditions"][0]["reason"], reason);
    }
}
