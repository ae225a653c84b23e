//! rollout: status, history, undo, pause, resume, restart.

use crate::world::World;

#[test]
fn rollouts() {
    let world = World::new("rollout");
    world.ok("kubectl apply -f web.yaml");
    let status = "kubectl rollout status deploy/web --timeout=60s";
    world.shows(status, &["deployment \"web\" successfully rolled out"]);
    world.prints(
        "kubectl set image deploy/web c=nginx:2",
        &["deployment.apps/web image updated"],
    );
    world.shows(status, &["deployment \"web\" successfully rolled out"]);
    world.prints(
        "kubectl rollout history deploy/web",
        &[
            "deployment.apps/web",
            "REVISION CHANGE-CAUSE",
            "1 <none>",
            "2 <none>",
        ],
    );
    world.shows(
        "kubectl rollout history deploy/web --revision=2",
        &[
            "deployment.apps/web with revision #2",
            "Pod Template:",
            "Image: nginx:2",
        ],
    );
    world.prints(
        "kubectl rollout undo deploy/web",
        &["deployment.apps/web rolled back"],
    );
    world.shows(status, &["deployment \"web\" successfully rolled out"]);
    world.prints(
        "kubectl get deploy web -o jsonpath='{.spec.template.spec.containers[0].image}'",
        &["nginx"],
    );
    world.prints(
        "kubectl rollout undo deploy/web --to-revision=2",
        &["deployment.apps/web rolled back"],
    );
    world.prints(
        "kubectl rollout pause deploy/web",
        &["deployment.apps/web paused"],
    );
    world.refuses(
        "kubectl rollout pause deploy/web",
        &["error: deployments.apps \"web\" is already paused"],
    );
    world.prints(
        "kubectl rollout resume deploy/web",
        &["deployment.apps/web resumed"],
    );
    world.prints(
        "kubectl rollout restart deploy/web",
        &["deployment.apps/web restarted"],
    );
    world.shows(status, &["deployment \"web\" successfully rolled out"]);
    world.prints(
        "kubectl rollout history deploy/web | tail -n +3 | grep -c none",
        &["3"],
    );
}
