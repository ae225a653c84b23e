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
    guest.prints(
        "kubectl run r -q --image=homeostat.local/busybox:1 --restart=Never -i --rm -- sh -c 'sleep 3; echo from run'",
        &["from run"],
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
    guest.prints(
        "kubectl debug p -q -i --image=homeostat.local/busybox:1 --target=c --container=look -- sh -c 'sleep 1; tr \"\\0\" \" \" < /proc/1/cmdline | cut -c 1-5'",
        &["sh -c"],
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
    let summary = guest.ok(&format!(
        "kubectl get --raw /api/v1/nodes/{name}/proxy/stats/summary"
    ));
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    let pods = summary["pods"].as_array().unwrap();
    let own = pods.iter().find(|pod| pod["podRef"]["namespace"] == "top");
    let own = own.unwrap_or_else(|| panic!("{summary}"));
    let positive = |value: &serde_json::Value, path: &str| {
        let found = value.pointer(path).and_then(serde_json::Value::as_u64);
        assert!(found.is_some_and(|found| found > 0), "{path}: {value}");
    };
    for path in ["/memory/workingSetBytes", "/cpu/usageCoreNanoSeconds"] {
        positive(&summary["node"], path);
    }
    for path in [
        "/cpu/usageCoreNanoSeconds",
        "/memory/workingSetBytes",
        "/network/rxBytes",
    ] {
        positive(own, path);
    }
    for container in own["containers"].as_array().unwrap() {
        for path in ["/cpu/usageCoreNanoSeconds", "/memory/workingSetBytes"] {
            positive(container, path);
        }
    }
}
