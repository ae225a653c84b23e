//! kubectl port-forward and the proxies.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use homeostat::cri::fake::Script;

use crate::shell::Shell;
use crate::world::World;

/// How much is sent.
const BYTES: usize = 100 << 20;

/// Sends `bytes` to a port that sends them back, and compares.
fn echo(port: u16, bytes: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let piece = |number: usize| -> Vec<u8> {
        (0..64 << 10_usize)
            .map(|at: usize| u8::try_from((at * 31 + number * 7) % 251).unwrap())
            .collect()
    };
    let pieces = bytes / (64 << 10);
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for number in 0..pieces {
            writer.write_all(&piece(number)).unwrap();
        }
    });
    let mut found = vec![0; 64 << 10];
    for number in 0..pieces {
        stream.read_exact(&mut found).unwrap();
        assert!(
            found == piece(number),
            "piece {number} of {pieces} is another"
        );
    }
    writing.join().unwrap();
}

#[test]
fn ports_are_forwarded() {
    let world = World::new("ports");
    world.script("echo", &Script::default().listens(8080));
    world.ok("kubectl run web --image=echo --port=8080 && kubectl wait pod/web --for=condition=Ready --timeout=30s");
    forwarded(&world, "web", 8080);
}

/// Moves 100 MB through a port of a pod that sends back what it is sent, and compares.
pub(crate) fn forwarded(shell: &Shell, pod: &str, target: u16) {
    // Tunnelled in a WebSocket, and by SPDY as older clients do.
    for (client, bytes) in [
        ("KUBECTL_PORT_FORWARD_WEBSOCKETS=true", BYTES),
        ("KUBECTL_PORT_FORWARD_WEBSOCKETS=false", BYTES / 4),
    ] {
        let mut forwards = shell.start(&format!(
            "env {client} kubectl port-forward pod/{pod} :{target}"
        ));
        let line = forwards.line();
        let port = line
            .split([':', ' '])
            .find_map(|word| word.parse::<u16>().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {line:?}"));
        echo(port, bytes);
        // Connections share the tunnel.
        let several: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(move || echo(port, 4 << 20)))
            .collect();
        for one in several {
            one.join().unwrap();
        }
    }
}

#[test]
fn nodes_have_a_proxy() {
    let world = World::new("proxy");
    world.prints(
        "kubectl get --raw /api/v1/nodes/node-1/proxy/healthz",
        &["ok"],
    );
    world.script("busy", &Script::default().uses(1_500_000_000, 128 << 20, 0));
    world.ok(
        "kubectl run web --image=busy && kubectl wait pod/web --for=condition=Ready --timeout=30s",
    );
    world.prints(
        "kubectl top pods",
        &["NAME CPU(cores) MEMORY(bytes)", "web 1500m 128Mi"],
    );
    world.prints(
        "kubectl top pod web --containers",
        &["POD NAME CPU(cores) MEMORY(bytes)", "web web 1500m 128Mi"],
    );
    world.shows(
        "kubectl top nodes --sort-by=cpu",
        &[
            "NAME CPU(cores) CPU(%) MEMORY(bytes) MEMORY(%)",
            "node-* 1500m 37% 128Mi 0%",
        ],
    );
    let summary = world.ok("kubectl get --raw /api/v1/nodes/node-1/proxy/stats/summary");
    assert!(summary.contains("\"nodeName\":\"node-1\""), "{summary}");
}
