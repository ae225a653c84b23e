//! All faults together: members and servers die and stop, and networks part, several of them at once, from a seed. The usual
//! run takes a few of them; `HOMEOSTAT_FAULT_SEED` begins with another seed, and `HOMEOSTAT_FAULT_RUNS` makes more of them.

use std::sync::Arc;
use std::time::Duration;

use homeostat::apiserver::ApiServer;
use homeostat::clock::Clock;
use homeostat::node::NodeAgent;
use tokio::time::sleep;

use super::Temporary;
use super::process::{Cut, Etcd, Network, crash_safe};
use super::program::until;
use super::servers::{Pair, converges, deploy, nodes, scale};
use homeostat::store::Store;

/// Members of the etcd.
const MEMBERS: u64 = 3;
/// Between two rounds of faults everything is well.
const ROUNDS: i32 = 5;

/// How it stands with a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Runs,
    Stopped,
    Dead,
}

/// What is wrong at the moment.
#[derive(Debug)]
struct Faults {
    members: [(Process, Option<Cut>); 3],
    servers: [Process; 2],
}

impl Faults {
    const NONE: Self = Self {
        members: [(Process::Runs, None); 3],
        servers: [Process::Runs; 2],
    };

    /// Whether a majority of members can hear each other and somebody asks them.
    fn leave_a_way(&self) -> bool {
        let well = self
            .members
            .iter()
            .filter(|member| **member == (Process::Runs, None));
        well.count() >= 2 && self.servers.contains(&Process::Runs)
    }
}

/// The system under test, and the chance by which it suffers.
struct System {
    chance: Clock,
    etcd: Etcd,
    network: Network,
    pair: Pair,
    faults: Faults,
}

impl System {
    fn below(&self, bound: u64) -> usize {
        usize::try_from(self.chance.below(bound)).unwrap()
    }

    async fn pause(&self, millis: u64) {
        sleep(Duration::from_millis(self.chance.below(millis))).await;
    }

    /// One more thing goes wrong.
    async fn suffer(&mut self) {
        match self.below(8) {
            0 => self.server_suffers(),
            1..4 => {
                let member = self.some_member().await;
                let (process, _) = &mut self.faults.members[member];
                if *process != Process::Runs {
                    return;
                }
                if self.chance.below(2) == 0 {
                    *process = Process::Dead;
                    self.etcd.kill(member);
                } else {
                    *process = Process::Stopped;
                    self.etcd.signal(member, "STOP");
                }
            }
            _ => {
                let member = self.some_member().await;
                let cut = [Cut::All, Cut::Peers, Cut::Clients, Cut::Deaf][self.below(4)];
                let (_, present) = &mut self.faults.members[member];
                if present.is_none() {
                    *present = Some(cut);
                    self.network.cut(member, cut);
                }
            }
        }
    }

    fn server_suffers(&mut self) {
        let server = self.below(2);
        if self.faults.servers[server] != Process::Runs {
            return;
        }
        if self.chance.below(2) == 0 {
            self.faults.servers[server] = Process::Dead;
            self.pair.servers[server].kill();
        } else if !self.pair.servers[server].running.has_ended() {
            self.faults.servers[server] = Process::Stopped;
            self.pair.servers[server].running.signal("STOP");
        }
    }

    /// Any member, and as often the one that leads.
    async fn some_member(&self) -> usize {
        let any = self.below(MEMBERS);
        if self.chance.below(2) == 0 {
            return any;
        }
        self.etcd.leader().await.unwrap_or(any)
    }

    /// Everything is well again, one thing after the other.
    async fn recover(&mut self) {
        let first = self.below(MEMBERS);
        for member in (0..3).map(|next| (first + next) % 3) {
            let (process, cut) =
                std::mem::replace(&mut self.faults.members[member], (Process::Runs, None));
            if cut.is_some() {
                self.network.mend(member);
                self.pause(500).await;
            }
            match process {
                Process::Runs => {}
                Process::Stopped => self.etcd.signal(member, "CONT"),
                Process::Dead => self.etcd.run(member),
            }
            self.pause(500).await;
        }
        let store = self.pair.etcd.clone();
        until("etcd does not recover", || async {
            store.revision().await.ok()
        })
        .await;
        for (server, process) in self.pair.servers.iter_mut().zip(&mut self.faults.servers) {
            if *process == Process::Stopped {
                server.running.signal("CONT");
                sleep(Duration::from_secs(1)).await;
            }
            // One that has lost its leadership ends, and whoever runs it starts it again.
            if *process == Process::Dead || server.running.has_ended() {
                server.kill();
                server.start_again().await;
            }
            *process = Process::Runs;
        }
    }
}

/// Nothing acknowledged is lost, no read is stale, watches tell all in order, and controllers converge.
async fn run(seed: u64) {
    let program = crash_safe();
    let network = Network::new(3);
    let etcd = Etcd::start_on(&program, &network);
    let place = Temporary::new("together");
    let pair = Pair::start(&etcd, &place, &["--nodes=0", "--leader-elect"]).await;
    // Nodes reach the state by a third server, in this process, which sees the same faults of the etcd.
    let third = ApiServer::builder(Arc::new(etcd.store().await))
        .start()
        .await
        .unwrap();
    let (manager, hollow) = nodes(third.client()).await;
    deploy(&pair.servers[0]).await;
    let mut system = System {
        chance: Clock::seeded(seed),
        etcd,
        network,
        pair,
        faults: Faults::NONE,
    };
    for round in 1..=ROUNDS {
        system.pair.get_on(100).await;
        let faults = 1 + system.below(4);
        for _ in 0..faults {
            system.suffer().await;
            system.pause(2500).await;
        }
        println!("seed {seed}, round {round}: {:?}", system.faults);
        if system.faults.leave_a_way() {
            system.pair.get_on(20).await;
        }
        system.recover().await;
        scale(&system.pair.servers, 2 + round).await;
    }
    let servers = system.pair.judge().await;
    converges(&servers, 2 + ROUNDS).await;
    hollow.stop().await;
    manager.stop().await;
    third.stop().await;
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_may_fail_at_once() {
    let first = setting("HOMEOSTAT_FAULT_SEED", 1);
    for seed in first..first + setting("HOMEOSTAT_FAULT_RUNS", 2) {
        run(seed).await;
    }
}
