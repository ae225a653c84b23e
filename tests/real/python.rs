//! Kubernetes' client for Python: typed lists, creates, watches and patches.

use crate::world::World;
use std::path::Path;

#[test]
fn the_python_client() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    assert!(
        python.exists(),
        "the client for Python is needed in target/python: scripts/test installs it"
    );
    let world = World::new("python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/client.py");
    world.prints(
        &format!(
            "{} {} {}/kubeconfig",
            python.display(),
            script.display(),
            world.dir().display()
        ),
        &[
            "version 1.36",
            "nodes node-1 node-2 node-3",
            "created a b",
            "page a more",
            "page b more",
            // More follow that the selector does not select.
            "page end",
            "patched y",
            "applied z",
            "conflict AlreadyExists",
            "invalid metadata.name",
            "watched ADDED w, MODIFIED w, DELETED w",
            "ready 2",
            "scaled 1",
            "custom 1",
            "gone",
        ],
    );
}
