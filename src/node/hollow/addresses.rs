//! Addresses of pretended pods, one for each as long as it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::reconcile::Key;

/// They are of 10.64.0.0/11, from the first one that ends in 1: what follows is the default range of services.
const FIRST: u32 = u32::from_be_bytes([10, 64, 0, 1]);
/// How many there are: up to 10.95.255.254.
const COUNT: u32 = (1 << 21) - 2;

/// Which pod has which address. All nodes share them: there are far fewer pods than addresses, and no limit on nodes.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    given: BTreeMap<Key, u32>,
    used: BTreeSet<u32>,
    /// Where the search for a free one begins: one that was given back rests as long as possible.
    next: u32,
}

impl Addresses {
    /// The address of a pod, the same until it is released; `None`: there is none left.
    pub(super) fn of(&mut self, pod: &Key) -> Option<Ipv4Addr> {
        if let Some(given) = self.given.get(pod) {
            return Some(address(*given));
        }
        let from = self.next;
        let mut free = (from..COUNT).chain(0..from);
        let place = free.find(|place| !self.used.contains(place))?;
        self.next = (place + 1) % COUNT;
        self.take(pod.clone(), place);
        Some(address(place))
    }

    /// Notes the address that a pod has.
    pub(super) fn note(&mut self, pod: Key, known: &str) {
        let known: Option<Ipv4Addr> = known.parse().ok();
        let place = known.and_then(|known| known.to_bits().checked_sub(FIRST));
        if let Some(place) = place.filter(|place| *place < COUNT) {
            self.take(pod, place);
        }
    }

    /// The pod is gone.
    pub(super) fn release(&mut self, pod: &Key) {
        if let Some(place) = self.given.remove(pod) {
            self.used.remove(&place);
        }
    }

    fn take(&mut self, pod: Key, place: u32) {
        self.used.insert(place);
        if let Some(old) = self.given.insert(pod, place).filter(|old| *old != place) {
            self.used.remove(&old);
        }
    }
}

fn address(place: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::new("default", format!("p-{number}"))
    }

    #[test]
    fn each_pod_has_its_own() {
        let mut addresses = Addresses::default();
        let mut given = |number| addresses.of(&key(number)).unwrap();
        let first = given(0);
        assert_eq!(first.to_string(), "10.64.0.1");
        assert_eq!(given(0), first);
        let many: BTreeSet<Ipv4Addr> = (0..100_000).map(given).collect();
        assert_eq!(many.len(), 100_000);
        assert!(many.iter().all(|one| (64..96).contains(&one.octets()[1])));
    }

    #[test]
    fn what_is_used_is_not_given_again() {
        let mut addresses = Addresses::default();
        // As pods of an agent before this one have them; others are somebody else's.
        for (number, known) in [
            (0, "10.64.0.1"),
            (1, "10.64.0.3"),
            (2, "10.96.0.1"),
            (3, ""),
        ] {
            addresses.note(key(number), known);
        }
        let mut of = |number| addresses.of(&key(number)).unwrap().to_string();
        assert_eq!(
            [of(4), of(5), of(1)],
            ["10.64.0.2", "10.64.0.4", "10.64.0.3"]
        );
        addresses.release(&key(4));
        addresses.release(&key(9));
        assert_eq!(addresses.of(&key(6)).unwrap().to_string(), "10.64.0.5");
        // At the end it goes on from the beginning, until there is none left.
        addresses.next = COUNT - 1;
        let last = [7, 8].map(|number| addresses.of(&key(number)).unwrap().to_string());
        assert_eq!(last, ["10.95.255.254", "10.64.0.2"]);
        addresses.used = (0..COUNT).collect();
        assert_eq!(addresses.of(&key(9)), None);
    }
}
