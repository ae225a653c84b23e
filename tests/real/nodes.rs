//! cordon, taint, drain.

use crate::world::World;

#[test]
fn nodes_are_emptied() {
    let world = World::new("nodes");
    world.ok("kubectl apply -f web.yaml && kubectl rollout status deploy/web --timeout=30s");
    world.prints("kubectl cordon node-1", &["node/node-1 cordoned"]);
    world.prints("kubectl cordon node-1", &["node/node-1 already cordoned"]);
    world.prints(
        "kubectl get nodes",
        &[
            "NAME STATUS ROLES AGE VERSION",
            "node-1 Ready,SchedulingDisabled <none> * v1.36.0",
            "node-2 Ready <none> * v1.36.0",
            "node-3 Ready <none> * v1.36.0",
        ],
    );
    world.prints("kubectl uncordon node-1", &["node/node-1 uncordoned"]);
    world.prints(
        "kubectl taint nodes node-1 k=v:NoSchedule",
        &["node/node-1 tainted"],
    );
    world.refuses(
        "kubectl taint nodes node-1 k=v:NoSchedule",
        &["error: node node-1 already has k taint(s) with same effect(s) and --overwrite is false"],
    );
    world.shows("kubectl describe node node-1", &["Taints: k=v:NoSchedule"]);
    world.prints(
        "kubectl taint nodes node-1 k:NoSchedule-",
        &["node/node-1 untainted"],
    );
    world.prints(
        "kubectl taint nodes node-3 only=here:NoSchedule",
        &["node/node-3 tainted"],
    );
    world.shows(
        "kubectl drain node-2 --ignore-daemonsets --timeout=60s",
        &["node/node-2 cordoned", "node/node-2 drained"],
    );
    world.ok("kubectl rollout status deploy/web --timeout=60s");
    world.prints(
        "kubectl get pods --field-selector=spec.nodeName=node-2 -o name",
        &[],
    );
    world.prints(
        "kubectl run bare --image=nginx --overrides='{\"spec\":{\"nodeName\":\"node-1\"}}'",
        &["pod/bare created"],
    );
    world.ok("kubectl wait pod/bare --for=condition=Ready --timeout=30s");
    let refused = world.fails("kubectl drain node-1 --timeout=20s");
    assert!(
        refused.contains("cannot delete cannot delete Pods that declare no controller (use --force to override): default/bare"),
        "{refused}"
    );
    world.shows(
        "kubectl drain node-1 --force --timeout=60s",
        &["pod/bare evicted", "node/node-1 drained"],
    );
}
