//! What is scarce, since when, and what follows from it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::threshold::{Eviction, Pressure, Threshold};
use crate::node::kubelet::vitals::Vitals;

/// What was seen before.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Since when thresholds are crossed, by their place in the list.
    since: BTreeMap<usize, Instant>,
    /// Those that were crossed for longer than their grace, and not yet resolved.
    met: BTreeSet<usize>,
    /// When a scarcity that makes a condition was seen last.
    seen: BTreeMap<Pressure, Instant>,
}

impl Judge {
    /// Looks at the machine: its conditions, and the thresholds for which something must be done, the most urgent first.
    pub(super) fn look<'a>(
        &mut self,
        config: &'a Eviction,
        vitals: &Vitals,
        now: Instant,
    ) -> (BTreeSet<Pressure>, Vec<&'a Threshold>) {
        let mut since = BTreeMap::new();
        for (index, threshold) in config.thresholds.iter().enumerate() {
            // One that was acted upon counts until enough was won back.
            let again = self.met.contains(&index);
            let crossed = threshold.is_met(vitals, false) == Some(true)
                || (again && threshold.is_met(vitals, true) == Some(true));
            if crossed {
                let first = self.since.get(&index).copied().unwrap_or(now);
                since.insert(index, first);
                self.seen.insert(threshold.signal.pressure(), now);
            }
        }
        self.since = since;
        self.seen
            .retain(|_, seen| now.duration_since(*seen) < config.transition || *seen == now);
        let due = self.since.iter().filter(|(index, first)| {
            let threshold = config.thresholds.get(**index);
            threshold.is_some_and(|threshold| now.duration_since(**first) >= threshold.grace)
        });
        self.met = due.map(|(index, _)| *index).collect();
        let all = self.met.iter();
        let mut due: Vec<&Threshold> = all
            .filter_map(|index| config.thresholds.get(*index))
            .collect();
        due.sort_by_key(|threshold| !threshold.signal.is_memory());
        (self.seen.keys().copied().collect(), due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::threshold::Signal;
    use super::*;
    use crate::node::kubelet::vitals::Room;

    fn vitals(memory: u64, disk: u64) -> Vitals {
        let room = |available| {
            Some(Room {
                available,
                capacity: 1000,
            })
        };
        Vitals {
            memory: room(memory),
            node_fs: room(disk),
            ..Vitals::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn from_scarcity_to_relief() {
        use Pressure::{Disk, Memory};
        let minute = Duration::from_secs(60);
        let config = Eviction::none()
            .hard("nodefs.available", "10%")
            .and_then(|config| config.minimum_reclaim("nodefs.available", "50"))
            .and_then(|config| config.hard("memory.available", "100"))
            .and_then(|config| config.soft("memory.available", "20%", minute))
            .unwrap();
        let start = Instant::now();
        let mut judge = Judge::default();
        for (second, memory, disk, conditions, due) in [
            (0, 500, 500, vec![], vec![]),
            // Soft: the condition at once, the rest after a minute.
            (10, 150, 500, vec![Memory], vec![]),
            (60, 150, 500, vec![Memory], vec![]),
            (70, 150, 500, vec![Memory], vec![Signal::Memory]),
            // Two at a time: memory first.
            (
                80,
                50,
                50,
                vec![Memory, Disk],
                vec![Signal::Memory, Signal::Memory, Signal::NodeFs],
            ),
            // Memory is there again; of the disk not enough.
            (90, 500, 120, vec![Memory, Disk], vec![Signal::NodeFs]),
            (100, 500, 150, vec![Memory, Disk], vec![]),
            // Once resolved, the threshold itself counts.
            (110, 500, 120, vec![Memory, Disk], vec![]),
            // Conditions stay for five minutes.
            (379, 500, 500, vec![Memory, Disk], vec![]),
            (381, 500, 500, vec![Disk], vec![]),
            (391, 500, 500, vec![], vec![]),
        ] {
            let (found, thresholds) = judge.look(
                &config,
                &vitals(memory, disk),
                start + Duration::from_secs(second),
            );
            assert_eq!(
                found.into_iter().collect::<Vec<_>>(),
                conditions,
                "{second}"
            );
            let signals: Vec<Signal> = thresholds.iter().map(|one| one.signal).collect();
            assert_eq!(signals, due, "{second}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_known_is_not_scarce() {
        let config = Eviction::default();
        let (conditions, due) = Judge::default().look(&config, &Vitals::default(), Instant::now());
        assert!(conditions.is_empty() && due.is_empty());
    }
}
