//! Admission policies in a whole cluster: what their status says, and whom they keep from looking into pods.

use homeostat::testing::Cluster;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::core::v1::{ComponentStatus, Pod};
use kube::Api;
use kube::api::{AttachParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const POLICY: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: typed}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments, replicasets]}
  validations:
  - {expression: object.spec.replicas > 1}
  - {expression: object.spec.strategy.type == 'Recreate'}
";

#[tokio::test(start_paused = true)]
async fn the_status_of_a_policy_tells_what_is_wrong_with_it() {
    let cluster = Cluster::builder().seed(3).start().await.unwrap();
    cluster.apply(POLICY).await.unwrap();
    cluster.settle().await.unwrap();
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(cluster.client());
    let status = async || {
        let policy = policies.get_status("typed").await.unwrap();
        serde_json::to_value(policy.status.unwrap()).unwrap()
    };
    let text = "apps/v1, Kind=ReplicaSet: ERROR: <input>:1:12: undefined field 'strategy'\n \
        | object.spec.strategy.type == 'Recreate'\n | ...........^\n";
    let warnings = json!([{"fieldRef": "spec.validations[1].expression", "warning": text}]);
    let expected =
        json!({"observedGeneration": 1, "typeChecking": {"expressionWarnings": warnings}});
    assert_eq!(status().await, expected);
    // Once it is mended, nothing is left of it.
    let mended = json!([{"op": "remove", "path": "/spec/validations/1"}]);
    let mended = serde_json::from_value(mended).unwrap();
    let patch = Patch::Json::<ValidatingAdmissionPolicy>(mended);
    let params = PatchParams::default();
    policies.patch("typed", &params, &patch).await.unwrap();
    cluster.settle().await.unwrap();
    // What an apply empties, goes.
    let expected: Value = json!({"observedGeneration": 2});
    assert_eq!(status().await, expected);
}

const GUARD: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-shells}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [''], apiVersions: [v1], operations: [CONNECT], resources: [pods/exec]}
  validations:
  - {expression: \"object.command[0] != 'sh'\", message: no shells}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-shells}
spec: {policyName: no-shells, validationActions: [Deny]}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  nodeName: node-1
  containers: [{name: c, image: web}]
";

#[tokio::test(start_paused = true)]
async fn a_policy_keeps_shells_out_of_pods() {
    let cluster = Cluster::builder().nodes(1).seed(4).start().await.unwrap();
    cluster.apply(GUARD).await.unwrap();
    cluster.settle().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let params = AttachParams::default();
    assert!(pods.exec("web", ["ls"], &params).await.is_ok());
    let refused = pods.exec("web", ["sh", "-c", "ls"], &params).await;
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_components_of_a_cluster_are_well() {
    let cluster = Cluster::builder().seed(5).start().await.unwrap();
    let statuses: Api<ComponentStatus> = Api::all(cluster.client());
    let found = statuses.list(&ListParams::default()).await.unwrap();
    let shown: Vec<String> = found
        .into_iter()
        .map(|one| {
            let condition = one.conditions.unwrap().remove(0);
            format!(
                "{} {} {}",
                one.metadata.name.unwrap(),
                condition.status,
                condition.message.unwrap()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "controller-manager True ok",
            "etcd-0 True ok",
            "scheduler True ok"
        ]
    );
}
