//! kubectl logs in every mode.

use serde_json::json;

use super::{Guest, STAYS, cases, shell};

#[test]
fn logs_in_every_mode() {
    cases(&[("logs", modes), ("logs-follow", follow)]);
}

fn modes(guest: &Guest) {
    let talks =
        format!("for i in 1 2 3 4 5; do echo line $i; done; sleep 0.3; echo bad >&2; {STAYS}");
    let crashes = "echo attempt; sleep 1; exit 1";
    guest.pod(
        "p",
        json!({
            "initContainers": [shell("init", "echo before")],
            "containers": [shell("c", &talks), shell("late", "echo early; sleep 15; echo late; sleep 1000")],
        }),
    );
    guest.pod("again", json!({"containers": [shell("c", crashes)]}));
    guest.ready("p");
    guest.until("the last line", || {
        let said = guest.ok("kubectl logs p -c c");
        said.contains("bad").then_some(())
    });
    let all = ["line 1", "line 2", "line 3", "line 4", "line 5", "bad"];
    guest.prints("kubectl logs p -c c", &all);
    guest.prints("kubectl logs p -c c --tail=2", &["line 5", "bad"]);
    guest.prints("kubectl logs p -c c --tail=0", &[]);
    guest.prints("kubectl logs p -c c --limit-bytes=9", &["line 1", "li"]);
    guest.prints("kubectl logs p -c init", &["before"]);
    guest.prints(
        "kubectl logs p --all-containers --prefix | grep -v late | sort",
        &[
            "[pod/p/c] bad",
            "[pod/p/c] line 1",
            "[pod/p/c] line 2",
            "[pod/p/c] line 3",
            "[pod/p/c] line 4",
            "[pod/p/c] line 5",
            "[pod/p/init] before",
        ],
    );
    let stamped = guest.ok("kubectl logs p -c c --tail=1 --timestamps");
    let (time, text) = stamped.trim().split_once(' ').unwrap();
    assert!(
        text == "bad" && time.len() > 20 && time.contains('T'),
        "{stamped}"
    );
    guest.until("the late line", || {
        guest
            .ok("kubectl logs p -c late")
            .contains("late")
            .then_some(())
    });
    guest.prints("kubectl logs p -c late --since=10s", &["late"]);
    guest.prints(
        "kubectl logs p -c late --since-time=2100-01-01T00:00:00Z",
        &[],
    );
    guest.prints(
        "kubectl logs p -c late --since-time=2000-01-01T00:00:00Z",
        &["early", "late"],
    );
    guest.prints("kubectl logs -l app=p -c c --tail=1", &["bad"]);
    guest.until("it is started again", || {
        let pod = guest.find("pods/again")?;
        (pod.pointer("/status/containerStatuses/0/restartCount")?
            .as_u64()?
            > 0)
        .then_some(())
    });
    guest.prints("kubectl logs again -p", &["attempt"]);
    let refused = guest.fails("kubectl logs p -c c -p");
    assert!(
        refused.contains("previous terminated container \"c\" in pod \"p\" not found"),
        "{refused}"
    );
    let refused = guest.fails("kubectl logs p -c none");
    assert!(
        refused.contains("container none is not valid for pod p"),
        "{refused}"
    );
}

fn follow(guest: &Guest) {
    guest.pod(
        "p",
        json!({"restartPolicy": "Never", "containers": [shell("c", "for i in 1 2 3 4; do echo $i; sleep 1; done")]}),
    );
    guest.until("the pod runs", || {
        let status = guest.find("pods/p")?["status"].clone();
        (status["phase"] == "Running").then_some(())
    });
    // Until the container ends.
    guest.prints("kubectl logs -f p", &["1", "2", "3", "4"]);
}
