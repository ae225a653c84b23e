//! From when on a resource counts as scarce, as options and their texts.

use std::fmt;
use std::time::Duration;

use crate::node::kubelet::vitals::{Room, Vitals};
use crate::object::Quantity;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node::kubelet) enum Signal {
    Memory,
    PodMemory,
    NodeFs,
    NodeInodes,
    ImageFs,
    ImageInodes,
    Processes,
}

/// A condition that a node has while something is scarce, in the order in which conditions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::node::kubelet) enum Pressure {
    Memory,
    Disk,
    Pid,
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        })
    }
}

/// Every signal that can be asked for, by its name.
const SIGNALS: [(&str, Signal); 7] = [
    ("memory.available", Signal::Memory),
    ("allocatableMemory.available", Signal::PodMemory),
    ("nodefs.available", Signal::NodeFs),
    ("nodefs.inodesFree", Signal::NodeInodes),
    ("imagefs.available", Signal::ImageFs),
    ("imagefs.inodesFree", Signal::ImageInodes),
    ("pid.available", Signal::Processes),
];

impl Signal {
    fn parse(name: &str) -> Result<Self, ThresholdError> {
        let found = SIGNALS.iter().find(|(own, _)| *own == name);
        found.map_or_else(
            || Err(ThresholdError(format!("there is no signal {name:?}"))),
            |(_, signal)| Ok(*signal),
        )
    }

    /// What is scarce when it falls too low.
    pub(in crate::node::kubelet) const fn resource(self) -> &'static str {
        match self {
            Self::Memory | Self::PodMemory => "memory",
            Self::NodeFs | Self::ImageFs => "ephemeral-storage",
            Self::NodeInodes | Self::ImageInodes => "inodes",
            Self::Processes => "pids",
        }
    }

    pub(in crate::node::kubelet) const fn pressure(self) -> Pressure {
        match self {
            Self::Memory | Self::PodMemory => Pressure::Memory,
            Self::Processes => Pressure::Pid,
            _ => Pressure::Disk,
        }
    }

    pub(in crate::node::kubelet) const fn is_memory(self) -> bool {
        matches!(self, Self::Memory | Self::PodMemory)
    }

    /// Whether its amounts are written in powers of two.
    pub(in crate::node::kubelet) const fn is_binary(self) -> bool {
        !matches!(self, Self::NodeInodes | Self::ImageInodes | Self::Processes)
    }

    pub(in crate::node::kubelet) const fn room(self, vitals: &Vitals) -> Option<Room> {
        match self {
            Self::Memory => vitals.memory,
            Self::PodMemory => vitals.pod_memory,
            Self::NodeFs => vitals.node_fs,
            Self::NodeInodes => vitals.node_inodes,
            Self::ImageFs => vitals.image_fs,
            Self::ImageInodes => vitals.image_inodes,
            Self::Processes => vitals.processes,
        }
    }
}

/// So much, or so much of all there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::node::kubelet) enum Amount {
    Units(u64),
    /// Hundredths.
    Percent(f64),
}

impl Amount {
    fn parse(text: &str) -> Result<Self, ThresholdError> {
        let wrong = || ThresholdError(format!("{text:?} is no amount above zero"));
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| wrong())?;
            return if (0.0..=100.0).contains(&percent) {
                Ok(Self::Percent(percent))
            } else {
                Err(ThresholdError(format!(
                    "{text:?} is not between 0% and 100%"
                )))
            };
        }
        let quantity = Quantity::parse(text).map_err(ThresholdError)?;
        u64::try_from(quantity.value())
            .ok()
            .filter(|units| *units > 0)
            .map_or_else(|| Err(wrong()), |units| Ok(Self::Units(units)))
    }

    /// In units, of so much.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a whole, between zero and it"
    )]
    pub(in crate::node::kubelet) fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Units(units) => units,
            Self::Percent(percent) => (capacity as f64 * percent / 100.0) as u64,
        }
    }
}

/// From when on something is scarce.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::node::kubelet) struct Threshold {
    pub signal: Signal,
    pub value: Amount,
    /// How long it may be scarce before pods are ended; zero: no time.
    pub grace: Duration,
    /// How much more than the value there must be before it is scarce no longer.
    pub reclaim: Option<Amount>,
}

impl Threshold {
    pub(in crate::node::kubelet) const fn is_hard(&self) -> bool {
        self.grace.is_zero()
    }

    /// Whether there is too little; `None`: that is not known.
    pub(in crate::node::kubelet) fn is_met(&self, vitals: &Vitals, reclaim: bool) -> Option<bool> {
        let Room {
            available,
            capacity,
        } = self.signal.room(vitals)?;
        let mut wanted = self.value.of(capacity);
        if let Some(more) = self.reclaim.filter(|_| reclaim) {
            wanted = wanted.saturating_add(more.of(capacity));
        }
        Some(available < wanted)
    }
}

/// A threshold that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an eviction threshold is wrong: {0}")]
pub struct ThresholdError(String);

/// When a kubelet ends pods because its machine runs short of something.
///
/// ```
/// use std::time::Duration;
/// use homeostat::node::Eviction;
/// let eviction = Eviction::none()
///     .hard("memory.available", "100Mi")?
///     .soft("nodefs.available", "15%", Duration::from_secs(90))?
///     .minimum_reclaim("nodefs.available", "1Gi")?;
/// assert!(eviction.clone().hard("memory.avail", "1Gi").is_err());
/// # Ok::<(), homeostat::node::ThresholdError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    pub(in crate::node::kubelet) thresholds: Vec<Threshold>,
    pub(in crate::node::kubelet) transition: Duration,
    pub(in crate::node::kubelet) max_pod_grace: Duration,
    pub(in crate::node::kubelet) interval: Duration,
}

impl Default for Eviction {
    /// The real kubelet's hard thresholds: 100 MiB of memory, 10 % of the nodes' and 15 % of the images' file system, 5 % of
    /// the inodes of both.
    fn default() -> Self {
        let rows = [
            (Signal::Memory, Amount::Units(100 << 20)),
            (Signal::NodeFs, Amount::Percent(10.0)),
            (Signal::NodeInodes, Amount::Percent(5.0)),
            (Signal::ImageFs, Amount::Percent(15.0)),
            (Signal::ImageInodes, Amount::Percent(5.0)),
        ];
        let mut eviction = Self::none();
        for (signal, value) in rows {
            eviction.put(signal, value, Duration::ZERO);
        }
        eviction
    }
}

impl Eviction {
    /// No thresholds: pods are ended for exceeding limits of their own alone.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            thresholds: Vec::new(),
            transition: Duration::from_secs(300),
            max_pod_grace: Duration::ZERO,
            interval: Duration::from_secs(10),
        }
    }

    /// Pods are ended at once when there is less than `value` (`1Gi`, `10%`) of `signal`: `memory.available`,
    /// `nodefs.available`, `nodefs.inodesFree`, `imagefs.available`, `imagefs.inodesFree`, `pid.available`.
    ///
    /// # Errors
    /// When there is no such signal or the value is none. The same holds below.
    pub fn hard(mut self, signal: &str, value: &str) -> Result<Self, ThresholdError> {
        self.put(
            Signal::parse(signal)?,
            Amount::parse(value)?,
            Duration::ZERO,
        );
        Ok(self)
    }

    /// Pods are ended, within [`Eviction::max_pod_grace`], when there has been less than `value` for `grace`.
    pub fn soft(
        mut self,
        signal: &str,
        value: &str,
        grace: Duration,
    ) -> Result<Self, ThresholdError> {
        let grace = grace.max(Duration::from_nanos(1));
        self.put(Signal::parse(signal)?, Amount::parse(value)?, grace);
        Ok(self)
    }

    /// When thresholds of `signal` are crossed, pods are ended until there is so much more than the threshold. Set after
    /// the thresholds. Default = nothing more.
    pub fn minimum_reclaim(mut self, signal: &str, value: &str) -> Result<Self, ThresholdError> {
        let (signal, value) = (Signal::parse(signal)?, Amount::parse(value)?);
        for threshold in &mut self.thresholds {
            if threshold.signal == signal {
                threshold.reclaim = Some(value);
            }
        }
        Ok(self)
    }

    /// How long a condition such as `MemoryPressure` stays after the scarcity is over. Default = 5 minutes.
    #[must_use]
    pub const fn pressure_transition(mut self, period: Duration) -> Self {
        self.transition = period;
        self
    }

    /// How long pods that are ended for a soft threshold may take, if their own grace period is not shorter. Default = none.
    #[must_use]
    pub const fn max_pod_grace(mut self, grace: Duration) -> Self {
        self.max_pod_grace = grace;
        self
    }

    /// How often the machine is looked at. Default = 10 s.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// One threshold a signal and kind; those of memory hold for what pods may have together, too.
    fn put(&mut self, signal: Signal, value: Amount, grace: Duration) {
        let hard = grace.is_zero();
        self.thresholds
            .retain(|old| old.signal != signal || old.is_hard() != hard);
        // Nothing and everything are no thresholds.
        if matches!(value, Amount::Percent(percent) if percent <= 0.0 || percent >= 100.0) {
            return;
        }
        self.thresholds.push(Threshold {
            signal,
            value,
            grace,
            reclaim: None,
        });
        if signal == Signal::Memory && hard {
            self.put(Signal::PodMemory, value, grace);
        }
    }

    /// What is kept free of a resource, of so much.
    pub(in crate::node::kubelet) fn reserve(&self, signal: Signal, capacity: u64) -> u64 {
        let mut hard = self.thresholds.iter().filter(|one| one.is_hard());
        let found = hard.find(|one| one.signal == signal);
        found.map_or(0, |found| found.value.of(capacity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, of_thousand) in [
            ("1", Some(1)),
            ("1k", Some(1000)),
            ("10%", Some(100)),
            ("0.5%", Some(5)),
            ("0", None),
            ("-1", None),
            ("101%", None),
            ("x%", None),
            ("x", None),
        ] {
            let amount = Amount::parse(text).ok().map(|amount| amount.of(1000));
            assert_eq!(amount, of_thousand, "{text}");
        }
    }

    #[test]
    fn one_threshold_of_a_kind() {
        let second = Duration::from_secs(1);
        let eviction = Eviction::default()
            .hard("memory.available", "1Gi")
            .and_then(|eviction| eviction.soft("memory.available", "2Gi", second))
            .and_then(|eviction| eviction.hard("nodefs.available", "0%"))
            .and_then(|eviction| eviction.minimum_reclaim("memory.available", "1Gi"))
            .unwrap();
        let of = |signal| {
            let own = eviction
                .thresholds
                .iter()
                .filter(move |one| one.signal == signal);
            own.map(|one| (one.value, one.grace, one.reclaim))
                .collect::<Vec<_>>()
        };
        let gib = Amount::Units(1 << 30);
        assert_eq!(
            of(Signal::Memory),
            [
                (gib, Duration::ZERO, Some(gib)),
                (Amount::Units(2 << 30), second, Some(gib))
            ]
        );
        assert_eq!(of(Signal::PodMemory), [(gib, Duration::ZERO, None)]);
        assert_eq!(of(Signal::NodeFs), []);
        assert_eq!(eviction.reserve(Signal::Memory, 0), 1 << 30);
        assert_eq!(eviction.reserve(Signal::ImageFs, 1000), 150);
        assert!(Eviction::none().hard("cpu.available", "1").is_err());
    }
}
