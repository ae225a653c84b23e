//! What the node uses as Prometheus text, by the kubelet's names.
use std::fmt::{Display, Write as _};

use k8s_openapi::jiff::Timestamp;

use super::Inner;
use crate::cri::{ContainerFilter, ContainerPhase, SandboxFilter};
use crate::node::usage;

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, type_: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {type_}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display, at: Option<Timestamp>) {
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let at = at.map_or_else(String::new, |at| format!(" {}", at.as_millisecond()));
        let _ = writeln!(self.0, "{name}{labels} {value}{at}");
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of years are exact enough"
)]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

impl Inner {
    /// `/metrics/resource`: processor and memory of containers, pods and the node.
    pub(super) async fn resource_metrics(&self) -> String {
        let mut text = Text(String::new());
        let found = usage::sandboxes(&*self.runtime).await;
        let failed = u8::from(found.is_err());
        let sandboxes = found.unwrap_or_default();
        let of_pod = |sandbox: &crate::cri::SandboxStats| {
            format!(
                "namespace=\"{}\",pod=\"{}\"",
                sandbox.metadata.namespace, sandbox.metadata.name
            )
        };
        let cpu = "container_cpu_usage_seconds_total";
        text.head(
            cpu,
            "counter",
            "Cumulative cpu time consumed by the container in core-seconds",
        );
        for sandbox in &sandboxes {
            for one in &sandbox.containers {
                let labels = format!("container=\"{}\",{}", one.name, of_pod(sandbox));
                if let Some((used, at)) = one
                    .cpu
                    .as_ref()
                    .and_then(|cpu| Some((cpu.core_nanoseconds?, cpu.at)))
                {
                    text.line(cpu, &labels, seconds(used), Some(at));
                }
            }
        }
        let memory = "container_memory_working_set_bytes";
        text.head(
            memory,
            "gauge",
            "Current working set of the container in bytes",
        );
        for sandbox in &sandboxes {
            for one in &sandbox.containers {
                let labels = format!("container=\"{}\",{}", one.name, of_pod(sandbox));
                if let Some((used, at)) = one
                    .memory
                    .as_ref()
                    .and_then(|memory| Some((memory.working_set?, memory.at)))
                {
                    text.line(memory, &labels, used, Some(at));
                }
            }
        }
        let (node_cpu, node_memory) = self.node_usage(&sandboxes);
        let name = "node_cpu_usage_seconds_total";
        text.head(
            name,
            "counter",
            "Cumulative cpu time consumed by the node in core-seconds",
        );
        if let Some((used, at)) = node_cpu.and_then(|cpu| Some((cpu.core_nanoseconds?, cpu.at))) {
            text.line(name, "", seconds(used), Some(at));
        }
        let name = "node_memory_working_set_bytes";
        text.head(name, "gauge", "Current working set of the node in bytes");
        if let Some((used, at)) =
            node_memory.and_then(|memory| Some((memory.working_set?, memory.at)))
        {
            text.line(name, "", used, Some(at));
        }
        let name = "pod_cpu_usage_seconds_total";
        text.head(
            name,
            "counter",
            "Cumulative cpu time consumed by the pod in core-seconds",
        );
        for sandbox in &sandboxes {
            if let Some((used, at)) = sandbox
                .cpu
                .as_ref()
                .and_then(|cpu| Some((cpu.core_nanoseconds?, cpu.at)))
            {
                text.line(name, &of_pod(sandbox), seconds(used), Some(at));
            }
        }
        let name = "pod_memory_working_set_bytes";
        text.head(name, "gauge", "Current working set of the pod in bytes");
        for sandbox in &sandboxes {
            if let Some((used, at)) = sandbox
                .memory
                .as_ref()
                .and_then(|memory| Some((memory.working_set?, memory.at)))
            {
                text.line(name, &of_pod(sandbox), used, Some(at));
            }
        }
        let name = "resource_scrape_error";
        text.head(
            name,
            "gauge",
            "1 if there was an error while getting container metrics, 0 otherwise",
        );
        text.line(name, "", failed, None);
        text.0
    }

    /// `/metrics`: how many pods and containers run.
    pub(super) async fn metrics(&self) -> String {
        let mut text = Text(String::new());
        let name = "kubelet_node_name";
        text.head(name, "gauge", "The node's name. The count is always 1.");
        text.line(name, &format!("node=\"{}\"", self.node), 1, None);
        let ready = SandboxFilter {
            ready: Some(true),
            ..SandboxFilter::default()
        };
        let sandboxes = self
            .runtime
            .list_sandboxes(&ready)
            .await
            .unwrap_or_default();
        let name = "kubelet_running_pods";
        text.head(
            name,
            "gauge",
            "Number of pods that have a running pod sandbox",
        );
        text.line(name, "", sandboxes.len(), None);
        let containers = self
            .runtime
            .list_containers(&ContainerFilter::default())
            .await;
        let containers = containers.unwrap_or_default();
        let name = "kubelet_running_containers";
        text.head(name, "gauge", "Number of containers currently running");
        for (phase, state) in [
            (ContainerPhase::Created, "created"),
            (ContainerPhase::Exited, "exited"),
            (ContainerPhase::Running, "running"),
            (ContainerPhase::Unknown, "unknown"),
        ] {
            let count = containers.iter().filter(|one| one.phase == phase).count();
            text.line(name, &format!("container_state=\"{state}\""), count, None);
        }
        text.0
    }
}
