//! apply, diff, replace, prune, kustomize.

use crate::world::World;

#[test]
fn apply_from_the_client_and_from_the_server() {
    let world = World::new("apply");
    world.prints(
        "kubectl apply -f web.yaml",
        &["deployment.apps/web created"],
    );
    world.prints(
        "kubectl apply -f web.yaml",
        &["deployment.apps/web unchanged"],
    );
    world.ok("sed -i 's/replicas: 2/replicas: 1/' web.yaml");
    let found = world.run_diff("kubectl diff -f web.yaml");
    assert!(
        found.contains("-  replicas: 2\n+  replicas: 1\n"),
        "{found}"
    );
    world.prints(
        "kubectl apply -f web.yaml",
        &["deployment.apps/web configured"],
    );
    world.prints("kubectl diff -f web.yaml", &[]);
    world.prints(
        "kubectl get deploy web -o jsonpath='{.spec.replicas}'",
        &["1"],
    );
    // kubectl checks fields by the schema that the server publishes.
    world.file(
        "bad.yaml",
        &crate::world::WEB.replace("replicas: 2", "replicaz: 2"),
    );
    let refused = world.fails("kubectl apply -f bad.yaml");
    assert!(
        refused.contains("unknown field \"spec.replicaz\""),
        "{refused}"
    );
    world.prints(
        "kubectl apply --dry-run=server -f web.yaml",
        &["deployment.apps/web unchanged (server dry run)"],
    );

    world.prints(
        "kubectl apply --server-side --force-conflicts -f web.yaml",
        &["deployment.apps/web serverside-applied"],
    );
    world.ok("sed -i 's/replicas: 1/replicas: 3/' web.yaml");
    let conflict = world.fails("kubectl apply --server-side --field-manager=other -f web.yaml");
    assert!(
        conflict.starts_with(
            "error: Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas\n"
        ),
        "{conflict}"
    );
    world.prints(
        "kubectl apply --server-side --field-manager=other --force-conflicts -f web.yaml",
        &["deployment.apps/web serverside-applied"],
    );
    world.prints(
        "kubectl get deploy web -o jsonpath='{.spec.replicas}'",
        &["3"],
    );
}

#[test]
fn replace_and_prune() {
    let world = World::new("prune");
    world.ok("kubectl apply -f web.yaml");
    world.prints(
        "kubectl replace --force -f web.yaml",
        &[
            "deployment.apps \"web\" deleted",
            "deployment.apps/web replaced",
        ],
    );
    let map = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{set: a}}}}\n---\n"
        )
    };
    world.file("maps.yaml", &(map("one") + &map("two")));
    let prune = "kubectl apply --prune -l set=a --prune-allowlist=core/v1/ConfigMap -f maps.yaml";
    world.prints(prune, &["configmap/one created", "configmap/two created"]);
    world.file("maps.yaml", &map("one"));
    world.prints(prune, &["configmap/one unchanged", "configmap/two pruned"]);
    world.prints("kubectl get cm -l set=a -o name", &["configmap/one"]);
}

#[test]
fn kustomize() {
    let world = World::new("kustomize");
    world.file("site/web.yaml", crate::world::WEB);
    world.file(
        "site/kustomization.yaml",
        "namePrefix: my-\nresources: [web.yaml]\nconfigMapGenerator:\n- name: settings\n  literals: [a=b]\n",
    );
    world.shows("kubectl kustomize site", &["name: my-web"]);
    world.prints(
        "kubectl apply -k site",
        &[
            "configmap/my-settings-* created",
            "deployment.apps/my-web created",
        ],
    );
    world.prints(
        "kubectl delete -k site",
        &[
            "configmap \"my-settings-*\" deleted",
            "deployment.apps \"my-web\" deleted",
        ],
    );
}

impl World {
    /// `diff` fails when there are differences.
    fn run_diff(&self, command: &str) -> String {
        self.ok(&format!("{command} || test $? = 1"))
    }
}
