//! Amounts of resources, and what a pod requests of them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::Quantity;

/// Amounts of resources: cpu in thousandths, the rest in whole units (bytes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Everything else, by name.
    pub scalars: BTreeMap<String, i64>,
}

impl Resources {
    /// From a list of quantities. What does not parse counts as zero (the API stores no such thing).
    #[must_use]
    pub fn of(list: Option<&BTreeMap<String, Text>>) -> Self {
        let mut resources = Self::default();
        for (name, text) in list.into_iter().flatten() {
            let quantity = Quantity::parse(&text.0).unwrap_or_default();
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.milli_value(),
                "memory" => resources.memory = quantity.value(),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value(),
                "pods" => {}
                _ => {
                    resources.scalars.insert(name.clone(), quantity.value());
                }
            }
        }
        resources
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.milli_cpu += other.milli_cpu;
        self.memory += other.memory;
        self.ephemeral_storage += other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() += amount;
        }
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Self) {
        self.milli_cpu -= other.milli_cpu;
        self.memory -= other.memory;
        self.ephemeral_storage -= other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() -= amount;
        }
    }

    /// Keeps the larger of each.
    pub fn max(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let have = self.scalars.entry(name.clone()).or_default();
            *have = (*have).max(*amount);
        }
    }

    /// What a pod takes: all its containers together, or any one init container (beside the sidecars started before it) if that
    /// is more; plus its overhead. What is set for the pod as a whole overrides the sum (KEP-2837).
    #[must_use]
    pub fn of_pod(spec: &PodSpec) -> Self {
        let of = |container: &Container| {
            Self::of(
                container
                    .resources
                    .as_ref()
                    .and_then(|resources| resources.requests.as_ref()),
            )
        };
        let mut total = Self::default();
        spec.containers
            .iter()
            .for_each(|container| total.add(&of(container)));
        let (mut sidecars, mut largest) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let mut wanted = of(container);
            if is_sidecar(container) {
                total.add(&wanted);
                sidecars.add(&wanted);
                largest.max(&sidecars);
            } else {
                wanted.add(&sidecars);
                largest.max(&wanted);
            }
        }
        total.max(&largest);
        if let Some(list) = spec
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref())
        {
            let pod = Self::of(Some(list));
            for name in list.keys() {
                match name.as_str() {
                    "cpu" => total.milli_cpu = pod.milli_cpu,
                    "memory" => total.memory = pod.memory,
                    _ => {}
                }
            }
        }
        total.add(&Self::of(spec.overhead.as_ref()));
        total
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}
