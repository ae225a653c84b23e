//! VolumeBinding says the same as the plain rule, whatever the volumes and claims are.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::assume::Assumed;
use super::super::matching::{PodClaims, Sorted};
use super::{BY_HAND, Listed, claim, class, in_zone, node, parse, snapshot, volume, with};
use crate::scheduler::reference;

fn size(gigabytes: u8) -> String {
    format!("{gigabytes}Gi")
}

fn a_volume() -> impl Strategy<Value = Value> {
    let zone = prop_oneof![Just(""), Just("a"), Just("b"), Just("not a")];
    let owner = prop_oneof![5 => Just(""), 1 => Just("c0"), 1 => Just("c1"), 1 => Just("other")];
    let phase = prop_oneof![6 => Just("Available"), 1 => Just("Released")];
    (1..4_u8, zone, owner, phase, any::<bool>()).prop_map(|(gigabytes, zone, owner, phase, fast)| {
        let mut made = with(
            volume("v"),
            json!({
                "metadata": {"labels": {"fast": fast.to_string()}},
                "spec": {"capacity": {"storage": size(gigabytes)}}, "status": {"phase": phase},
            }),
        );
        made = match zone {
            "" => made,
            "not a" => {
                let terms = json!([
                    {"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]},
                    {"matchExpressions": [{"key": "disk", "operator": "Exists"}]},
                ]);
                with(made, json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}))
            }
            zone => in_zone(made, zone),
        };
        if owner.is_empty() {
            return made;
        }
        with(made, json!({"spec": {"claimRef": {"namespace": "ns", "name": owner}}}))
    })
}

fn a_claim() -> impl Strategy<Value = Value> {
    (
        1..4_u8,
        prop_oneof![2 => Just(None), 1 => Just(Some("true"))],
    )
        .prop_map(|(gigabytes, fast)| {
            let resources = json!({"requests": {"storage": size(gigabytes)}});
            let made = with(claim("c"), json!({"spec": {"resources": resources}}));
            match fast {
                None => made,
                Some(fast) => with(
                    made,
                    json!({"spec": {"selector": {"matchLabels": {"fast": fast}}}}),
                ),
            }
        })
}

fn named(index: usize, prefix: &str, object: Value) -> Value {
    let name = format!("{prefix}{index}");
    let uid = format!("uid-{name}");
    with(object, json!({"metadata": {"name": name, "uid": uid}}))
}

proptest! {
    #[test]
    fn plans(
        volumes in prop::collection::vec(a_volume(), 0..8),
        claims in prop::collection::vec(a_claim(), 1..4),
        by_hand in any::<bool>(),
    ) {
        let number = |prefix: &'static str| move |(index, object)| named(index, prefix, object);
        let volumes: Vec<Value> = volumes.into_iter().enumerate().map(number("v")).collect();
        let claims: Vec<Value> = claims.into_iter().enumerate().map(number("c")).collect();
        let class = class(if by_hand { BY_HAND } else { "csi" });
        let all: Vec<Value> = volumes.iter().chain([&class]).cloned().collect();
        let assumed = Assumed::new(Arc::new(Listed::of(&all)));
        let claims: Vec<_> = claims.iter().map(parse).collect();
        let labels = [json!({}), json!({"zone": "a"}), json!({"zone": "b", "disk": ""}), json!({"zone": "a", "disk": ""})];
        let nodes: Vec<Value> = labels.iter().enumerate().map(|(index, labels)| node(&format!("n{index}"), labels)).collect();
        let snapshot = snapshot(&nodes);
        let Ok(Sorted::Ready(fast)) = PodClaims::sort(claims.clone(), &assumed, &snapshot) else {
            panic!("the claims wait");
        };
        let volumes: Vec<_> = volumes.iter().map(parse).collect();
        // The second time from what is remembered.
        for node in snapshot.nodes().iter().chain(snapshot.nodes()) {
            let labels = node.labels().cloned().unwrap_or_default();
            let fits = fast.fits(node);
            let found = fast.plan(node.into()).map_err(|_| ()).map(|plan| {
                let bound = plan.bindings.iter().map(|(volume, claim)| {
                    (claim.metadata.name.clone().unwrap(), volume.metadata.name.clone())
                });
                let made = plan.provisions.iter().map(|claim| (claim.metadata.name.clone().unwrap(), None));
                let mut all: Vec<_> = bound.chain(made).collect();
                all.sort();
                all
            });
            prop_assert_eq!(fits, found.is_ok());
            let plain = reference::volumes::plan(&claims, &volumes, &parse(&class), &labels);
            prop_assert_eq!(found, plain, "{:?}", labels);
        }
    }
}
