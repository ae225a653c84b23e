//! The adapter of containerd held to the contract, and what only a real runtime can show: control groups, namespaces,
//! restarts of the runtime, sockets where no runtime listens.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use homeostat::cri::containerd::{Containerd, ContainerdConfig};
use homeostat::cri::{
    ContainerConfig, ContainerRuntime, ContainerRuntimeExt, ContainerState, Error, EventKind,
    ExecOutput, ExecRequest, ImageAuth, LinuxResources, SandboxConfig, SandboxMetadata,
    StreamService,
};
use homeostat::testing::conformance::cri::{Subject, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::machine::{BUSYBOX, Machine};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn shell(script: &str) -> ContainerConfig {
    ContainerConfig {
        name: "c".to_owned(),
        image: BUSYBOX.to_owned(),
        command: words(&["sh", "-c", script]),
        ..ContainerConfig::default()
    }
}

async fn connect(machine: &Machine) -> Containerd {
    let config = ContainerdConfig::new(machine.socket()).relist_every(Duration::from_millis(200));
    Containerd::connect(config).await.unwrap()
}

/// A pod of its own with one container.
async fn start(runtime: &Containerd, name: &str, config: &ContainerConfig) -> (String, String) {
    let sandbox = SandboxConfig {
        metadata: SandboxMetadata {
            namespace: "real".to_owned(),
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            attempt: 0,
        },
        ..SandboxConfig::default()
    };
    let pod = runtime.run_sandbox(&sandbox).await.unwrap();
    let id = runtime
        .create_container(&pod, config, &sandbox)
        .await
        .unwrap();
    runtime.start_container(&id).await.unwrap();
    (pod, id)
}

async fn output(runtime: &Containerd, id: &str, script: &str) -> String {
    let command = words(&["sh", "-c", script]);
    let output = runtime
        .exec_sync(id, &command, Duration::from_secs(20))
        .await
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.code, 0, "{script}: {said} {:?}", output.stderr);
    said.trim().to_owned()
}

#[tokio::test]
async fn containerd_keeps_the_contract() {
    let machine = Machine::start();
    let registry = machine.registry();
    let runtime = connect(&machine).await;
    let subject = Subject {
        runtime: Arc::new(runtime),
        runs: shell("trap 'exit 0' TERM; nc -ll -p 7 -e cat & while :; do sleep 0.1; done"),
        fails: shell("echo what was said; exit 3"),
        stubborn: shell("trap '' TERM; while :; do sleep 0.1; done"),
        broken: ContainerConfig {
            command: words(&["/no/such/program"]),
            ..shell("")
        },
        echoes: ContainerConfig {
            command: words(&["cat"]),
            stdin: true,
            ..shell("")
        },
        port: 7,
        command: (
            words(&["sh", "-c", "printf out; printf err >&2; exit 7"]),
            ExecOutput {
                code: 7,
                stdout: b"out".to_vec(),
                stderr: b"err".to_vec(),
            },
        ),
        slow: words(&["sleep", "60"]),
        cat: words(&["cat"]),
        private: (
            format!("{registry}/number:1").as_str().into(),
            ImageAuth {
                username: "homeostat".to_owned(),
                password: "secret".to_owned(),
                ..ImageAuth::default()
            },
        ),
        absent: format!("{registry}/absent:1").as_str().into(),
        cgroup: machine.cgroup(),
        logs: Some((machine.scratch("logs"), "stdout F what was said".to_owned())),
    };
    run(&subject).await;
}

#[tokio::test]
async fn limits_are_in_the_control_groups() {
    let machine = Machine::start();
    let runtime = connect(&machine).await;
    let config = ContainerConfig {
        resources: LinuxResources {
            cpu_shares: 204,
            cpu_period: 100_000,
            cpu_quota: 50_000,
            memory_limit: 64 << 20,
            ..LinuxResources::default()
        },
        ..shell("trap 'exit 0' TERM; while :; do sleep 0.1; done")
    };
    let (_, id) = start(&runtime, "limits", &config).await;
    // Both versions of control groups, as the container sees its own.
    let read = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us 2>/dev/null || cat memory.max cpu.max";
    assert_eq!(
        output(&runtime, &id, read)
            .await
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>(),
        ["67108864", "50000"]
    );
    let more = LinuxResources {
        cpu_quota: 75_000,
        memory_limit: 96 << 20,
        ..config.resources.clone()
    };
    runtime.update_container(&id, &more).await.unwrap();
    assert_eq!(
        output(&runtime, &id, read)
            .await
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>(),
        ["100663296", "75000"]
    );
}

#[tokio::test]
async fn much_passes_a_port_and_many_commands_run_at_once() {
    const SIZE: usize = 100 << 20;
    let machine = Machine::start();
    let runtime = connect(&machine).await;
    let config = shell("nc -ll -p 7 -e cat & while :; do sleep 0.1; done");
    let (pod, id) = start(&runtime, "much", &config).await;
    output(
        &runtime,
        &id,
        "until nc 127.0.0.1 7 </dev/null; do sleep 0.1; done",
    )
    .await;
    let connection = runtime.port_forward(&pod, 7).await.unwrap();
    let (mut from, mut to) = tokio::io::split(connection);
    // Bytes that show when some are lost or changed places.
    let block: Vec<u8> = (0..251_u8).cycle().take(1 << 20).collect();
    let write = async {
        for _ in 0..SIZE / block.len() {
            to.write_all(&block).await.unwrap();
        }
    };
    let read = async {
        let mut part = vec![0; block.len()];
        for number in 0..SIZE / block.len() {
            from.read_exact(&mut part).await.unwrap();
            assert!(part == block, "megabyte {number} differs");
        }
    };
    tokio::join!(write, read);
    let commands = (0..30).map(|number| {
        let (runtime, id) = (&runtime, &id);
        async move {
            let request = ExecRequest {
                container: id.clone(),
                command: words(&["sh", "-c", &format!("read x; echo $x; exit {number}")]),
                stdin: true,
                stdout: true,
                ..ExecRequest::default()
            };
            let session = runtime.exec(request).await.unwrap();
            let (mut stdin, mut stdout) = (session.stdin.unwrap(), session.stdout.unwrap());
            stdin
                .write_all(format!("{number}\n").as_bytes())
                .await
                .unwrap();
            let mut said = String::new();
            stdout.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, format!("{number}\n"));
            assert_eq!(session.end.await.unwrap().code, number);
        }
    });
    futures::future::join_all(commands).await;
}

#[tokio::test]
async fn want_of_memory_is_told() {
    let machine = Machine::start();
    let runtime = connect(&machine).await;
    let config = ContainerConfig {
        resources: LinuxResources {
            memory_limit: 16 << 20,
            ..LinuxResources::default()
        },
        ..shell("x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done")
    };
    let (_, id) = start(&runtime, "memory", &config).await;
    for _ in 0..200 {
        let found = runtime.container_status(&id).await.unwrap();
        if let ContainerState::Exited { code, reason, .. } = found.state {
            assert_eq!((code, reason.as_str()), (137, "OOMKilled"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it still runs");
}

#[tokio::test]
async fn ends_are_told_at_once_and_after_a_crash() {
    let machine = Machine::start();
    // Lists alone would be far too late.
    let config = ContainerdConfig::new(machine.socket()).relist_every(Duration::from_secs(20));
    let runtime = Containerd::connect(config).await.unwrap();
    let mut events = runtime.events();
    // An answer to the subscription comes with the first event.
    for (number, crash) in [(0, false), (1, false), (2, true)] {
        let config = shell("sleep 1; exit 4");
        let (_, id) = start(&runtime, &format!("ends-{number}"), &config).await;
        if crash {
            machine.kill();
            machine.revive();
        }
        let told = async {
            while let Some(event) = events.next().await {
                if event.container == id && event.kind == EventKind::Stopped {
                    return;
                }
            }
        };
        let limit = Duration::from_secs(if crash { 25 } else { 3 });
        let told = tokio::time::timeout(limit, told).await;
        assert!(told.is_ok(), "{number}: not within {limit:?}");
    }
}

#[tokio::test]
async fn it_is_found_again_after_a_crash() {
    let machine = Machine::start();
    let runtime = connect(&machine).await;
    let config = shell("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let (pod, id) = start(&runtime, "survivor", &config).await;
    let before = runtime.pods().await.unwrap();
    machine.kill();
    let error = runtime.version().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(error.is_temporary());
    machine.revive();
    // The next call finds it; no new connection has to be asked for.
    assert_eq!(runtime.pods().await.unwrap(), before);
    assert_eq!(output(&runtime, &id, "echo here").await, "here");
    runtime.stop_sandbox(&pod).await.unwrap();
    runtime.remove_sandbox(&pod).await.unwrap();
    assert!(runtime.pods().await.unwrap().is_empty());
}

#[tokio::test]
async fn where_no_runtime_listens_is_told() {
    let dir = std::env::temp_dir().join(format!("hs-none-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let connect = |name: &str| {
        let config = ContainerdConfig::new(dir.join(name)).timeout(Duration::from_secs(2));
        async move { Containerd::connect(config).await.unwrap_err() }
    };
    let error = connect("missing").await;
    let text = error.to_string();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(text.contains("missing: No such file"), "{text}");
    // A socket that nobody serves any more.
    drop(std::os::unix::net::UnixListener::bind(dir.join("left")).unwrap());
    let text = connect("left").await.to_string();
    assert!(text.contains("left: Connection refused"), "{text}");
    // One who accepts and says nothing, and one who speaks something else.
    let _silent = tokio::net::UnixListener::bind(dir.join("silent")).unwrap();
    let text = connect("silent").await.to_string();
    assert!(text.contains("no answer within 2s"), "{text}");
    let other = tokio::net::UnixListener::bind(dir.join("other")).unwrap();
    let speaker = tokio::spawn(async move {
        while let Ok((mut peer, _)) = other.accept().await {
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut peer, b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    .await;
        }
    });
    let error = connect("other").await;
    assert!(matches!(error, Error::Incompatible(_)), "{error:?}");
    speaker.abort();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn a_runtime_without_the_interface_is_told() {
    let dir = std::env::temp_dir().join(format!("hs-bare-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let shown = dir.display();
    let config = format!(
        "version = 2\nroot = \"{shown}/root\"\nstate = \"{shown}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
         [grpc]\naddress = \"{shown}/sock\"\n"
    );
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let mut bare = Command::new("containerd")
        .arg("--config")
        .arg(dir.join("config.toml"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut error = Error::Unavailable(String::new());
    for _ in 0..100 {
        error = Containerd::connect(ContainerdConfig::new(dir.join("sock")))
            .await
            .unwrap_err();
        if !error.is_temporary() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bare.kill().unwrap();
    bare.wait().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(matches!(error, Error::Incompatible(_)), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("unknown service runtime.v1.RuntimeService"),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_pod_says_of_itself_holds() {
    let machine = Machine::start();
    let runtime = connect(&machine).await;
    // The runtime calls this one docker.io/library/local:1.
    let mut short = shell("exit 0");
    short.image = "local:1".to_owned();
    let (pod, id) = start(&runtime, "short", &short).await;
    assert_eq!(
        runtime.container_status(&id).await.unwrap().image,
        "local:1"
    );
    runtime.remove_sandbox(&pod).await.unwrap();
    let given = machine.scratch("given");
    std::fs::write(given.join("file"), "from the node").unwrap();
    let mut config = shell("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    config.env = vec![("GREETING".to_owned(), "hello world".to_owned())];
    config.working_dir = "/tmp".to_owned();
    config.mounts.push(homeostat::cri::Mount {
        container_path: "/given".to_owned(),
        host_path: given.display().to_string(),
        readonly: true,
        ..homeostat::cri::Mount::default()
    });
    config.security.user.uid = Some(1000);
    config.security.user.gid = Some(3000);
    config.security.user.supplemental_groups = vec![4000];
    config.security.drop_capabilities = vec!["ALL".to_owned()];
    config.security.readonly_rootfs = true;
    config.security.no_new_privileges = true;
    let sandbox = SandboxConfig {
        metadata: SandboxMetadata {
            namespace: "real".to_owned(),
            name: "say".to_owned(),
            uid: "uid-say".to_owned(),
            attempt: 0,
        },
        hostname: "my-host".to_owned(),
        dns: Some(homeostat::cri::DnsConfig {
            servers: vec!["10.96.0.10".to_owned()],
            searches: vec!["default.svc.cluster.local".to_owned()],
            options: vec!["ndots:5".to_owned()],
        }),
        sysctls: BTreeMap::from([(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "80".to_owned(),
        )]),
        ..SandboxConfig::default()
    };
    let pod = runtime.run_sandbox(&sandbox).await.unwrap();
    let id = runtime
        .create_container(&pod, &config, &sandbox)
        .await
        .unwrap();
    runtime.start_container(&id).await.unwrap();
    for (script, expected) in [
        ("echo $GREETING", "hello world"),
        ("pwd", "/tmp"),
        ("hostname", "my-host"),
        ("cat /given/file", "from the node"),
        ("touch /given/new 2>/dev/null || echo no", "no"),
        ("touch /new 2>/dev/null || echo no", "no"),
        // One group is that of the image.
        ("id -u; id -g; id -G", "1000\n3000\n3000 2000 4000"),
        (
            "grep CapEff /proc/self/status | cut -f2",
            "0000000000000000",
        ),
        ("grep NoNewPrivs /proc/self/status | cut -f2", "1"),
        ("grep nameserver /etc/resolv.conf", "nameserver 10.96.0.10"),
        (
            "grep search /etc/resolv.conf",
            "search default.svc.cluster.local",
        ),
        ("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "80"),
    ] {
        assert_eq!(output(&runtime, &id, script).await, expected, "{script}");
    }
}
