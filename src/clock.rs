//! The one clock and the one source of chance.
//!
//! Timers are `tokio::time`; every wall-clock timestamp, uid and random name suffix comes from a [`Clock`]. The wall time of
//! a `Clock` is an epoch plus what tokio's clock has passed since, so under tokio's paused clock it is virtual. A seeded
//! `Clock` gives the same uids, suffixes and jitter in every run that asks for them in the same order.
//!
//! Architecture invariant: nothing else in the crate reads the system's clock or its randomness (`tests/tidy.rs` checks).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The characters that Kubernetes uses in generated names: no vowels and no look-alikes, so that no words come about.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Where the wall clock of a seeded [`Clock`] starts: 2026-01-01T00:00:00Z.
const SEEDED_EPOCH_SECONDS: i64 = 1_767_225_600;

/// Wall time, uids, name suffixes and jitter from one seedable source that follows tokio's clock. Cheap to clone; clones
/// share the random stream.
#[derive(Clone, Debug)]
pub struct Clock {
    epoch: Timestamp,
    start: Instant,
    seed: u64,
    random: Arc<Mutex<Random>>,
}

impl Clock {
    /// A clock whose wall time starts at 2026-01-01T00:00:00Z and whose chance follows from `seed`.
    ///
    /// ```
    /// use homeostat::clock::Clock;
    /// assert_eq!(Clock::seeded(7).uid(), Clock::seeded(7).uid());
    /// assert_ne!(Clock::seeded(7).uid(), Clock::seeded(8).uid());
    /// ```
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let epoch = Timestamp::from_second(SEEDED_EPOCH_SECONDS).unwrap_or(Timestamp::UNIX_EPOCH);
        Self::new(epoch, seed)
    }

    /// A clock that shows the machine's wall time and is seeded by the operating system.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    pub fn system() -> Self {
        Self::new(Timestamp::now(), RandomState::new().build_hasher().finish())
    }

    fn new(epoch: Timestamp, seed: u64) -> Self {
        Self {
            epoch,
            start: Instant::now(),
            seed,
            random: Arc::new(Mutex::new(Random(seed))),
        }
    }

    /// A clock of the same time with a random stream of its own, which depends on the seed and `label` only. Components
    /// that draw from streams of their own do not disturb one another's draws.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        // FNV-1a: stable across runs and versions, unlike std's hashers.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let seed = Random(self.seed ^ hash).next();
        Self {
            epoch: self.epoch,
            start: self.start,
            seed,
            random: Arc::new(Mutex::new(Random(seed))),
        }
    }

    /// The wall time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// The wall time at `instant` of tokio's clock.
    #[must_use]
    pub fn at(&self, instant: Instant) -> Timestamp {
        let elapsed = SignedDuration::try_from(instant.saturating_duration_since(self.start));
        elapsed
            .ok()
            .and_then(|elapsed| self.epoch.checked_add(elapsed).ok())
            .unwrap_or(Timestamp::MAX)
    }

    /// How long ago `then` was; zero when it is still to come.
    #[must_use]
    pub fn since(&self, then: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(then)).unwrap_or(Duration::ZERO)
    }

    /// A random (version 4) UUID, as Kubernetes uses for uids.
    #[must_use]
    pub fn uid(&self) -> String {
        let (high, low) = {
            let mut random = self.random.lock();
            (random.next(), random.next())
        };
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// A random name suffix of `length` characters from the alphabet that Kubernetes uses for generated names.
    #[must_use]
    pub fn suffix(&self, length: usize) -> String {
        let mut random = self.random.lock();
        (0..length)
            .map(|_| {
                let index = random.below(SUFFIX_ALPHABET.len() as u64);
                char::from(SUFFIX_ALPHABET[usize::try_from(index).unwrap_or(0)])
            })
            .collect()
    }

    /// A random number.
    #[must_use]
    pub fn random(&self) -> u64 {
        self.random.lock().next()
    }

    /// A random number below `bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.random.lock().below(bound)
    }

    /// `duration` lengthened by a random part of up to `factor` of it (`wait.Jitter` of Kubernetes).
    #[must_use]
    pub fn jitter(&self, duration: Duration, factor: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "53 bits of chance are plenty")]
        let fraction = (self.random() >> 11) as f64 / (1_u64 << 53) as f64;
        duration.mul_f64(1.0 + fraction * factor)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, equidistributed; not for secrets.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Multiply-shift reduction (Lemire 2019); its bias is below 2^-32 for the bounds used here.
    fn below(&mut self, bound: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(bound)) >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wall_time_follows_tokios_clock() {
        let clock = Clock::seeded(1);
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(300)).await;
        assert_eq!(clock.since(before), Duration::from_secs(300));
        assert_eq!(before.to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn uids_are_version_4_uuids() {
        let uid = Clock::seeded(3).uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert!(matches!(uid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }

    #[test]
    fn forks_are_independent_of_the_parents_draws() {
        let (one, two) = (Clock::seeded(5), Clock::seeded(5));
        let _ = one.random();
        assert_eq!(
            one.fork("scheduler").random(),
            two.fork("scheduler").random()
        );
        assert_ne!(two.fork("scheduler").random(), two.fork("node").random());
    }

    #[test]
    fn suffixes_use_the_alphabet() {
        let suffix = Clock::seeded(9).suffix(64);
        assert!(suffix.bytes().all(|byte| SUFFIX_ALPHABET.contains(&byte)));
    }
}
