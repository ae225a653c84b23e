//! Keeps events from flooding the API: like events are counted up, many similar ones become one, and a source that floods
//! about one object is cut off (`EventCorrelator` of client-go).

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

/// How many similar events (alike but for the message) within [`WINDOW_SECONDS`] are told one by one.
const SIMILAR: usize = 10;
/// How long similar events count together.
const WINDOW_SECONDS: i64 = 600;
/// How many events about one object a source may record at once …
const BURST: f64 = 25.0;
/// … and how long it takes until it may record one more.
const REFILL_SECONDS: f64 = 300.0;
/// How many keys of each kind are remembered; the oldest are forgotten.
const REMEMBERED: usize = 4096;

/// What makes events similar: component, object, type, reason.
pub(super) type Similar = (String, String, String, String);

/// What to do with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Record it anew, under this message.
    Create(String),
    /// Raise the count of the recorded event of this name.
    Count {
        name: String,
        count: i32,
        message: String,
    },
    /// Drop it.
    Drop,
}

#[derive(Debug, Default)]
pub(super) struct Correlator {
    similar: Remembered<Similar, Recent>,
    recorded: Remembered<(Similar, String), (String, i32)>,
    spam: Remembered<(String, String), Bucket>,
}

#[derive(Debug, Clone, Default)]
struct Recent {
    messages: std::collections::BTreeSet<String>,
    last: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Correlator {
    /// Judges an event that happens now.
    pub(super) fn judge(&mut self, key: &Similar, message: &str, now: Timestamp) -> Verdict {
        if !self.allowed(&(key.0.clone(), key.1.clone()), now) {
            return Verdict::Drop;
        }
        let recent = self.similar.entry(key.clone());
        if recent
            .last
            .is_some_and(|last| now.duration_since(last).as_secs() > WINDOW_SECONDS)
        {
            recent.messages.clear();
        }
        recent.last = Some(now);
        recent.messages.insert(message.to_owned());
        let combined = recent.messages.len() >= SIMILAR;
        if combined {
            // One is enough to know that there were many.
            recent.messages.pop_first();
        }
        let text = if combined {
            format!("(combined from similar events): {message}")
        } else {
            message.to_owned()
        };
        let identity = if combined {
            String::new()
        } else {
            message.to_owned()
        };
        match self.recorded.get_mut(&(key.clone(), identity)) {
            Some((name, count)) => {
                *count += 1;
                Verdict::Count {
                    name: name.clone(),
                    count: *count,
                    message: text,
                }
            }
            None => Verdict::Create(text),
        }
    }

    /// Notes that an event with this (final) message was recorded under `name`.
    pub(super) fn recorded(&mut self, key: Similar, message: &str, name: String) {
        let identity = if message.starts_with("(combined from similar events): ") {
            ""
        } else {
            message
        };
        *self
            .recorded
            .entry_or((key, identity.to_owned()), || (String::new(), 1)) = (name, 1);
    }

    /// Notes that the recorded event is gone.
    pub(super) fn forget(&mut self, key: Similar, message: &str) {
        let identity = if message.starts_with("(combined from similar events): ") {
            ""
        } else {
            message
        };
        self.recorded.remove(&(key, identity.to_owned()));
    }

    fn allowed(&mut self, key: &(String, String), now: Timestamp) -> bool {
        let bucket = self.spam.entry_or(key.clone(), || Bucket {
            tokens: BURST,
            at: now,
        });
        let passed = now.duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed / REFILL_SECONDS).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// A map that forgets its oldest keys.
#[derive(Debug)]
struct Remembered<K, V> {
    values: BTreeMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Ord + Clone, V> Remembered<K, V> {
    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.entry_or(key, V::default)
    }

    fn entry_or(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if !self.values.contains_key(&key) {
            self.order.push_back(key.clone());
            while self.order.len() > REMEMBERED {
                if let Some(oldest) = self.order.pop_front() {
                    self.values.remove(&oldest);
                }
            }
        }
        self.values.entry(key).or_insert_with(make)
    }

    fn remove(&mut self, key: &K) {
        if self.values.remove(key).is_some() {
            self.order.retain(|have| have != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn key() -> Similar {
        ("c".into(), "o".into(), "Normal".into(), "R".into())
    }

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn like_events_are_counted() {
        let mut correlator = Correlator::default();
        assert_eq!(
            correlator.judge(&key(), "m", start()),
            Verdict::Create("m".into())
        );
        correlator.recorded(key(), "m", "e1".into());
        let count = |count| Verdict::Count {
            name: "e1".into(),
            count,
            message: "m".into(),
        };
        assert_eq!(correlator.judge(&key(), "m", start()), count(2));
        assert_eq!(correlator.judge(&key(), "m", start()), count(3));
        correlator.forget(key(), "m");
        assert_eq!(
            correlator.judge(&key(), "m", start()),
            Verdict::Create("m".into())
        );
    }

    #[test]
    fn many_similar_events_become_one() {
        let mut correlator = Correlator::default();
        for number in 0..9 {
            assert_eq!(
                correlator.judge(&key(), &format!("m{number}"), start()),
                Verdict::Create(format!("m{number}"))
            );
        }
        let combined = "(combined from similar events): m9";
        assert_eq!(
            correlator.judge(&key(), "m9", start()),
            Verdict::Create(combined.into())
        );
        correlator.recorded(key(), combined, "e".into());
        let counted = correlator.judge(&key(), "m10", start());
        assert_eq!(
            counted,
            Verdict::Count {
                name: "e".into(),
                count: 2,
                message: "(combined from similar events): m10".into()
            }
        );
        let later = start() + SignedDuration::from_secs(WINDOW_SECONDS + 1);
        assert_eq!(
            correlator.judge(&key(), "m11", later),
            Verdict::Create("m11".into())
        );
    }

    #[test]
    fn floods_are_cut_off_and_recover() {
        let mut correlator = Correlator::default();
        let verdicts: Vec<_> = (0..30)
            .map(|_| correlator.judge(&key(), "m", start()))
            .collect();
        assert_eq!(
            verdicts
                .iter()
                .filter(|verdict| **verdict == Verdict::Drop)
                .count(),
            5
        );
        let later = start() + SignedDuration::from_secs(300);
        assert_ne!(correlator.judge(&key(), "m", later), Verdict::Drop);
        assert_eq!(correlator.judge(&key(), "m", later), Verdict::Drop);
    }

    #[test]
    fn memory_is_bounded() {
        let mut correlator = Correlator::default();
        for number in 0..2 * REMEMBERED {
            correlator.judge(
                &("c".into(), number.to_string(), "t".into(), "r".into()),
                "m",
                start(),
            );
        }
        assert!(
            correlator.similar.values.len() <= REMEMBERED
                && correlator.spam.order.len() <= REMEMBERED
        );
    }
}
