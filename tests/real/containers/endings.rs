//! How containers start and end: order, restarts, memory, codes, signals, messages, farewells.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Guest, STAYS, cases, shell, with};

#[test]
fn containers_start_and_end() {
    cases(&[
        ("init-order", init_order),
        ("crash-loop", crash_loop),
        ("restart-all", restart_all),
        ("memory", memory),
        ("codes", codes),
        ("messages", messages),
        ("farewell", farewell),
        ("deadline", deadline),
    ]);
}

/// Init containers one after the other, a sidecar before what follows it, then the others; the sidecar ends last.
fn init_order(guest: &Guest) {
    let log = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let notes = |name: &str, script: &str| with(shell(name, script), log.clone());
    let stays = |name: &str| {
        let script = format!(
            "trap \"echo -{name} >> /v/log; exit 0\" TERM; echo {name} >> /v/log; while :; do sleep 0.1; done"
        );
        notes(name, &script)
    };
    let sidecar = with(
        stays("side"),
        json!({
            "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["grep", "side", "/v/log"]}, "periodSeconds": 1},
        }),
    );
    guest.pod(
        "p",
        json!({
            "terminationGracePeriodSeconds": 10,
            "volumes": [{"name": "v", "hostPath": {"path": guest.dir(), "type": "Directory"}}],
            "initContainers": [
                notes("one", "sleep 1; echo one >> /v/log"), sidecar, notes("two", "echo two >> /v/log; sleep 1"),
            ],
            "containers": [stays("main")],
        }),
    );
    guest.ready("p");
    guest.prints("cat log", &["one", "side", "two", "main"]);
    guest.ok("kubectl delete pod p --timeout=30s");
    guest.prints("cat log", &["one", "side", "two", "main", "-main", "-side"]);
    // One that fails holds up all that follow, and is tried again.
    let init = [shell("no", "exit 3"), shell("never", "exit 0")];
    guest.pod(
        "q",
        json!({"restartPolicy": "Never", "initContainers": init, "containers": [shell("c", STAYS)]}),
    );
    let status = guest.becomes("q", &[("/phase", json!("Failed"))]);
    let of = |index: usize| status["initContainerStatuses"][index]["state"].clone();
    assert_eq!(of(0)["terminated"]["exitCode"], 3, "{status}");
    assert_eq!(of(1)["waiting"]["reason"], "PodInitializing", "{status}");
    guest.prints("kubectl get pod q --no-headers", &["q 0/1 Init:Error 0 *"]);
}

fn crash_loop(guest: &Guest) {
    guest.pod("p", json!({"containers": [shell("c", "echo run; exit 4")]}));
    let status = guest.becomes(
        "p",
        &[
            (
                "/containerStatuses/0/state/waiting/reason",
                json!("CrashLoopBackOff"),
            ),
            ("/containerStatuses/0/restartCount", json!(1)),
        ],
    );
    let container = &status["containerStatuses"][0];
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 4);
    let message = container["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("back-off 10s restarting failed container=c pod=p_crash-loop("),
        "{message}"
    );
    guest.told(
        "p",
        "BackOff: Back-off restarting failed container c in pod p_crash-loop(",
    );
    let first = Instant::now();
    guest.becomes("p", &[("/containerStatuses/0/restartCount", json!(2))]);
    let waited = first.elapsed();
    assert!(waited > Duration::from_secs(7), "only {waited:?}");
    // A good end under OnFailure ends the pod.
    guest.pod(
        "q",
        json!({"restartPolicy": "OnFailure", "containers": [shell("c", "exit 0")]}),
    );
    guest.becomes("q", &[("/phase", json!("Succeeded"))]);
}

/// One container ends so that all begin anew, in the same sandbox, without farewell.
fn restart_all(guest: &Guest) {
    let with_log = |container: Value| {
        let log = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        with(container, log)
    };
    let stays = |name: &str| {
        let script = format!("echo {name} >> /v/log; {STAYS}");
        with_log(shell(name, &script))
    };
    let source = with(
        with_log(shell(
            "source",
            &format!(
                "echo source >> /v/log; [ -e /v/again ] || {{ sleep 2; touch /v/again; exit 42; }}; {STAYS}"
            ),
        )),
        json!({
            "restartPolicy": "Never",
            "restartPolicyRules": [
                {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}},
            ],
        }),
    );
    let hook = json!({"preStop": {"exec": {"command": ["touch", "/v/hooked"]}}});
    guest.pod(
        "p",
        json!({
            "restartPolicy": "Never",
            "volumes": [{"name": "v", "hostPath": {"path": guest.dir(), "type": "Directory"}}],
            "initContainers": [
                with_log(shell("init", "echo init >> /v/log")), with(stays("side"), json!({"restartPolicy": "Always"})),
            ],
            "containers": [source, with(stays("main"), json!({"lifecycle": hook}))],
        }),
    );
    let before = guest.ready("p");
    guest.becomes("p", &[("/containerStatuses/0/restartCount", json!(1))]);
    let after = guest.ready("p");
    assert_eq!(before["podIP"], after["podIP"]);
    for list in ["containerStatuses", "initContainerStatuses"] {
        for container in after[list].as_array().unwrap() {
            assert_eq!(container["restartCount"], 1, "{container}");
            let last = &container["lastState"]["terminated"];
            assert_eq!(last["reason"], "RestartingAllContainers", "{container}");
        }
    }
    guest.prints(
        "sort log | uniq -c",
        &["2 init", "2 main", "2 side", "2 source"],
    );
    assert!(!guest.dir().join("hooked").exists());
}

fn memory(guest: &Guest) {
    let limits = json!({"resources": {"limits": {"memory": "16Mi"}}});
    let hungry = with(shell("c", "tail /dev/zero"), limits);
    guest.pod(
        "p",
        json!({"restartPolicy": "Never", "containers": [hungry]}),
    );
    let status = guest.becomes("p", &[("/phase", json!("Failed"))]);
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["reason"], "OOMKilled", "{status}");
    assert_eq!(end["exitCode"], 137, "{status}");
    guest.prints("kubectl get pod p --no-headers", &["p 0/1 OOMKilled 0 *"]);
}

fn codes(guest: &Guest) {
    let rows = [
        ("none", "exit 0", 0, "Completed", "Succeeded"),
        ("seven", "exit 7", 7, "Error", "Failed"),
        ("killed", "kill -9 $$$$", 137, "Error", "Failed"),
        ("asked", "kill -TERM $$$$; sleep 9", 143, "Error", "Failed"),
    ];
    for (name, script, ..) in rows {
        // As process 1 a shell would not be ended by a signal of its own. Two dollars make one.
        guest.pod(
            name,
            json!({"restartPolicy": "Never", "shareProcessNamespace": true, "containers": [shell("c", script)]}),
        );
    }
    for (name, _, code, reason, phase) in rows {
        let status = guest.becomes(name, &[("/phase", json!(phase))]);
        let end = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(end["exitCode"], code, "{name}: {status}");
        assert_eq!(end["reason"], reason, "{name}: {status}");
        for time in ["startedAt", "finishedAt"] {
            assert!(end[time].is_string(), "{name}: {status}");
        }
    }
}

fn messages(guest: &Guest) {
    let rows = [
        (
            "file",
            "echo -n because > /dev/termination-log; exit 1",
            json!({}),
            "because",
        ),
        (
            "path",
            "echo -n elsewhere > /tmp/why; exit 1",
            json!({"terminationMessagePath": "/tmp/why"}),
            "elsewhere",
        ),
    ];
    for (name, script, more, _) in &rows {
        let container = with(shell("c", script), more.clone());
        guest.pod(
            name,
            json!({"restartPolicy": "Never", "containers": [container]}),
        );
    }
    for (name, _, _, message) in &rows {
        let status = guest.becomes(name, &[("/phase", json!("Failed"))]);
        let end = &status["containerStatuses"][0]["state"]["terminated"];
        assert_eq!(end["message"], *message, "{name}: {status}");
    }
}

/// A server that is asked all the time answers until its preStop hook is over and it has been asked to end.
fn farewell(guest: &Guest) {
    let server = with(
        shell(
            "c",
            "mkdir /w; echo well > /w/f; httpd -p 80 -h /w; trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done",
        ),
        json!({
            "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "sleep 2; touch /v/hooked"]}}},
            "readinessProbe": {"httpGet": {"path": "/f", "port": 80}, "periodSeconds": 1},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }),
    );
    guest.pod(
        "p",
        json!({
            "terminationGracePeriodSeconds": 20, "containers": [server],
            "volumes": [{"name": "v", "hostPath": {"path": guest.dir()}}],
        }),
    );
    let status = guest.ready("p");
    let ip = status["podIP"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let mut deletion = guest.start("kubectl delete pod p --timeout=30s");
    let hooked = guest.dir().join("hooked");
    let (mut answered, mut last) = (0, begun);
    loop {
        // Whether it still had to answer, looked at before it is asked.
        let must = !hooked.exists();
        match ask(&ip) {
            Ok(answer) if answer.ends_with("well\n") => {
                (answered, last) = (answered + 1, Instant::now());
            }
            other if must => panic!("{other:?} before the hook ended"),
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(answered > 20, "{answered} answers");
    assert!(
        last - begun > Duration::from_millis(1900),
        "{:?}",
        last - begun
    );
    assert_eq!(deletion.line(), "pod \"p\" deleted");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(3) && took < Duration::from_secs(19),
        "{took:?}"
    );
    // One that does not listen is ended when its time is over.
    guest.pod(
        "deaf",
        json!({"terminationGracePeriodSeconds": 3, "containers": [shell("c", "trap \"\" TERM; while :; do sleep 0.2; done")]}),
    );
    guest.ready("deaf");
    let begun = Instant::now();
    guest.ok("kubectl delete pod deaf --timeout=30s");
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(2800) && took < Duration::from_secs(9),
        "{took:?}"
    );
    // At once.
    guest.pod(
        "forced",
        json!({"terminationGracePeriodSeconds": 60, "containers": [shell("c", "trap \"\" TERM; while :; do sleep 0.2; done")]}),
    );
    guest.ready("forced");
    let begun = Instant::now();
    guest.ok("kubectl delete pod forced --grace-period=0 --force --timeout=30s");
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
}

/// What a server at port 80 answers.
fn ask(ip: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((ip, 80))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /f HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn deadline(guest: &Guest) {
    guest.pod(
        "p",
        json!({"activeDeadlineSeconds": 2, "containers": [shell("c", STAYS)]}),
    );
    let status = guest.becomes("p", &[("/phase", json!("Failed"))]);
    assert_eq!(status["reason"], "DeadlineExceeded", "{status}");
    assert_eq!(
        status["message"],
        "Pod was active on the node longer than the specified deadline"
    );
}
