//! What the node and its pods use of disks, for the summary.

use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::Disks;
use crate::cri::ContainerStats;
use crate::node::kubelet::{DiskUse, Room, Vitals};
use crate::node::log_directory;
use crate::node::mirror::runtime_uid;

/// What is used of a file system of which so much is free.
fn of_rooms(at: Timestamp, bytes: Option<Room>, inodes: Option<Room>) -> Value {
    let mut shown = json!({"time": at.to_string()});
    if let Some(room) = bytes {
        shown["availableBytes"] = room.available.into();
        shown["capacityBytes"] = room.capacity.into();
        shown["usedBytes"] = room.capacity.saturating_sub(room.available).into();
    }
    if let Some(room) = inodes {
        shown["inodesFree"] = room.available.into();
        shown["inodes"] = room.capacity.into();
        shown["inodesUsed"] = room.capacity.saturating_sub(room.available).into();
    }
    shown
}

/// What something uses of a file system.
fn of_use(at: Timestamp, bytes: Option<Room>, inodes: Option<Room>, used: DiskUse) -> Value {
    let mut shown = of_rooms(at, bytes, inodes);
    shown["usedBytes"] = used.bytes.into();
    shown["inodesUsed"] = used.inodes.into();
    shown
}

/// The node's own file systems and processes.
pub(super) fn of_node(at: Timestamp, vitals: &Vitals, node: &mut Value) {
    if vitals.node_fs.is_some() {
        node["fs"] = of_rooms(at, vitals.node_fs, vitals.node_inodes);
    }
    if vitals.image_fs.is_some() {
        let images = of_rooms(at, vitals.image_fs, vitals.image_inodes);
        node["runtime"] = json!({"imageFs": images, "containerFs": images});
    }
    if let Some(processes) = vitals.processes {
        node["rlimit"] = json!({
            "time": at.to_string(), "maxpid": processes.capacity,
            "curproc": processes.capacity.saturating_sub(processes.available),
        });
    }
}

impl Disks {
    pub(super) async fn vitals(&self, images: Option<&str>) -> Vitals {
        self.monitor.vitals(&self.root, images.map(Path::new)).await
    }

    /// What a container uses: its own layer, and its logs.
    pub(super) async fn of_container(
        &self,
        at: Timestamp,
        vitals: &Vitals,
        pod: &Pod,
        container: &ContainerStats,
        shown: &mut Value,
    ) {
        if let Some(layer) = &container.writable_layer {
            let used = DiskUse {
                bytes: layer.used_bytes,
                inodes: layer.inodes_used,
            };
            shown["rootfs"] = of_use(layer.at, vitals.image_fs, vitals.image_inodes, used);
        }
        let Some(logs) = &self.logs else { return };
        let directory = logs.join(log_directory::of(pod)).join(&container.name);
        let used = self.monitor.disk_use(&directory).await;
        let used = used.unwrap_or_default();
        shown["logs"] = of_use(at, vitals.node_fs, vitals.node_inodes, used);
    }

    /// What the volumes of a pod use that are on this disk, by name.
    pub(super) async fn of_volumes(&self, at: Timestamp, vitals: &Vitals, pod: &Pod) -> Vec<Value> {
        let uid = runtime_uid(pod).unwrap_or_default();
        let below = self.root.join("pods").join(uid).join("volumes");
        let volumes = pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        let mut shown = Vec::new();
        for volume in volumes {
            let kind = if volume.empty_dir.is_some() {
                "kubernetes.io~empty-dir"
            } else if volume.config_map.is_some() {
                "kubernetes.io~configmap"
            } else if volume.secret.is_some() {
                "kubernetes.io~secret"
            } else if volume.projected.is_some() {
                "kubernetes.io~projected"
            } else if volume.downward_api.is_some() {
                "kubernetes.io~downward-api"
            } else {
                continue;
            };
            let directory = below.join(kind).join(&volume.name);
            if let Some(used) = self.monitor.disk_use(&directory).await {
                let mut own = of_use(at, vitals.node_fs, vitals.node_inodes, used);
                own["name"] = volume.name.as_str().into();
                shown.push(own);
            }
        }
        shown
    }
}

/// What a pod uses of the node's disk altogether: layers, logs, and volumes on the disk.
pub(super) fn ephemeral(
    at: Timestamp,
    vitals: &Vitals,
    containers: &[Value],
    volumes: &[Value],
) -> Value {
    let of = |one: &Value, field: &str| one[field].as_u64().unwrap_or(0);
    let parts = containers
        .iter()
        .flat_map(|container| [&container["rootfs"], &container["logs"]])
        .chain(volumes);
    let used = parts.fold(DiskUse::default(), |sum, part| DiskUse {
        bytes: sum.bytes.saturating_add(of(part, "usedBytes")),
        inodes: sum.inodes.saturating_add(of(part, "inodesUsed")),
    });
    of_use(at, vitals.node_fs, vitals.node_inodes, used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_rooms() {
        let at = Timestamp::UNIX_EPOCH;
        let room = |available, capacity| {
            Some(Room {
                available,
                capacity,
            })
        };
        let vitals = Vitals {
            node_fs: room(60, 100),
            node_inodes: room(5, 10),
            image_fs: room(30, 50),
            processes: room(90, 100),
            ..Vitals::default()
        };
        let mut node = json!({});
        of_node(at, &vitals, &mut node);
        let time = "1970-01-01T00:00:00Z";
        let images =
            json!({"time": time, "availableBytes": 30, "capacityBytes": 50, "usedBytes": 20});
        assert_eq!(
            node,
            json!({
                "fs": {
                    "time": time, "availableBytes": 60, "capacityBytes": 100, "usedBytes": 40,
                    "inodesFree": 5, "inodes": 10, "inodesUsed": 5,
                },
                "runtime": {"imageFs": images, "containerFs": images},
                "rlimit": {"time": time, "maxpid": 100, "curproc": 10},
            })
        );
        let part = |bytes: u64| json!({"usedBytes": bytes, "inodesUsed": 1});
        let containers = [json!({"rootfs": part(3), "logs": part(4)}), json!({})];
        let sum = ephemeral(at, &vitals, &containers, &[part(5)]);
        assert_eq!(
            (&sum["usedBytes"], &sum["inodesUsed"]),
            (&json!(12), &json!(3))
        );
        assert_eq!(sum["availableBytes"], 60);
    }
}
