//! Looking into pods: exec, attach, cp, port-forward, debug, top.

use serde_json::json;

use super::{Guest, STAYS, cases, shell, with};
use crate::looking_ports::forwarded;

#[test]
fn kubectl_looks_into_pods() {
    cases(&[
        ("exec", exec),
        ("attach", attach),
        ("copy", copy),
        ("ports", ports),
        ("debug", debug),
        ("top", top),
    ]);
}

fn exec(guest: &Guest) {
    guest.pod("p", json!({"containers": [shell("c", STAYS)]}));
    guest.ready("p");
    // By WebSocket, and by SPDY as older clients do.
    for client in ["", "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false "] {
        let exec = format!("{client}kubectl exec");
        guest.prints(
            &format!("{exec} p -- sh -c 'echo out; exit 7'; echo $?"),
            &["out", "7"],
        );
        let errors = guest.fails(&format!("{exec} p -- sh -c 'echo bad >&2; exit 3'"));
        assert_eq!(errors, "bad\ncommand terminated with exit code 3\n");
        guest.prints(
            &format!(
                "head -c 5000000 /dev/urandom > in && {exec} -i p -- cat < in > out && cmp in out && echo same"
            ),
            &["same"],
        );
        guest.prints(
            &format!("script -qec '{client}kubectl exec -it p -- tty' /dev/null | tr -d ^@"),
            &["/dev/pts/*"],
        );
        guest.prints(
            &format!("echo 'echo $((6*7)); exit 5' | {exec} -i p -- sh; echo $?"),
            &["42", "5"],
        );
    }
    let errors = guest.fails("kubectl exec p -- /no/such");
    assert!(errors.contains("no such file or directory"), "{errors}");
}

/// What a command prints that is attached to a container. The container reads a line and waits a little before it talks, so
/// that it is not missed (containerd attaches the input a moment before the outputs); the input stays open, since its end
/// may end the attachment before.
#[track_caller]
fn heard(guest: &Guest, command: &str, expected: &str) {
    let open = "rm -f input; mkfifo input; exec 3<>input; echo somebody >&3";
    guest.prints(&format!("{open}; {command} <&3"), &[expected]);
}

fn attach(guest: &Guest) {
    let reads = with(
        shell("c", "while read line; do echo heard $line; done; exit 6"),
        json!({"stdin": true, "stdinOnce": true}),
    );
    guest.pod(
        "p",
        json!({"restartPolicy": "Never", "containers": [reads]}),
    );
    guest.ready("p");
    guest.prints(
        "printf 'one\\ntwo\\n' | kubectl attach -q -i p",
        &["heard one", "heard two"],
    );
    // Its input came to an end, and so did it.
    let status = guest.becomes("p", &[("/phase", json!("Failed"))]);
    let end = &status["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(end["exitCode"], 6, "{status}");
    heard(
        guest,
        "kubectl run r -q --image=homeostat.local/busybox:1 --restart=Never -i --rm -- sh -c 'read word; sleep 1; echo from $word'",
        "from somebody",
    );
}

fn copy(guest: &Guest) {
    guest.pod("p", json!({"containers": [shell("c", STAYS)]}));
    guest.ready("p");
    guest.ok("mkdir -p d/e && head -c 3000000 /dev/urandom > d/e/big && echo small > d/small");
    guest.ok("kubectl cp d p:/tmp/d && kubectl cp p:/tmp/d back");
    guest.prints("diff -r d back && echo same", &["same"]);
    assert_eq!(guest.inside("p", "cat /tmp/d/small"), "small");
}

fn ports(guest: &Guest) {
    // What is sent comes back.
    guest.pod(
        "p",
        json!({"containers": [shell("c", "trap \"exit 0\" TERM; nc -ll -p 8080 -e cat & wait")]}),
    );
    guest.ready("p");
    forwarded(guest, "p", 8080);
}

fn debug(guest: &Guest) {
    guest.pod("p", json!({"containers": [shell("c", STAYS)]}));
    guest.ready("p");
    heard(
        guest,
        "kubectl debug p -q -i --image=homeostat.local/busybox:1 --target=c --container=look -- sh -c 'read word; sleep 1; tr \"\\0\" \" \" < /proc/1/cmdline | cut -c 1-5'",
        "sh -c",
    );
    let status = guest.becomes(
        "p",
        &[(
            "/ephemeralContainerStatuses/0/state/terminated/exitCode",
            json!(0),
        )],
    );
    assert_eq!(status["ephemeralContainerStatuses"][0]["name"], "look");
    assert_eq!(status["containerStatuses"][0]["restartCount"], 0);
}

fn top(guest: &Guest) {
    guest.pod(
        "p",
        json!({"containers": [
            shell("busy", "trap \"exit 0\" TERM; while :; do :; done"),
            shell("idle", STAYS),
        ]}),
    );
    guest.ready("p");
    let cpu = |line: &str| -> Option<u64> {
        let mut cells = line.split_whitespace();
        cells.find_map(|word| word.strip_suffix('m')?.parse().ok())
    };
    guest.until("the use of a busy container is shown", || {
        let output = guest.ok("kubectl top pod p --containers --no-headers 2>/dev/null || true");
        let busy = output.lines().find(|line| line.contains("busy"))?;
        let idle = output.lines().find(|line| line.contains("idle"))?;
        (cpu(busy)? > 100 && cpu(busy)? > 3 * cpu(idle)?).then_some(())
    });
    let node = guest.ok("kubectl top node --no-headers");
    assert!(cpu(&node).unwrap() > 100, "{node}");
    let name = guest.ok("kubectl get nodes -o name");
    let name = name.trim().trim_start_matches("node/");
    let positive = |value: &serde_json::Value, path: &str| {
        let found = value.pointer(path).and_then(serde_json::Value::as_u64);
        found.is_some_and(|found| found > 0)
    };
    // While pods come and go the runtime may tell of none for a moment.
    guest.until("the statistics of the pod", || {
        let summary = guest.ok(&format!(
            "kubectl get --raw /api/v1/nodes/{name}/proxy/stats/summary"
        ));
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        let mut pods = summary["pods"].as_array()?.iter();
        let own = pods.find(|pod| pod["podRef"]["namespace"] == "top")?;
        let containers = own["containers"].as_array()?;
        let used = ["/cpu/usageCoreNanoSeconds", "/memory/workingSetBytes"];
        let all = used.iter().all(|path| {
            let parts = containers.iter().chain([&summary["node"], own]);
            parts.into_iter().all(|part| positive(part, path))
        });
        (all && containers.len() == 2 && positive(own, "/network/rxBytes")).then_some(())
    });
}
