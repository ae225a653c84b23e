//! Every kind of probe, failing and recovering.

use serde_json::{Value, json};

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

fn kinds() -> [(&'static str, Value, &'static str); 3] {
    [
        (
            "exec",
            probe("exec", json!({"command": ["cat", "/w/f"]})),
            "cat: can't open '/w/f': No such file or directory",
        ),
        (
            "http",
            probe("httpGet", json!({"path": "/f", "port": 80})),
            "HTTP probe failed with statuscode: 404",
        ),
        ("tcp", probe("tcpSocket", json!({"port": 81})), "dial tcp "),
    ]
}

/// A pod is ready as long as its probe says so, and no container is started again for it.
fn readiness(guest: &Guest) {
    for (kind, probe, _) in kinds() {
        let c = with(shell("c", SERVES), json!({"readinessProbe": probe}));
        guest.pod(kind, json!({"containers": [c]}));
    }
    for (kind, _, why) in kinds() {
        guest.told(kind, "Unhealthy: Readiness probe failed: ");
        guest.told(kind, why);
        guest.becomes(kind, &[("/containerStatuses/0/ready", json!(false))]);
        guest.inside(kind, "echo 1 > /w/f; echo 1 > /w/t");
    }
    for (kind, ..) in kinds() {
        guest.ready(kind);
        guest.inside(kind, "rm /w/f /w/t");
    }
    for (kind, ..) in kinds() {
        guest.becomes(kind, &[("/containerStatuses/0/ready", json!(false))]);
        guest.inside(kind, "echo 1 > /w/f; echo 1 > /w/t");
    }
    for (kind, ..) in kinds() {
        let status = guest.ready(kind);
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{kind}");
    }
}

/// A container whose probe fails is started again.
fn liveness(guest: &Guest) {
    for (kind, mut probe, _) in kinds() {
        probe["initialDelaySeconds"] = json!(1);
        let script = format!("mkdir -p /w; echo 1 > /w/f; echo 1 > /w/t; {SERVES}");
        let c = with(shell("c", &script), json!({"livenessProbe": probe}));
        guest.pod(kind, json!({"containers": [c]}));
    }
    for (kind, ..) in kinds() {
        guest.ready(kind);
    }
    std::thread::sleep(std::time::Duration::from_secs(4));
    for (kind, ..) in kinds() {
        let status = guest.ready(kind);
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{kind}");
        guest.inside(kind, "rm /w/f /w/t");
    }
    for (kind, _, why) in kinds() {
        guest.told(kind, why);
        guest.told(
            kind,
            "Killing: Container c failed liveness probe, will be restarted",
        );
        guest.becomes(kind, &[("/containerStatuses/0/restartCount", json!(1))]);
    }
    for (kind, ..) in kinds() {
        guest.ready(kind);
    }
}

/// Until a startup probe succeeds the others are not asked; when it fails too often the container is started again.
fn startup(guest: &Guest) {
    for (kind, mut startup, _) in kinds() {
        startup["failureThreshold"] = json!(30);
        let liveness = probe("exec", json!({"command": ["cat", "/w/f"]}));
        let c = with(
            shell("c", SERVES),
            json!({"startupProbe": startup, "livenessProbe": liveness}),
        );
        guest.pod(kind, json!({"containers": [c]}));
    }
    let failing = probe("exec", json!({"command": ["false"]}));
    let c = with(shell("c", SERVES), json!({"startupProbe": failing}));
    guest.pod("never", json!({"containers": [c]}));
    for (kind, _, why) in kinds() {
        guest.told(kind, "Unhealthy: Startup probe failed: ");
        guest.told(kind, why);
        let status = guest.becomes(kind, &[("/containerStatuses/0/started", json!(false))]);
        assert_eq!(status["containerStatuses"][0]["restartCount"], 0, "{kind}");
        guest.inside(kind, "echo 1 > /w/f; echo 1 > /w/t");
    }
    for (kind, ..) in kinds() {
        guest.ready(kind);
    }
    guest.told(
        "never",
        "Killing: Container c failed startup probe, will be restarted",
    );
    guest.becomes("never", &[("/containerStatuses/0/restartCount", json!(1))]);
}
