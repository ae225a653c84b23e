//! Whatever happens to a cluster, what is remembered and counted says the same as the plain rules: the nodes that fit, their
//! scores, and who has to leave.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::reconcile::Key;
use crate::scheduler::explain::evaluate;
use crate::scheduler::framework::Profile;
use crate::scheduler::reference::{pod_affinity, preemption, topology_spread};

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Node {
        node: u8,
        zone: u8,
        cpu: u8,
        taint: u8,
    },
    NoNode(u8),
    Pod {
        pod: u8,
        node: u8,
        shape: u8,
    },
    NoPod(u8),
    Nominate {
        pod: u8,
        node: u8,
        shape: u8,
    },
    NoNomination(u8),
    Namespace {
        name: u8,
        team: bool,
    },
    Budget {
        shape: u8,
        allowed: u8,
    },
    Decide {
        shape: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (node, pod, shape) = (0..6_u8, 0..14_u8, 0..SHAPES);
    prop_oneof![
        3 => (node.clone(), 0..4_u8, 1..6_u8, 0..4_u8)
            .prop_map(|(node, zone, cpu, taint)| Step::Node { node, zone, cpu, taint }),
        1 => node.clone().prop_map(Step::NoNode),
        6 => (pod.clone(), node.clone(), shape.clone())
            .prop_map(|(pod, node, shape)| Step::Pod { pod, node, shape }),
        2 => pod.clone().prop_map(Step::NoPod),
        1 => (pod.clone(), node, shape.clone())
            .prop_map(|(pod, node, shape)| Step::Nominate { pod, node, shape }),
        1 => pod.prop_map(Step::NoNomination),
        1 => (0..2_u8, any::<bool>()).prop_map(|(name, team)| Step::Namespace { name, team }),
        1 => (shape.clone(), 0..2_u8).prop_map(|(shape, allowed)| Step::Budget { shape, allowed }),
        6 => shape.prop_map(|shape| Step::Decide { shape }),
    ]
}

const SHAPES: u8 = 12;
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A pod of one of a few kinds that get in each other's way.
fn shaped(name: &str, shape: u8) -> Arc<PodInfo> {
    let app = ["web", "db", "cache"][usize::from(shape % 3)];
    let to = |app: &str, key: &str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key});
    let weighted = |app: &str, key: &str, weight: i32| json!([{"weight": weight, "podAffinityTerm": to(app, key)}]);
    let spread = |key: &str, skew: i32, action: &str| json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": action, "labelSelector": {"matchLabels": {"app": app}}});
    let host = "kubernetes.io/hostname";
    let mut everywhere = to("cache", "zone");
    everywhere["namespaceSelector"] = json!({"matchLabels": {"team": "a"}});
    let mut own_version = spread("zone", 1, "DoNotSchedule");
    own_version["matchLabelKeys"] = json!(["version"]);
    own_version["minDomains"] = json!(3);
    let mut honours = spread("zone", 1, "DoNotSchedule");
    honours["nodeTaintsPolicy"] = json!("Honor");
    let more = match shape {
        0 => json!({}),
        1 => json!({"topologySpreadConstraints": [spread("zone", 1, "DoNotSchedule")]}),
        2 => json!({"topologySpreadConstraints": [own_version, spread(host, 2, "DoNotSchedule")]}),
        3 => {
            json!({"topologySpreadConstraints": [spread("zone", 1, "ScheduleAnyway"), spread(host, 1, "ScheduleAnyway")]})
        }
        4 => json!({"affinity": {"podAffinity": {REQUIRED: [to("db", "zone")]}}}),
        5 => json!({"affinity": {"podAntiAffinity": {REQUIRED: [to("cache", host)]}}}),
        6 => {
            json!({"affinity": {"podAffinity": {REQUIRED: [to("web", "zone"), to("web", host)]}, "podAntiAffinity": {PREFERRED: weighted("db", host, 7)}}})
        }
        7 => {
            json!({"affinity": {"podAffinity": {PREFERRED: weighted("web", "zone", 5)}, "podAntiAffinity": {REQUIRED: [everywhere]}}})
        }
        8 => json!({"nodeSelector": {"zone": "z1"}, "topologySpreadConstraints": [honours]}),
        9 => {
            json!({"tolerations": [{"operator": "Exists"}], "affinity": {"podAntiAffinity": {PREFERRED: weighted("web", "zone", 3)}}})
        }
        10 => json!({"affinity": {"podAntiAffinity": {REQUIRED: [to("web", "zone")]}}}),
        _ => json!({"priority": 5}),
    };
    let cpu = format!("{}", 1 + shape % 2);
    let mut spec = json!({"priority": shape % 4, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
    let spec_map = spec.as_object_mut().unwrap();
    spec_map.extend(more.as_object().unwrap().clone());
    let pod = json!({
        "metadata": {"name": name, "namespace": format!("ns{}", shape % 2), "labels": {"app": app, "version": (shape % 2).to_string()}},
        "spec": spec,
    });
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
}

fn parsed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A cluster to which things happen.
struct World {
    snapshot: Snapshot,
    places: BTreeMap<Key, String>,
    framework: Arc<Framework>,
    cycle: SchedulingCycle,
    decisions: usize,
}

impl World {
    fn new() -> Self {
        Self {
            snapshot: Snapshot::default(),
            places: BTreeMap::new(),
            framework: Arc::new(Framework::for_tests(&Profile::default())),
            cycle: SchedulingCycle::new(Clock::seeded(1), Some(100)),
            decisions: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        let named = |node: &u8| format!("n{node}");
        match step {
            Step::Node {
                node,
                zone,
                cpu,
                taint,
            } => {
                let name = named(node);
                let mut labels = json!({"kubernetes.io/hostname": name});
                if *zone > 0 {
                    labels["zone"] = format!("z{zone}").into();
                }
                let taints = match taint {
                    1 => json!([{"key": "k", "effect": "NoSchedule"}]),
                    2 => json!([{"key": "k", "effect": "PreferNoSchedule"}]),
                    _ => json!([]),
                };
                let node = json!({
                    "metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
                    "status": {"allocatable": {"cpu": cpu.to_string(), "memory": "8Gi", "pods": "9"}},
                });
                self.snapshot.set_node(&name, Some(parsed(node)));
            }
            Step::NoNode(node) => self.snapshot.set_node(&named(node), None),
            Step::Pod { pod, node, shape } => {
                let info = shaped(&format!("p{pod}"), *shape);
                self.leave(&info.key);
                self.snapshot.withdraw(&info.key);
                self.snapshot.add_pod(&named(node), &info);
                self.places.insert(info.key.clone(), named(node));
            }
            Step::NoPod(pod) => {
                for namespace in ["ns0", "ns1"] {
                    self.leave(&Key::new(namespace, format!("p{pod}")));
                }
            }
            Step::Nominate { pod, node, shape } => {
                let info = shaped(&format!("p{pod}"), *shape);
                if !self.places.contains_key(&info.key) {
                    self.snapshot.nominate(&info, &named(node));
                }
            }
            Step::NoNomination(pod) => {
                for namespace in ["ns0", "ns1"] {
                    self.snapshot
                        .withdraw(&Key::new(namespace, format!("p{pod}")));
                }
            }
            Step::Namespace { name, team } => {
                let name = format!("ns{name}");
                let team = if *team { "a" } else { "b" };
                let namespace = json!({"metadata": {"name": name, "labels": {"team": team}}});
                self.snapshot
                    .set_namespace(&name.into(), Some(parsed(namespace)));
            }
            Step::Budget { shape, allowed } => {
                let app = ["web", "db", "cache"][usize::from(shape % 3)];
                let key = Key::new(format!("ns{}", shape % 2), app);
                let budget = json!({
                    "metadata": {"name": app}, "spec": {"selector": {"matchLabels": {"app": app}}},
                    "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
                });
                self.snapshot.set_budget(key, Some(parsed(budget)));
            }
            Step::Decide { shape } => self.decide(*shape),
        }
    }

    fn leave(&mut self, pod: &Key) {
        if let Some(node) = self.places.remove(pod) {
            self.snapshot.remove_pod(&node, pod);
        }
    }

    fn decide(&mut self, shape: u8) {
        let snapshot = std::mem::take(&mut self.snapshot);
        self.decide_on(&snapshot, shape);
        self.snapshot = snapshot;
    }

    fn decide_on(&mut self, snapshot: &Snapshot, shape: u8) {
        self.decisions += 1;
        let pod = shaped(&format!("new{}", self.decisions), shape);
        let framework = self.framework.clone();
        let explained = evaluate(&framework, &pod, snapshot);
        let search = self.cycle.search(&framework, &pod, snapshot);
        let mut search = search.unwrap_or_else(|decision| panic!("{decision:?}"));
        let mut fitting: Vec<&str> = search.nodes().iter().map(|node| &*node.name).collect();
        fitting.sort_unstable();
        let plain: Vec<&str> = explained
            .nodes
            .iter()
            .filter(|node| node.fits())
            .map(|node| &*node.node)
            .collect();
        assert_eq!(fitting, plain, "{pod:?}");
        Self::rules(snapshot, &pod, &explained);
        if search.fitting.len() > 1 {
            self.cycle.choose(&mut search, &[]).unwrap();
            let totals = self.cycle.scratch.totals.iter().copied();
            let names = search.nodes().into_iter().map(|node| node.name.clone());
            let totals: BTreeMap<Arc<str>, i64> = names.zip(totals).collect();
            let scored = explained.nodes.iter().filter(|node| node.fits());
            let scored: BTreeMap<Arc<str>, i64> = scored
                .map(|node| (node.node.clone(), node.total()))
                .collect();
            assert_eq!(totals, scored, "{pod:?}");
        }
        if search.fitting.is_empty() && snapshot.present() > 0 {
            self.victims(snapshot, &pod, search);
        } else {
            self.cycle.put(&mut search);
        }
    }

    /// The words of the plugins that count pods, against the plain rules.
    fn rules(
        snapshot: &Snapshot,
        pod: &Arc<PodInfo>,
        explained: &crate::scheduler::framework::Explanation,
    ) {
        // Nominated pods count as if they were there, which the plain rules do not know of.
        let is_free = |name: &str| snapshot.nominated_to(name).next().is_none();
        for node in explained.nodes.iter().filter(|node| is_free(&node.node)) {
            let info = snapshot.get(&node.node).unwrap();
            let said = |plugin: &str| {
                let mut verdicts = node.verdicts.iter();
                let verdict = verdicts.find(|(name, _)| name == plugin);
                verdict.is_none_or(|(_, status)| status.is_success())
            };
            let spread = topology_spread::filter(pod, info, snapshot) == Some(true);
            assert_eq!(said("PodTopologySpread"), spread, "{} {pod:?}", node.node);
            let near = pod_affinity::filter(pod, info, snapshot) == 0;
            assert_eq!(said("InterPodAffinity"), near, "{} {pod:?}", node.node);
        }
        let fitting: Vec<_> = explained.nodes.iter().filter(|node| node.fits()).collect();
        if fitting.len() < 2 {
            return;
        }
        let infos: Vec<&NodeInfo> = fitting
            .iter()
            .map(|node| snapshot.get(&node.node).unwrap())
            .collect();
        for (plugin, scores) in [
            (
                "PodTopologySpread",
                topology_spread::scores(pod, &infos, snapshot),
            ),
            (
                "InterPodAffinity",
                pod_affinity::scores(pod, &infos, snapshot),
            ),
        ] {
            let given = fitting.iter().map(|node| {
                let mut scores = node.scores.iter();
                let score = scores.find(|score| score.plugin == plugin);
                score.map_or(0, |score| score.normalized)
            });
            let plain = scores.unwrap_or_else(|| vec![0; infos.len()]);
            assert_eq!(given.collect::<Vec<_>>(), plain, "{plugin} {pod:?}");
        }
    }

    fn victims(&mut self, now: &Snapshot, pod: &Arc<PodInfo>, search: Search<'_>) {
        let Decision::Unfit(unfit) = self.cycle.finish(search, ByExtenders::default()) else {
            panic!("it fits");
        };
        if self
            .places
            .values()
            .any(|node| now.nominated_to(node).next().is_some())
        {
            return;
        }
        // Whether the pod would fit a node with other pods is found out on a whole cluster made anew.
        let fits = |name: &str, there: &[Arc<PodInfo>]| {
            let mut snapshot = Snapshot::default();
            for namespace in ["ns0", "ns1"] {
                let labels = now.namespace_labels(namespace);
                let made = json!({"metadata": {"name": namespace, "labels": labels}});
                snapshot.set_namespace(&namespace.into(), Some(parsed(made)));
            }
            for node in now.nodes() {
                snapshot.set_node(&node.name, node.node.clone());
                let pods: Vec<_> = if &*node.name == name {
                    there.to_vec()
                } else {
                    node.pods.values().cloned().collect()
                };
                for pod in &pods {
                    snapshot.add_pod(&node.name, pod);
                }
            }
            let explained = evaluate(&self.framework, pod, &snapshot);
            let mut nodes = explained.nodes.iter();
            nodes.any(|node| &*node.node == name && node.fits())
        };
        let all = preemption::choose(pod, now, fits);
        let names = |victims: &[Arc<PodInfo>]| -> Vec<String> {
            victims
                .iter()
                .map(|victim| victim.key.to_string())
                .collect()
        };
        match unfit.room {
            None => assert!(all.is_empty(), "{pod:?} {all:?}"),
            Some((node, victims)) => {
                let plain = all.iter().find(|(name, _)| *name == node);
                let plain = plain.unwrap_or_else(|| panic!("{node} {pod:?} {all:?}"));
                assert_eq!(names(&victims), names(&plain.1), "{node} {pod:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_says_what_the_plain_rules_say(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        for shape in 0..SHAPES {
            // Twice: a class is remembered from the second pod on.
            world.decide(shape);
            world.decide(shape);
        }
    }
}
