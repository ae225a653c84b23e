//! Every kind of probe, failing and recovering.

use std::path::Path;

use serde_json::{Value, json};

use super::answers::Answers;
use super::{Guest, cases, shell, with};

#[test]
fn probes_fail_and_recover() {
    cases(&[
        ("ready", readiness),
        ("alive", liveness),
        ("begun", startup),
    ]);
}

/// Answers on port 80 when there is `/w/f`; on port 81 while there is `/w/t`.
const SERVES: &str = "mkdir -p /w; trap \"exit 0\" TERM; httpd -p 80 -h /w; \
    while :; do if [ -e /w/t ]; then timeout 1 nc -l -p 81 < /dev/null > /dev/null; else sleep 0.1; fi; done";

fn probe(kind: &str, action: Value) -> Value {
    let mut probe = json!({"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 2});
    probe[kind] = action;
    probe
}

/// Does nothing: the tests answer for it.
const STANDS: &str = "mkdir -p /w; trap \"exit 0\" TERM; while :; do sleep 0.1; done";

/// A kind of probe: its name, what is asked, and what is told when it fails.
type Kind = (&'static str, Value, &'static str);

/// Pods with every kind of probe.
struct Kinds {
    kinds: [Kind; 5],
    /// The volumes of those for which the tests answer.
    directory: std::path::PathBuf,
    _answers: [Answers; 2],
}

impl Kinds {
    fn new(guest: &Guest) -> Self {
        let directory = guest.dir().join("health");
        let answers = ["https", "grpc"].map(|name| {
            let directory = directory.join(name);
            std::fs::create_dir_all(&directory).unwrap();
            Answers::new(directory.join("f"))
        });
        let [https, grpc] = [answers[0].https, answers[1].grpc];
        let https = json!({"path": "/", "port": https, "scheme": "HTTPS"});
        let not_found = "HTTP probe failed with statuscode: 404";
        let kinds = [
            (
                "exec",
                probe("exec", json!({"command": ["cat", "/w/f"]})),
                "cat: can't open '/w/f': No such file or directory",
            ),
            (
                "http",
                probe("httpGet", json!({"path": "/f", "port": 80})),
                not_found,
            ),
            ("https", probe("httpGet", https), not_found),
            ("tcp", probe("tcpSocket", json!({"port": 81})), "dial tcp "),
            (
                "grpc",
                probe("grpc", json!({"port": grpc})),
                "service unhealthy (responded with \"NOT_SERVING\")",
            ),
        ];
        Self {
            kinds,
            directory,
            _answers: answers,
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|(name, ..)| *name)
    }

    /// Makes a pod of each kind: its container runs `before` first and has more fields, which are made of the probe.
    fn pods(&self, guest: &Guest, before: &str, more: impl Fn(Value) -> Value) {
        for (kind, probe, _) in &self.kinds {
            let directory: &Path = &self.directory.join(kind);
            let stands = directory.exists();
            let script = if stands { STANDS } else { SERVES };
            let mut c = shell("c", &format!("{before}{script}"));
            if stands {
                c["volumeMounts"] = json!([{"name": "w", "mountPath": "/w"}]);
            }
            let mut spec = json!({"containers": [with(c, more(probe.clone()))]});
            if stands {
                spec["hostNetwork"] = true.into();
                spec["volumes"] = json!([{"name": "w", "hostPath": {"path": directory}}]);
            }
            guest.pod(kind, spec);
        }
    }
}

/// A pod is ready as long as its probe says so, and no container is started again for it.
fn readiness(guest: &Guest) {
    let kinds = Kinds::new(guest);
    kinds.pods(guest, "", |probe| json!({"readinessProbe": probe}));
    for (kind, _, why) in &kinds.kinds {
        guest.told(kind, "Unhealthy: Readiness probe failed: ");
        guest.told(kind, why);
        guest.becomes(kind, &[("/containerStatuses/0/ready", json!(false))]);
        guest.inside(kind, "echo 1 > /w/f; echo 1 > /w/t");
    }
    for kind in kinds.names() {
        guest.ready(kind);
        guest.inside(kind, "rm /w/f /w/t");
    }
    for kind in kinds.names() {
        guest.becomes(kind, &[("/containerStatuses/0/ready", json!(false))]);
        guest.inside(kind, "echo 1 > /w/f; echo 1 > /w/t");
    }
    for kind in kinds.names() {
        let status = guest.ready(kind);
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{kind}");
    }
}

/// A container whose probe fails is started again.
fn liveness(guest: &Guest) {
    let kinds = Kinds::new(guest);
    let well = "mkdir -p /w; echo 1 > /w/f; echo 1 > /w/t; ";
    kinds.pods(guest, well, |mut probe| {
        probe["initialDelaySeconds"] = json!(1);
        json!({"livenessProbe": probe})
    });
    for kind in kinds.names() {
        guest.ready(kind);
    }
    std::thread::sleep(std::time::Duration::from_secs(4));
    for kind in kinds.names() {
        let status = guest.ready(kind);
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{kind}");
        guest.inside(kind, "rm /w/f /w/t");
    }
    for (kind, _, why) in &kinds.kinds {
        guest.told(kind, why);
        guest.told(
            kind,
            "Killing: Container c failed liveness probe, will be restarted",
        );
        guest.becomes(kind, &[("/containerStatuses/0/restartCount", json!(1))]);
    }
    for kind in kinds.names() {
        guest.ready(kind);
    }
}

/// Until a startup probe succeeds the others are not asked; when it fails too often the container is started again.
fn startup(guest: &Guest) {
    let kinds = Kinds::new(guest);
    kinds.pods(guest, "", |mut startup| {
        startup["failureThreshold"] = json!(30);
        let liveness = probe("exec", json!({"command": ["cat", "/w/f"]}));
        json!({"startupProbe": startup, "livenessProbe": liveness})
    });
    let failing = probe("exec", json!({"command": ["false"]}));
    let c = with(shell("c", SERVES), json!({"startupProbe": failing}));
    guest.pod("never", json!({"containers": [c]}));
    for (kind, _, why) in &kinds.kinds {
        guest.told(kind, "Unhealthy: Startup probe failed: ");
        guest.told(kind, why);
        let status = guest.becomes(kind, &[("/containerStatuses/0/started", json!(false))]);
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{kind}");
        guest.inside(kind, "echo 1 > /w/f; echo 1 > /w/t");
    }
    for kind in kinds.names() {
        guest.ready(kind);
    }
    guest.told(
        "never",
        "Killing: Container c failed startup probe, will be restarted",
    );
    guest.becomes("never", &[("/containerStatuses/0/restartCount", json!(1))]);
}
