//! A scheduler whose process stands still for longer than its lease, and goes on where it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use homeostat::reconcile::leader::LeaderConfig;
use homeostat::reconcile::{Error, Leadership};
use homeostat::scheduler::Profile;
use homeostat::scheduler::framework::{CycleState, Plugin, PodInfo, PreBind};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::{advance, sleep};

use crate::scheduler_faults::{Faults, Network, Process, World};

const NAME: &str = "default-scheduler";

/// Has the process stand still right before its first binding, while another one takes the lease.
#[derive(Debug)]
struct Standstill {
    network: Network,
    /// Of another process.
    leases: Api<Lease>,
    happened: Arc<AtomicBool>,
}

impl Plugin for Standstill {
    fn name(&self) -> &'static str {
        "Standstill"
    }
}

#[async_trait]
impl PreBind for Standstill {
    async fn pre_bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> Result<(), Error> {
        if self.happened.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        // Nothing that it sends leaves it meanwhile, and its timers find out afterwards.
        self.network.stop();
        advance(Duration::from_secs(20)).await;
        let taken = json!({"spec": {"holderIdentity": "another", "leaseTransitions": 1}});
        let patch = Patch::Merge(taken);
        self.leases
            .patch("kube-scheduler", &PatchParams::default(), &patch)
            .await?;
        self.network.go_on();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stood_still_binds_nothing() {
    for seed in 0..8 {
        let mut world = World::new(seed, 8).await;
        let client = world.cluster.client();
        let network = Network::new(seed, Faults::default());
        let happened = Arc::new(AtomicBool::new(false));
        let plugin = Standstill {
            network: network.clone(),
            leases: Api::namespaced(client.clone(), "kube-system"),
            happened: happened.clone(),
        };
        let lease = |identity: &str| LeaderConfig::new("kube-system", "kube-scheduler", identity);
        let profile = Profile::named(NAME).pre_bind(plugin);
        let behind = network.client(&client);
        let first = Process::start_with(behind, seed, profile, Some(lease("first")));
        let first = first.await.unwrap();
        let mut leads = first.leadership();
        leads
            .wait_for(|state| *state == Leadership::Leader)
            .await
            .unwrap();
        world.make(3, NAME).await;
        // It goes on, and learns that another one leads.
        leads
            .wait_for(|state| *state == Leadership::Lost)
            .await
            .unwrap();
        assert!(happened.load(Ordering::Relaxed), "seed {seed}");
        let pods: Api<Pod> = Api::default_namespaced(client.clone());
        let bound = async || {
            let pods = pods.list(&ListParams::default()).await.unwrap().items;
            let nodes = pods.iter().map(|pod| pod.spec.as_ref().unwrap());
            nodes.filter(|spec| spec.node_name.is_some()).count()
        };
        assert_eq!(bound().await, 0, "seed {seed}");
        // The other one never acts; when its lease has run out a third one does.
        let third = Process::start_with(
            client.clone(),
            seed + 1,
            Profile::named(NAME),
            Some(lease("third")),
        );
        let third = third.await.unwrap();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(bound().await, 3, "seed {seed}");
        third.end().await;
    }
}
