//! kubectl logs in every mode.

use serde_json::json;

use super::{Guest, STAYS, cases, shell};

#[test]
fn logs_in_every_mode() {
    cases(&[
        ("logs", modes),
        ("logs-follow", follow),
        ("logs-rotated", rotated),
    ]);
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

/// A log that has grown is moved away; who follows it misses nothing.
fn rotated(guest: &Guest) {
    let script = "line=$(printf %01000d 0); for i in $(seq 1 11000); do echo $line; done; i=0; \
         trap \"exit 0\" TERM; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done";
    guest.pod("p", json!({"containers": [shell("c", script)]}));
    guest.ready("p");
    guest.until("the last of much", || {
        let said = guest.ok("kubectl logs p --tail=1");
        said.starts_with("tick").then_some(())
    });
    let mut followed = guest.start("kubectl logs -f p --tail=1");
    let tick = |line: &str| {
        line.strip_prefix("tick ")
            .and_then(|tick| tick.parse::<u32>().ok())
    };
    let first = tick(&followed.line()).unwrap();
    let uid = guest.find("pods/p").unwrap()["metadata"]["uid"].clone();
    let of_pod = format!("logs-rotated_p_{}", uid.as_str().unwrap());
    let directory = guest.place.machine.scratch("pods").join(of_pod).join("c");
    let files = || std::fs::read_dir(&directory).unwrap().count();
    guest.until("it is moved away", || (files() == 2).then_some(()));
    let at = tick(guest.ok("kubectl logs p --tail=1").trim()).unwrap();
    for expected in first + 1..at + 10 {
        assert_eq!(tick(&followed.line()), Some(expected));
    }
    let new = std::fs::metadata(directory.join("0.log")).unwrap();
    assert!(new.len() < 1 << 20, "{new:?}");
}
