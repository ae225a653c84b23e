//! Requests and limits, read back from the kernel's control groups.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Guest, STAYS, cases, shell, with};

#[test]
fn limits_reach_the_control_groups() {
    cases(&[("limits", limits), ("resized", resized)]);
}

/// The control group of a process, in a hierarchy of the first version.
fn group(guest: &Guest, pod: &str, controller: &str) -> PathBuf {
    let lines = guest.inside(pod, "cat /proc/1/cgroup");
    let line = lines.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| parts.next())
            .flatten()
    });
    let line = line.unwrap_or_else(|| panic!("no {controller} in {lines}"));
    Path::new("/sys/fs/cgroup")
        .join(controller)
        .join(line.trim_start_matches('/'))
}

fn read(path: &Path) -> String {
    let text = std::fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

fn limits(guest: &Guest) {
    let rows = [
        ("none", json!({}), "besteffort", "2", "-1", None, "1000"),
        (
            "some",
            json!({"requests": {"cpu": "250m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}),
            "burstable",
            "256",
            "50000",
            Some(64_u64 << 20),
            "999",
        ),
        (
            "all",
            json!({"limits": {"cpu": "100m", "memory": "32Mi"}}),
            "",
            "102",
            "10000",
            Some(32 << 20),
            "-997",
        ),
    ];
    for (name, resources, ..) in &rows {
        let c = with(shell("c", STAYS), json!({"resources": resources}));
        guest.pod(name, json!({"containers": [c]}));
    }
    for (name, _, class, shares, quota, memory, danger) in &rows {
        let status = guest.ready(name);
        let cpu = group(guest, name, "cpu");
        assert_eq!(read(&cpu.join("cpu.shares")), *shares, "{name}");
        assert_eq!(read(&cpu.join("cpu.cfs_quota_us")), *quota, "{name}");
        let limit = read(&group(guest, name, "memory").join("memory.limit_in_bytes"));
        let limit: u64 = limit.parse().unwrap();
        assert!(
            memory.map_or(limit > 1 << 50, |memory| memory == limit),
            "{name}: {limit}"
        );
        let adjusted = guest.inside(name, "cat /proc/1/oom_score_adj");
        // Where it cannot be lowered, the runtime's own counts.
        let restricted = danger.starts_with('-') && adjusted == "0";
        assert!(adjusted == *danger || restricted, "{name}: {adjusted}");
        let pod = cpu.parent().unwrap();
        let above = pod
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let expected = if class.is_empty() { "kubepods" } else { class };
        assert_eq!(above, expected, "{name}: {}", cpu.display());
        let class = status["qosClass"].as_str().unwrap().to_ascii_lowercase();
        assert!(class == above || class == "guaranteed", "{status}");
    }
}

/// What a running container may use is changed in place; what it may not keep through that is started again.
fn resized(guest: &Guest) {
    let policy = json!([
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "memory", "restartPolicy": "RestartContainer"},
    ]);
    let resources = json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "32Mi"}});
    let c = with(
        shell("c", STAYS),
        json!({"resources": resources, "resizePolicy": policy}),
    );
    guest.pod("p", json!({"containers": [c]}));
    guest.ready("p");
    let cpu = group(guest, "p", "cpu");
    let change = |resources: Value| {
        let spec = json!({"containers": [{"name": "c", "resources": resources}]});
        let merge = json!({"spec": spec});
        guest.patch("pods/p/resize", &merge);
    };
    change(json!({"requests": {"cpu": "300m"}, "limits": {"cpu": "400m"}}));
    guest.within(30, "another quota", || {
        let quota = read(&cpu.join("cpu.cfs_quota_us"));
        (quota == "40000" && read(&cpu.join("cpu.shares")) == "307").then_some(())
    });
    let at = "/containerStatuses/0";
    let status = guest.becomes(
        "p",
        &[(&format!("{at}/resources/limits/cpu"), json!("400m"))],
    );
    assert_eq!(
        status["containerStatuses"][0]["restartCount"], 0,
        "{status}"
    );
    change(json!({"requests": {"memory": "48Mi"}, "limits": {"memory": "48Mi"}}));
    guest.becomes(
        "p",
        &[
            (&format!("{at}/restartCount"), json!(1)),
            (&format!("{at}/resources/limits/memory"), json!("48Mi")),
        ],
    );
    guest.ready("p");
    let limit = read(&group(guest, "p", "memory").join("memory.limit_in_bytes"));
    assert_eq!(limit, (48_u64 << 20).to_string());
}
