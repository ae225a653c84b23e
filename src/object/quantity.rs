//! Exact quantities: `500m`, `1Gi`, `1e3`.
use std::fmt;

/// A quantity, exact to 10^-9 as in Kubernetes, with the format it was written in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    /// In units of 10^-9.
    nanos: i128,
    /// How it is written.
    format: Format,
}

/// How a quantity is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `1Ki`, `1Mi`, …
    BinarySi,
    /// `1m`, `1`, `1k`, `1M`, …
    #[default]
    DecimalSi,
    /// `1e3`, …
    DecimalExponent,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self {
        nanos: 0,
        format: Format::DecimalSi,
    };
    /// Parses it.
    ///
    /// # Errors
    /// The text that Kubernetes gives for it.
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// A whole number in the given format.
    #[must_use]
    pub fn from_units(units: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(units) * 1_000_000_000,
            format,
        }
    }
    /// Thousandths.
    #[must_use]
    pub fn from_milli(milli: i64) -> Self {
        Self {
            nanos: i128::from(milli) * 1_000_000,
            format: Format::DecimalSi,
        }
    }
    /// As a whole number, rounded up (`Value()`), saturating.
    #[must_use]
    pub fn value(&self) -> i64 {
        todo!()
    }
    /// In thousandths, rounded up (`MilliValue()`), saturating.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        todo!()
    }
    /// Whether it is less than zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }
    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }
}
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
/// Keeps the left side's format, unless it is zero.
impl std::ops::Add for Quantity {
    type Output = Self;
    fn add(self, _other: Self) -> Self {
        todo!()
    }
}
/// Keeps the left side's format, unless it is zero.
impl std::ops::Sub for Quantity {
    type Output = Self;
    fn sub(self, _other: Self) -> Self {
        todo!()
    }
}
/// The canonical form.
impl fmt::Display for Quantity {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
