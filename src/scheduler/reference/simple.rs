//! Labels, taints, cordons, ports and images of single nodes.

use k8s_openapi::api::core::v1::Toleration;

use crate::scheduler::framework::{NodeInfo, PodInfo, Snapshot};

/// Whether a node has all that the selector names, and one of the required terms holds.
pub(crate) fn node_affinity(pod: &PodInfo, node: &NodeInfo) -> bool {
    let spec = pod.spec().unwrap();
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| node.label(key) == Some(value));
    let affinity = spec.affinity.as_ref();
    let required = affinity.and_then(|affinity| {
        let affinity = affinity.node_affinity.as_ref()?;
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    selected
        && required.is_none_or(|required| {
            required.node_selector_terms.iter().any(|term| {
                let expressions = term.match_expressions.iter().flatten();
                expressions.clone().count() > 0
                    && expressions.clone().all(|wanted| {
                        let has = node.label(&wanted.key);
                        let listed =
                            |value: &str| wanted.values.iter().flatten().any(|one| one == value);
                        match wanted.operator.as_str() {
                            "In" => has.is_some_and(listed),
                            "NotIn" => !has.is_some_and(listed),
                            "Exists" => has.is_some(),
                            "DoesNotExist" => has.is_none(),
                            other => panic!("{other}"),
                        }
                    })
            })
        })
}

fn tolerates(toleration: &Toleration, key: &str, value: &str, effect: &str) -> bool {
    let own_effect = toleration.effect.as_deref().unwrap_or("");
    let own_key = toleration.key.as_deref().unwrap_or("");
    if !own_effect.is_empty() && own_effect != effect || !own_key.is_empty() && own_key != key {
        return false;
    }
    toleration.operator.as_deref() == Some("Exists")
        || toleration.value.as_deref().unwrap_or("") == value
}

/// How many taints of these effects the pod does not tolerate.
pub(crate) fn untolerated(pod: &PodInfo, node: &NodeInfo, effects: &[&str]) -> i64 {
    let mut count = 0;
    for taint in node.taints() {
        let value = taint.value.as_deref().unwrap_or("");
        let tolerated = pod
            .tolerations()
            .iter()
            .any(|toleration| tolerates(toleration, &taint.key, value, &taint.effect));
        if effects.contains(&taint.effect.as_str()) && !tolerated {
            count += 1;
        }
    }
    count
}

/// Whether no pod of the node has a port that the pod wants, at the same address or at all.
pub(crate) fn ports(pod: &PodInfo, node: &NodeInfo) -> bool {
    !node.pods.values().any(|other| {
        other.host_ports.iter().any(|taken| {
            pod.host_ports.iter().any(|wanted| {
                let anywhere = [&taken.address, &wanted.address]
                    .iter()
                    .any(|one| *one == "0.0.0.0");
                taken.number == wanted.number
                    && taken.protocol == wanted.protocol
                    && (anywhere || taken.address == wanted.address)
            })
        })
    })
}

/// The score of images: what of them is there, each less if few nodes have it, between 23 MB and 1000 MB a container.
pub(crate) fn images(pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> i64 {
    let spec = pod.spec().unwrap();
    let mb = 1024 * 1024;
    let mut sum = 0;
    for container in &spec.containers {
        let image = container.image.clone().unwrap();
        let Some(size) = node.images.get(&image) else {
            continue;
        };
        let nodes = snapshot.nodes();
        let having = nodes
            .iter()
            .filter(|node| node.images.contains_key(&image))
            .count();
        sum += (*size as f64 * (having as f64 / nodes.len() as f64)) as i64;
    }
    let most = 1000 * mb * i64::try_from(spec.containers.len()).unwrap();
    100 * (sum.clamp(23 * mb, most) - 23 * mb) / (most - 23 * mb)
}
