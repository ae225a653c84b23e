//! Exact quantities: `500m`, `1Gi`, `1e3` (`k8s.io/apimachinery/pkg/api/resource`).

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// How many of the unit kept make one whole.
const NANOS: i128 = 1_000_000_000;

/// The largest magnitude that is kept, as upstream caps it: 2^63 - 1 wholes.
const MOST: i128 = i64::MAX as i128 * NANOS;

/// The text that Kubernetes gives for what is no quantity at all.
const NO_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The text that Kubernetes gives for a suffix it does not know.
const NO_SUFFIX: &str = "unable to parse quantity's suffix";

/// Decimal suffixes and their powers of ten.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

/// Binary suffixes; each is 1024 times the one before.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// A quantity, exact to 10^-9 as in Kubernetes, with the format it was written in.
///
/// What is finer than 10^-9 is rounded away from zero when parsed; what is larger than 2^63 - 1 is capped.
///
/// ```
/// use homeostat::object::Quantity;
/// let memory = Quantity::parse("1.5Gi").unwrap();
/// assert_eq!(memory.value(), 1_610_612_736);
/// assert_eq!(memory.to_string(), "1536Mi");
/// assert_eq!(Quantity::parse("0.1").unwrap(), Quantity::from_milli(100));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
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

/// A quantity's text in its parts.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl Quantity {
    /// Zero.
    pub const ZERO: Self = Self {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// Parses a quantity.
    ///
    /// # Errors
    /// The text that Kubernetes gives for it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = Parts::of(text)?;
        let (format, power) = suffix(parts.suffix)?;
        let shift = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
        let digits = digits(parts.whole, parts.fraction);
        let magnitude = match format {
            Format::BinarySi => {
                let scaled = digits.and_then(|digits| {
                    digits.checked_mul(1_i128.checked_shl(power.unsigned_abs())?)
                });
                scaled.and_then(|scaled| scale(scaled, 9_i32.saturating_sub(shift)))
            }
            Format::DecimalSi | Format::DecimalExponent => digits
                .and_then(|digits| scale(digits, power.saturating_add(9).saturating_sub(shift))),
        };
        // Upstream caps binary quantities only.
        let magnitude = match (magnitude, format) {
            (Some(nanos), Format::DecimalSi | Format::DecimalExponent) => nanos,
            (Some(nanos), Format::BinarySi) => nanos.min(MOST),
            (None, _) => MOST,
        };
        // Upstream shows a binary quantity below one as a decimal one rather than rounding it.
        let format = if format == Format::BinarySi && magnitude > 0 && magnitude < NANOS {
            Format::DecimalSi
        } else {
            format
        };
        Ok(Self {
            nanos: if parts.negative {
                -magnitude
            } else {
                magnitude
            },
            format,
        })
    }

    /// The text that the API server stores for `text`: as written where upstream takes the text for canonical already, which
    /// is a little too often (`+1`, `5.`, `1.500`), else the canonical form.
    ///
    /// # Errors
    /// As [`Quantity::parse`].
    pub fn canonicalize(text: &str) -> Result<String, String> {
        let quantity = Self::parse(text)?;
        let parts = Parts::of(text)?;
        let (format, power) = suffix(parts.suffix)?;
        let whole = match parts.whole.trim_start_matches('0') {
            "" => "0",
            whole => whole,
        };
        let length = i32::try_from(whole.len() + parts.fraction.len()).unwrap_or(i32::MAX);
        let shift = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
        let as_written = match format {
            Format::BinarySi => {
                shift == 0
                    && length <= 14 - power.saturating_mul(3) / 10
                    && whole.parse::<i64>().is_ok_and(|value| value & 7 != 0)
            }
            Format::DecimalSi | Format::DecimalExponent => {
                let power = power.saturating_sub(shift);
                let shifted = [whole, parts.fraction].concat();
                length <= 18
                    && power >= -9
                    && power % 3 == 0
                    && !shifted.ends_with("000")
                    && !shifted.starts_with('0')
            }
        };
        Ok(if as_written {
            text.to_owned()
        } else {
            quantity.to_string()
        })
    }

    /// A whole number in the given format.
    #[must_use]
    pub fn from_units(units: i64, format: Format) -> Self {
        Self {
            nanos: i128::from(units) * NANOS,
            format,
        }
    }

    /// Thousandths.
    #[must_use]
    pub fn from_milli(milli: i64) -> Self {
        Self {
            nanos: i128::from(milli) * (NANOS / 1000),
            format: Format::DecimalSi,
        }
    }

    /// How it is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// As a whole number, rounded away from zero (upstream's `Value()`), saturating.
    #[must_use]
    pub fn value(&self) -> i64 {
        saturate(divide_away(self.nanos, NANOS))
    }

    /// In thousandths, rounded away from zero (upstream's `MilliValue()`), saturating.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        saturate(divide_away(self.nanos, NANOS / 1000))
    }

    /// Rounded away from zero to thousandths, the finest that resource lists keep.
    #[must_use]
    pub fn round_to_milli(&self) -> Self {
        let unit = NANOS / 1000;
        Self {
            nanos: divide_away(self.nanos, unit) * unit,
            format: self.format,
        }
    }

    /// Whether it is a whole number.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS == 0
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

    /// Zero takes the format of what is added to it.
    fn with_format_for(mut self, other: Self) -> Self {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self
    }

    fn write_decimal(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        if mantissa == 0 {
            return f.write_str("0");
        }
        while mantissa % 1000 == 0 {
            mantissa /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 {
                write!(f, "{mantissa}")
            } else {
                write!(f, "{mantissa}e{exponent}")
            };
        }
        // Beyond E there is no suffix: give zeros back to the mantissa.
        while exponent > 18 {
            mantissa *= 1000;
            exponent -= 3;
        }
        let suffix = DECIMAL
            .iter()
            .find(|(_, power)| *power == exponent)
            .map_or("", |(suffix, _)| suffix);
        write!(f, "{mantissa}{suffix}")
    }

    fn write_binary(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mantissa = self.nanos / NANOS;
        let mut suffixes = BINARY.iter();
        let mut suffix = suffixes.next();
        while mantissa != 0 && mantissa % 1024 == 0 {
            let Some(next) = suffixes.next() else { break };
            suffix = Some(next);
            mantissa /= 1024;
        }
        write!(f, "{mantissa}{}", suffix.copied().unwrap_or_default())
    }
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let after_whole = unsigned.trim_start_matches(|c: char| c.is_ascii_digit());
        let whole = &unsigned[..unsigned.len() - after_whole.len()];
        let (fraction, suffix) = match after_whole.strip_prefix('.') {
            Some(rest) => {
                let suffix = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                (&rest[..rest.len() - suffix.len()], suffix)
            }
            None => ("", after_whole),
        };
        let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let exponent = letters.strip_prefix(['+', '-']).unwrap_or(letters);
        if text.is_empty() || !exponent.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NO_QUANTITY.to_owned());
        }
        if whole.is_empty() && fraction.is_empty() && suffix.is_empty() {
            return Err(NO_QUANTITY.to_owned());
        }
        Ok(Self {
            negative: text.starts_with('-'),
            whole,
            fraction,
            suffix,
        })
    }
}

/// The format that a suffix stands for and its power of ten (of two for binary ones).
fn suffix(text: &str) -> Result<(Format, i32), String> {
    if let Some((_, power)) = DECIMAL.iter().find(|(suffix, _)| *suffix == text) {
        return Ok((Format::DecimalSi, *power));
    }
    if let Some(index) = BINARY.iter().position(|suffix| *suffix == text) {
        return Ok((Format::BinarySi, 10 * i32::try_from(index).unwrap_or(0)));
    }
    let exponent = text
        .strip_prefix(['e', 'E'])
        .ok_or_else(|| NO_SUFFIX.to_owned())?;
    let exponent = exponent.parse().map_err(|_| NO_SUFFIX.to_owned())?;
    Ok((Format::DecimalExponent, exponent))
}

/// The digits as one number; `None` when it is beyond all bounds.
fn digits(whole: &str, fraction: &str) -> Option<i128> {
    let mut bytes = whole.bytes().chain(fraction.bytes());
    bytes.try_fold(0_i128, |number, byte| {
        number.checked_mul(10)?.checked_add(i128::from(byte - b'0'))
    })
}

/// `number` times ten to the `power`, rounded away from zero; `None` on overflow.
fn scale(number: i128, power: i32) -> Option<i128> {
    if number == 0 {
        return Some(0);
    }
    match 10_i128.checked_pow(power.unsigned_abs()) {
        Some(factor) if power >= 0 => number.checked_mul(factor),
        Some(factor) => Some(divide_away(number, factor)),
        None if power >= 0 => None,
        None => Some(1),
    }
}

/// Division that rounds away from zero.
fn divide_away(number: i128, by: i128) -> i128 {
    let quotient = number / by;
    if number % by == 0 {
        quotient
    } else {
        quotient + number.signum()
    }
}

fn saturate(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// Keeps the left side's format, unless it is zero. Saturates.
impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let kept = self.with_format_for(other);
        Self {
            nanos: kept.nanos.saturating_add(other.nanos),
            ..kept
        }
    }
}

/// Keeps the left side's format, unless it is zero. Saturates.
impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let kept = self.with_format_for(other);
        Self {
            nanos: kept.nanos.saturating_sub(other.nanos),
            ..kept
        }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self {
            nanos: -self.nanos,
            ..self
        }
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::ZERO, Add::add)
    }
}

/// The canonical form: no fraction, the largest suffix that allows it. Binary quantities below 1024 or with a fraction
/// are written in decimal, as upstream does.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary =
            self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANOS && self.is_whole();
        if binary {
            self.write_binary(f)
        } else {
            self.write_decimal(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, canonical) in [
            ("0", "0"),
            ("1", "1"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("1.0", "1"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1000e0", "1e3"),
            ("1E", "1E"),
            ("1000k", "1M"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("1000Ki", "1000Ki"),
            ("-1500m", "-1500m"),
            ("+1", "1"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("12345678901234567890", "12345678901234567890"),
            ("100n", "100n"),
            ("1100", "1100"),
            ("1e-3", "1e-3"),
        ] {
            assert_eq!(
                Quantity::parse(text).map(|quantity| quantity.to_string()),
                Ok(canonical.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn whole_numbers_are_stored_as_written() {
        for (text, stored) in [
            ("+1", "+1"),
            ("5.", "5."),
            ("1.0", "1"),
            ("1000m", "1"),
            ("1024Ki", "1Mi"),
        ] {
            assert_eq!(Quantity::canonicalize(text).as_deref(), Ok(stored));
        }
    }

    #[test]
    fn refusals() {
        for text in ["", "abc", "1.5 Gi", "0x10", "1,5", "1Gi!", "1m5m", "."] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        for text in ["1K", "1mi", "--1", "1e", "1kM", "1ii"] {
            assert_eq!(Quantity::parse(text), Err(NO_SUFFIX.to_owned()), "{text}");
        }
    }

    #[test]
    fn rounds_up_and_saturates() {
        let half = Quantity::parse("0.0001").unwrap();
        assert_eq!((half.value(), half.milli_value()), (1, 1));
        assert_eq!(Quantity::parse("-1500m").unwrap().value(), -2);
        assert_eq!(Quantity::parse("1e400").unwrap().value(), i64::MAX);
        assert_eq!(Quantity::parse("1e-400").unwrap().to_string(), "1e-9");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn canonical_form_reads_back_equal(text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,6})?(n|u|m|k|M|G|Ki|Mi|Gi|e3|E-2)?") {
            let quantity = Quantity::parse(&text).unwrap();
            prop_assert_eq!(Quantity::parse(&quantity.to_string()).unwrap(), quantity);
        }

        #[test]
        fn sums_are_exact(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000) {
            prop_assert_eq!(Quantity::from_milli(a) + Quantity::from_milli(b), Quantity::from_milli(a + b));
            prop_assert_eq!(Quantity::from_milli(a) - Quantity::from_milli(b), Quantity::from_milli(a - b));
        }
    }
}
