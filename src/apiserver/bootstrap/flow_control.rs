//! The flow schemas and priority levels that every cluster has: two of each are mandatory, the others suggested. They say how
//! clients would be told apart; this server has one limit for all ([`super::super::filter::limit`]).
use serde_json::{Value, json};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Queues: their number, the hand's size, their length.
type Queues = (i64, i64, i64);

/// Name, shares, how much of them others may borrow (%), and queues.
const LEVELS: [(&str, i64, i64, Queues); 6] = [
    ("system", 30, 33, (64, 6, 50)),
    ("node-high", 40, 25, (64, 6, 50)),
    ("leader-election", 10, 0, (16, 4, 50)),
    ("workload-high", 40, 50, (128, 6, 50)),
    ("workload-low", 100, 90, (128, 6, 50)),
    ("global-default", 20, 50, (128, 6, 50)),
];

/// The priority levels.
pub(super) fn levels() -> Vec<Value> {
    let object = |name: &str, spec: Value| {
        json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "PriorityLevelConfiguration",
            "metadata": { "name": name, "annotations": { AUTOUPDATE: "true" } }, "spec": spec,
        })
    };
    let exempt = json!({ "type": "Exempt", "exempt": { "nominalConcurrencyShares": 0, "lendablePercent": 0 } });
    let rest = json!({ "type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": { "type": "Reject" },
    }});
    let mut levels = vec![object("exempt", exempt), object("catch-all", rest)];
    levels.extend(
        LEVELS
            .iter()
            .map(|(name, shares, lendable, (queues, hand, length))| {
                let queuing =
                    json!({ "queues": queues, "handSize": hand, "queueLengthLimit": length });
                let spec = json!({ "type": "Limited", "limited": {
                    "nominalConcurrencyShares": shares, "lendablePercent": lendable,
                    "limitResponse": { "type": "Queue", "queuing": queuing },
                }});
                object(name, spec)
            }),
    );
    levels
}

/// The flow schemas; `now` is when their levels were seen to be there.
pub(super) fn schemas(now: &str) -> Vec<Value> {
    let schema = |name: &str,
                  level: &str,
                  precedence: i64,
                  by: &str,
                  subjects: Vec<Value>,
                  rules: Value| {
        let mut rule = rules;
        rule["subjects"] = subjects.into();
        let mut spec = json!({
            "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": precedence, "rules": [rule],
        });
        if !by.is_empty() {
            spec["distinguisherMethod"] = json!({ "type": by });
        }
        json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "FlowSchema",
            "metadata": { "name": name, "annotations": { AUTOUPDATE: "true" } },
            "spec": spec,
            "status": { "conditions": [{
                "type": "Dangling", "status": "False", "reason": "Found", "lastTransitionTime": now,
                "message": format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"),
            }] },
        })
    };
    let everybody = || {
        vec![
            group("system:unauthenticated"),
            group("system:authenticated"),
        ]
    };
    let nodes = || vec![group("system:nodes")];
    let leases = || {
        resources(
            &["get", "create", "update"],
            "coordination.k8s.io",
            &["leases"],
            false,
        )
    };
    let (user, namespace) = ("ByUser", "ByNamespace");
    vec![
        schema(
            "exempt",
            "exempt",
            1,
            "",
            vec![group("system:masters")],
            everything(),
        ),
        schema(
            "catch-all",
            "catch-all",
            10_000,
            user,
            everybody(),
            everything(),
        ),
        schema("system-nodes", "system", 500, user, nodes(), everything()),
        schema(
            "system-node-high",
            "node-high",
            400,
            user,
            nodes(),
            json!({ "resourceRules": [
                resource_rule(&["*"], "", &["nodes", "nodes/status"], true),
                resource_rule(&["*"], "coordination.k8s.io", &["leases"], false),
            ]}),
        ),
        schema(
            "probes",
            "exempt",
            2,
            "",
            everybody(),
            json!({ "nonResourceRules": [
                { "verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"] },
            ]}),
        ),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            user,
            vec![
                named("system:kube-controller-manager"),
                named("system:kube-scheduler"),
                account("*"),
            ],
            leases(),
        ),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            user,
            vec![account("*")],
            leases(),
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            user,
            vec![
                named("system:kube-controller-manager"),
                account("endpoint-controller"),
                account("endpointslicemirroring-controller"),
            ],
            resources(&["get", "create", "update"], "", &["endpoints"], false),
        ),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            namespace,
            vec![named("system:kube-controller-manager")],
            everything(),
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            namespace,
            vec![named("system:kube-scheduler")],
            everything(),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            namespace,
            vec![account("*")],
            everything(),
        ),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            user,
            vec![group("system:serviceaccounts")],
            everything(),
        ),
        schema(
            "global-default",
            "global-default",
            9900,
            user,
            everybody(),
            everything(),
        ),
    ]
}

fn group(name: &str) -> Value {
    json!({ "kind": "Group", "group": { "name": name } })
}

fn named(name: &str) -> Value {
    json!({ "kind": "User", "user": { "name": name } })
}

fn account(name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "serviceAccount": { "namespace": "kube-system", "name": name } })
}

fn everything() -> Value {
    json!({
        "resourceRules": [resource_rule(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
    })
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    json!({ "resourceRules": [resource_rule(verbs, group, resources, cluster)] })
}

fn resource_rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({ "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"] });
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}
