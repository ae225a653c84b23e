//! Real etcd clusters on this machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use homeostat::store::{EtcdConfig, EtcdStore, Store};
use tokio::time::timeout;

use super::Temporary;

/// The etcd versions that `scripts/test --install` brings: Debian's, and the one of PyPI.
pub(crate) fn programs() -> [(&'static str, PathBuf); 2] {
    let newer = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/etcd-3.5/etcd");
    [("3.4", PathBuf::from("etcd")), ("3.5", newer)]
}

/// The one that keeps what it acknowledged when it is killed under load. etcd 3.5.0 to 3.5.2, of which PyPI has no newer one,
/// may lose it and go on with another history: <https://github.com/etcd-io/etcd/issues/13766>.
pub(crate) fn crash_safe() -> PathBuf {
    let [(_, debians), _] = programs();
    debians
}

/// Whether all threads of a process are stopped.
fn is_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status"));
        // One that has ended meanwhile has no status.
        status.is_ok_and(|status| status.contains("State:\tT")) || !thread.path().exists()
    })
}

/// A cluster of etcd members; gone with the value.
pub(crate) struct Etcd {
    program: PathBuf,
    directory: Temporary,
    members: Vec<Member>,
}

struct Member {
    /// What the program is started with: nothing, or the way into a network namespace.
    within: Vec<String>,
    arguments: Vec<String>,
    client: String,
    running: Option<Child>,
}

/// Where a member listens: address, port for its peers, port for clients.
type Place = (String, u16, u16);

/// Ports that nobody has, each given once. They are below those that the system gives to clients, one of which could take a
/// port before the member does.
fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 90).unwrap() * 100;
    std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .take(count)
        .collect()
}

impl Etcd {
    /// Starts a cluster of so many members on the loopback.
    pub(crate) fn start(program: &Path, members: usize) -> Self {
        let ports = free_ports(members * 2);
        let places = ports
            .chunks(2)
            .map(|ports| ("127.0.0.1".to_owned(), ports[0], ports[1]));
        Self::at(program, places.map(|place| (Vec::new(), place)).collect())
    }

    /// Starts one member with these arguments besides the usual ones.
    #[allow(dead_code, reason = "benches/store.rs uses it")]
    pub(crate) fn start_with(program: &Path, arguments: &[&str]) -> Self {
        let ports = free_ports(2);
        let place = (Vec::new(), ("127.0.0.1".to_owned(), ports[0], ports[1]));
        let mut etcd = Self::members(program, vec![place]);
        let more = arguments.iter().map(|argument| (*argument).to_owned());
        etcd.members[0].arguments.extend(more);
        etcd.run(0);
        etcd
    }

    /// The process of a member that runs, and the directory of its data.
    #[allow(dead_code, reason = "benches/store.rs uses it")]
    pub(crate) fn process(&self, member: usize) -> (u32, PathBuf) {
        let running = self.members[member].running.as_ref().unwrap();
        (running.id(), self.directory.0.join(format!("m{member}")))
    }

    /// Starts a member that speaks TLS only, with the certificate and key in these files, and wants a certificate of its
    /// clients that the authority in the third has signed.
    pub(crate) fn start_tls(program: &Path, files: [&Path; 3]) -> Self {
        let port = free_ports(1)[0];
        let directory = Temporary::new("etcd");
        let url = format!("https://127.0.0.1:{port}");
        let [certificate, key, authority] = files.map(|file| file.display().to_string());
        let arguments = [
            format!("--data-dir={}", directory.0.join("m0").display()),
            format!("--listen-client-urls={url}"),
            format!("--advertise-client-urls={url}"),
            format!("--listen-peer-urls=http://127.0.0.1:{}", free_ports(1)[0]),
            format!("--cert-file={certificate}"),
            format!("--key-file={key}"),
            format!("--trusted-ca-file={authority}"),
            "--client-cert-auth".to_owned(),
            "--log-level=error".to_owned(),
        ];
        let member = Member {
            within: Vec::new(),
            arguments: arguments.to_vec(),
            client: url,
            running: None,
        };
        let mut etcd = Self {
            program: program.to_owned(),
            directory,
            members: vec![member],
        };
        etcd.run(0);
        etcd
    }

    /// Starts a member on each host of `network`.
    pub(crate) fn start_on(program: &Path, network: &Network) -> Self {
        let hosts = (0..network.hosts).map(|host| {
            let within = ["ip", "netns", "exec", &network.host(host)].map(str::to_owned);
            (within.to_vec(), (network.address(host), PEERS, CLIENTS))
        });
        Self::at(program, hosts.collect())
    }

    fn at(program: &Path, places: Vec<(Vec<String>, Place)>) -> Self {
        let mut etcd = Self::members(program, places);
        for member in 0..etcd.members.len() {
            etcd.run(member);
        }
        etcd
    }

    /// A cluster whose members do not run yet.
    fn members(program: &Path, places: Vec<(Vec<String>, Place)>) -> Self {
        let directory = Temporary::new("etcd");
        let url = |address: &str, port: u16| format!("http://{address}:{port}");
        let cluster: Vec<String> = places
            .iter()
            .enumerate()
            .map(|(member, (_, (address, peers, _)))| format!("m{member}={}", url(address, *peers)))
            .collect();
        let members =
            places
                .iter()
                .enumerate()
                .map(|(member, (within, (address, peers, clients)))| {
                    let (peer, client) = (url(address, *peers), url(address, *clients));
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
                        within: within.clone(),
                        arguments: arguments
                            .iter()
                            .map(|(name, value)| format!("--{name}={value}"))
                            .collect(),
                        client,
                        running: None,
                    }
                });
        Self {
            program: program.to_owned(),
            members: members.collect(),
            directory,
        }
    }

    /// Starts a member that does not run.
    pub(crate) fn run(&mut self, member: usize) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.0.join("log"))
            .unwrap();
        let place = &self.members[member];
        let mut command = match place.within.split_first() {
            None => Command::new(&self.program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        let child = command
            .args(&place.arguments)
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

    /// Ends a member in good order.
    pub(crate) fn end(&mut self, member: usize) {
        self.signal(member, "TERM");
        if let Some(mut child) = self.members[member].running.take() {
            child.wait().unwrap();
        }
    }

    /// Sends a member a signal: `STOP`, `CONT`. One that is stopped answers nothing any more.
    pub(crate) fn signal(&self, member: usize, signal: &str) {
        let child = self.members[member].running.as_ref().unwrap();
        let sent = Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        if signal == "STOP" {
            // Threads on other processors go on for a moment.
            while !is_stopped(child.id()) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// The member that leads, as far as it can be asked.
    pub(crate) async fn leader(&self) -> Option<usize> {
        let mut leader = None;
        for (number, member) in self.members.iter().enumerate() {
            let status = async {
                let client = etcd_client::Client::connect([&member.client], None).await?;
                client.maintenance_client().status().await
            };
            let Ok(Ok(status)) = timeout(Duration::from_millis(300), status).await else {
                continue;
            };
            if status.header().map(etcd_client::ResponseHeader::member_id) == Some(status.leader())
            {
                // Whoever was cut off believes that it still leads.
                leader = leader.max(Some((status.raft_term(), number)));
            }
        }
        leader.map(|(_, number)| number)
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
        self.store_with(self.config()).await
    }

    /// As [`Etcd::store`], by a configuration of its own.
    pub(crate) async fn store_with(&self, config: EtcdConfig) -> EtcdStore {
        for _ in 0..100 {
            if let Ok(store) = EtcdStore::connect(config.clone()).await {
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

/// The port on which members of a [`Network`] hear each other.
const PEERS: u16 = 2380;
/// The one on which they hear clients.
const CLIENTS: u16 = 2379;

/// How a host is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// From all.
    All,
    /// From the other hosts, but not from us: a member that cannot know that it is alone.
    Peers,
    /// From us, but not from the other hosts.
    Clients,
    /// It is heard and hears nothing.
    Deaf,
}

/// Hosts in network namespaces of their own on one bridge, which this process reaches; gone with the value.
pub(crate) struct Network {
    name: String,
    number: u32,
    hosts: usize,
}

fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
}

impl Network {
    pub(crate) fn new(hosts: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = (std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed) * 100) % 200 + 20;
        let network = Self {
            name: format!("hs{number}"),
            number,
            hosts,
        };
        let name = &network.name;
        run(&format!("ip link add {name} type bridge"));
        run(&format!("ip addr add 10.231.{number}.254/24 dev {name}"));
        run(&format!("ip link set {name} up"));
        for host in 0..hosts {
            let (space, address) = (network.host(host), network.address(host));
            run(&format!("ip netns add {space}"));
            run(&format!(
                "ip link add {space} type veth peer name eth0 netns {space}"
            ));
            run(&format!("ip link set {space} master {name} up"));
            run(&format!("ip -n {space} addr add {address}/24 dev eth0"));
            run(&format!("ip -n {space} link set eth0 up"));
            run(&format!("ip -n {space} link set lo up"));
        }
        network
    }

    fn host(&self, host: usize) -> String {
        format!("{}h{host}", self.name)
    }

    fn address(&self, host: usize) -> String {
        format!("10.231.{}.{}", self.number, host + 1)
    }

    /// Cuts a host off, until it is mended.
    pub(crate) fn cut(&self, host: usize, cut: Cut) {
        let space = self.host(host);
        let port = |end: &str, port: u16| format!("tcp {end} {port}");
        let rules = match cut {
            Cut::All => return run(&format!("ip link set {space} down")),
            Cut::Deaf => vec![("input", "meta l4proto tcp".to_owned())],
            Cut::Peers => vec![
                ("input", port("dport", PEERS)),
                ("input", port("sport", PEERS)),
                ("output", port("dport", PEERS)),
                ("output", port("sport", PEERS)),
            ],
            Cut::Clients => vec![
                ("input", port("dport", CLIENTS)),
                ("output", port("sport", CLIENTS)),
            ],
        };
        let nft = format!("ip netns exec {space} nft add");
        run(&format!("{nft} table inet cut"));
        for hook in ["input", "output"] {
            run(&format!(
                "{nft} chain inet cut {hook} {{ type filter hook {hook} priority 0 ; }}"
            ));
        }
        for (hook, packets) in rules {
            run(&format!("{nft} rule inet cut {hook} {packets} drop"));
        }
    }

    /// Undoes whatever cut the host off.
    pub(crate) fn mend(&self, host: usize) {
        let space = self.host(host);
        run(&format!("ip link set {space} up"));
        // There is no way to delete what may not be there; added twice it is there once.
        let nft = format!("ip netns exec {space} nft");
        run(&format!("{nft} add table inet cut"));
        run(&format!("{nft} delete table inet cut"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            let _ = Command::new("ip")
                .args(["netns", "delete", &self.host(host)])
                .status();
            // A namespace lives as long as a socket in it; its link must not.
            let _ = Command::new("ip")
                .args(["link", "delete", &self.host(host)])
                .stderr(Stdio::null())
                .status();
        }
        let _ = Command::new("ip")
            .args(["link", "delete", &self.name])
            .status();
    }
}

/// Deletes all keys.
pub(crate) async fn empty(store: &dyn Store) {
    use homeostat::store::Range;
    for entry in store.range(Range::prefix("")).await.unwrap().entries {
        store.delete(&entry.key, None).await.unwrap();
    }
}
