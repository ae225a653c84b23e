//! What is told of the node: what it is and has, its conditions, its images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::eviction::threshold::{Pressure, Signal};
use super::{Inner, KubeletConfig};
use crate::cri::Image;
use crate::node::driver::{self, RENEW, RESTARTS_ALL, rfc3339};
use crate::object::Quantity;
use crate::object::quantity::Format;
use crate::reconcile::events::EventType;
use crate::reconcile::{Error, Key};

/// Nothing new is told at least this often, of a machine that is measured.
const REPORT: Duration = Duration::from_secs(300);
/// For how long the runtime may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// A node that could not be registered is registered again after this, …
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … doubling up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(7);
/// So many images are told of, the largest ones …
const MOST_IMAGES: usize = 50;
/// … by so many names each.
const MOST_NAMES: usize = 5;

/// What of newer kubelets this one can do. The scheduler and the API server take it for granted only where it is declared.
const DECLARED: [&str; 2] = ["GuaranteedQoSPodCPUResize", RESTARTS_ALL];

/// What was told last, and when.
#[derive(Debug, Default)]
pub(super) struct Told {
    at: Option<Instant>,
    /// When the runtime answered last.
    answered: Option<Instant>,
    /// What the machine is; asked for once.
    fixed: Value,
}

/// What a node has less what is kept for others, for pods.
fn allocatable(
    config: &KubeletConfig,
    capacity: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut left = capacity.clone();
    for (resource, text) in &mut left {
        let Ok(all) = Quantity::parse(text) else {
            continue;
        };
        let signal = match resource.as_str() {
            "memory" => Some(Signal::Memory),
            "ephemeral-storage" => Some(Signal::NodeFs),
            _ => None,
        };
        let units = u64::try_from(all.value()).unwrap_or(0);
        let kept = signal.map_or(0, |signal| config.eviction.reserve(signal, units));
        let mut rest =
            all - Quantity::from_units(i64::try_from(kept).unwrap_or(i64::MAX), all.format());
        for reserved in [&config.system_reserved, &config.kube_reserved] {
            let reserved = reserved.get(resource);
            rest -= reserved
                .and_then(|text| Quantity::parse(text).ok())
                .unwrap_or_default();
        }
        // Huge pages are taken out of the memory there is.
        if resource == "memory" {
            for (other, text) in capacity {
                if other.starts_with("hugepages-") {
                    rest -= Quantity::parse(text).unwrap_or_default();
                }
            }
        }
        if rest.is_negative() {
            rest = Quantity::from_units(0, Format::BinarySi);
        }
        *text = rest.to_string();
    }
    left
}

/// A condition: whether it holds, why in a word, why.
type Condition = (&'static str, bool, &'static str, String);

fn pressures(pressure: &BTreeSet<Pressure>) -> Vec<Condition> {
    let rows = [
        (
            Pressure::Memory,
            "MemoryPressure",
            (
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            ),
            (
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
        ),
        (
            Pressure::Disk,
            "DiskPressure",
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        (
            Pressure::Pid,
            "PIDPressure",
            (
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
            ),
            (
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
        ),
    ];
    let each = rows.into_iter().map(|(own, type_, bad, good)| {
        let holds = pressure.contains(&own);
        let (reason, message) = if holds { bad } else { good };
        (type_, holds, reason, message.to_owned())
    });
    each.collect()
}

/// The largest images, under the names that are told.
fn images(mut all: Vec<Image>) -> Vec<Value> {
    all.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let named = all
        .iter()
        .filter(|image| !(image.repo_tags.is_empty() && image.repo_digests.is_empty()));
    let shown = named.take(MOST_IMAGES).map(|image| {
        let names = image.repo_digests.iter().chain(&image.repo_tags);
        let names: Vec<&String> = names.take(MOST_NAMES).collect();
        json!({"names": names, "sizeBytes": image.size})
    });
    shown.collect()
}

/// Renews the lease and tells what has changed of the node; registers it first, if that is still to be done.
pub(super) async fn heartbeat(
    inner: Arc<Inner>,
    registered: Option<Arc<Node>>,
) -> Result<(), Error> {
    let node = match registered {
        Some(node) => node,
        None => inner.register_at_last().await,
    };
    loop {
        // What changes is told at once.
        let _ = timeout(RENEW, inner.node_changed.notified()).await;
        if let Err(error) = driver::renew(&inner.client, &inner.clock, &node).await {
            tracing::warn!(%error, node = %inner.spec.name, "the lease could not be renewed");
        }
        if let Err(error) = inner.tell_of_node().await {
            tracing::warn!(%error, node = %inner.spec.name, "the node's status could not be written");
        }
    }
}

impl Inner {
    /// Something happened to the node as a whole.
    pub(super) fn node_event(&self, type_: EventType, reason: &str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.spec.name.clone()),
            uid: Some(self.spec.name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.event(about, type_, reason, message);
    }

    /// Registers the node with this status.
    pub(super) async fn register(&self, status: &Value) -> Result<Arc<Node>, Error> {
        let node = driver::register(&self.client, &self.clock, &self.spec, status).await?;
        Ok(Arc::new(node))
    }

    /// Registers the node as soon as there is an API server.
    async fn register_at_last(&self) -> Arc<Node> {
        let mut pause = FIRST_PAUSE;
        loop {
            let status = self.first_status().await;
            match self.register(&status).await {
                Ok(node) => return node,
                Err(error) => {
                    tracing::info!(%error, node = %self.spec.name, "Unable to register node with API server");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The node's whole status, as at the start of the agent.
    pub(super) async fn first_status(&self) -> Value {
        let mut status = self.spec.status(self.clock.now());
        status["declaredFeatures"] = json!(DECLARED);
        if let Some(monitor) = &self.config.monitor {
            let facts = monitor.facts(Path::new(&self.config.root)).await;
            let mut capacity = self.spec.capacity.clone();
            capacity.extend(facts.capacity);
            status["allocatable"] = json!(allocatable(&self.config, &capacity));
            status["capacity"] = json!(capacity);
            for (name, value) in [
                ("architecture", facts.architecture),
                ("kernelVersion", facts.kernel),
                ("osImage", facts.os_image),
                ("machineID", facts.machine_id),
                ("systemUUID", facts.system_uuid),
                ("bootID", facts.boot_id),
            ] {
                if !value.is_empty() {
                    status["nodeInfo"][name] = value.into();
                }
            }
        }
        if let Ok(version) = self.runtime.version().await {
            let text = format!("{}://{}", version.runtime_name, version.runtime_version);
            status["nodeInfo"]["containerRuntimeVersion"] = text.into();
        }
        let fixed = {
            let mut fixed = status.clone();
            if let Some(fields) = fixed.as_object_mut() {
                fields.remove("conditions");
            }
            fixed
        };
        self.told.lock().fixed = fixed;
        let conditions = self.conditions(None).await;
        status["conditions"] = conditions.into();
        if let Some(images) = self.shown_images().await {
            status["images"] = images.into();
        }
        self.told.lock().at = Some(Instant::now());
        status
    }

    /// Writes what has changed of the node, and from time to time that nothing has.
    async fn tell_of_node(&self) -> Result<(), Error> {
        let Some(known) = self.nodes.get(&Key::cluster(self.spec.name.as_str())) else {
            return Ok(());
        };
        let conditions = self.conditions(Some(&known)).await;
        let images = self.shown_images().await;
        let have = serde_json::to_value(&known.status)?;
        let (fixed, at) = {
            let told = self.told.lock();
            (told.fixed.clone(), told.at)
        };
        let same = |one: &Value| {
            let all = have["conditions"].as_array();
            let known = all
                .into_iter()
                .flatten()
                .find(|own| own["type"] == one["type"]);
            known.is_some_and(|known| {
                ["status", "reason", "message"]
                    .iter()
                    .all(|field| known[*field] == one[*field])
            })
        };
        let changed = !conditions.iter().all(same)
            || images
                .as_ref()
                .is_some_and(|images| json!(images) != have["images"])
            || ["capacity", "allocatable", "nodeInfo"]
                .iter()
                .any(|field| fixed[*field] != have[*field]);
        let due = self.config.monitor.is_some() && at.is_none_or(|at| at.elapsed() >= REPORT);
        if !changed && !due {
            return Ok(());
        }
        let mut status = fixed;
        status["conditions"] = conditions.into();
        if let Some(images) = images {
            status["images"] = images.into();
        }
        driver::report(&self.client, &self.spec, &status).await?;
        self.told.lock().at = Some(Instant::now());
        Ok(())
    }

    async fn shown_images(&self) -> Option<Vec<Value>> {
        self.config.monitor.as_ref()?;
        Some(images(self.runtime.list_images().await.ok()?))
    }

    /// The node's conditions; those that stay as they are known keep the time of their last change.
    async fn conditions(&self, known: Option<&Node>) -> Vec<Value> {
        let pressure = self.pressure.lock().clone();
        let mut rows = pressures(&pressure);
        rows.push(self.readiness().await);
        let now = self.clock.now();
        let status = known.and_then(|node| node.status.as_ref());
        let each = rows.into_iter().map(|(type_, holds, reason, message)| {
            let word = if holds { "True" } else { "False" };
            let mut old = status
                .into_iter()
                .flat_map(|status| status.conditions.iter().flatten());
            let old = old.find(|old| old.type_ == type_);
            let since = old
                .filter(|old| old.status == word)
                .and_then(|old| old.last_transition_time.as_ref())
                .map_or(now, |time| time.0);
            if let Some(old) = old.filter(|old| old.status != word) {
                tracing::debug!(was = %old.status, "condition {type_} of the node is {word}");
            }
            if old.is_none_or(|old| old.status != word) && (known.is_some() || holds) {
                let reason = match (type_, holds) {
                    ("MemoryPressure", true) => "NodeHasInsufficientMemory",
                    ("MemoryPressure", false) => "NodeHasSufficientMemory",
                    ("DiskPressure", true) => "NodeHasDiskPressure",
                    ("DiskPressure", false) => "NodeHasNoDiskPressure",
                    ("PIDPressure", true) => "NodeHasInsufficientPID",
                    ("PIDPressure", false) => "NodeHasSufficientPID",
                    (_, true) => "NodeReady",
                    (_, false) => "NodeNotReady",
                };
                if known.is_some() {
                    let message = format!("Node {} status is now: {reason}", self.spec.name);
                    self.node_event(EventType::Normal, reason, message);
                }
            }
            json!({
                "type": type_, "status": word, "reason": reason, "message": message,
                "lastHeartbeatTime": rfc3339(now), "lastTransitionTime": rfc3339(since),
            })
        });
        each.collect()
    }

    /// Whether pods can be run here.
    async fn readiness(&self) -> Condition {
        let mut problems = Vec::new();
        match self.runtime.status().await {
            Ok(status) => {
                self.told.lock().answered = Some(Instant::now());
                for (required, what) in [
                    ("RuntimeReady", "container runtime not ready"),
                    ("NetworkReady", "container runtime network not ready"),
                ] {
                    let found = status.conditions.iter().find(|one| one.type_ == required);
                    match found {
                        Some(found) if found.status => {}
                        Some(found) => problems.push(format!(
                            "{what}: {required}=false reason:{} message:{}",
                            found.reason, found.message
                        )),
                        None => problems.push(format!("{what}: {required} is not known")),
                    }
                }
            }
            Err(error) => {
                let answered = self.told.lock().answered;
                match answered {
                    Some(answered) if answered.elapsed() <= SILENCE => {}
                    Some(_) => problems.push("container runtime is down".to_owned()),
                    None => problems.push(
                        "container runtime status check may not have completed yet".to_owned(),
                    ),
                }
                tracing::debug!(%error, "the runtime does not say how it is");
            }
        }
        if *self.shutdown.lock() {
            problems.push("node is shutting down".to_owned());
        }
        match problems.len() {
            0 => (
                "Ready",
                true,
                "KubeletReady",
                "kubelet is posting ready status".to_owned(),
            ),
            1 => ("Ready", false, "KubeletNotReady", problems.remove(0)),
            _ => (
                "Ready",
                false,
                "KubeletNotReady",
                format!("[{}]", problems.join(", ")),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Eviction;

    #[test]
    fn what_is_left_for_pods() {
        let list = |rows: &[(&str, &str)]| -> BTreeMap<String, String> {
            let row = |(name, amount): &(&str, &str)| ((*name).to_owned(), (*amount).to_owned());
            rows.iter().map(row).collect()
        };
        let mut config = KubeletConfig::default();
        assert_eq!(config.eviction, Eviction::default());
        config.system_reserved = list(&[("cpu", "100m"), ("memory", "1Gi")]);
        config.kube_reserved = list(&[("cpu", "100m"), ("ephemeral-storage", "1Gi")]);
        let capacity = list(&[
            ("cpu", "4"),
            ("memory", "8Gi"),
            ("hugepages-2Mi", "1Gi"),
            ("ephemeral-storage", "100Gi"),
            ("pods", "110"),
        ]);
        assert_eq!(
            allocatable(&config, &capacity),
            list(&[
                ("cpu", "3800m"),
                ("memory", "6044Mi"),
                ("hugepages-2Mi", "1Gi"),
                ("ephemeral-storage", "89Gi"),
                ("pods", "110"),
            ])
        );
    }

    #[test]
    fn the_largest_images_by_their_first_names() {
        let image = |id: &str, size, tags: &[&str]| Image {
            id: id.to_owned(),
            size,
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            repo_digests: vec![format!("{id}@sha256:0")],
            ..Image::default()
        };
        let many = ["1", "2", "3", "4", "5", "6"];
        let shown = images(vec![
            image("a", 1, &["a"]),
            image("b", 3, &many),
            Image::default(),
        ]);
        assert_eq!(
            json!(shown),
            json!([
                {"names": ["b@sha256:0", "1", "2", "3", "4"], "sizeBytes": 3},
                {"names": ["a@sha256:0", "a"], "sizeBytes": 1},
            ])
        );
    }
}
