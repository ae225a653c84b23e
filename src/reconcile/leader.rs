//! Leader election on a Lease (`k8s.io/client-go/tools/leaderelection`): of several processes one acts.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::client;
use crate::clock::Clock;

/// Who runs for what, and how patient the candidates are.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    namespace: String,
    name: String,
    identity: String,
    lease: Duration,
    renew: Duration,
    retry: Duration,
}

impl LeaderConfig {
    /// A candidate `identity`, unique among all candidates, for the Lease `namespace`/`name`.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        identity: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }

    /// The name of the Lease.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How long a leader that is not heard of stays leader. Default = 15 s.
    #[must_use]
    pub fn lease_duration(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long the leader tries to renew before it gives up. Shorter than the lease. Default = 10 s.
    #[must_use]
    pub fn renew_deadline(mut self, renew: Duration) -> Self {
        self.renew = renew;
        self
    }

    /// How long between two tries. Default = 2 s.
    #[must_use]
    pub fn retry_period(mut self, retry: Duration) -> Self {
        self.retry = retry;
        self
    }
}

/// Until when a process leads by what it knows itself. Clones share it.
///
/// A process that was stopped for a while, with all its timers, goes on where it was, and learns only then that its lease ran out
/// and another one leads: whoever does what must not be done twice looks here right before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tenure(Arc<Mutex<Option<Instant>>>);

impl Tenure {
    /// Whether the lease has not run out.
    pub(crate) fn lasts(&self) -> bool {
        self.0.lock().is_some_and(|until| Instant::now() < until)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock() = until;
    }
}

/// A candidate.
pub struct Elector {
    leases: Api<Lease>,
    clock: Clock,
    config: LeaderConfig,
    /// The lease as it was seen to change last, and when: only this process's own clock is trusted.
    observed: Option<(LeaseSpec, Instant)>,
    tenure: Tenure,
}

impl std::fmt::Debug for Elector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elector")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Elector {
    /// A candidate that reads and writes its Lease through `client`.
    #[must_use]
    pub fn new(client: kube::Client, clock: Clock, config: LeaderConfig) -> Self {
        Self {
            leases: Api::namespaced(client, &config.namespace),
            clock,
            config,
            observed: None,
            tenure: Tenure::default(),
        }
    }

    /// Notes here until when it leads.
    pub(super) fn noting(mut self, tenure: Tenure) -> Self {
        self.tenure = tenure;
        self
    }

    /// Waits until this candidate leads. Cancellation-safe.
    pub async fn acquire(&mut self) {
        loop {
            if let Ok(true) = self.attempt().await {
                return;
            }
            sleep(self.clock.jitter(self.config.retry, 1.2)).await;
        }
    }

    /// Renews for as long as it leads; returns when it no longer does, or could not renew in time.
    pub async fn hold(&mut self) {
        loop {
            sleep(self.config.retry).await;
            let (renew, retry) = (self.config.renew, self.config.retry);
            let renewed = timeout(renew, async {
                loop {
                    match self.attempt().await {
                        Ok(leads) => return leads,
                        Err(error) => {
                            tracing::warn!(%error, "the lease could not be renewed; trying again");
                        }
                    }
                    sleep(retry).await;
                }
            });
            if !matches!(renewed.await, Ok(true)) {
                return;
            }
        }
    }

    /// Gives the lease up, so that another candidate need not wait for it to run out.
    ///
    /// # Errors
    /// When the lease cannot be written; it runs out by itself then.
    pub async fn release(&mut self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.config.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(&self.config.identity) {
            return Ok(());
        }
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(self.clock.now()));
        self.leases
            .replace(&self.config.name, &PostParams::default(), &lease)
            .await
            .map(drop)
    }

    /// One try to get or keep the lease; whether this candidate leads.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        // Others count from when they see the write, which is later.
        let until = Instant::now() + self.config.lease;
        let leads = self.take().await?;
        self.tenure.set(leads.then_some(until));
        Ok(leads)
    }

    async fn take(&mut self) -> Result<bool, kube::Error> {
        let now = self.clock.now();
        let Some(mut lease) = self.leases.get_opt(&self.config.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.config.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.claim(now, now, 0)),
                ..Lease::default()
            };
            return taken(self.leases.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.observed.as_ref().is_none_or(|(seen, _)| *seen != spec) {
            self.observed = Some((spec.clone(), Instant::now()));
        }
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let own = holder == self.config.identity;
        let seen = self
            .observed
            .as_ref()
            .map_or_else(Instant::now, |(_, at)| *at);
        let duration = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(self.config.lease, Duration::from_secs);
        if !own && !holder.is_empty() && seen.elapsed() < duration {
            return Ok(false);
        }
        let transitions = spec.lease_transitions.unwrap_or(0) + i32::from(!own);
        let since = spec.acquire_time.filter(|_| own).map_or(now, |time| time.0);
        lease.spec = Some(self.claim(since, now, transitions));
        taken(
            self.leases
                .replace(&self.config.name, &PostParams::default(), &lease)
                .await,
        )
    }

    fn claim(&self, acquired: Timestamp, now: Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.lease.as_secs()).ok(),
            acquire_time: Some(MicroTime(acquired)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// Whether a write of the lease took effect; another candidate may have been faster.
fn taken(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if client::is_conflict(&error) || client::is_already_exists(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
