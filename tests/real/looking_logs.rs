//! kubectl logs.

use std::time::Duration;

use homeostat::cri::fake::Script;

use crate::world::World;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - {name: c, image: talks}
  - {name: d, image: quiet}
";

#[test]
fn logs_are_shown() {
    let world = World::new("logs");
    let script = Script::default()
        .prints(Duration::ZERO, "one")
        .complains(Duration::ZERO, "two")
        .prints(Duration::from_millis(1), "three")
        .prints(Duration::from_secs(4), "late");
    world.script("talks", &script);
    world.script("quiet", &Script::default().prints(Duration::ZERO, "hm"));
    world.file("pod.yaml", POD);
    world.ok(
        "kubectl apply -f pod.yaml && kubectl wait pod/web --for=condition=Ready --timeout=30s",
    );
    world.prints("kubectl logs web -c d", &["hm"]);
    // Without a name kubectl takes the first container, and says so on the side.
    world.prints("kubectl logs web --tail=1 -c d --timestamps", &["*Z hm"]);
    let mut follows = world.start("kubectl logs -f web -c c");
    let lines: Vec<String> = (0..4).map(|_| follows.line()).collect();
    assert_eq!(lines, ["one", "two", "three", "late"]);
    world.prints("kubectl logs web --tail=2", &["three", "late"]);
    world.prints(
        "kubectl logs web -c c --since=1h --limit-bytes=5",
        &["one", "t"],
    );
    world.prints(
        "kubectl logs web --all-containers --prefix | sort",
        &[
            "[pod/web/c] late",
            "[pod/web/c] one",
            "[pod/web/c] three",
            "[pod/web/c] two",
            "[pod/web/d] hm",
        ],
    );
    world.prints("kubectl logs -l app=web -c d", &["hm"]);
    world.refuses(
        "kubectl logs web -c none",
        &["error: container none is not valid for pod web"],
    );
    world.refuses(
        "kubectl logs web -c c --previous",
        &["Error from server (BadRequest): previous terminated container \"c\" in pod \"web\" not found"],
    );
    world.refuses(
        "kubectl logs none",
        &["error: error from server (NotFound): pods \"none\" not found in namespace \"default\""],
    );
}

#[test]
fn what_the_one_before_said_is_shown() {
    let world = World::new("previous");
    let script = Script::default()
        .prints(Duration::ZERO, "dying")
        .exits(Duration::from_millis(500), 1);
    world.script("crashes", &script);
    world.ok("kubectl run crash --image=crashes");
    world.ok(
        "kubectl wait pod/crash --for=jsonpath='{.status.containerStatuses[0].restartCount}'=1 --timeout=60s",
    );
    world.prints("kubectl logs crash --previous", &["dying"]);
}
