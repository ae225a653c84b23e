//! Startup, liveness and readiness probes of a running container.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Spec, ContainerStatus, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::time::Instant;

use super::host::{Answer, Host};
use super::plan::{Fatal, Health};
use crate::cri::{Check, ContainerRuntime};

/// The probes of one container and how they stand.
#[derive(Debug, Default, Clone)]
pub(super) struct Probes {
    /// The container they are of; another one starts anew.
    id: String,
    begun: Option<Instant>,
    startup: State,
    liveness: State,
    readiness: State,
}

#[derive(Debug, Default, Clone)]
struct State {
    successes: u32,
    failures: u32,
    /// `None`: no threshold reached yet.
    verdict: Option<bool>,
    next: Option<Instant>,
}

/// What a round of probing found.
pub(super) struct Round {
    pub health: Health,
    /// When to probe again.
    pub again: Option<Duration>,
    /// What to tell of probes, with the reason: `Unhealthy`, `Readiness probe failed: …`.
    pub told: Vec<Told>,
}

/// What is told of a probe, after its reason.
pub(super) type Told = (&'static str, String);

impl Probes {
    /// What was reported of a container that an earlier agent started: it counts until the probes say otherwise.
    pub(super) fn adopted(status: &ContainerStatus) -> Self {
        let verdict = |holds: bool| State {
            verdict: holds.then_some(true),
            ..State::default()
        };
        Self {
            id: status.container_id.clone().unwrap_or_default(),
            begun: Some(Instant::now()),
            startup: verdict(status.started == Some(true)),
            liveness: State::default(),
            readiness: verdict(status.ready),
        }
    }

    /// Runs the probes that are due.
    pub(super) async fn round(&mut self, ask: &Ask<'_>, spec: &Spec, id: &str) -> Round {
        if self.id != id {
            *self = Self {
                id: id.to_owned(),
                begun: Some(Instant::now()),
                ..Self::default()
            };
        }
        let begun = self.begun.unwrap_or_else(Instant::now);
        let mut told = Vec::new();
        let started = match &spec.startup_probe {
            None => true,
            // A startup probe that has succeeded is over.
            Some(_) if self.startup.verdict == Some(true) => true,
            Some(probe) => {
                self.startup
                    .run(ask, spec, id, probe, begun, ("Startup", &mut told))
                    .await;
                self.startup.verdict == Some(true)
            }
        };
        let (mut ready, mut alive) = (false, true);
        if started {
            if let Some(probe) = &spec.liveness_probe {
                self.liveness
                    .run(ask, spec, id, probe, begun, ("Liveness", &mut told))
                    .await;
                alive = self.liveness.verdict != Some(false);
            }
            ready = match &spec.readiness_probe {
                None => true,
                Some(probe) => {
                    self.readiness
                        .run(ask, spec, id, probe, begun, ("Readiness", &mut told))
                        .await;
                    self.readiness.verdict == Some(true)
                }
            };
        }
        let failed = if self.startup.verdict == Some(false) {
            Some(Fatal::Startup)
        } else {
            (!alive).then_some(Fatal::Liveness)
        };
        let states = [&self.startup, &self.liveness, &self.readiness];
        // A startup probe that has succeeded is over.
        let due = states
            .iter()
            .skip(usize::from(started))
            .filter_map(|state| state.next)
            .min();
        let again = due.map(|due| due.saturating_duration_since(Instant::now()));
        Round {
            health: Health {
                id: id.to_owned(),
                started,
                ready,
                failed,
            },
            again,
            told,
        }
    }
}

impl State {
    async fn run(
        &mut self,
        ask: &Ask<'_>,
        spec: &Spec,
        id: &str,
        probe: &Probe,
        begun: Instant,
        (kind, told): (&str, &mut Vec<Told>),
    ) {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value
                    .and_then(|value| u64::try_from(value).ok())
                    .unwrap_or(default),
            )
        };
        let count = |value: Option<i32>, default: u32| {
            value
                .and_then(|value| u32::try_from(value).ok())
                .unwrap_or(default)
                .max(1)
        };
        let due = *self
            .next
            .get_or_insert_with(|| begun + seconds(probe.initial_delay_seconds, 0));
        if due > Instant::now() {
            return;
        }
        let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
        let Some(check) = check(spec, probe) else {
            // A port that the container does not name: it may be there after a change of the pod.
            self.next = Some(Instant::now() + period);
            return;
        };
        let wait = seconds(probe.timeout_seconds, 1);
        let failure = match ask.check(id, &check, wait).await {
            Ok(Answer::Well) => None,
            Ok(Answer::Warning(why)) => {
                told.push(("ProbeWarning", format!("{kind} probe warning: {why}")));
                None
            }
            Ok(Answer::Unwell(why)) if why.is_empty() => Some(describe(&check)),
            Ok(Answer::Unwell(why)) | Err(why) => Some(why),
        };
        if let Some(why) = failure {
            (self.successes, self.failures) = (0, self.failures + 1);
            told.push(("Unhealthy", format!("{kind} probe failed: {why}")));
            if self.failures >= count(probe.failure_threshold, 3) {
                self.verdict = Some(false);
            }
        } else {
            (self.successes, self.failures) = (self.successes + 1, 0);
            if self.successes >= count(probe.success_threshold, 1) {
                self.verdict = Some(true);
            }
        }
        self.next = Some(Instant::now() + period);
    }
}

/// Whom to ask about a container's health.
pub(super) struct Ask<'a> {
    pub runtime: &'a dyn ContainerRuntime,
    pub host: &'a dyn Host,
    /// The pod's address.
    pub address: &'a str,
}

impl Ask<'_> {
    /// Asks once.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(super) async fn check(
        &self,
        id: &str,
        check: &Check,
        wait: Duration,
    ) -> Result<Answer, String> {
        match self.runtime.check(id, check, wait).await {
            Ok(Some(true)) => return Ok(Answer::Well),
            Ok(Some(false)) => return Ok(Answer::Unwell(String::new())),
            Err(error) => return Err(error.to_string()),
            Ok(None) => {}
        }
        let Check::Exec(command) = check else {
            return self.host.ask(self.address, check, wait).await;
        };
        match self.runtime.exec_sync(id, command, wait).await {
            Ok(output) if output.code == 0 => Ok(Answer::Well),
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                Ok(Answer::Unwell(String::from_utf8_lossy(&said).into_owned()))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn describe(check: &Check) -> String {
    match check {
        Check::Exec(command) => format!("command {command:?} failed"),
        Check::Http { port, path, .. } => format!("HTTP probe of :{port}{path} failed"),
        Check::Tcp { port, .. } => format!("dial tcp :{port} failed"),
        Check::Grpc { port, .. } => format!("gRPC probe of :{port} failed"),
    }
}

/// The check of a probe.
fn check(spec: &Spec, probe: &Probe) -> Option<Check> {
    if let Some(exec) = &probe.exec {
        return Some(Check::Exec(exec.command.clone().unwrap_or_default()));
    }
    if let Some(get) = &probe.http_get {
        return http(spec, get);
    }
    if let Some(tcp) = &probe.tcp_socket {
        return Some(Check::Tcp {
            host: tcp.host.clone().unwrap_or_default(),
            port: port(spec, &tcp.port)?,
        });
    }
    let grpc = probe.grpc.as_ref()?;
    Some(Check::Grpc {
        port: u16::try_from(grpc.port).ok()?,
        service: grpc.service.clone().unwrap_or_default(),
    })
}

/// The request that a probe or a hook makes.
pub(super) fn http(spec: &Spec, get: &HTTPGetAction) -> Option<Check> {
    let scheme = get.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let headers = get.http_headers.iter().flatten();
    Some(Check::Http {
        scheme,
        host: get.host.clone().unwrap_or_default(),
        port: port(spec, &get.port)?,
        path: get.path.clone().unwrap_or_else(|| "/".to_owned()),
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

/// A port by number, or by its name in the container.
fn port(spec: &Spec, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = spec.ports.iter().flatten();
            ports
                .find(|port| port.name.as_ref() == Some(name))?
                .container_port
        }
    };
    u16::try_from(number).ok()
}
