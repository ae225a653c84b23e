//! Real etcd clusters on this machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use homeostat::store::{EtcdConfig, EtcdStore, Store};

use super::Temporary;

/// The etcd versions that `scripts/test --install` brings: Debian's, and the one of PyPI.
pub(crate) fn programs() -> [(&'static str, PathBuf); 2] {
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/etcd-3.5/etcd");
    [("3.4", PathBuf::from("etcd")), ("3.5", newer)]
}

/// A cluster of etcd members; gone with the value.
pub(crate) struct Etcd {
    program: PathBuf,
    directory: Temporary,
    members: Vec<Member>,
}

struct Member {
    arguments: Vec<String>,
    client: String,
    running: Option<Child>,
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let ports = held.iter().map(|port| port.local_addr().unwrap().port());
    ports.collect()
}

impl Etcd {
    /// Starts a cluster of so many members.
    pub(crate) fn start(program: &Path, members: usize) -> Self {
        let directory = Temporary::new("etcd");
        let ports = free_ports(members * 2);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..members)
            .map(|member| format!("m{member}={}", url(ports[member * 2])))
            .collect();
        let members = (0..members).map(|member| {
            let (peer, client) = (url(ports[member * 2]), url(ports[member * 2 + 1]));
            let data = directory.0.join(format!("m{member}"));
            let arguments = [
                ("name", format!("m{member}")),
                ("data-dir", data.display().to_string()),
                ("listen-peer-urls", peer.clone()),
                ("initial-advertise-peer-urls", peer),
                ("listen-client-urls", client.clone()),
                ("advertise-client-urls", client.clone()),
                ("initial-cluster", cluster.join(",")),
                ("heartbeat-interval", "50".into()),
                ("election-timeout", "500".into()),
                ("log-level", "error".into()),
            ];
            Member {
                arguments: arguments
                    .iter()
                    .map(|(name, value)| format!("--{name}={value}"))
                    .collect(),
                client,
                running: None,
            }
        });
        let mut etcd = Self {
            program: program.to_owned(),
            members: members.collect(),
            directory,
        };
        for member in 0..etcd.members.len() {
            etcd.run(member);
        }
        etcd
    }

    /// Starts a member that does not run.
    pub(crate) fn run(&mut self, member: usize) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.0.join("log"))
            .unwrap();
        let child = Command::new(&self.program)
            .args(&self.members[member].arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| {
            let program = self.program.display();
            panic!("{program}: {error}; scripts/test --install brings it")
        });
        self.members[member].running = Some(child);
    }

    /// Kills a member at once.
    pub(crate) fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a member a signal: `STOP`, `CONT`.
    pub(crate) fn signal(&self, member: usize, signal: &str) {
        let child = self.members[member].running.as_ref().unwrap();
        let sent = Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members
            .iter()
            .map(|member| member.client.clone())
            .collect()
    }

    pub(crate) fn config(&self) -> EtcdConfig {
        EtcdConfig::new(self.endpoints())
    }

    /// A store over it, once it answers.
    pub(crate) async fn store(&self) -> EtcdStore {
        for _ in 0..100 {
            if let Ok(store) = EtcdStore::connect(self.config()).await {
                return store;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let log = std::fs::read_to_string(self.directory.0.join("log")).unwrap_or_default();
        panic!("etcd does not answer: {log}")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
    }
}

/// Deletes all keys.
pub(crate) async fn empty(store: &dyn Store) {
    use homeostat::store::Range;
    for entry in store.range(Range::prefix("")).await.unwrap().entries {
        store.delete(&entry.key, None).await.unwrap();
    }
}
