//! Polices the architecture: the import table, file sizes, module docs, forbidden calls. See `docs/architecture.md`.

#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each top module may import from this crate (`docs/architecture.md`, "Import rules"). `compat` and `signal` are everyone's.
const IMPORTS: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("compat", &[]),
    ("signal", &[]),
    ("guide", &[]),
    ("websocket", &[]),
    ("metrics", &[]),
    ("object", &[]),
    ("cel", &["object"]),
    ("pki", &["object"]),
    ("store", &["clock", "metrics"]),
    (
        "apiserver",
        &["object", "cel", "pki", "store", "clock", "websocket"],
    ),
    ("client", &["object"]),
    ("manifest", &["client", "object"]),
    ("reconcile", &["client", "object", "clock", "metrics"]),
    (
        "controllers",
        &["reconcile", "client", "object", "cel", "clock", "pki"],
    ),
    (
        "scheduler",
        &["reconcile", "client", "object", "clock", "metrics"],
    ),
    ("cri", &["clock"]),
    (
        "node",
        &[
            "reconcile",
            "client",
            "object",
            "clock",
            "cri",
            "pki",
            "websocket",
        ],
    ),
    ("network", &["reconcile", "client", "object", "clock"]),
    (
        "cluster",
        &[
            "apiserver",
            "client",
            "clock",
            "controllers",
            "cri",
            "manifest",
            "network",
            "node",
            "object",
            "reconcile",
            "scheduler",
            "store",
        ],
    ),
    (
        "testing",
        &[
            "apiserver",
            "client",
            "clock",
            "cluster",
            "controllers",
            "cri",
            "manifest",
            "network",
            "node",
            "object",
            "reconcile",
            "scheduler",
            "store",
        ],
    ),
];

/// Calls that only the named files may make, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("SystemTime::now", &[], "wall time comes from `clock`"),
    (
        "Timestamp::now(",
        &["src/clock.rs"],
        "wall time comes from `clock`",
    ),
    (
        "std::time::Instant",
        &[],
        "timers are tokio's, so that they are virtual in tests",
    ),
    (
        "rand::",
        // Keys need chance that nobody can guess; what they sign is kept nowhere.
        &["src/apiserver/auth/token/key", "src/pki/"],
        "chance comes from `clock`",
    ),
    (
        "sync::watch",
        // One waiter each, or none whose order can be seen.
        &[
            "src/signal.rs",
            "src/apiserver/serve/",
            "src/reconcile/",
            "src/scheduler/drain.rs",
            "src/scheduler/explain/",
            "src/store/etcd/",
        ],
        "it wakes its waiters in an order of chance; `signal` does not",
    ),
    ("Uuid::", &[], "uids come from `clock`"),
    (
        "Command::new",
        &["src/network/proxy/"],
        "processes are spawned in one place",
    ),
    (
        ".reveal()",
        // They take tokens apart and verify signatures.
        &[
            "src/apiserver/auth/token/authenticate.rs",
            "src/apiserver/auth/token/bootstrap.rs",
        ],
        "secrets are compared by `auth/secret`, in constant time",
    ),
    ("unbounded_channel", &[], "every queue is bounded"),
    ("mpsc::unbounded", &[], "every queue is bounded"),
    (
        "spawn_blocking",
        // Manifests of a node's own pods are on its disk, and so are volumes.
        &[
            "src/store/durable",
            "src/node/kubelet/machine/",
            "src/node/kubelet/statics/",
        ],
        "stops the paused clock",
    ),
    (
        "std::thread::",
        &["src/node/driver.rs"],
        "threads run past the paused clock; how many there may be is no thread",
    ),
];

/// No non-test source file is longer.
const MOST_LINES: usize = 800;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The part of a file that is not its unit tests.
fn code(text: &str) -> &str {
    text.find("\nmod tests {").map_or(text, |at| &text[..at])
}

fn is_test_file(path: &Path) -> bool {
    let name = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    name == "tests"
        || name == "testing"
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The top module of a file: `store` for `src/store/memory.rs` and `src/store.rs`.
fn module(path: &Path) -> String {
    let part = path
        .components()
        .nth(1)
        .map(|part| part.as_os_str().to_string_lossy().into_owned());
    part.unwrap_or_default().trim_end_matches(".rs").to_owned()
}

fn report(problems: &[String]) {
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table: BTreeMap<_, _> = IMPORTS.iter().copied().collect();
    let mut problems = Vec::new();
    for (path, text) in sources() {
        let module = module(&path);
        if module == "lib" {
            continue;
        }
        let Some(allowed) = table.get(module.as_str()) else {
            problems.push(format!(
                "{}: module {module} is not in the import table",
                path.display()
            ));
            continue;
        };
        if is_test_file(&path) {
            continue;
        }
        for (number, line) in code(&text).lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for reference in line.split("crate::").skip(1) {
                let name: String = reference
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let known = table.contains_key(name.as_str());
                if known
                    && name != module
                    && name != "compat"
                    && name != "signal"
                    && !allowed.contains(&name.as_str())
                {
                    problems.push(format!(
                        "{}:{}: {module} may not import {name}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn siblings_are_strangers() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        let parts: Vec<_> = path
            .components()
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        let ["src", "controllers", own, ..] =
            parts.iter().map(String::as_str).collect::<Vec<_>>()[..]
        else {
            continue;
        };
        for (number, line) in code(&text).lines().enumerate() {
            let Some(name) = line.split("controllers::").nth(1) else {
                continue;
            };
            let name: String = name
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let sibling = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("src/controllers")
                .join(&name)
                .is_dir();
            if sibling && name != own && own != "mod.rs" {
                problems.push(format!(
                    "{}:{}: controller {own} may not import {name}",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    report(&problems);
}

#[test]
fn files_are_documented_and_not_too_long() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            problems.push(format!(
                "{}: begins with no module documentation",
                path.display()
            ));
        }
        let lines = code(&text).lines().count();
        if lines > MOST_LINES && !is_test_file(&path) {
            problems.push(format!(
                "{}: {lines} lines, at most {MOST_LINES} are allowed",
                path.display()
            ));
        }
    }
    report(&problems);
}

#[test]
fn forbidden_calls_stay_in_their_places() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        if is_test_file(&path) {
            continue;
        }
        let shown = path.to_string_lossy();
        for (call, places, why) in FORBIDDEN {
            if places.iter().any(|place| shown.starts_with(place)) {
                continue;
            }
            for (number, line) in code(&text).lines().enumerate() {
                if line
                    .split("//")
                    .next()
                    .is_some_and(|line| line.contains(call))
                {
                    problems.push(format!("{shown}:{}: {call}: {why}", number + 1));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn selects_are_biased() {
    let mut problems = Vec::new();
    for (path, text) in sources() {
        for (at, _) in code(&text).match_indices("select! {") {
            let rest = text[at + "select! {".len()..].trim_start();
            if !rest.starts_with("biased;") {
                let line = text[..at].lines().count();
                problems.push(format!(
                    "{}:{line}: select! without biased; is not deterministic",
                    path.display()
                ));
            }
        }
    }
    report(&problems);
}
