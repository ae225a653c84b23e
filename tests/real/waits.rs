//! wait: for conditions, paths, creation and deletion.

use crate::world::World;

#[test]
fn waits() {
    let world = World::new("wait");
    world.ok("kubectl apply -f web.yaml");
    world.prints(
        "kubectl wait deploy/web --for=condition=Available --timeout=30s",
        &["deployment.apps/web condition met"],
    );
    world.prints(
        "kubectl wait deploy/web --for=jsonpath='{.status.readyReplicas}'=2 --timeout=30s",
        &["deployment.apps/web condition met"],
    );
    world.prints(
        "(sleep 1; kubectl create cm late) > /dev/null & kubectl wait cm/late --for=create --timeout=20s",
        &["configmap/late condition met"],
    );
    world.prints(
        "(sleep 1; kubectl delete cm late) > /dev/null & kubectl wait cm/late --for=delete --timeout=20s",
        &["configmap/late condition met"],
    );
    world.refuses(
        "kubectl wait deploy/web --for=condition=Nope --timeout=1s",
        &["error: timed out waiting for the condition on deployments/web"],
    );
}
