//! What the node and its pods use: `stats/summary`.
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{Inner, disks};
use crate::cri::{
    ContainerStats, CpuUsage, FilesystemUsage, MemoryUsage, NetworkUsage, Result, SandboxStats,
};
use crate::node::mirror::runtime_uid;
use crate::node::usage::{self, sum_cpu, sum_memory};

/// Processor time as it was found last, by what used it: from two of them follows what is used now, when a runtime does not
/// say so.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<BTreeMap<String, Sample>>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    core: u64,
    rate: Option<u64>,
}

/// More are not remembered.
const MOST: usize = 10_000;
/// From samples closer together nothing follows.
const CLOSEST: i128 = 1_000_000_000;

impl Usage {
    /// What `key` uses in billionths of a core, if that can be told.
    fn rate(&self, key: &str, at: Timestamp, core: u64) -> Option<u64> {
        let mut samples = self.0.lock();
        let last = samples.get(key).copied();
        let rate = last.and_then(|last| {
            let passed = at.duration_since(last.at).as_nanos();
            if passed < CLOSEST {
                return None;
            }
            let used = i128::from(core.saturating_sub(last.core));
            u64::try_from(used * 1_000_000_000 / passed).ok()
        });
        if rate.is_none() && last.is_some() {
            return last.and_then(|last| last.rate);
        }
        if samples.len() >= MOST {
            samples.clear();
        }
        samples.insert(key.to_owned(), Sample { at, core, rate });
        rate
    }
}

impl Inner {
    /// The summary, as the kubelet gives it.
    pub(super) async fn summary(&self) -> Result<Value> {
        let sandboxes = usage::sandboxes(&*self.runtime).await?;
        let pods = self.own_pods();
        let pods: BTreeMap<&str, &Pod> = pods
            .iter()
            .filter_map(|pod| Some((runtime_uid(pod)?, &**pod)))
            .collect();
        let at = self.clock.now();
        let vitals = match &self.disks {
            Some(disks) => {
                let info = self.runtime.image_fs_info().await.unwrap_or_default();
                let images = info.images.first().map(|images| &*images.mountpoint);
                Some((disks, disks.vitals(images).await))
            }
            None => None,
        };
        let mut shown = Vec::new();
        for sandbox in &sandboxes {
            let of = &sandbox.metadata;
            let started = pods
                .get(of.uid.as_str())
                .and_then(|pod| pod.status.as_ref()?.start_time.clone());
            let mut containers = Vec::new();
            let known = pods.get(of.uid.as_str()).copied();
            for container in &sandbox.containers {
                let mut shown = self.container(container, &pods, &of.uid);
                if let (Some((disks, vitals)), Some(pod)) = (&vitals, known) {
                    let measured = disks.of_container(at, vitals, pod, container, &mut shown);
                    measured.await;
                }
                containers.push(shown);
            }
            let mut on_disk = None;
            if let (Some((disks, vitals)), Some(pod)) = (&vitals, known) {
                let volumes = disks.of_volumes(at, vitals, pod).await;
                let sum = disks::ephemeral(at, vitals, &containers, &volumes);
                on_disk = Some((volumes, sum));
            }
            let mut pod = json!({
                "podRef": {"name": of.name, "namespace": of.namespace, "uid": of.uid},
                "startTime": started, "containers": containers,
            });
            self.put_usage(
                &mut pod,
                &sandbox.id,
                sandbox.cpu.as_ref(),
                sandbox.memory.as_ref(),
            );
            put(&mut pod, "network", sandbox.network.as_ref().map(network));
            let processes = sandbox
                .processes
                .map(|count| json!({"process_count": count}));
            put(&mut pod, "process_stats", processes);
            if let Some((volumes, sum)) = on_disk {
                if !volumes.is_empty() {
                    put(&mut pod, "volume", Some(volumes.into()));
                }
                put(&mut pod, "ephemeral-storage", Some(sum));
            }
            shown.push(pod);
        }
        let mut node = json!({"nodeName": self.node});
        if self.machine {
            put(
                &mut node,
                "startTime",
                boot().map(|boot| boot.to_string().into()),
            );
        }
        let (cpu, memory) = self.node_usage(&sandboxes);
        self.put_usage(&mut node, "/", cpu.as_ref(), memory.as_ref());
        if let Some((_, vitals)) = &vitals {
            disks::of_node(at, vitals, &mut node);
        }
        Ok(json!({"node": node, "pods": shown}))
    }

    fn container(
        &self,
        container: &ContainerStats,
        pods: &BTreeMap<&str, &Pod>,
        uid: &str,
    ) -> Value {
        let status = pods.get(uid).and_then(|pod| pod.status.as_ref());
        let started = status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
            .find(|status| status.name == container.name)
            .and_then(|status| status.state.as_ref()?.running.as_ref()?.started_at.clone());
        let mut shown = json!({"name": container.name, "startTime": started});
        let (cpu, memory) = (container.cpu.as_ref(), container.memory.as_ref());
        self.put_usage(&mut shown, &container.id, cpu, memory);
        let rootfs = container.writable_layer.as_ref().map(filesystem);
        put(&mut shown, "rootfs", rootfs);
        put(
            &mut shown,
            "swap",
            container.swap.as_ref().map(|swap| {
                json!({"time": swap.at.to_string(), "swapAvailableBytes": swap.available, "swapUsageBytes": swap.usage})
            }),
        );
        shown
    }

    fn put_usage(
        &self,
        into: &mut Value,
        key: &str,
        cpu: Option<&CpuUsage>,
        memory: Option<&MemoryUsage>,
    ) {
        put(into, "cpu", cpu.map(|cpu| self.cpu(key, cpu)));
        put(into, "memory", memory.map(memory_of));
    }

    fn cpu(&self, key: &str, cpu: &CpuUsage) -> Value {
        let rate = cpu.nanocores.or_else(|| {
            let core = cpu.core_nanoseconds?;
            self.usage.rate(key, cpu.at, core)
        });
        let mut shown = json!({"time": cpu.at.to_string()});
        put(&mut shown, "usageNanoCores", rate.map(Value::from));
        let core = cpu.core_nanoseconds.map(Value::from);
        put(&mut shown, "usageCoreNanoSeconds", core);
        shown
    }

    /// What the node uses: this machine, or the sum of its pods.
    pub(super) fn node_usage(
        &self,
        sandboxes: &[SandboxStats],
    ) -> (Option<CpuUsage>, Option<MemoryUsage>) {
        let now = self.clock.now();
        if self.machine
            && let Some(found) = machine(now)
        {
            return (Some(found.0), Some(found.1));
        }
        let none = || {
            let cpu = CpuUsage {
                at: now,
                core_nanoseconds: Some(0),
                nanocores: Some(0),
            };
            let memory = MemoryUsage {
                at: now,
                working_set: Some(0),
                available: None,
                usage: Some(0),
                rss: Some(0),
                page_faults: None,
                major_page_faults: None,
            };
            (cpu, memory)
        };
        let cpu = sum_cpu(sandboxes.iter().filter_map(|one| one.cpu.as_ref()));
        let memory = sum_memory(sandboxes.iter().filter_map(|one| one.memory.as_ref()));
        (
            cpu.or_else(|| Some(none().0)),
            memory.or_else(|| Some(none().1)),
        )
    }
}

/// What this machine uses.
fn machine(at: Timestamp) -> Option<(CpuUsage, MemoryUsage)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some((cpu_of_stat(&stat, at)?, memory_of_meminfo(&meminfo, at)?))
}

/// When this machine was started.
fn boot() -> Option<Timestamp> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}

/// Reads `/proc/stat`, which counts in hundredths of a second.
fn cpu_of_stat(stat: &str, at: Timestamp) -> Option<CpuUsage> {
    const TICK: u64 = 10_000_000;
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let busy: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|index| fields.get(*index))
        .sum();
    Some(CpuUsage {
        at,
        core_nanoseconds: Some(busy.saturating_mul(TICK)),
        nanocores: None,
    })
}

fn memory_of_meminfo(meminfo: &str, at: Timestamp) -> Option<MemoryUsage> {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line
            .trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(kib << 10)
    };
    let (total, available) = (of("MemTotal")?, of("MemAvailable")?);
    Some(MemoryUsage {
        at,
        working_set: Some(total.saturating_sub(available)),
        available: Some(available),
        usage: Some(total.saturating_sub(of("MemFree")?)),
        rss: of("AnonPages"),
        page_faults: None,
        major_page_faults: None,
    })
}

fn memory_of(memory: &MemoryUsage) -> Value {
    let mut shown = json!({"time": memory.at.to_string()});
    for (name, value) in [
        ("availableBytes", memory.available),
        ("usageBytes", memory.usage),
        ("workingSetBytes", memory.working_set),
        ("rssBytes", memory.rss),
        ("pageFaults", memory.page_faults),
        ("majorPageFaults", memory.major_page_faults),
    ] {
        put(&mut shown, name, value.map(Value::from));
    }
    shown
}

fn filesystem(usage: &FilesystemUsage) -> Value {
    json!({"time": usage.at.to_string(), "usedBytes": usage.used_bytes, "inodesUsed": usage.inodes_used})
}

fn network(network: &NetworkUsage) -> Value {
    let mut shown = json!({"time": network.at.to_string()});
    let interface = |one: &crate::cri::InterfaceUsage| {
        json!({
            "name": one.name, "rxBytes": one.rx_bytes, "rxErrors": one.rx_errors,
            "txBytes": one.tx_bytes, "txErrors": one.tx_errors,
        })
    };
    if let (Some(main), Some(into)) = (&network.default_interface, shown.as_object_mut())
        && let Value::Object(main) = interface(main)
    {
        into.extend(main);
    }
    let all = network.default_interface.iter().chain(&network.interfaces);
    let all: Vec<Value> = all.map(interface).collect();
    put(&mut shown, "interfaces", Some(all.into()));
    shown
}

fn put(into: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        let map: Option<&mut Map<String, Value>> = into.as_object_mut();
        if let Some(map) = map {
            map.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_from_two_samples() {
        let usage = Usage::default();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(usage.rate("a", at(100), 1_000), None);
        assert_eq!(usage.rate("a", at(110), 5_000_001_000), Some(500_000_000));
        // Too close: what was known last.
        assert_eq!(usage.rate("a", at(110), 5_000_001_000), Some(500_000_000));
        assert_eq!(usage.rate("b", at(110), 7), None);
    }

    #[test]
    fn the_machine_is_read() {
        let at = Timestamp::UNIX_EPOCH;
        let cpu = cpu_of_stat("cpu  100 0 50 1000 10 0 5 0 0 0\ncpu0 1 1 1", at).unwrap();
        assert_eq!(cpu.core_nanoseconds, Some(1_550_000_000));
        let text = "MemTotal:  100 kB\nMemFree:   20 kB\nMemAvailable: 60 kB\n";
        let memory = memory_of_meminfo(text, at).unwrap();
        assert_eq!(memory.working_set, Some(40 << 10));
        assert!(machine(at).is_some());
    }
}
