//! Amounts of resources, and what a pod requests of them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::Quantity;

/// More counts as this much (nine petabytes): a thousand of it can be added up, and percentages of it taken, in 64 bits. No
/// node has it, so that who asks for more fits nowhere either way.
const MOST: i64 = i64::MAX >> 10;

/// Amounts of resources: cpu in thousandths, the rest in whole units (bytes). Very large ones are cut to 2^53.
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
                "cpu" => resources.milli_cpu = quantity.milli_value().min(MOST),
                "memory" => resources.memory = quantity.value().min(MOST),
                "ephemeral-storage" => resources.ephemeral_storage = quantity.value().min(MOST),
                "pods" => {}
                _ => {
                    let amount = quantity.value().min(MOST);
                    resources.scalars.insert(name.clone(), amount);
                }
            }
        }
        resources
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.each(other, i64::saturating_add);
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Self) {
        self.each(other, i64::saturating_sub);
    }

    /// Keeps the larger of each.
    pub fn max(&mut self, other: &Self) {
        self.each(other, Ord::max);
    }

    fn each(&mut self, other: &Self, both: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = both(self.milli_cpu, other.milli_cpu);
        self.memory = both(self.memory, other.memory);
        self.ephemeral_storage = both(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let have = self.scalars.entry(name.clone()).or_default();
            *have = both(*have, *amount);
        }
    }

    /// Cuts what is too much.
    fn cut(&mut self) {
        let parts = [
            &mut self.milli_cpu,
            &mut self.memory,
            &mut self.ephemeral_storage,
        ];
        for amount in parts.into_iter().chain(self.scalars.values_mut()) {
            *amount = (*amount).min(MOST);
        }
    }

    /// What a pod that is on no node takes: all its containers together, or any one init container (beside the sidecars started
    /// before it) if that is more; plus its overhead. What is set for the pod as a whole overrides the sum (KEP-2837).
    #[must_use]
    pub fn of_pod(spec: &PodSpec) -> Self {
        let own = |container: &Container| Self::of(requests(container.resources.as_ref()));
        let whole = requests(spec.resources.as_ref());
        Self::sum(spec, own, whole.map(|whole| (whole, Self::of(Some(whole)))))
    }

    /// What a pod takes of the node it is on: while it is resized in place, the larger of what it asks for, what it was given,
    /// and what it still has; what cannot be given to it does not count (KEP-1287).
    #[must_use]
    pub fn of_placed(pod: &Pod) -> Self {
        Self::placed(pod, |_| {})
    }

    /// As [`Resources::of_placed`]; but a container that says nothing of cpu or memory takes these amounts.
    #[must_use]
    pub fn of_placed_at_least(pod: &Pod, milli_cpu: i64, memory: i64) -> Self {
        Self::placed(pod, |container| {
            let (asked, resources) = container;
            let says = |name: &str| asked.is_some_and(|asked| asked.contains_key(name));
            if !says("cpu") {
                resources.milli_cpu = resources.milli_cpu.max(milli_cpu);
            }
            if !says("memory") {
                resources.memory = resources.memory.max(memory);
            }
        })
    }

    fn placed(pod: &Pod, amend: impl Fn((Option<&List>, &mut Self))) -> Self {
        static EMPTY: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
        let spec = pod.spec.as_ref().unwrap_or(&EMPTY);
        let status = pod.status.as_ref();
        let refused = is_resize_refused(pod);
        // What was given says nothing as long as the node has not said what the pod has.
        let taken =
            |asked: Option<&List>, has: Option<&ResourceRequirements>, given: Option<&List>| {
                let asked = asked.filter(|_| !refused || has.is_none());
                let mut resources = Self::of(asked);
                if has.is_some() {
                    resources.max(&Self::of(requests(has)));
                    resources.max(&Self::of(given));
                }
                resources
            };
        let container = |container: &Container| {
            let asked = requests(container.resources.as_ref());
            let mut statuses = status.into_iter().flat_map(|status| {
                let all = status.container_statuses.iter().flatten();
                all.chain(status.init_container_statuses.iter().flatten())
            });
            let own = statuses.find(|status| status.name == container.name);
            let given = own.and_then(|own| own.allocated_resources.as_ref());
            let mut resources = taken(asked, own.and_then(|own| own.resources.as_ref()), given);
            amend((asked, &mut resources));
            resources
        };
        let whole = requests(spec.resources.as_ref()).map(|asked| {
            let has = status.and_then(|status| status.resources.as_ref());
            let given = status.and_then(|status| status.allocated_resources.as_ref());
            (asked, taken(Some(asked), has, given))
        });
        Self::sum(spec, container, whole)
    }

    fn sum(spec: &PodSpec, of: impl Fn(&Container) -> Self, whole: Option<(&List, Self)>) -> Self {
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
        if let Some((asked, pod)) = whole {
            for name in asked.keys() {
                match name.as_str() {
                    "cpu" => total.milli_cpu = pod.milli_cpu,
                    "memory" => total.memory = pod.memory,
                    _ if name.starts_with("hugepages-") => {
                        let amount = pod.scalars.get(name).copied().unwrap_or(0);
                        total.scalars.insert(name.clone(), amount);
                    }
                    _ => {}
                }
            }
        }
        total.add(&Self::of(spec.overhead.as_ref()));
        total.cut();
        total
    }
}

type List = BTreeMap<String, Text>;

fn requests(resources: Option<&ResourceRequirements>) -> Option<&List> {
    resources?.requests.as_ref()
}

/// Whether the node said that it cannot give the pod what it now asks for.
fn is_resize_refused(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| {
        condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
    })
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn placed(cpu: Option<&str>, status: Value) -> Resources {
        let requests = cpu.map_or_else(|| json!({}), |cpu| json!({"cpu": cpu}));
        let pod = json!({
            "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}, "status": status,
        });
        Resources::of_placed(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn resized_in_place() {
        let status = |has: Value, given: Value| json!({"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0, "resources": has, "allocatedResources": given}]});
        let cpu = |cpu: &str| json!({"cpu": cpu});
        let has = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let refused = |mut status: Value| {
            status["conditions"] =
                json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]);
            status
        };
        for (asks, status, takes) in [
            ("1", json!({}), 1000),
            ("1", status(has("1"), cpu("1")), 1000),
            // On its way down, and up.
            ("1", status(has("2"), cpu("1")), 2000),
            ("1", status(has("1"), cpu("3")), 3000),
            ("4", status(has("1"), cpu("1")), 4000),
            // Up is not possible.
            ("4", refused(status(has("1"), cpu("2"))), 2000),
            ("4", refused(json!({})), 4000),
            // The node has not said yet.
            ("1", status(json!(null), cpu("3")), 1000),
        ] {
            assert_eq!(
                placed(Some(asks), status.clone()).milli_cpu,
                takes,
                "{asks} {status}"
            );
        }
    }

    #[test]
    fn amounts_beyond_measure_add_up() {
        let much = json!({"requests": {"cpu": "9223372036854775807", "memory": "9223372036854775807", "x/y": "9223372036854775807"}});
        let container = json!({"name": "c", "resources": much});
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "containers": [container, container], "initContainers": [container],
        }}))
        .unwrap();
        let wanted = Resources::of_pod(pod.spec.as_ref().unwrap());
        assert_eq!((wanted.milli_cpu, wanted.memory), (MOST, MOST));
        assert_eq!(wanted.scalars["x/y"], MOST);
        let mut node = Resources::default();
        for _ in 0..1000 {
            node.add(&wanted);
        }
        for _ in 0..1000 {
            node.subtract(&wanted);
        }
        assert_eq!((node.milli_cpu, node.scalars["x/y"]), (0, 0));
        assert!(MOST.checked_mul(100).is_some());
    }

    #[test]
    fn defaults_are_of_containers() {
        for (spec, cpu) in [
            (json!({"containers": [{"name": "a"}]}), 100),
            (json!({"containers": [{"name": "a"}, {"name": "b"}]}), 200),
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "0"}}}]}),
                0,
            ),
            (
                json!({"containers": [{"name": "a"}], "overhead": {"cpu": "50m"}}),
                150,
            ),
            (
                json!({"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]}),
                200,
            ),
            (
                json!({"containers": [{"name": "a"}], "resources": {"requests": {"cpu": "1"}}}),
                1000,
            ),
        ] {
            let pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let found = Resources::of_placed_at_least(&pod, 100, 1);
            assert_eq!(found.milli_cpu, cpu, "{spec}");
        }
    }

    #[test]
    fn pod_level_huge_pages() {
        let huge =
            |amount: &str| json!({"requests": {"hugepages-2Mi": amount, "example.com/gpu": "9"}});
        let spec = json!({"containers": [{"name": "a", "resources": huge("4Mi")}], "resources": huge("8Mi")});
        let found = Resources::of_pod(&serde_json::from_value(spec).unwrap());
        assert_eq!(found.scalars["hugepages-2Mi"], 8 << 20);
        assert_eq!(found.scalars["example.com/gpu"], 9);
    }
}
