//! What a pod sees of names, networks and its node, and how it is confined.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Guest, STAYS, cases, shell, with};

#[test]
fn surroundings_of_pods() {
    cases(&[
        ("names", names),
        ("on-the-node", on_the_node),
        ("host-ports", host_ports),
        ("confined", confined),
        ("propagation", propagation),
        ("classes", classes),
    ]);
}

/// Host name, further names of others, and resolvers.
fn names(guest: &Guest) {
    guest.pod(
        "p",
        json!({
            "hostname": "given", "subdomain": "sub", "setHostnameAsFQDN": true,
            "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["far", "far.example"]}],
            "dnsPolicy": "None",
            "dnsConfig": {
                "nameservers": ["10.9.8.7"], "searches": ["one.example", "two.example"],
                "options": [{"name": "ndots", "value": "3"}, {"name": "edns0"}],
            },
            "containers": [shell("c", STAYS)],
        }),
    );
    guest.pod("plain", json!({"containers": [shell("c", STAYS)]}));
    let status = guest.ready("p");
    let ip = status["podIP"].as_str().unwrap();
    let full = "given.sub.names.svc.cluster.local";
    assert_eq!(guest.inside("p", "hostname"), full);
    let hosts = guest.inside("p", "grep -v ^# /etc/hosts | tr -s \"\\t \" \" \"");
    for line in [
        format!("{ip} {full} given"),
        "10.1.2.3 far far.example".to_owned(),
    ] {
        assert!(hosts.lines().any(|own| own.trim() == line), "{hosts}");
    }
    assert_eq!(
        guest.inside("p", "cat /etc/resolv.conf"),
        "search one.example two.example\nnameserver 10.9.8.7\noptions ndots:3 edns0"
    );
    guest.ready("plain");
    assert_eq!(guest.inside("plain", "hostname"), "plain");
}

/// The name of a namespace of a process on this machine.
fn namespace(kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
    link.display().to_string()
}

/// Namespaces that are the node's, and those that are not.
fn on_the_node(guest: &Guest) {
    guest.pod(
        "all",
        json!({
            "hostNetwork": true, "hostPID": true, "hostIPC": true, "containers": [shell("c", STAYS)],
        }),
    );
    guest.pod("none", json!({"containers": [shell("c", STAYS)]}));
    let all = guest.ready("all");
    guest.ready("none");
    assert_eq!(all["podIP"], all["hostIP"]);
    for kind in ["net", "ipc", "uts", "pid"] {
        let look = format!("readlink /proc/self/ns/{kind}");
        let (shared, own) = (guest.inside("all", &look), guest.inside("none", &look));
        assert_eq!(shared, namespace(kind));
        assert_ne!(own, namespace(kind));
    }
    // It sees processes of others.
    let seen = guest.inside("all", "ls -d /proc/[0-9]* | wc -l");
    assert!(seen.parse::<u32>().unwrap() > 5, "{seen}");
}

/// A port of the node leads to the pod.
fn host_ports(guest: &Guest) {
    let server = with(
        shell(
            "c",
            "mkdir /w; echo from the pod > /w/f; httpd -p 8080 -h /w; trap \"exit 0\" TERM; while :; do sleep 0.2; done",
        ),
        json!({"ports": [{"containerPort": 8080, "hostPort": 28080}]}),
    );
    guest.pod("p", json!({"containers": [server]}));
    guest.ready("p");
    guest.within(20, "the port of the node answers", || {
        // Not over the loopback, which is a namespace's own affair.
        let host = guest.find("pods/p")?["status"]["hostIP"].clone();
        let address = SocketAddr::new(host.as_str()?.parse().ok()?, 28080);
        let answer = ask(address).ok()?;
        answer.ends_with("from the pod\n").then_some(())
    });
}

/// What a web server says to a request for `/f`.
fn ask(address: SocketAddr) -> io::Result<String> {
    // A connection whose first packet is lost is better made anew.
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET /f HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Filters of system calls and masks of `/proc`, or none.
fn confined(guest: &Guest) {
    let rows = [
        (
            "default",
            json!({"seccompProfile": {"type": "RuntimeDefault"}}),
            "2",
        ),
        (
            "open",
            json!({"seccompProfile": {"type": "Unconfined"}}),
            "0",
        ),
        ("unset", json!({}), "0"),
    ];
    for (name, context, _) in &rows {
        let c = with(shell("c", STAYS), json!({"securityContext": context}));
        guest.pod(name, json!({"containers": [c]}));
    }
    for (name, _, mode) in rows {
        guest.ready(name);
        let found = guest.inside(name, "grep Seccomp: /proc/1/status | cut -f2");
        assert_eq!(found, mode, "{name}");
        // Nothing is written below it.
        let denied = guest.fails(&format!(
            "kubectl exec {name} -- sh -c \"echo 1 > /proc/sys/kernel/panic\""
        ));
        assert!(denied.contains("Read-only file system"), "{denied}");
    }
    guest.pod(
        "parameters",
        json!({
            "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1000"}]},
            "containers": [shell("c", STAYS)],
        }),
    );
    let status = guest.becomes("parameters", &[("/phase", json!("Failed"))]);
    assert_eq!(status["reason"], "SysctlForbidden", "{status}");
    // What cannot be enforced is refused.
    if std::fs::read("/sys/module/apparmor/parameters/enabled").is_err() {
        let context = json!({"appArmorProfile": {"type": "RuntimeDefault"}});
        let c = with(shell("c", STAYS), json!({"securityContext": context}));
        guest.pod("armor", json!({"containers": [c]}));
        let status = guest.becomes("armor", &[("/phase", json!("Failed"))]);
        assert_eq!(status["reason"], "AppArmor", "{status}");
    }
    guest.pod(
        "users",
        json!({"hostUsers": false, "containers": [shell("c", STAYS)]}),
    );
    guest.told(
        "users",
        "FailedCreatePodSandBox: Failed to create pod sandbox: can't set spec.hostUsers: false",
    );
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
}

/// What is mounted later is seen, or not, on either side.
fn propagation(guest: &Guest) {
    let shared = guest.dir().join("shared");
    let path = shared.to_str().unwrap();
    for name in ["of-node", "of-pod"] {
        std::fs::create_dir_all(shared.join(name)).unwrap();
    }
    run("mount", &["--bind", path, path]);
    run("mount", &["--make-shared", path]);
    let of = |name: &str, mode: Value, more: Value| {
        let mut mount = json!({"name": "v", "mountPath": "/v"});
        mount["mountPropagation"] = mode;
        let c = with(shell("c", STAYS), json!({"volumeMounts": [mount]}));
        let pod = json!({"volumes": [{"name": "v", "hostPath": {"path": path}}], "containers": [with(c, more)]});
        guest.pod(name, pod);
    };
    let privileged = json!({"securityContext": {"privileged": true}});
    of("none", Value::Null, json!({}));
    of("in", json!("HostToContainer"), json!({}));
    of("both", json!("Bidirectional"), privileged);
    for name in ["none", "in", "both"] {
        guest.ready(name);
    }
    let inner = shared.join("of-node");
    run("mount", &["-t", "tmpfs", "tmpfs", inner.to_str().unwrap()]);
    std::fs::write(inner.join("f"), "node").unwrap();
    guest.inside(
        "both",
        "mount -t tmpfs tmpfs /v/of-pod; echo pod > /v/of-pod/f",
    );
    let look = "cat /v/of-node/f /v/of-pod/f 2>/dev/null || true";
    let seen = ["none", "in", "both"].map(|name| guest.inside(name, look));
    let on_node = std::fs::read_to_string(shared.join("of-pod/f"));
    guest.ok("kubectl delete pod --all --timeout=60s");
    for name in ["of-pod", "of-node", ""] {
        let _ = Command::new("umount")
            .args(["-l", shared.join(name).to_str().unwrap()])
            .status();
    }
    assert_eq!(seen, ["", "nodepod", "nodepod"]);
    assert_eq!(on_node.unwrap(), "pod\n");
}

/// A class leads to a handler of the runtime; one that the runtime does not have makes the pod wait.
fn classes(guest: &Guest) {
    for (name, handler) in [("there", "runc"), ("not-there", "nowhere")] {
        let class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": handler,
        });
        guest.file("class.json", &class.to_string());
        guest.ok("kubectl apply -f class.json");
    }
    for name in ["there", "not-there"] {
        guest.pod(
            name,
            json!({"runtimeClassName": name, "containers": [shell("c", STAYS)]}),
        );
    }
    guest.ready("there");
    guest.told(
        "not-there",
        "FailedCreatePodSandBox: Failed to create pod sandbox: ",
    );
    guest.becomes(
        "not-there",
        &[(
            "/containerStatuses/0/state/waiting/reason",
            json!("ContainerCreating"),
        )],
    );
    let refused = guest.fails(
        "kubectl run p --image=x --overrides='{\"spec\":{\"runtimeClassName\":\"absent\"}}'",
    );
    assert!(
        refused.contains("RuntimeClass \"absent\" not found"),
        "{refused}"
    );
}
