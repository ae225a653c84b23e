//! Changes of one object: edit, patch, label, annotate, scale, set, delete.

use crate::world::World;

#[test]
fn small_changes() {
    let world = World::new("edit");
    world.ok("kubectl apply -f web.yaml");
    world.prints(
        "KUBE_EDITOR=\"sed -i 's/replicas: 2/replicas: 3/'\" kubectl edit deploy web",
        &["deployment.apps/web edited"],
    );
    world.prints(
        "kubectl get deploy web -o jsonpath='{.spec.replicas}'",
        &["3"],
    );
    let patched = &["deployment.apps/web patched"];
    world.prints("kubectl patch deploy web -p '{\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"c\",\"env\":[{\"name\":\"A\",\"value\":\"1\"}]}]}}}}'", patched);
    world.prints(
        "kubectl patch deploy web --type=merge -p '{\"spec\":{\"replicas\":2}}'",
        patched,
    );
    world.prints(
        "kubectl patch deploy web --type=json -p '[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":1}]'",
        patched,
    );
    world.ok("kubectl create cm same --from-literal=a=b");
    world.prints(
        "kubectl patch cm same --type=merge -p '{\"data\":{\"a\":\"b\"}}'",
        &["configmap/same patched (no change)"],
    );
    world.prints(
        "kubectl get deploy web -o jsonpath='{.spec.replicas} {.spec.template.spec.containers[0].image} {.spec.template.spec.containers[0].env[0].name}'",
        &["1 nginx A"],
    );
    world.prints("kubectl patch deploy web --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":2}}'", &["scale.autoscaling/web patched"]);
    world.prints(
        "kubectl label deploy web tier=front",
        &["deployment.apps/web labeled"],
    );
    world.refuses(
        "kubectl label deploy web tier=back",
        &["error: 'tier' already has a value (front), and --overwrite is false"],
    );
    world.prints(
        "kubectl label deploy web tier=back --overwrite",
        &["deployment.apps/web labeled"],
    );
    world.prints(
        "kubectl get deploy -l tier=back -o name",
        &["deployment.apps/web"],
    );
    world.ok("kubectl rollout status deploy web --timeout=60s");
    world.prints(
        "kubectl get deploy --show-labels --no-headers",
        &["web * 2 * * tier=back"],
    );
    world.prints(
        "kubectl label deploy web tier-",
        &["deployment.apps/web unlabeled"],
    );
    world.prints(
        "kubectl annotate deploy web note=hello",
        &["deployment.apps/web annotated"],
    );
    world.prints(
        "kubectl annotate deploy web note-",
        &["deployment.apps/web annotated"],
    );
    world.prints(
        "kubectl scale deploy web --replicas=1",
        &["deployment.apps/web scaled"],
    );
    world.refuses(
        "kubectl scale deploy web --replicas=4 --current-replicas=9",
        &["error: Expected replicas to be 9, was 1"],
    );
    world.prints(
        "kubectl set env deploy/web A=2 B=3",
        &["deployment.apps/web env updated"],
    );
    world.prints(
        "kubectl set env deploy/web --list",
        &["# Deployment web, container c", "A=2", "B=3"],
    );
    world.prints(
        "kubectl set resources deploy/web --limits=cpu=100m",
        &["deployment.apps/web resource requirements updated"],
    );
}

#[test]
fn delete_and_what_hangs_on_it() {
    let world = World::new("delete");
    world.ok("kubectl apply -f web.yaml && kubectl rollout status deploy/web --timeout=30s");
    world.prints(
        "kubectl delete deploy web --cascade=orphan",
        &["deployment.apps \"web\" deleted"],
    );
    world.prints("kubectl get rs -l app=web --no-headers", &["web-* 2 2 2 *"]);
    world.prints(
        "kubectl delete rs -l app=web --cascade=foreground",
        &["replicaset.apps \"web-*\" deleted"],
    );
    world.prints(
        "kubectl wait pod -l app=web --for=delete --timeout=30s",
        &[],
    );
    world.prints("kubectl get pods -l app=web", &[]);
    world.ok("kubectl apply -f web.yaml && kubectl rollout status deploy/web --timeout=30s");
    world.prints(
        "kubectl delete -f web.yaml --wait=true",
        &["deployment.apps \"web\" deleted"],
    );
    world.prints(
        "kubectl wait pod -l app=web --for=delete --timeout=30s",
        &[],
    );
    world.refuses(
        "kubectl delete deploy web",
        &["Error from server (NotFound): deployments.apps \"web\" not found"],
    );
    world.prints("kubectl delete deploy web --ignore-not-found", &[]);
}
