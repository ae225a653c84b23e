//! Resources of single nodes: whether a pod fits, and how good that is. All is added up anew.

use crate::scheduler::framework::{NodeInfo, PodInfo};

/// cpu, memory and gpus.
type Three = [i64; 3];

const GPU: &str = "example.com/gpu";

fn requests(pod: &PodInfo) -> Three {
    let gpu = pod.requests.scalars.get(GPU).copied().unwrap_or(0);
    [pod.requests.milli_cpu, pod.requests.memory, gpu]
}

fn has(node: &NodeInfo) -> Three {
    let gpu = node.allocatable.scalars.get(GPU).copied().unwrap_or(0);
    [node.allocatable.milli_cpu, node.allocatable.memory, gpu]
}

/// What is short, in words, and whether for good.
pub(crate) fn fit(pod: &PodInfo, node: &NodeInfo) -> (Vec<String>, bool) {
    let mut reasons = Vec::new();
    let mut never = false;
    if node.pods.len() >= node.allowed_pods {
        reasons.push("Too many pods".to_owned());
    }
    let names = ["cpu", "memory", GPU];
    for (index, name) in names.into_iter().enumerate() {
        let wanted = requests(pod)[index];
        let taken: i64 = node.pods.values().map(|other| requests(other)[index]).sum();
        if wanted > 0 && taken + wanted > has(node)[index] {
            reasons.push(format!("Insufficient {name}"));
            never |= wanted > has(node)[index];
        }
    }
    (reasons, never)
}

/// The share of cpu and memory that is left, in percent, in the middle.
pub(crate) fn least(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let of = |pod: &PodInfo| [pod.non_zero.0, pod.non_zero.1];
    let (mut sum, mut count) = (0, 0);
    for index in 0..2 {
        let have = has(node)[index];
        let used: i64 = node
            .pods
            .values()
            .map(|other| of(other)[index])
            .sum::<i64>()
            + of(pod)[index];
        if have > 0 {
            sum += if used > have {
                0
            } else {
                (have - used) * 100 / have
            };
            count += 1;
        }
    }
    if count == 0 { 0 } else { sum / count }
}

/// 100 less what lies between the shares of cpu and memory that are used, halved; `None`: the pod asks for neither.
pub(crate) fn balanced(pod: &PodInfo, node: &NodeInfo) -> Option<i64> {
    let mine = requests(pod);
    if mine[0] == 0 && mine[1] == 0 {
        return None;
    }
    let mut shares = Vec::new();
    for (index, mine) in mine.iter().enumerate().take(2) {
        let used: i64 = node
            .pods
            .values()
            .map(|other| requests(other)[index])
            .sum::<i64>()
            + mine;
        if has(node)[index] > 0 {
            shares.push((used as f64 / has(node)[index] as f64).min(1.0));
        }
    }
    let apart = if shares.len() == 2 {
        (shares[0] - shares[1]).abs() / 2.0
    } else {
        0.0
    };
    Some(((1.0 - apart) * 100.0) as i64)
}
