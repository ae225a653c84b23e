//! The nodes of each zone, and the order in which they are looked at: one of each zone in turn, so that any share of them has all
//! zones.

use std::sync::Arc;

/// The positions of the nodes that are there, by zone. Zones and nodes are in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Zones {
    zones: Vec<(Arc<str>, Vec<usize>)>,
    /// Grows with every change.
    pub generation: u64,
}

impl Zones {
    /// A node came to a zone; the zone.
    pub(super) fn add(&mut self, key: &str, position: usize) -> Arc<str> {
        self.generation += 1;
        if let Some((key, nodes)) = self.zones.iter_mut().find(|(known, _)| **known == *key) {
            nodes.push(position);
            return key.clone();
        }
        let key: Arc<str> = key.into();
        self.zones.push((key.clone(), vec![position]));
        key
    }

    /// A node left its zone.
    pub(super) fn remove(&mut self, key: &str, position: usize) {
        self.generation += 1;
        let zone = self.zones.iter_mut().find(|(known, _)| **known == *key);
        if let Some((_, nodes)) = zone {
            nodes.retain(|known| *known != position);
        }
        self.zones.retain(|(_, nodes)| !nodes.is_empty());
    }

    /// A node has another position.
    pub(super) fn rename(&mut self, key: &str, old: usize, new: usize) {
        self.generation += 1;
        let zone = self.zones.iter_mut().find(|(known, _)| **known == *key);
        let mut nodes = zone.into_iter().flat_map(|(_, nodes)| nodes);
        if let Some(position) = nodes.find(|known| **known == old) {
            *position = new;
        }
    }

    /// One node of each zone in turn.
    pub(super) fn interleaved(&self) -> Vec<usize> {
        let count = self.zones.iter().map(|(_, nodes)| nodes.len()).sum();
        let mut all = Vec::with_capacity(count);
        let mut turn = 0;
        while all.len() < count {
            let zones = self.zones.iter();
            all.extend(zones.filter_map(|(_, nodes)| nodes.get(turn)));
            turn += 1;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_zone_in_turn() {
        let mut zones = Zones::default();
        assert_eq!(zones.interleaved(), [0_usize; 0]);
        for (position, zone) in ["a", "a", "a", "b", "c", "c"].into_iter().enumerate() {
            zones.add(zone, position);
        }
        assert_eq!(zones.interleaved(), [0, 3, 4, 1, 5, 2]);
        // The only one of its zone goes, and the last node takes its position.
        zones.remove("b", 3);
        zones.rename("c", 5, 3);
        assert_eq!(zones.interleaved(), [0, 4, 1, 3, 2]);
        zones.remove("a", 0);
        zones.add("b", 0);
        assert_eq!(zones.interleaved(), [1, 4, 0, 2, 3]);
    }
}
