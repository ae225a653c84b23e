//! Which pod goes first when something is scarce, and what is said about it. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use super::threshold::{Signal, Threshold};
use crate::cri::SandboxStats;
use crate::node::kubelet::plan;
use crate::node::kubelet::vitals::{DiskUse, Vitals};
use crate::object::quantity::Format;
use crate::object::{Quantity, Resources};

/// What a container uses; what its runtime does not say is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ContainerUse {
    pub memory: Option<u64>,
    pub layer: Option<DiskUse>,
    pub logs: Option<DiskUse>,
}

/// What a pod uses.
#[derive(Clone, Debug, Default)]
pub(super) struct PodUse {
    pub memory: u64,
    pub processes: u64,
    pub containers: BTreeMap<String, ContainerUse>,
    /// Local volumes, by name.
    pub volumes: BTreeMap<String, DiskUse>,
}

impl PodUse {
    /// What the runtime says of it.
    pub(super) fn of(stats: &SandboxStats) -> Self {
        let memory = stats.memory.as_ref();
        let containers = stats.containers.iter().map(|one| {
            let layer = one.writable_layer.as_ref().map(|layer| DiskUse {
                bytes: layer.used_bytes,
                inodes: layer.inodes_used,
            });
            let memory = one.memory.as_ref().and_then(|memory| memory.working_set);
            let own = ContainerUse {
                memory,
                layer,
                logs: None,
            };
            (one.name.clone(), own)
        });
        Self {
            memory: memory.and_then(|memory| memory.working_set).unwrap_or(0),
            processes: stats.processes.unwrap_or(0),
            containers: containers.collect(),
            volumes: BTreeMap::new(),
        }
    }

    /// What of it is on the file system of a signal.
    fn disk(&self, signal: Signal, own_image_fs: bool) -> DiskUse {
        let of_images = matches!(signal, Signal::ImageFs | Signal::ImageInodes);
        let (layers, rest) = if own_image_fs {
            (of_images, !of_images)
        } else {
            (true, true)
        };
        let mut sum = DiskUse::default();
        for container in self.containers.values() {
            for part in [
                container.layer.filter(|_| layers),
                container.logs.filter(|_| rest),
            ] {
                sum = sum.plus(part.unwrap_or_default());
            }
        }
        self.volumes
            .values()
            .filter(|_| rest)
            .fold(sum, |sum, volume| sum.plus(*volume))
    }

    /// Everything of it on local disks.
    pub(super) fn ephemeral_storage(&self) -> u64 {
        self.disk(Signal::NodeFs, false).bytes
    }
}

/// Orders pods: who exceeds its requests first; then the least priority; then who exceeds them most. A pod of which nothing is
/// known comes first. Process ids cannot be requested: there priority counts first.
pub(super) fn rank<P: AsRef<Pod>>(
    pods: &mut [P],
    signal: Signal,
    own_image_fs: bool,
    uses: &BTreeMap<String, PodUse>,
) {
    pods.sort_by_cached_key(|pod| {
        let pod = pod.as_ref();
        let spec = pod.spec.as_ref();
        let priority = spec.and_then(|spec| spec.priority).unwrap_or(0);
        let Some(used) = pod.metadata.uid.as_ref().and_then(|uid| uses.get(uid)) else {
            let first = if signal == Signal::Processes {
                priority
            } else {
                0
            };
            return (first, false, false, priority, Reverse(0));
        };
        let requests = spec.map(Resources::of_pod).unwrap_or_default();
        let (used, requested) = match signal {
            Signal::Memory | Signal::PodMemory => (used.memory, requests.memory),
            Signal::NodeFs | Signal::ImageFs => {
                let bytes = used.disk(signal, own_image_fs).bytes;
                (bytes, requests.ephemeral_storage)
            }
            Signal::NodeInodes | Signal::ImageInodes => (used.disk(signal, own_image_fs).inodes, 0),
            Signal::Processes => {
                return (
                    priority,
                    true,
                    false,
                    0,
                    Reverse(i128::from(used.processes)),
                );
            }
        };
        let excess = i128::from(used) - i128::from(requested);
        (0, true, excess <= 0, priority, Reverse(excess))
    });
}

/// An amount in bytes, or of things.
pub(super) fn quantity(units: u64, binary: bool) -> Quantity {
    let format = if binary {
        Format::BinarySi
    } else {
        Format::DecimalSi
    };
    Quantity::from_units(i64::try_from(units).unwrap_or(i64::MAX), format)
}

/// What is said of a pod that is ended for a threshold.
pub(super) fn message(
    pod: &Pod,
    used: Option<&PodUse>,
    threshold: &Threshold,
    vitals: &Vitals,
) -> String {
    let signal = threshold.signal;
    let resource = signal.resource();
    let mut message = format!("The node was low on resource: {resource}. ");
    if let Some(room) = signal.room(vitals) {
        let wanted = quantity(threshold.value.of(room.capacity), signal.is_binary());
        let available = quantity(room.available, signal.is_binary());
        let _ = write!(
            message,
            "Threshold quantity: {wanted}, available: {available}. "
        );
    }
    let (Some(used), Some(spec)) = (used, pod.spec.as_ref()) else {
        return message;
    };
    let requested = |container: &Spec| {
        let requests = container.resources.as_ref()?.requests.as_ref()?;
        Quantity::parse(&requests.get(resource)?.0).ok()
    };
    for (name, used) in &used.containers {
        let Some(container) = plan::all(spec).find(|container| container.name == *name) else {
            continue;
        };
        let used = match signal {
            Signal::Memory | Signal::PodMemory => used.memory,
            Signal::NodeFs | Signal::ImageFs => {
                let both = used.layer.zip(used.logs);
                both.map(|(layer, logs)| layer.plus(logs).bytes)
            }
            _ => None,
        };
        let requested = requested(container).unwrap_or_default();
        let Some(used) = used.map(|used| quantity(used, true)) else {
            continue;
        };
        if used > requested {
            let _ = write!(
                message,
                "Container {name} was using {used}, request is {requested}, has larger consumption of {resource}. "
            );
        }
    }
    message
}

/// Why a pod has to go for what it uses of local disks, against limits of its own.
pub(super) fn exceeds(pod: &Pod, used: &PodUse, own_image_fs: bool) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    for volume in spec.volumes.iter().flatten() {
        let limit = volume
            .empty_dir
            .as_ref()
            .and_then(|own| own.size_limit.as_ref());
        let limit = limit.and_then(|limit| Quantity::parse(&limit.0).ok());
        let used = used.volumes.get(&volume.name);
        if let (Some(limit), Some(used)) = (limit, used)
            && limit > Quantity::ZERO
            && quantity(used.bytes, true) > limit
        {
            return Some(format!(
                "Usage of EmptyDir volume {:?} exceeds the limit \"{limit}\". ",
                volume.name
            ));
        }
    }
    let limit = |container: &Spec| {
        let limits = container.resources.as_ref()?.limits.as_ref()?;
        Quantity::parse(&limits.get("ephemeral-storage")?.0).ok()
    };
    let limits = spec.containers.iter().filter_map(limit);
    let total = limits.reduce(|sum, limit| sum + limit);
    if let Some(total) = total
        && quantity(used.ephemeral_storage(), true) > total
    {
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
        ));
    }
    for container in &spec.containers {
        let Some(used) = used.containers.get(&container.name) else {
            continue;
        };
        let layer = used.layer.filter(|_| !own_image_fs).unwrap_or_default();
        let used = layer.plus(used.logs.unwrap_or_default()).bytes;
        if let Some(limit) = limit(container)
            && limit > Quantity::ZERO
            && quantity(used, true) > limit
        {
            return Some(format!(
                "Container {} exceeded its local ephemeral storage limit \"{limit}\". ",
                container.name
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::threshold::Eviction;
    use super::*;
    use crate::node::kubelet::vitals::Room;

    struct Owned(Pod);

    impl AsRef<Pod> for Owned {
        fn as_ref(&self) -> &Pod {
            &self.0
        }
    }

    fn pod(name: &str, priority: i32, requests: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": requests}}]},
        }))
        .unwrap()
    }

    fn disk(bytes: u64, inodes: u64) -> DiskUse {
        DiskUse { bytes, inodes }
    }

    fn uses(memory: u64, processes: u64, layer: DiskUse, logs: DiskUse) -> PodUse {
        let container = ContainerUse {
            memory: Some(memory),
            layer: Some(layer),
            logs: Some(logs),
        };
        PodUse {
            memory,
            processes,
            containers: [("c".to_owned(), container)].into(),
            volumes: BTreeMap::new(),
        }
    }

    #[test]
    fn who_goes_first() {
        let mib = 1_u64 << 20;
        let zero = DiskUse::default();
        // name, priority, requests, use
        let rows = [
            (
                "within",
                0,
                json!({"memory": "100Mi", "ephemeral-storage": "100Mi"}),
                Some(uses(90 * mib, 9, disk(90 * mib, 9), zero)),
            ),
            (
                "little",
                0,
                json!({"memory": "100Mi", "ephemeral-storage": "100Mi"}),
                Some(uses(110 * mib, 5, disk(10 * mib, 1), disk(100 * mib, 1))),
            ),
            (
                "much",
                0,
                json!({}),
                Some(uses(50 * mib, 1, disk(50 * mib, 90), zero)),
            ),
            (
                "precious",
                9,
                json!({}),
                Some(uses(500 * mib, 99, disk(500 * mib, 99), zero)),
            ),
            ("unknown", 5, json!({}), None),
        ];
        let known: BTreeMap<String, PodUse> = rows
            .iter()
            .filter_map(|(name, _, _, used)| Some(((*name).to_owned(), used.clone()?)))
            .collect();
        for (signal, own_image_fs, expected) in [
            (Signal::Memory, false, "unknown much little precious within"),
            (
                Signal::PodMemory,
                false,
                "unknown much little precious within",
            ),
            (Signal::NodeFs, false, "unknown much little precious within"),
            // Only logs and volumes count there, and nobody exceeds anything by them.
            (Signal::NodeFs, true, "unknown little much within precious"),
            (Signal::ImageFs, true, "unknown much precious within little"),
            (
                Signal::NodeInodes,
                false,
                "unknown much within little precious",
            ),
            (
                Signal::Processes,
                false,
                "within little much unknown precious",
            ),
        ] {
            let mut pods: Vec<Owned> = rows
                .iter()
                .map(|(name, priority, requests, _)| Owned(pod(name, *priority, requests)))
                .collect();
            rank(&mut pods, signal, own_image_fs, &known);
            let names: Vec<&str> = pods
                .iter()
                .filter_map(|pod| pod.0.metadata.name.as_deref())
                .collect();
            assert_eq!(names.join(" "), expected, "{signal:?} {own_image_fs}");
        }
    }

    #[test]
    fn what_is_said() {
        let config = Eviction::none()
            .hard("memory.available", "100Mi")
            .and_then(|config| config.hard("nodefs.available", "10%"))
            .and_then(|config| config.hard("pid.available", "1k"))
            .unwrap();
        let room = |available, capacity| {
            Some(Room {
                available,
                capacity,
            })
        };
        let vitals = Vitals {
            memory: room(50 << 20, 1 << 30),
            node_fs: room(1 << 20, 100 << 20),
            processes: room(10, 4000),
            ..Vitals::default()
        };
        let pod = pod("p", 0, &json!({"memory": "32Mi"}));
        let used = uses(64 << 20, 3, disk(2 << 20, 1), disk(1 << 20, 1));
        for (signal, expected) in [
            (
                Signal::Memory,
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 64Mi, request is 32Mi, has larger consumption of memory. ",
            ),
            (
                Signal::NodeFs,
                "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 1Mi. Container c was using 3Mi, request is 0, has larger consumption of ephemeral-storage. ",
            ),
            (
                Signal::Processes,
                "The node was low on resource: pids. Threshold quantity: 1k, available: 10. ",
            ),
        ] {
            let threshold = config.thresholds.iter().find(|one| one.signal == signal);
            assert_eq!(
                message(&pod, Some(&used), threshold.unwrap(), &vitals),
                expected
            );
        }
    }

    #[test]
    fn limits_of_its_own() {
        let with = |limits: &Value, volume: &Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p"},
                "spec": {
                    "containers": [{"name": "c", "resources": {"limits": limits}}],
                    "volumes": [{"name": "v", "emptyDir": volume}],
                },
            }))
            .unwrap()
        };
        for (limits, volume, layer, logs, in_volume, own_image_fs, expected) in [
            (json!({}), json!({}), 500, 500, 500, false, None),
            (
                json!({}),
                json!({"sizeLimit": "1Ki"}),
                0,
                0,
                1024,
                false,
                None,
            ),
            (
                json!({}),
                json!({"sizeLimit": "1Ki"}),
                0,
                0,
                1025,
                false,
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Ki\". "),
            ),
            (
                json!({"ephemeral-storage": "1Ki"}),
                json!({}),
                500,
                400,
                200,
                false,
                Some(
                    "Pod ephemeral local storage usage exceeds the total limit of containers 1Ki. ",
                ),
            ),
            (
                json!({"ephemeral-storage": "1Ki"}),
                json!({}),
                500,
                400,
                0,
                false,
                None,
            ),
        ] {
            let mut used = uses(0, 0, disk(layer, 1), disk(logs, 1));
            used.volumes.insert("v".to_owned(), disk(in_volume, 1));
            let found = exceeds(&with(&limits, &volume), &used, own_image_fs);
            assert_eq!(found.as_deref(), expected, "{limits} {volume}");
        }
    }

    #[test]
    fn one_container_against_its_own_limit() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "c", "resources": {"limits": {"ephemeral-storage": "100"}}},
            {"name": "d", "resources": {"limits": {"ephemeral-storage": "1Ki"}}},
        ]}}))
        .unwrap();
        let used = uses(0, 0, disk(90, 1), disk(20, 1));
        assert_eq!(
            exceeds(&pod, &used, false).as_deref(),
            Some("Container c exceeded its local ephemeral storage limit \"100\". ")
        );
        // The layer is on another file system, which has no limit.
        assert_eq!(exceeds(&pod, &used, true), None);
    }
}
